"""SQuAD's format: a JSON file of articles, their paragraphs, and questions with answers in the paragraphs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from xqg_repro.collection.records import read_question
from xqg_repro.core.text import Record, read_json


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
    hint = "expected SQuAD's format: articles in data, their paragraphs with context and qas"
    content = Record(read_json(path, what, hint), path, hint=hint)
    return [_article(item) for item in content.records("data")]


def _article(item: Record) -> Article:
    paragraphs = []
    for paragraph in item.records("paragraphs"):
        questions = [_question(question) for question in paragraph.records("qas")]
        paragraphs.append(Paragraph(paragraph.text("context"), questions))
    return Article(item.text("title", "").strip(), paragraphs)


def _question(item: Record) -> ParagraphQuestion:
    answers = []
    for answer in item.records("answers", ()):
        start = answer.number("answer_start") if "answer_start" in answer.value else -1
        answers.append(Answer(answer.text("text"), start))
    text, lang = read_question(item, "question").strip(), item.text("lang", "").strip()
    return ParagraphQuestion(item.id("id", ""), text, lang, tuple(dict.fromkeys(answers)))
