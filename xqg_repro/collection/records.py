"""Records of a collection: passages and questions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    from xqg_repro.collection.files import DataFile


class Passage(NamedTuple):
    """A passage and the title of its article."""

    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


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
    return _read_questions(file.path(), file.fingerprint()), file.fingerprint()


@cache
def _read_questions(path: Path, version: str) -> list[Question]:
    questions, seen = [], set()
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                answers = tuple(item.get("answers", ()))
                question = Question(str(item["id"]), item["question"], item["lang"].strip(), answers)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"is not a question: {type(error).__name__} {error}",
                    path=path,
                    line=number,
                    hint='expected {"id": …, "question": …, "lang": …, "answers": […]}',
                ) from None
            if question.query_id in seen:
                raise InputError(f"repeats the id {question.query_id}", path=path, line=number)
            seen.add(question.query_id)
            questions.append(question)
    return questions
