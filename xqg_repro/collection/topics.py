"""Topics: questions by id, from ir-datasets, a TSV file or standard input."""

from __future__ import annotations

from pathlib import Path

from xqg_repro import collection
from xqg_repro.collection.documents import question_languages, question_texts
from xqg_repro.collection.local import expand, is_json_lines
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest
from xqg_repro.core.ids import check_id
from xqg_repro.core.text import STDIN, read_lines


def read_topics(topics: str) -> tuple[dict[str, str], str]:
    """Questions by id, and their fingerprint.

    ``topics`` is an ir-datasets id, a split of a folder or a file of questions (see :mod:`xqg_repro.collection.local`),
    or a pipe or ``-``, standard input, with lines ``qid<TAB>text``, which are read once.

    :class:`InputError` if the topics are unknown or empty, or a line does not have two columns or repeats an id.
    """
    if _is_tsv(topics):
        queries = read_tsv_topics(Path(expand(topics)))
        version = digest(queries)
    else:
        dataset = collection.load(topics, needs=["queries"])
        queries = question_texts(dataset)
        version = collection.fingerprint(dataset, "queries")
    if not queries:
        raise InputError("holds no questions", path=topics)
    return queries, version


def topic_languages(topics: str) -> dict[str, str]:
    """Qid → language of the questions that :func:`read_topics` reads; empty if it is not known, as in a TSV file."""
    return {} if _is_tsv(topics) else question_languages(collection.load(topics, needs=["queries"]))


def _is_tsv(topics: str) -> bool:
    """Whether topics are lines of qid and text, not JSON lines or an ir-datasets id."""
    path = Path(expand(topics))
    is_other_file = path.exists() and not path.is_dir() and not is_json_lines(path)
    return topics == STDIN or path.suffix in (".tsv", ".txt") or is_other_file


def read_tsv_topics(path: Path) -> dict[str, str]:
    """Questions by id from lines ``qid<TAB>text``; :class:`InputError` names a line that is none or repeats an id."""
    queries: dict[str, str] = {}
    for number, line in read_lines(path, "topics file"):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != 2 or not all(column.strip() for column in columns):
            raise InputError("is not qid<TAB>text", path=path, line=number)
        qid, text = columns
        check_id(qid, path, number)
        if qid in queries:
            raise InputError(f"repeats the id {qid}", path=path, line=number)
        queries[qid] = text
    return queries


def write_topics(queries: dict[str, str], path: str | Path) -> int:
    """Write questions as ``qid<TAB>text``, with single spaces as white space; return their number.

    :class:`InputError` if an id does not fit into a TREC run, or a text is blank.
    """
    for qid, text in queries.items():
        check_id(qid, path)
        if not text.strip():
            raise InputError(f"question {qid} is blank", path=path)
    with atomic_write(path) as file:
        file.writelines(f"{qid}\t{' '.join(text.split())}\n" for qid, text in queries.items())
    return len(queries)
