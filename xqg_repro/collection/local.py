"""Collections and topics in files, without registration.

The id of such a dataset is a path, at whose beginning ``~`` and ``$VARIABLE`` are expanded:

* a folder in BEIR's layout: ``FOLDER`` is its passages (``corpus.jsonl``), ``FOLDER/<split>`` also the questions
  (``queries.jsonl``) that are judged in a split (``qrels/<split>.tsv``);
* a file of passages: JSON lines with ``_id``, ``docid`` or ``id``, ``title`` (optional), and ``text`` or ``contents``;
  or TSV as DPR has it, with the header line ``id<TAB>text<TAB>title``;
* a file of questions: JSON lines with ``_id``, ``qid`` or ``id``, ``text`` or ``question``, and optionally ``lang`` and
  ``answers``, which may also stand in ``metadata``; or TSV, ``qid<TAB>text``.

Any of these files may be gzipped. A language may follow a split or a file of questions that have languages, as in
``FOLDER/test/fi``. What a file contains follows from what it is needed for: passages or questions.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection.files import LocalFile
from xqg_repro.collection.handlers import Judgements, Name, Questions
from xqg_repro.collection.lines import TSV_HEADER, parse_json_document, parse_qrels, parse_questions, parse_tsv_document
from xqg_repro.collection.passages import LinePassages
from xqg_repro.collection.records import Question
from xqg_repro.core.errors import InputError, nearest, quote
from xqg_repro.core.files import digest, input_digest
from xqg_repro.core.outputs import expand_home
from xqg_repro.core.text import read_lines

_CORPUS, _QUERIES = "corpus.jsonl", "queries.jsonl"
_LAYOUT = f"BEIR's layout is {_CORPUS}, {_QUERIES} and qrels/<split>.tsv; each may be gzipped"


def expand(dataset_id: str) -> str:
    """The id with ``~`` or ``$VARIABLE`` at its beginning replaced; :class:`InputError` if the variable is not set."""
    match = re.match(r"\$(\w+|\{\w+\})(?=/|$)", dataset_id)
    if not match:
        return expand_home(dataset_id)
    name = match[1].strip("{}")
    if not os.environ.get(name):
        hint = f"set {name} to the folder that contains {dataset_id[match.end() + 1 :] or 'the data'}"
        raise InputError(f"{dataset_id}: the environment variable {name} is not set", hint=hint)
    return os.environ[name] + dataset_id[match.end() :]


def is_json_lines(path: Path) -> bool:
    """Whether the name of a file says that it contains JSON lines."""
    return path.name.removesuffix(".gz").endswith((".jsonl", ".json"))


def load(dataset_id: str, needs: Sequence[str] = ()) -> Dataset | None:
    """The dataset in files with that id; ``None`` if it is not a path.

    :class:`InputError` if a file or folder is missing or has another layout, or a folder has no such split or language.
    """
    place = _find(dataset_id)
    if place is None:
        return None
    path, parts = place
    if path.is_dir():
        handlers = _folder(path, parts, needs)
    elif path.is_file():
        is_topics = bool(parts) or "queries" in needs or "docs" not in needs
        handlers = [_questions_file(path, parts) if is_topics else _passages_file(path)]
    else:
        raise InputError("is not a regular file, which is read several times", path=path)
    return Dataset(Name(dataset_id), *handlers)


def subsets(dataset_id: str) -> list[str]:
    """The splits of a folder, or the languages of a split or a file of questions; empty for anything else."""
    place = _find(dataset_id)
    if place is None:
        return []
    path, parts = place
    if path.is_dir() and not parts:
        return _splits(path)
    dataset = load(dataset_id, ["queries"])
    return _languages(dataset.queries_iter()) if dataset and len(parts) <= path.is_dir() else []


def _find(dataset_id: str) -> tuple[Path, list[str]] | None:
    """An existing file or folder, and what follows it in the id: at most a split and a language.

    ``None`` for what does not look like a path; :class:`InputError` for one that does not exist.
    """
    whole = path = Path(expand(dataset_id))
    parts: list[str] = []
    while not os.path.exists(path) and len(parts) < 2:
        parts.insert(0, path.name)
        path = path.parent
    if not parts and os.path.exists(path):
        return path, parts
    is_named = path.name or dataset_id.startswith((".", "/"))  # a name alone is no split of the current folder
    is_file_name = whole.name.endswith((".jsonl", ".json", ".tsv", ".gz"))
    if os.path.isfile(path) or (is_named and not is_file_name and _file(path, _QUERIES)):
        return path, parts
    if not (is_file_name or dataset_id.startswith(("/", ".", "~", "$"))):
        return None
    names = os.listdir(whole.parent) if whole.parent.is_dir() else []
    close = [str(whole.parent / name) for name in difflib.get_close_matches(whole.name, names, n=1)]
    raise InputError("no such file or folder", path=whole, hint=f"did you mean {close[0]}?" if close else "")


# folders in BEIR's layout


def _file(folder: Path, name: str) -> Path | None:
    """A file of a folder, or its gzipped form."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _splits(folder: Path) -> list[str]:
    names = (path.name.removesuffix(".gz") for path in folder.glob("qrels/*"))
    return sorted({name.removesuffix(".tsv") for name in names if name.endswith(".tsv")})


