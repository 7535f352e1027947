"""Stage ``search``: an index and topics → a TREC run, through Pyserini's ``FaissSearcher``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import QueryEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.factory import faiss_reason
from xqg_repro.retrieval.index import INDEX_AGAIN, open_index
from xqg_repro.retrieval.parameters import set_parameters, widening
from xqg_repro.retrieval.runfile import Hit, Run
from xqg_repro.retrieval.stage import DEPTH, QUERIES_PER_BATCH, Source, check_search, write_dense_search


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
    check_search(index, output, tag, depth)
    given = {key: value for key, value in (("nprobe", nprobe), ("ef_search", ef_search)) if value is not None}
    stored = open_index(index)
    set_parameters(stored, given, index)

    def retrieve(query_encoder: QueryEncoder, queries: dict[str, str], depth: int) -> Run:
        searcher = open_searcher(index, query_encoder)
        if given:
            set_parameters(searcher.index, given, index)
        return _retrieve(searcher, queries, depth, threads, index)

    source = Source("index", index, stored.ntotal, stored.d, given, widening(stored))
    how: dict[str, Any] = {"tag": tag, "depth": depth, "encoder": encoder, "device": device, "force": force}
    return write_dense_search(source, topics, output, retrieve, **how)


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
