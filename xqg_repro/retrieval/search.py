"""Stage ``search``: an index and topics → a TREC run, through Pyserini's ``FaissSearcher``."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.stages import (
    MANIFEST,
    Manifest,
    check_output,
    fingerprint,
    manifest_path,
    matching_manifest,
    write_manifest,
)
from xqg_repro.models.encoder import QueryEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.encode import encoder_of
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.index import check_index
from xqg_repro.retrieval.metadata import write_metadata
from xqg_repro.retrieval.runfile import Hit, write_run

logger = logging.getLogger(__name__)

DEPTH = 100
QUERIES_PER_BATCH = 512


def search(
    index: str | Path,
    topics: str,
    output: str | Path,
    *,
    tag: str = "xqg_repro",
    depth: int = DEPTH,
    encoder: EncoderConfig | None = None,
    threads: int = 1,
    device: str | None = None,
    force: bool = False,
) -> Path:
    """Retrieve passages for every question of a topic set and write a TREC run, or reuse the run that is there.

    Args:
        index: an index folder, ours or any of Pyserini's.
        topics: ir-datasets id (``xor-mini/dev``) or a TSV file of qid and text.
        output: the run file. A note beside it, ``<output>.json``, says what it was made from, and ``<output>.yaml``
            when and with what (see :mod:`xqg_repro.retrieval.metadata`).
        tag: the run's last column.
        depth: passages a question.
        encoder: the question encoder; ``None`` takes the one that the index was made with.
        threads: FAISS threads.
        device: torch device of the encoder; ``None`` takes a GPU if there is one.
        force: search again even if the run matches.

    Raises:
        InputError: an index whose docids and vectors differ in number or that another model made, no question,
            unknown topics.
    """
    index, output = Path(index), Path(output)
    check_output(output, index)
    if depth < 1:
        raise InputError(f"a search depth of {depth} retrieves nothing")
    count = check_index(index)
    queries, version = read_topics(topics)
    config, made_from = _query_encoder(index, encoder)
    wanted = Manifest(
        "search",
        {"topics": topics, "depth": depth, "tag": tag, "encoder": dataclasses.asdict(config)},
        {"index": made_from, "topics": version, "model": model_fingerprint(config.model)},
    )
    if not force and matching_manifest(output, wanted):
        logger.info(f"search: {output} is up to date")
        return output
    run = _search(index, queries, config, min(depth, count), threads, device)
    manifest_path(output).unlink(missing_ok=True)
    write_run(run, output, tag)
    write_metadata(output, wanted, _made_by(index))
    write_manifest(output, wanted, {"questions": len(run)})
    logger.info(f"search: wrote {output} (questions {len(run):,}, depth {depth})")
    return output


def _query_encoder(index: Path, encoder: EncoderConfig | None) -> tuple[EncoderConfig, str]:
    """The encoder to use, checked against the one that made the index, and the index's fingerprint."""
    manifest = _made_by(index)
    if manifest is None:
        if encoder is None:
            raise InputError(
                "does not say which encoder made it", path=index, hint="name one with --encoder or --preset"
            )
        return encoder, digest([file_digest(index / name) for name in ("index", "docid")])
    made_by = encoder_of(manifest)
    config = encoder or made_by
    if model_fingerprint(config.model) != manifest.inputs["model"]:
        raise InputError(
            f"was made with another model than {config.model}",
            path=index,
            hint="search with the model that encoded the passages, or encode them again",
        )
    if (config.pooling, config.normalize) != (made_by.pooling, made_by.normalize):
        raise InputError(
            f"was made with {made_by.pooling} pooling, {'' if made_by.normalize else 'not '}normalised, "
            "and the questions would not be",
            path=index,
            hint="leave the encoder's settings out; the index knows them",
        )
    return config, fingerprint(index)


def index_encoder(index: str | Path) -> EncoderConfig | None:
    """The settings of the encoder that made an index of ours; ``None`` for an index without a manifest."""
    manifest = _made_by(Path(index))
    return encoder_of(manifest) if manifest else None


def _made_by(index: Path) -> Manifest | None:
    """What an index was made from; ``None`` for one that another program made."""
    return Manifest.read(index) if (index / MANIFEST).exists() else None


def _search(
    index: Path, queries: dict[str, str], config: EncoderConfig, depth: int, threads: int, device: str | None
) -> dict[str, list[Hit]]:
    searcher = open_searcher(index, QueryEncoder(config, device))
    qids, run = list(queries), {}
    for start in range(0, len(qids), QUERIES_PER_BATCH):
        batch = qids[start : start + QUERIES_PER_BATCH]
        with _threads_kept():
            found = searcher.batch_search([queries[qid] for qid in batch], batch, k=depth, threads=threads)
        run.update({qid: [Hit(hit.docid, float(hit.score)) for hit in found[qid]] for qid in batch})
    return run


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Gives back the number of threads that Pyserini sets for FAISS: it is PyTorch's, too, in all later stages."""
    import faiss

    before = faiss.omp_get_max_threads()
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def open_searcher(index: str | Path, encoder: Any) -> Any:
    """Pyserini's ``FaissSearcher`` over an index folder; starts the JVM that Pyserini insists on.

    ``encoder`` is anything with ``encode(str)`` or ``encode_batch(list[str])``.
    """
    jvm.ready()
    from pyserini.search.faiss import FaissSearcher

    return FaissSearcher(str(index), encoder)
