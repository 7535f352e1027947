"""SQuAD's format: a JSON file of articles, their paragraphs, and questions with answers in the paragraphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.text import read_text


class Answer(NamedTuple):
    """An answer and the position of its first character in the paragraph; negative if unknown."""

    text: str
    start: int


class ParagraphQuestion(NamedTuple):
    """A question about a paragraph; id and language may be empty."""

    qid: str
    text: str
    lang: str
    answers: tuple[Answer, ...]


class Paragraph(NamedTuple):
    """A paragraph, with its white space, and its questions."""

    text: str
    questions: list[ParagraphQuestion]


class Article(NamedTuple):
    """An article; the title may be empty."""

    title: str
    paragraphs: list[Paragraph]


def parse_squad(path: Path, what: str = "file") -> list[Article]:
    """The articles of a file in SQuAD's format.

    Repeated answers to a question are dropped. Titles, ids, languages (``lang``), answers and their positions
    (``answer_start``) may be missing, as in XOR-TyDi's gold paragraphs.

    :class:`InputError`, which calls the file ``what``, if it is missing or in another format.
    """
    try:
        return [_article(item) for item in json.loads(read_text(path, what))["data"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(f"is not in SQuAD's format: {type(error).__name__} {error}", path=path, line=line) from None


def _article(item: dict[str, Any]) -> Article:
    paragraphs = []
    for paragraph in item["paragraphs"]:
        questions = [_question(question) for question in paragraph["qas"]]
        paragraphs.append(Paragraph(paragraph["context"], questions))
    return Article(item.get("title", "").strip(), paragraphs)


def _question(item: dict[str, Any]) -> ParagraphQuestion:
    answers = []
    for answer in item.get("answers", ()):
        start = answer.get("answer_start", -1)
        if not isinstance(start, int):
            raise TypeError(f"answer_start is {start!r}, expected a whole number")
        answers.append(Answer(answer["text"], start))
    unique = tuple(dict.fromkeys(answers))
    return ParagraphQuestion(str(item.get("id", "")), item["question"].strip(), item.get("lang", "").strip(), unique)
