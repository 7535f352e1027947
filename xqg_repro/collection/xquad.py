"""XQuAD as retrieval: ``xquad/<paragraph language>/<question language>`` and ``xquad/<paragraph language>``.

A document is a paragraph; its id is ``<article>-<paragraph>``, counted from 0, the same in all languages. A question
keeps XQuAD's id, also the same in all languages; its answers are those of the paragraph's language.
"""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path

from ir_datasets.datasets.base import Dataset

from xqg_repro.artifacts import digest
from xqg_repro.collection._irds import (
    DataFile,
    Judgements,
    ListedDocs,
    Passage,
    Question,
    Questions,
    data_files,
    dataset,
)
from xqg_repro.errors import InputError

NAME = "xquad"
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


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


@cache
def _parse(path: Path, version: str) -> tuple[list[Passage], dict[str, tuple[str, str, tuple[str, ...]]]]:
    """Paragraphs, and per question id (paragraph id, question, answers), of one SQuAD-format file."""
    docs, questions = [], {}
    try:
        for a, article in enumerate(json.loads(path.read_text(encoding="utf-8"))["data"]):
            for p, paragraph in enumerate(article["paragraphs"]):
                docid = f"{a}-{p}"
                docs.append(Passage(docid, article["title"].replace("_", " "), paragraph["context"].strip()))
                for qa in paragraph["qas"]:
                    answers = tuple(dict.fromkeys(answer["text"] for answer in qa["answers"]))
                    questions[qa["id"]] = (docid, qa["question"].strip(), answers)
    except (ValueError, KeyError, TypeError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(f"is not in SQuAD's format: {type(error).__name__} {error}", path=path, line=line) from None
    return docs, questions


def _read_docs(file: DataFile) -> tuple[list[Passage], str]:
    return _parse(file.path(), file.fingerprint())[0], file.fingerprint()


def _read_questions(asked: DataFile, answered: DataFile, language: str) -> tuple[list[Question], str]:
    _, questions = _parse(asked.path(), asked.fingerprint())
    _, answers = _parse(answered.path(), answered.fingerprint())
    found = [Question(qid, text, language, answers[qid][2]) for qid, (_, text, _) in questions.items()]
    return found, digest([asked.fingerprint(), answered.fingerprint()])


def _read_qrels(file: DataFile) -> list[tuple[str, str]]:
    return [(qid, docid) for qid, (docid, _, _) in _parse(file.path(), file.fingerprint())[1].items()]
