"""Stage ``search``: an index and topics → a TREC run, through Pyserini's ``FaissSearcher``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.ids import check_id
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import MANIFEST, Manifest, build_file, check_output, fingerprint
from xqg_repro.models.encoder import QueryEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig, check_same_pooling
from xqg_repro.representation.encode import encoder_of
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.index import check_index
from xqg_repro.retrieval.metadata import read_measurement, write_metadata
from xqg_repro.retrieval.runfile import Hit, Run, write_run

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
    """Retrieve passages for every question of a topic set and write a TREC run, or reuse an existing run that matches.

    Args:
        index: an index folder, written by ``index`` or by Pyserini.
        topics: ir-datasets id (``xor-mini/dev``), a TSV file of qid and text, or ``-`` for standard input.
        output: the run file. Beside it are ``<output>.json``, the manifest, and ``<output>.yaml``, which says when and
            with which software the run was made (see :mod:`xqg_repro.retrieval.metadata`).
        tag: the run's last column.
        depth: passages per question.
        encoder: the query encoder; ``None`` takes the encoder of the index.
        threads: FAISS threads.
        device: torch device of the encoder; ``None`` takes a GPU if available.

    Raises:
        InputError: the index has more docids than vectors or fewer, another model made it, or the topics are unknown
            or empty.
    """
    index, output = Path(index), Path(output)
    check_output(output, index)
    if depth < 1:
        raise InputError(f"a search depth of {depth} retrieves nothing", hint="retrieve at least one passage")
    check_id(tag, output)
    if not is_stream(output):
        read_measurement(output)  # another program's file of that name is not replaced
    queries, topics_version = read_topics(topics)
    passages = check_index(index)
    config, index_version = _query_encoder(index, encoder)
    wanted = Manifest(
        "search",
        {"topics": topics, "depth": depth, "tag": tag, "encoder": dataclasses.asdict(config)},
        {"index": index_version, "topics": topics_version, "model": model_fingerprint(config.model)},
    )

    def write(path: Path) -> dict[str, int]:
        searcher = open_searcher(index, QueryEncoder(config, device))
        run = _retrieve(searcher, queries, min(depth, passages), threads)
        write_run(run, path, tag)
        if not is_stream(path):
            write_metadata(path, wanted, _index_manifest(index))
        return {"questions": len(run)}

    build_file(output, wanted, write, force=force)
    return output


def _query_encoder(index: Path, encoder: EncoderConfig | None) -> tuple[EncoderConfig, str]:
    """The encoder to use, checked against that of the index, and the index's fingerprint."""
    manifest = _index_manifest(index)
    if manifest is None:
        if encoder is None:
            problem = "has no manifest, so its encoder is unknown"
            raise InputError(problem, path=index, hint="add --encoder or --preset")
        return encoder, digest([file_digest(index / name) for name in ("index", "docid")])
    made_by = encoder_of(manifest)
    config = encoder or made_by
    if model_fingerprint(config.model) != manifest.inputs["model"]:
        hint = "search with the model that encoded the passages, or encode them again"
        raise InputError(f"was made with another model than {config.model}", path=index, hint=hint)
    hint = "leave out the encoder's settings; the index records them"
    check_same_pooling(made_by, config, "the questions", index, hint)
    return config, fingerprint(index)


def index_encoder(index: str | Path) -> EncoderConfig | None:
    """The settings of the encoder that made an index; ``None`` for an index without a manifest."""
    manifest = _index_manifest(Path(index))
    return encoder_of(manifest) if manifest else None


def _index_manifest(index: Path) -> Manifest | None:
    """An index's manifest; ``None`` for an index that another program wrote."""
    return Manifest.read(index) if (index / MANIFEST).exists() else None


def _retrieve(searcher: Any, queries: dict[str, str], depth: int, threads: int) -> Run:
    run: Run = {}
    qids = list(queries)
    for start in range(0, len(qids), QUERIES_PER_BATCH):
        batch = qids[start : start + QUERIES_PER_BATCH]
        with _restore_threads():
            results = searcher.batch_search([queries[qid] for qid in batch], batch, k=depth, threads=threads)
        for qid in batch:
            run[qid] = [Hit(hit.docid, float(hit.score)) for hit in results[qid]]
    return run


@contextmanager
def _restore_threads() -> Iterator[None]:
    """Undo Pyserini's ``omp_set_num_threads``, which would also limit PyTorch in all later stages."""
    import faiss

    before = faiss.omp_get_max_threads()
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def open_searcher(index: str | Path, encoder: Any) -> Any:
    """Pyserini's ``FaissSearcher`` over an index folder; starts the JVM that Pyserini needs.

    ``encoder`` is any object with ``encode(str)`` or ``encode_batch(list[str])``.
    """
    return jvm.load("pyserini.search.faiss", "FaissSearcher")(str(index), encoder)