def _folder(folder: Path, parts: list[str], needs: Sequence[str]) -> list[Any]:
    """The handlers of a folder's passages, of a split, or of a split's questions in one language."""
    corpus, splits = _file(folder, _CORPUS), _splits(folder)
    if "docs" in needs and not corpus:
        others = sorted(path.name for path in folder.glob("*.jsonl*") if not path.name.startswith("queries."))
        hint = f"name the file: {folder / others[0]}" if others else _LAYOUT
        raise InputError(f"has no {_CORPUS}", path=folder, hint=hint)
    docs = [_passages_file(corpus)] if corpus else []
    if not parts:
        if {"queries", "qrels"} & set(needs):
            if not splits:
                raise InputError("is a folder without splits of its questions", path=folder, hint=_LAYOUT)
            hint = f"choose from: {', '.join(str(folder / split) for split in splits)}"
            raise InputError("is a folder, and one of its splits is needed", path=folder, hint=hint)
        return docs
    split, *rest = parts
    if split not in splits:
        hint = nearest(split, splits) if splits else f"expected qrels/{split}.tsv"
        raise InputError(f"has no split {split!r}", path=folder, hint=hint)
    queries, qrels = _file(folder, _QUERIES), _file(folder, f"qrels/{split}.tsv")
    if not queries:
        raise InputError(f"has no {_QUERIES}", path=folder, hint=_LAYOUT)
    assert qrels is not None
    read = partial(_read_split, queries, qrels)
    questions = Questions(read, str(folder), _language(read()[0], rest, folder / split))
    return [*docs, questions, Judgements(partial(_judgements, queries, qrels), questions)]


def _read_split(queries: Path, qrels: Path) -> tuple[list[Question], str]:
    """The questions that a split judges, and the fingerprint of both files."""
    judged = {qid for qid, *_ in _judgements(queries, qrels)}
    questions, version = _read_questions(queries)
    return [question for question in questions if question.query_id in judged], digest([version, input_digest(qrels)])


def _judgements(queries: Path, qrels: Path) -> list[tuple[str, str, int]]:
    known = {question.query_id for question in _read_questions(queries)[0]}
    rows = parse_qrels(qrels, input_digest(qrels))
    for number, (qid, *_) in rows:
        if qid not in known:
            problem = f"judges the question {quote(qid)}, which {queries} does not have"
            raise InputError(problem, path=qrels, line=number)
    return [row for _, row in rows]


# questions


def _questions_file(path: Path, parts: list[str]) -> Questions:
    """The questions of a file, or those in one language."""
    if not is_json_lines(path):
        if parts:
            raise InputError(f"has no subset {'/'.join(parts)!r}: its questions have no languages", path=path)
        return _TsvQuestions(partial(_read_tsv_questions, path), str(path))
    read = partial(_read_questions, path)
    return Questions(read, str(path), _language(read()[0], parts, path))


def _language(questions: Sequence[Question], parts: list[str], path: Path) -> str | None:
    """The language that an id ends in, if any; :class:`InputError` if no question has it."""
    if not parts:
        return None
    languages, language = _languages(questions), "/".join(parts)
    if language not in languages:
        hint = nearest(language, languages) if languages else 'give the questions a "lang"'
        raise InputError(f"has no questions in {language!r}", path=path, hint=hint)
    return language


def _languages(questions: Sequence[Question] | Iterator[Question]) -> list[str]:
    return list(dict.fromkeys(question.lang for question in questions if question.lang))


def _read_questions(path: Path) -> tuple[list[Question], str]:
    version = input_digest(path)
    return parse_questions(path, version), version


class _TsvQuestions(Questions):
    """Questions in a TSV file, whose fingerprint is that of their texts, wherever they are read from."""

    def fingerprint(self) -> str:
        return self._read()[1]


def _read_tsv_questions(path: Path) -> tuple[list[Question], str]:
    from xqg_repro.collection.topics import read_tsv_topics

    texts = read_tsv_topics(path)
    if not texts:
        raise InputError("holds no questions", path=path)
    return [Question(qid, text, "", ()) for qid, text in texts.items()], digest(texts)


# passages


def _passages_file(path: Path) -> LinePassages:
    """The passages of a file, with one set of offsets per process."""
    if is_json_lines(path):
        return _json_passages(path)
    if path.name.removesuffix(".gz").endswith(".tsv"):
        _, header = next(read_lines(path), (0, ""))
        if header.split("\t") != TSV_HEADER:
            hint = f"expected the header line {'<TAB>'.join(TSV_HEADER)}"
            raise InputError(f"begins with {quote(header)}", path=path, line=1, hint=hint)
        return _tsv_passages(path)
    hint = "name it .jsonl (one object per line) or .tsv (id, text, title); either may end in .gz"
    raise InputError("has a name that does not say what it contains", path=path, hint=hint)


@cache
def _json_passages(path: Path) -> LinePassages:
    return LinePassages(LocalFile(path), str(path), parse_json_document, hint="remove it")


@cache
def _tsv_passages(path: Path) -> LinePassages:
    return LinePassages(LocalFile(path), str(path), parse_tsv_document, header=1, hint="remove it")
