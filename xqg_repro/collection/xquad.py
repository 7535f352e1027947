"""XQuAD as retrieval: ``xquad/<paragraph language>/<question language>`` and ``xquad/<paragraph language>``.

Documents are paragraphs. The id ``<article>-<paragraph>``, counted from 0, is the same in all languages. Questions keep
XQuAD's ids, which are also the same in all languages; their answers are in the language of the paragraphs.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection.files import DataFile, data_files
from xqg_repro.collection.handlers import Judgements, ListedDocs, Questions, dataset
from xqg_repro.collection.records import Passage, Question
from xqg_repro.collection.squad import Answer, parse_squad
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest
from xqg_repro.core.ids import is_id

NAME = "xquad"
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


class _Row(NamedTuple):
    """A question of one language's file."""

    docid: str
    text: str
    answers: tuple[Answer, ...]


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    files = data_files(NAME)
    by_id = {}
    for paragraphs in LANGUAGES:
        source = files[f"xquad.{paragraphs}.json"]
        docs = ListedDocs(partial(_read_docs, source), f"{NAME}/{paragraphs}", paragraphs)
        by_id[f"{NAME}/{paragraphs}"] = dataset(NAME, docs)
        for language in LANGUAGES:
            read = partial(_read_questions, files[f"xquad.{language}.json"], source, language)
            questions = Questions(read, NAME, language)
            qrels = Judgements(partial(_read_qrels, source), questions)
            by_id[f"{NAME}/{paragraphs}/{language}"] = dataset(NAME, docs, questions, qrels)
    return by_id


def located_answers(language: str) -> dict[str, tuple[Answer, ...]]:
    """Question id → answers and their positions in ``xquad/<language>``; :class:`InputError` if one is not there."""
    file = data_files(NAME)[f"xquad.{language}.json"]
    docs, rows = _parse(file.path(), file.fingerprint())
    texts = {doc.doc_id: doc.text for doc in docs}
    for qid, row in rows.items():
        for answer, start in row.answers:
            if start < 0 or not texts[row.docid].startswith(answer, start):
                raise InputError(
                    f"the answer {answer!r} to question {qid} is not at its answer_start",
                    path=file.path(),
                    hint="the file is damaged; download it again",
                )
    return {qid: row.answers for qid, row in rows.items()}


@cache
def _parse(path: Path, version: str) -> tuple[list[Passage], dict[str, _Row]]:
    """The paragraphs, and the questions by id, of one language's file."""
    docs: list[Passage] = []
    rows: dict[str, _Row] = {}
    for a, article in enumerate(parse_squad(path)):
        for p, paragraph in enumerate(article.paragraphs):
            docid, text = f"{a}-{p}", paragraph.text.lstrip()
            docs.append(Passage(docid, article.title.replace("_", " "), text.rstrip()))
            cut = len(paragraph.text) - len(text)
            for question in paragraph.questions:
                if not is_id(question.qid) or question.qid in rows:
                    raise InputError(f"the id {question.qid!r} cannot be a qid or is repeated", path=path)
                answers = [Answer(answer.text, answer.start - cut) for answer in question.answers]
                rows[question.qid] = _Row(docid, question.text, tuple(answers))
    return docs, rows


def _read_docs(file: DataFile) -> tuple[list[Passage], str]:
    return _parse(file.path(), file.fingerprint())[0], file.fingerprint()


def _read_questions(questions: DataFile, paragraphs: DataFile, language: str) -> tuple[list[Question], str]:
    """The texts from one language's file, the answers from another's."""
    _, rows = _parse(questions.path(), questions.fingerprint())
    _, answered = _parse(paragraphs.path(), paragraphs.fingerprint())
    records = []
    for qid, row in rows.items():
        if qid not in answered:
            hint = f"it is in {questions.name}; download both again"
            raise InputError(f"lacks the question {qid}", path=paragraphs.path(), hint=hint)
        answers = dict.fromkeys(answer.text for answer in answered[qid].answers)
        records.append(Question(qid, row.text, language, tuple(answers)))
    return records, digest([questions.fingerprint(), paragraphs.fingerprint()])


def _read_qrels(file: DataFile) -> list[tuple[str, str]]:
    _, rows = _parse(file.path(), file.fingerprint())
    return [(qid, row.docid) for qid, row in rows.items()]
