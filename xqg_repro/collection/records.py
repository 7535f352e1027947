"""Records of a collection: passages and questions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.ids import check_id
from xqg_repro.core.text import Record, read_records

if TYPE_CHECKING:
    from xqg_repro.collection.files import DataFile


class Passage(NamedTuple):
    """A passage and the title of its article."""

    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


class PlainDocument(NamedTuple):
    """What the stages read of a document, whatever its collection; the title is ``None`` if it has none."""

    doc_id: str
    title: str | None
    text: str


class Question(NamedTuple):
    """A question, its language (ISO 639-1) and its correct short answers."""

    query_id: str
    text: str
    lang: str
    answers: tuple[str, ...]

    def default_text(self) -> str:
        return self.text


def read_questions(file: DataFile) -> tuple[list[Question], str]:
    """Questions in XOR-TyDi's JSON lines (``id``, ``question``, ``lang``, ``answers``), and the file's fingerprint.

    Language labels are stripped, as XOR-TyDi's training file labels every Arabic question ``" ar"``. Answers may be
    missing, as in the test file. :class:`InputError` names the line that is not JSON, lacks a field or repeats an id.
    """
    questions = _read_questions(file.path(), file.fingerprint())
    file.confirm(len(questions))
    return questions, file.fingerprint()


@cache
def _read_questions(path: Path, version: str) -> list[Question]:
    hint = 'expected {"id": …, "question": …, "lang": …, "answers": […]}'
    return read_question_lines(path, _parse_question, hint)


def _parse_question(record: Record) -> Question:
    qid, lang = record.id("id"), record.text("lang").strip()
    return Question(qid, read_question(record, "question"), lang, read_answers(record))


def read_question_lines(path: Path, parse: Callable[[Record], Question], hint: str) -> list[Question]:
    """The questions in JSON lines; :class:`InputError` if one has a bad or repeated id, or there are none."""
    questions: dict[str, Question] = {}
    for record in read_records(path, hint=hint):
        question = parse(record)
        check_id(question.query_id, path, record.line)
        if question.query_id in questions:
            raise record.error(f"repeats the id {question.query_id}")
        questions[question.query_id] = question
    if not questions:
        raise InputError("holds no questions", path=path)
    return list(questions.values())


def read_question(record: Record, key: str) -> str:
    """The question in a field of a record; :class:`InputError` if it is no text or blank."""
    text = record.text(key)
    if not text.strip():
        raise record.error(f"{record.place(key)} is blank")
    return text


def read_answers(record: Record) -> tuple[str, ...]:
    """A record's ``answers``, which may be missing: texts or whole numbers, such as years.

    :class:`InputError` for a single text, whose letters would pass for answers, and for a blank answer, which every
    passage contains.
    """
    answers = record.get("answers", ())
    if isinstance(answers, list):
        record.value["answers"] = [str(answer) if type(answer) is int else answer for answer in answers]
    texts = record.texts("answers", ())
    if not all(text.strip() for text in texts):
        raise record.error(f"{record.place('answers')} is {quote(list(texts))}, which has a blank answer")
    return texts
