"""Lines of collections in files: passages, questions and judgements, as BEIR and other tools write them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xqg_repro.collection.passages import parse_passage
from xqg_repro.collection.records import PlainDocument, Question, read_answers, read_question, read_question_lines
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.ids import check_id
from xqg_repro.core.text import Record, parse_json, read_lines

TSV_HEADER = ["id", "text", "title"]
_DOCUMENT = 'expected one object per line: {"_id": …, "title": …, "text": …}'
_QUESTION = 'expected one object per line: {"_id": …, "text": …}, optionally with "lang" and "answers"'
_QRELS = ["query-id", "corpus-id", "score"]


def parse_json_document(line: str, path: Path, number: int | None) -> PlainDocument:
    """The document in a line of JSON. Pyserini's ``contents`` are all text, even if their first line is a title."""
    record = Record(parse_json(line, path, number, _DOCUMENT), path, number, _DOCUMENT)
    docid, text = record.id(record.one_of("_id", "docid", "id")), record.text(record.one_of("text", "contents"))
    title = "" if record.get("title", None) is None else record.text("title")
    return _document(docid, title, text, path, number)


def parse_tsv_document(line: str, path: Path, number: int | None) -> PlainDocument:
    """The document in a line ``id<TAB>text<TAB>title``."""
    docid, title, text = parse_passage(line, path, number, "write id<TAB>text<TAB>title")
    return _document(docid, title, text, path, number)


def _document(docid: str, title: str, text: str, path: Path, number: int | None) -> PlainDocument:
    """A checked document; a blank title is none, and only a document with a title may lack text, as in TREC-COVID."""
    check_id(docid, path, number)
    if not (title.strip() or text.strip()):
        raise InputError(f"the document {docid!r} has no text", path=path, line=number, hint="leave it out")
    return PlainDocument(docid, title if title.strip() else None, text)


@cache
def parse_questions(path: Path, version: str) -> list[Question]:
    """The questions of a file in JSON lines; ``version`` is its fingerprint."""
    return read_question_lines(path, _parse_question, _QUESTION)


def _parse_question(record: Record) -> Question:
    qid, text = record.id(record.one_of("_id", "qid", "id")), read_question(record, record.one_of("text", "question"))
    metadata = Record(record.get("metadata", None) or {}, record.path, record.line, record.hint, "metadata")
    lang = next((r.text(key) for r in (record, metadata) for key in ("lang", "language") if key in r.value), "")
    return Question(qid, text, lang.strip(), read_answers(record if "answers" in record.value else metadata))


@cache
def parse_qrels(path: Path, version: str) -> list[tuple[int, tuple[str, str, int]]]:
    """Line number and (qid, docid, grade) of each judgement in BEIR's form; ``version`` is the file's fingerprint."""
    rows, seen, hint = [], set(), f"expected the header line {'<TAB>'.join(_QRELS)}, then such lines"
    for number, line in read_lines(path):
        columns = line.split("\t")
        if number == 1 and columns != _QRELS:
            trec = "; these are TREC's judgements, whose four columns have no header" if len(line.split()) == 4 else ""
            raise InputError(f"begins with {quote(line)}{trec}", path=path, line=1, hint=hint)
        if number == 1 or not line.strip():
            continue
        if len(columns) != 3:
            raise InputError(f"expected 3 columns, got {len(columns)}", path=path, line=number, hint=hint)
        qid, docid, grade = columns
        check_id(qid, path, number)
        check_id(docid, path, number)
        if not re.fullmatch(r"-?[0-9]{1,9}", grade):
            raise InputError(f"the score is {quote(grade)}, expected a whole number", path=path, line=number)
        if (qid, docid) in seen:
            raise InputError(f"judges {docid} for {qid} a second time", path=path, line=number)
        seen.add((qid, docid))
        rows.append((number, (qid, docid, int(grade))))
    if not rows:
        raise InputError("holds no judgements", path=path, hint=hint)
    return rows
