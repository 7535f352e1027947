"""XQuAD as retrieval: ``xquad/<paragraph language>/<question language>`` and ``xquad/<paragraph language>``.

A document is a paragraph; its id is ``<article>-<paragraph>``, counted from 0, the same in all languages. A question
keeps XQuAD's id, also the same in all languages; its answers are those of the paragraph's language.
"""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection.files import DataFile, data_files
from xqg_repro.collection.handlers import Judgements, ListedDocs, Questions, dataset
from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest

NAME = "xquad"
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


class Answer(NamedTuple):
    """An answer and the position of its first character in the paragraph; below 0 where the file does not say."""

    text: str
    start: int


class _Asked(NamedTuple):
    docid: str
    text: str
    answers: tuple[Answer, ...]


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    files = data_files(NAME)
    found = {}
    for paragraphs in LANGUAGES:
        source = files[f"xquad.{paragraphs}.json"]
        docs = ListedDocs(partial(_read_docs, source), f"{NAME}/{paragraphs}", paragraphs)
        found[f"{NAME}/{paragraphs}"] = dataset(NAME, docs)
        for language in LANGUAGES:
            asked = partial(_read_questions, files[f"xquad.{language}.json"], source, language)
            questions = Questions(asked, NAME, language)
            qrels = Judgements(partial(_read_qrels, source), questions)
            found[f"{NAME}/{paragraphs}/{language}"] = dataset(NAME, docs, questions, qrels)
    return found


def located_answers(language: str) -> dict[str, tuple[Answer, ...]]:
    """The answers to each question by its id, with their places in the documents of ``xquad/<language>``.

    Raises:
        InputError: an answer is not at its place; the file and the question are named.
    """
    file = data_files(NAME)[f"xquad.{language}.json"]
    docs, questions = _parse(file.path(), file.fingerprint())
    texts = {doc.doc_id: doc.text for doc in docs}
    for qid, asked in questions.items():
        for answer, start in asked.answers:
            if start < 0 or not texts[asked.docid].startswith(answer, start):
                raise InputError(
                    f"the answer {answer!r} to question {qid} is not where its answer_start says",
                    path=file.path(),
                    hint="the file is damaged; fetch it again",
                )
    return {qid: asked.answers for qid, asked in questions.items()}


@cache
def _parse(path: Path, version: str) -> tuple[list[Passage], dict[str, _Asked]]:
    """Paragraphs, and questions by id, of one SQuAD-format file."""
    docs, questions = [], {}
    try:
        for a, article in enumerate(json.loads(path.read_text(encoding="utf-8"))["data"]):
            for p, paragraph in enumerate(article["paragraphs"]):
                docid, context = f"{a}-{p}", paragraph["context"]
                docs.append(Passage(docid, article["title"].replace("_", " "), context.strip()))
                cut = len(context) - len(context.lstrip())
                for qa in paragraph["qas"]:
                    found = [Answer(answer["text"], answer.get("answer_start", -1) - cut) for answer in qa["answers"]]
                    questions[qa["id"]] = _Asked(docid, qa["question"].strip(), tuple(dict.fromkeys(found)))
    except (ValueError, KeyError, TypeError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(f"is not in SQuAD's format: {type(error).__name__} {error}", path=path, line=line) from None
    return docs, questions


def _read_docs(file: DataFile) -> tuple[list[Passage], str]:
    return _parse(file.path(), file.fingerprint())[0], file.fingerprint()


def _read_questions(asked: DataFile, answered: DataFile, language: str) -> tuple[list[Question], str]:
    _, questions = _parse(asked.path(), asked.fingerprint())
    _, answers = _parse(answered.path(), answered.fingerprint())
    found = [
        Question(qid, own.text, language, tuple(dict.fromkeys(answer.text for answer in answers[qid].answers)))
        for qid, own in questions.items()
    ]
    return found, digest([asked.fingerprint(), answered.fingerprint()])


def _read_qrels(file: DataFile) -> list[tuple[str, str]]:
    return [(qid, asked.docid) for qid, asked in _parse(file.path(), file.fingerprint())[1].items()]
