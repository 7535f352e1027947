"""XQuAD as the study sees it: paragraphs and questions that are the same, and in the same order, in all languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

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
        own: index of each question's own paragraph, int64, shape (questions,).
        paragraphs: language → paragraphs, in the order of ``docids``.
        questions: language → questions, in the order of ``qids``.
        answers: language of the paragraphs → the right answers to each question, in the order of ``qids``.
        version: fingerprint of the files.
    """

    docids: tuple[str, ...]
    qids: tuple[str, ...]
    own: np.ndarray
    paragraphs: Mapping[str, Sequence[Passage]]
    questions: Mapping[str, Sequence[str]]
    answers: Mapping[str, Sequence[Sequence[str]]]
    version: str

    @cached_property
    def articles(self) -> np.ndarray:
        """The article of each question, int64, shape (questions,); a docid is ``<article>-<paragraph>``."""
        of_paragraph = np.array([int(docid.split("-")[0]) for docid in self.docids], dtype=np.int64)
        return of_paragraph[self.own]

    @cached_property
    def same(self) -> tuple[tuple[int, ...], ...]:
        """For each question, itself and those on its paragraph that have its wording in one of the languages.

        XQuAD asks some questions twice under different ids. Who leaves out a question by its id alone leaves its
        wording in.
        """
        alike: list[set[int]] = [{i} for i in range(len(self.qids))]
        for texts in self.questions.values():
            seen: dict[tuple[int, str], list[int]] = {}
            for i, text in enumerate(texts):
                seen.setdefault((int(self.own[i]), " ".join(text.casefold().split())), []).append(i)
            for group in seen.values():
                for i in group:
                    alike[i].update(group)
        return tuple(tuple(sorted(group)) for group in alike)


def load_data(languages: Sequence[str]) -> ParallelData:
    """Read the paragraphs and questions of these languages.

    Raises:
        InputError: a language's file cannot be had or is damaged, languages differ in their ids, a paragraph or a
            question is empty.
    """
    docids: tuple[str, ...] = ()
    qids: tuple[str, ...] = ()
    own: dict[str, str] = {}
    paragraphs, questions, answers, versions = {}, {}, {}, []
    for language in languages:
        dataset = collection.load(f"{NAME}/{language}/{language}", needs=["docs", "queries", "qrels"])
        docs = {doc.doc_id: doc for doc in dataset.docs_iter()}
        records = list(dataset.queries_iter())
        asked = {question.query_id: question.text for question in records}
        judged = {judgement.query_id: judgement.doc_id for judgement in dataset.qrels_iter()}
        if not docids:
            docids, qids, own = tuple(docs), tuple(asked), judged
        if {*docs} != {*docids} or judged != own:
            problem = f"the ids of {NAME}/{language} are not those of {NAME}/{languages[0]}"
            raise InputError(problem, hint="the files must be of one version of XQuAD; fetch them again")
        for kind, texts in (("paragraph", {d: doc.text for d, doc in docs.items()}), ("question", asked)):
            if empty := [name for name, text in texts.items() if not text.strip()]:
                problem = f"the {kind} {empty[0]} of {NAME}/{language} is empty"
                raise InputError(problem, hint="the file is damaged; fetch it again")
        paragraphs[language] = [docs[docid] for docid in docids]
        questions[language] = [asked[qid] for qid in qids]
        right = {question.query_id: question.answers for question in records}
        answers[language] = [right[qid] for qid in qids]
        versions.append(collection.fingerprint(dataset, "docs"))
    place = {docid: i for i, docid in enumerate(docids)}
    rows = np.array([place[own[qid]] for qid in qids], dtype=np.int64)
    return ParallelData(docids, qids, rows, paragraphs, questions, answers, digest(versions))
