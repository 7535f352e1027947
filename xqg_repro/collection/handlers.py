"""ir-datasets handlers that the collections share."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import ir_datasets
import numpy as np
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel
from ir_datasets.indices import Docstore

from xqg_repro.collection.files import DataFile
from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import digest, write_array
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.core.text import decode, read_lines

_LARGE_FILE = 100_000_000  # bytes
_DAMAGED = "the file is damaged; download it again"


class Documentation:
    """Adds ``documentation()`` to a dataset, from ``resources/collections/documentation.yaml``."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def documentation(self) -> dict[str, Any]:
        return read_yaml(resource("collections", "documentation.yaml"))[self._collection]


class TsvPassages(BaseDocs):
    """Passages in DPR's tab-separated format: a header line, then id, text, title; the ids are 1, 2, 3, … in order."""

    def __init__(self, file: DataFile, namespace: str) -> None:
        self._file, self._namespace = file, namespace
        self._store: TsvDocstore | None = None

    def docs_iter(self) -> Iterator[Passage]:
        path, number, blank = self._file.path(), 0, 0
        for number, line in read_lines(path):
            if not line.strip():
                blank = blank or number
            elif blank:
                raise InputError("is a blank line within the file", path=path, line=blank, hint=_DAMAGED)
            elif number > 1:
                yield parse_passage(line, path, number)
        count = (blank or number + 1) - 2  # less the header line
        if count < 1:
            raise InputError("holds no passages", path=path, hint=_DAMAGED)
        self._file.confirm(count)

    def docs_count(self) -> int:
        return self.docs_store().count()

    def docs_store(self, field: str = "doc_id", options: Any = None) -> TsvDocstore:
        path, checksum = self._file.path(), self.fingerprint()
        if self._store is None or not self._store.matches(path, checksum):
            self._store = TsvDocstore(path, checksum)
        return self._store

    def docs_cls(self) -> type[Passage]:
        return Passage

    def docs_namespace(self) -> str:
        return self._namespace

    def docs_lang(self) -> str:
        return "en"

    def fingerprint(self) -> str:
        return self._file.fingerprint()


def parse_passage(line: str, path: Path, number: int) -> Passage:
    """The passage in a line of DPR's format, whose number is one above its id; :class:`InputError` if there is none.

    Text may have any length. A field that begins with a quotation mark is unquoted, as :mod:`csv` does.
    """
    row = line.split("\t")
    if '"' in line:
        csv.field_size_limit(2**31 - 1)
        try:
            row = next(csv.reader([f"{line}\n"], delimiter="\t"))
        except csv.Error as error:
            raise InputError(f"is not a row of a TSV file: {error}", path=path, line=number) from None
        if row[-1].endswith("\n"):
            problem = "a quoted field does not end on its line"
            raise InputError(problem, path=path, line=number, hint="write each passage on one line")
    if len(row) != 3:
        problem = f"expected 3 columns (id, text, title), got {len(row)}"
        raise InputError(problem, path=path, line=number, hint=_DAMAGED)
    if row[0] != str(number - 1):
        problem = f"expected the id {number - 1}, got {quote(row[0])}"
        raise InputError(problem, path=path, line=number, hint=_DAMAGED)
    return Passage(doc_id=row[0], title=row[2], text=row[1])


class TsvDocstore(Docstore):
    """Random access to :class:`TsvPassages` by byte offsets, 8 bytes per passage; nothing is pickled or copied.

    The offsets of a large file are cached in ir-datasets' home under the data file's checksum.
    """

    def __init__(self, path: Path, checksum: str) -> None:
        super().__init__(Passage)
        self._path, self._checksum = path, checksum

    def matches(self, path: Path, checksum: str) -> bool:
        """Whether the store is of this file."""
        return (self._path, self._checksum) == (path, checksum)

    @cached_property
    def _offsets(self) -> np.ndarray:
        cache = ir_datasets.util.home_path() / "xqg_repro" / "offsets" / f"{self._checksum}.npy"
        if cache.exists():
            with suppress(ValueError, OSError, EOFError):  # a damaged cache is made again
                return np.load(cache, mmap_mode="r", allow_pickle=False)
        offsets, position = array("q"), 0  # eight bytes a passage, unlike a list
        with open(self._path, "rb") as lines:
            for line in lines:
                if line.strip():
                    offsets.append(position)
                position += len(line)
        starts = np.frombuffer(offsets, dtype=np.int64)[1:]  # without the header line
        if position > _LARGE_FILE:
            write_array(cache, starts)
        return starts

    def get_many_iter(self, doc_ids: Any) -> Iterator[Passage]:
        with open(self._path, "rb") as file:
            for doc_id in doc_ids:
                number = int(doc_id) if doc_id.isascii() and doc_id.isdigit() else 0
                if str(number) != doc_id or not 0 < number <= len(self._offsets):
                    continue
                file.seek(int(self._offsets[number - 1]))
                line = decode(file.readline(), self._path, number + 1).removesuffix("\n").removesuffix("\r")
                yield parse_passage(line, self._path, number + 1)

    def count(self) -> int:
        return len(self._offsets)

    def built(self) -> bool:
        return True


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
    """Binary relevance judgements that a function reads as (qid, docid); those of other questions are left out."""

    def __init__(self, read: Callable[[], list[tuple[str, str]]], questions: Questions) -> None:
        self._read, self._questions = read, questions

    def qrels_iter(self) -> Iterator[TrecQrel]:
        wanted = {question.query_id for question in self._questions.queries_iter()}
        return (TrecQrel(qid, docid, 1, "0") for qid, docid in self._read() if qid in wanted)

    def qrels_count(self) -> int:
        return sum(1 for _ in self.qrels_iter())

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel

    def qrels_defs(self) -> dict[int, str]:
        return {1: "the passage answers the question"}


def dataset(collection: str, *parts: Any) -> Dataset:
    """An ir-datasets dataset made of these handlers and the collection's documentation."""
    return Dataset(*parts, Documentation(collection))
