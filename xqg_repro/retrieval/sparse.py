"""Stage ``index --sparse``: a collection, and perhaps generated queries → Lucene indexes for BM25.

An index folder holds one Lucene index per analyzer, which stock Pyserini opens as well:

- plain: ``en/``, the passages under Lucene's English analyzer, in which all questions are searched;
- expansion (docTquery, Nogueira and Lin 2019, across languages): one index per language, such as ``fi/``, of the
  passages with their generated queries in that language, under its analyzer. A question is searched in its language's
  index, so a Finnish question meets Finnish words.

Lucene's files contain random ids and times, so two builds differ in their bytes. Their runs do not: a score depends on
nothing but the passages, and Anserini breaks ties by docid, also at the last rank.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from xqg_repro import collection
from xqg_repro.collection.documents import check_documents, to_passage
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES, check_languages
from xqg_repro.core.progress import track
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.generator import PassageQueries
from xqg_repro.representation.queries import queries_fingerprint, read_queries
from xqg_repro.retrieval.lucene import ENGLISH, check_analyzers, explain_java, java_path, load_lucene, open_lucene

Queries = Mapping[str, Sequence[str]]
"""Language → a passage's queries."""

_BLANK = "".join(map(chr, range(33)))  # Java trims these; Anserini leaves passages of nothing else out
_BUFFER = "128"  # MiB per index; Anserini's default can exceed the memory that Java gets


def build_sparse_index(
    dataset_id: str,
    output: str | Path,
    *,
    generated: str | Path | None = None,
    languages: Sequence[str] = XOR_LANGUAGES,
    queries: int = 5,
    analyzer: str = "",
    allow_missing: bool = False,
    force: bool = False,
) -> Manifest:
    """Index a collection's passages for BM25, or reuse an existing index that matches.

    What is indexed is the title, the text and the queries, one per line.

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        output: the stage folder; stock Pyserini opens the folders in it.
        generated: queries to append, see :func:`~xqg_repro.representation.queries.query_files`, in the order of the
            passages; ``None`` builds a plain index.
        languages, queries: whose queries to append, one index each, and how many to each passage.
        analyzer: ISO 639-1 code of Lucene's analyzer; empty takes English for a plain index, and otherwise that of each
            language.
        allow_missing: accept passages with fewer queries or none; the latter are counted.

    Raises:
        InputError: a passage lacks queries, or they are in another order; or Lucene has no analyzer for a language.
    """
    dataset = collection.load(dataset_id, needs=["docs"])
    parameters: dict[str, Any] = {"collection": dataset_id, "pyserini": metadata.version("pyserini")}
    inputs = {"collection": collection.fingerprint(dataset, "docs")}
    analyzers = {analyzer or ENGLISH: analyzer or ENGLISH}
    if generated is not None:
        check_languages(languages)
        if queries < 1:
            raise InputError(f"cannot append {queries} queries", hint="append at least 1 per language")
        analyzers = {language: analyzer or language for language in languages}
        parameters |= {"queries": queries, "allow_missing": allow_missing}
        inputs["queries"] = queries_fingerprint(generated)
    wanted = Manifest("index", {**parameters, "analyzers": analyzers}, inputs)

    def build(folder: Path) -> dict[str, int]:
        check_analyzers(analyzers.values())
        check_documents(dataset)
        passages = track(map(to_passage, dataset.docs_iter()), dataset.docs_count(), "index", "passages")
        if generated is None:
            counts = _write_indexes(folder, ((passage, {}) for passage in passages), analyzers)
            return {"passages": counts["passages"]}
        read = read_queries(generated, list(analyzers), queries, allow_missing=allow_missing)
        return _write_indexes(folder, _append_queries(passages, read, generated, allow_missing), analyzers)

    return build_stage(output, wanted, build, force=force)


def _append_queries(
    passages: Iterable[Passage], queries: Iterator[PassageQueries], source: str | Path, allow_missing: bool
) -> Iterator[tuple[Passage, Queries]]:
    """Each passage with its queries; memory holds one passage.

    :class:`InputError` if queries are in another order than the passages, or missing and not ``allow_missing``.
    """
    hint = "write them in the order of the collection; --allow-missing accepts passages without queries"
    upcoming = next(queries, None)
    for passage in passages:
        if upcoming is not None and upcoming.docid == passage.doc_id:
            yield passage, upcoming.queries
            upcoming = next(queries, None)
        elif allow_missing:
            yield passage, {}
        else:
            actual = upcoming.docid if upcoming else "none"
            raise InputError(f"expected queries for the passage {passage.doc_id}, got {actual}", path=source, hint=hint)
    if upcoming is not None:
        problem = f"has queries for {upcoming.docid}, which the collection lacks or has before"
        raise InputError(problem, path=source, hint="write them in the order of the collection")


def _write_indexes(
    folder: Path, passages: Iterable[tuple[Passage, Queries]], analyzers: Mapping[str, str]
) -> dict[str, int]:
    """Write a Lucene index per language; return the number of passages and of those without queries."""
    indexer = load_lucene("pyserini.index.lucene", "LuceneIndexer")
    counts = {"passages": 0, "missing": 0}
    indexed = dict.fromkeys(analyzers, 0)
    with explain_java(folder), ExitStack() as stack:
        writers = {}
        for language, analyzer in analyzers.items():
            shutil.rmtree(folder / language, ignore_errors=True)  # of an interrupted run
            args = ["-index", java_path(folder / language), "-language", analyzer, "-memoryBuffer", _BUFFER]
            writers[language] = indexer(args=args, threads=1)
            stack.callback(writers[language].close)
        for passage, queries in passages:
            counts["passages"] += 1
            counts["missing"] += not queries
            for language, writer in writers.items():
                lines = (passage.title, passage.text, *queries.get(language, ()))
                contents = "\n".join(line for line in lines if line.strip())
                if contents.strip(_BLANK):
                    writer.add_doc_dict({"id": passage.doc_id, "contents": contents})
                    indexed[language] += 1
    for language, number in indexed.items():
        (folder / language / "write.lock").unlink(missing_ok=True)
        _check_count(folder / language, number)
    return counts


def _check_count(index: Path, expected: int) -> None:
    """Raise :class:`InputError` unless an index has so many passages; Anserini only prints what it cannot write."""
    found = open_lucene(index).num_docs
    if found != expected:
        problem = f"has {found:,} passages instead of {expected:,}; the messages above may say why"
        raise InputError(problem, path=index, hint="is the disk full?")
