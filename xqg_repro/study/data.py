"""XQuAD as the study uses it: the same paragraphs and questions, in the same order, in every language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_repro import collection
from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest

if TYPE_CHECKING:
    from xqg_repro.collection.records import Passage


@dataclass(frozen=True)
class ParallelData:
    """Paragraphs and questions in several languages.

    Attributes:
        docids: paragraph ids, in order.
        qids: question ids, in order.
        gold: index of the paragraph that each question is about, int64, shape (questions,).
        paragraphs: language → paragraphs, in the order of ``docids``.
        questions: language → questions, in the order of ``qids``.
        answers: paragraph language → correct answers to each question, in the order of ``qids``.
        version: fingerprint of the files.
    """

    docids: tuple[str, ...]
    qids: tuple[str, ...]
    gold: np.ndarray
    paragraphs: Mapping[str, Sequence[Passage]]
    questions: Mapping[str, Sequence[str]]
    answers: Mapping[str, Sequence[Sequence[str]]]
    version: str

    @cached_property
    def articles(self) -> np.ndarray:
        """The article of each question, int64, shape (questions,)."""
        article_of_paragraph = np.array([article_of(docid) for docid in self.docids], dtype=np.int64)
        return article_of_paragraph[self.gold]

    @cached_property
    def duplicates(self) -> tuple[tuple[int, ...], ...]:
        """For each question, the rows of the questions on its paragraph that share its wording in any language.

        Each question is among its own duplicates. XQuAD asks some questions twice under different ids, so leaving out
        one id alone would leave the wording in.
        """
        duplicates: list[set[int]] = [{row} for row in range(len(self.qids))]
        for texts in self.questions.values():
            by_wording: dict[tuple[int, str], list[int]] = {}
            for row, text in enumerate(texts):
                wording = " ".join(text.casefold().split())
                by_wording.setdefault((int(self.gold[row]), wording), []).append(row)
            for rows in by_wording.values():
                for row in rows:
                    duplicates[row].update(rows)
        return tuple(tuple(sorted(rows)) for rows in duplicates)


def article_of(docid: str) -> int:
    """The article of a paragraph, whose id is ``<article>-<paragraph>``.

    >>> article_of("12-3")
    12
    """
    return int(docid.split("-")[0])


def load_data(languages: Sequence[str]) -> ParallelData:
    """Read the paragraphs and questions in these languages, in the order of the first.

    Raises:
        InputError: a language's file is unavailable or damaged, languages differ in their ids, a text is empty.
    """
    needs = ["docs", "queries", "qrels"]
    datasets = {code: collection.load(f"{NAME}/{code}/{code}", needs=needs) for code in languages}
    first = datasets[languages[0]]
    docids = tuple(doc.doc_id for doc in first.docs_iter())
    qids = tuple(question.query_id for question in first.queries_iter())
    gold = _gold(first)

    paragraphs, questions, answers = {}, {}, {}
    for code, dataset in datasets.items():
        docs = {doc.doc_id: doc for doc in dataset.docs_iter()}
        by_qid = {question.query_id: question for question in dataset.queries_iter()}
        if docs.keys() != {*docids} or _gold(dataset) != gold:
            problem = f"{NAME}/{code} and {NAME}/{languages[0]} have different ids"
            raise InputError(problem, hint="the files must be from the same version of XQuAD; download them again")
        if empty := [docid for docid, doc in docs.items() if not doc.text]:
            problem = f"paragraph {empty[0]} of {NAME}/{code} is empty"
            raise InputError(problem, hint="the file is damaged; download it again")
        paragraphs[code] = [docs[docid] for docid in docids]
        questions[code] = [by_qid[qid].text for qid in qids]
        answers[code] = [by_qid[qid].answers for qid in qids]

    row_of = {docid: row for row, docid in enumerate(docids)}
    gold_rows = np.array([row_of[gold[qid]] for qid in qids], dtype=np.int64)
    version = digest([collection.fingerprint(dataset, "docs") for dataset in datasets.values()])
    return ParallelData(docids, qids, gold_rows, paragraphs, questions, answers, version)


def _gold(dataset: Any) -> dict[str, str]:
    return {judgement.query_id: judgement.doc_id for judgement in dataset.qrels_iter()}
