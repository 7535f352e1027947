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
from xqg_repro.core.ids import check_id
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import MANIFEST, Manifest, build_file, check_output, fingerprint
from xqg_repro.models.encoder import QueryEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig, check_same_pooling
from xqg_repro.representation.encode import encoder_of
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.factory import faiss_reason
from xqg_repro.retrieval.index import INDEX_AGAIN, open_index
from xqg_repro.retrieval.metadata import read_measurement, write_metadata
from xqg_repro.retrieval.parameters import set_parameters, widening
from xqg_repro.retrieval.runfile import Hit, Run, write_run

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
    nprobe: int | None = None,
    ef_search: int | None = None,
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
        depth: passages per question. An approximate index may find fewer; how many questions have fewer is logged.
        nprobe, ef_search: how much of an approximate index to search (see :mod:`xqg_repro.retrieval.parameters`);
            ``None`` leaves it to the index.
        encoder: the query encoder; ``None`` takes the encoder of the index.
        threads: FAISS threads.
        device: torch device of the encoder; ``None`` takes a GPU if available.

    Raises:
        InputError: the index has more docids than vectors or fewer, does not rank by inner product, lacks a search
            parameter, or was made by another model or in another dimension; or the topics are unknown or empty.
    """
    index, output = Path(index), Path(output)
    check_output(output, index)
    if depth < 1:
        raise InputError(f"a search depth of {depth} retrieves nothing", hint="retrieve at least one passage")
    check_id(tag, output)
    if not is_stream(output):
        read_measurement(output)  # another program's file of that name is not replaced
    given = {key: value for key, value in (("nprobe", nprobe), ("ef_search", ef_search)) if value is not None}
    stored = open_index(index)
    set_parameters(stored, given, index)
    queries, topics_version = read_topics(topics)
    config, index_version = _query_encoder(index, encoder)
    wanted = Manifest(
        "search",
        {"topics": topics, "depth": depth, "tag": tag, "encoder": dataclasses.asdict(config), **given},
        {"index": index_version, "topics": topics_version, "model": model_fingerprint(config.model)},
    )

    def write(path: Path) -> dict[str, int]:
        query_encoder = QueryEncoder(config, device)
        _check_dimension(index, stored.d, query_encoder.encode(next(iter(queries.values()))).size, config)
        searcher = open_searcher(index, query_encoder)
        if given:
            set_parameters(searcher.index, given, index)
        run = _retrieve(searcher, queries, min(depth, stored.ntotal), threads, index)
        write_run(run, path, tag)
        if not is_stream(path):
            write_metadata(path, wanted, _index_manifest(index))
        return {"questions": len(run), **_count_short(run, min(depth, stored.ntotal), widening(stored))}

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


def _check_dimension(index: Path, stored: int, encoded: int, config: EncoderConfig) -> None:
    if stored != encoded:
        problem = f"has vectors of {stored} dimensions, but {config.model} gives {encoded}"
        raise InputError(problem, path=index, hint="search with the model that encoded the passages")


def _retrieve(searcher: Any, queries: dict[str, str], depth: int, threads: int, index: Path) -> Run:
    run: Run = {}
    qids = list(queries)
    for start in range(0, len(qids), QUERIES_PER_BATCH):
        batch = qids[start : start + QUERIES_PER_BATCH]
        try:
            with _restore_threads():
                results = searcher.batch_search([queries[qid] for qid in batch], batch, k=depth, threads=threads)
        except IndexError:
            problem = "finds passages that the file docid does not have"
            raise InputError(problem, path=index, hint=INDEX_AGAIN) from None
        except RuntimeError as error:
            if not str(error).startswith("Error in "):  # not one of FAISS
                raise
            raise InputError(f"cannot be searched: {faiss_reason(error)}", path=index, hint=INDEX_AGAIN) from None
        for qid in batch:
            run[qid] = [Hit(hit.docid, float(hit.score)) for hit in results[qid]]
            if len({hit.docid for hit in run[qid]}) < len(run[qid]):
                raise InputError("lists a docid twice", path=index / "docid", hint=INDEX_AGAIN)
    return run


def _count_short(run: Run, depth: int, option: str) -> dict[str, int]:
    """The number of questions with fewer hits than asked for, which is logged; empty if there are none."""
    hits = [len(ranking) for ranking in run.values()]
    short = sum(found < depth for found in hits)
    if not short:
        return {}
    advice = f"; raise {option}" if option else ""
    logger.info(
        f"search: warning: {short:,} of {len(run):,} questions have fewer than {depth:,} passages "
        f"({sum(hits):,} of {depth * len(run):,}){advice}"
    )
    return {"questions with fewer passages": short}


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
