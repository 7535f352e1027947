"""Stage ``search`` with BM25, on an index that ``index --sparse`` wrote (see :mod:`xqg_repro.retrieval.sparse`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from xqg_repro.collection.topics import topic_languages
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.stages import MANIFEST, Manifest, open_stage
from xqg_repro.retrieval.lucene import explain_java, open_lucene
from xqg_repro.retrieval.runfile import Hit, Run
from xqg_repro.retrieval.stage import DEPTH, Source, check_search, write_search

K1, B = 0.9, 0.4
"""BM25's parameters in Pyserini: how soon repeated words stop to count, and how much a passage's length counts."""


def is_sparse(folder: str | Path) -> bool:
    """Whether a folder is an index for BM25, by its manifest."""
    return (Path(folder) / MANIFEST).exists() and "analyzers" in Manifest.read(folder).parameters


def search_sparse(
    index: str | Path,
    topics: str,
    output: str | Path,
    *,
    tag: str = "xqg_repro",
    depth: int = DEPTH,
    k1: float = K1,
    b: float = B,
    language: str = "",
    threads: int = 1,
    force: bool = False,
) -> Path:
    """Retrieve passages by BM25 for every question of a topic set and write a TREC run, or reuse one that matches.

    Hits and scores are those of stock Pyserini. A question none of whose words occur in the index has no hits.

    Args:
        index: a folder that :func:`build_sparse_index` wrote.
        topics, output, tag, depth, force: as for :func:`~xqg_repro.retrieval.search.search`.
        k1, b: BM25's parameters.
        language: of all questions, ISO 639-1, for topics that do not say it; not for a plain index, which searches all
            questions alike.
        threads: Java threads; the run does not depend on them.

    Raises:
        InputError: the index is damaged; it has none for the language of a question, or that is unknown; ``k1`` is
            negative, or ``b`` not between 0 and 1; or the topics are unknown or empty.
    """
    index, output = Path(index), Path(output)
    check_search(index, output, tag, depth)
    if not (0 <= k1 < math.inf and 0 <= b <= 1):
        hint = f"k1 is at least 0, b between 0 and 1; Pyserini's defaults are {K1} and {B}"
        raise InputError(f"BM25 cannot have k1 = {k1} and b = {b}", hint=hint)
    manifest = open_stage(index, "index")
    if not is_sparse(index):
        raise InputError("is an index of vectors, not of words", path=index, hint="index --sparse writes one for BM25")
    analyzers = manifest.parameters["analyzers"]
    is_plain = "queries" not in manifest.parameters
    if is_plain and language:
        raise InputError("--language has no effect on a plain index", path=index, hint="leave it out")

    def retrieve(queries: dict[str, str], depth: int) -> Run:
        if is_plain:
            languages = dict.fromkeys(queries, next(iter(analyzers)))
        else:
            languages = _choose_languages(queries, topics, language, analyzers, index)
        run: Run = {qid: [] for qid in queries}
        for code, analyzer in analyzers.items():
            texts = {qid: text for qid, text in queries.items() if languages[qid] == code}
            if texts:
                run |= _search_index(index / code, analyzer, texts, depth, k1, b, threads)
        return run

    settings = {"k1": float(k1), "b": float(b), **({"language": language} if language else {})}
    source = Source("index", index, manifest.counts["passages"], settings=settings)
    inputs = {"index": manifest.identity}  # not its files' checksums, which differ from build to build
    return write_search(source, inputs, topics, output, retrieve, tag=tag, depth=depth, force=force)


def _choose_languages(
    queries: Iterable[str], topics: str, language: str, analyzers: Mapping[str, str], index: Path
) -> dict[str, str]:
    """Qid → language, which the index has."""
    known = {} if language else topic_languages(topics)
    languages = {qid: language or known.get(qid, "") for qid in queries}
    for qid, code in languages.items():
        if not code:
            hint = f"--language {' or '.join(analyzers)} gives that of all questions"
            raise InputError(f"does not say in which language question {qid} is", path=topics, hint=hint)
        if code not in analyzers:
            problem = f"has no index for questions in {LANGUAGE_NAMES.get(code, code)}, such as {qid}"
            raise InputError(problem, path=index, hint=f"it has: {' '.join(analyzers)}")
    return languages


def _search_index(
    index: Path, analyzer: str, queries: Mapping[str, str], depth: int, k1: float, b: float, threads: int
) -> Run:
    searcher = open_lucene(index, analyzer)
    with explain_java(index):
        searcher.set_bm25(k1, b)
        results = searcher.batch_search(list(queries.values()), list(queries), k=depth, threads=threads)
        return {qid: [Hit(hit.docid, hit.score) for hit in results.get(qid, ())] for qid in queries}
