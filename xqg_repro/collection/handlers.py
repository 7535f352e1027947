"""ir-datasets handlers that the collections share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel
from ir_datasets.indices import Docstore

from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.files import digest
from xqg_repro.core.settings import read_yaml, resource


class Documentation:
    """Adds ``documentation()`` to a dataset, from ``resources/collections/documentation.yaml``."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def documentation(self) -> dict[str, Any]:
        return read_yaml(resource("collections", "documentation.yaml"))[self._collection]


class Name:
    """Adds ``dataset_id()`` to a dataset that is not in ir-datasets' registry."""

    def __init__(self, dataset_id: str) -> None:
        self._dataset_id = dataset_id

    def dataset_id(self) -> str:
        return self._dataset_id


class ListedDocs(BaseDocs):
    """A small collection that a function reads into memory, such as XQuAD's paragraphs."""

    def __init__(self, read: Callable[[], tuple[list[Passage], str]], namespace: str, language: str) -> None:
        self._read, self._namespace, self._language = read, namespace, language

    @cached_property
    def _docs(self) -> dict[str, Passage]:
        return {doc.doc_id: doc for doc in self._read()[0]}

    def docs_iter(self) -> Iterator[Passage]:
        return iter(self._docs.values())

    def docs_count(self) -> int:
        return len(self._docs)

    def docs_store(self, field: str = "doc_id", options: Any = None) -> Docstore:
        return _ListedStore(self._docs)

    def docs_cls(self) -> type[Passage]:
        return Passage

    def docs_namespace(self) -> str:
        return self._namespace

    def docs_lang(self) -> str:
        return self._language

    def fingerprint(self) -> str:
        return self._read()[1]


class _ListedStore(Docstore):
    def __init__(self, docs: dict[str, Passage]) -> None:
        super().__init__(Passage)
        self._docs = docs

    def get_many_iter(self, doc_ids: Any) -> Iterator[Passage]:
        return (self._docs[doc_id] for doc_id in doc_ids if doc_id in self._docs)


class Questions(BaseQueries):
    """Questions that a function reads: all of them, or those in one language."""

    def __init__(
        self, read: Callable[[], tuple[list[Question], str]], namespace: str, language: str | None = None
    ) -> None:
        self._read, self._namespace, self._language = read, namespace, language

    def queries_iter(self) -> Iterator[Question]:
        return (q for q in self._read()[0] if self._language is None or q.lang == self._language)

    def queries_count(self) -> int:
        return sum(1 for _ in self.queries_iter())

    def queries_cls(self) -> type[Question]:
        return Question

    def queries_namespace(self) -> str:
        return self._namespace

    def queries_lang(self) -> str | None:
        return self._language

    def fingerprint(self) -> str:
        return digest([self._read()[1], self._language])


class Judgements(BaseQrels):
    """Judgements of some questions that a function reads: (qid, docid), for the grade 1, or (qid, docid, grade)."""

    def __init__(self, read: Callable[[], Sequence[tuple[Any, ...]]], questions: Questions) -> None:
        self._read, self._questions = read, questions

    def qrels_iter(self) -> Iterator[TrecQrel]:
        wanted = {question.query_id for question in self._questions.queries_iter()}
        return (TrecQrel(qid, docid, *(grade or (1,)), "0") for qid, docid, *grade in self._read() if qid in wanted)

    def qrels_count(self) -> int:
        return sum(1 for _ in self.qrels_iter())

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel

    def qrels_defs(self) -> dict[int, str]:
        return {1: "the passage answers the question"}


def dataset(collection: str, *parts: Any) -> Dataset:
    """An ir-datasets dataset made of these handlers and the collection's documentation."""
    return Dataset(*parts, Documentation(collection))
