"""Passages in files with one passage per line, of any size."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from ir_datasets.formats import BaseDocs

from xqg_repro.collection.docstore import LineDocstore, NumberedDocstore
from xqg_repro.collection.files import DataFile
from xqg_repro.collection.records import Passage, PlainDocument
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.text import read_lines

ParseLine = Callable[[str, Path, int | None], Any]
"""The document in a line, from the line, the file and the line's number, which is for messages."""

_DAMAGED = "the file is damaged; download it again"


class LinePassages(BaseDocs):
    """Passages in a file with one per line.

    Args:
        file: the file; compressed if its name ends in ``.gz``.
        namespace: of the docids, for ir-datasets.
        parse: the document in a line.
        cls: the class of the documents.
        header: number of lines before the first passage.
        hint: what to do about a malformed file, for messages.
    """

    store_class: ClassVar[type[LineDocstore]] = LineDocstore

    def __init__(
        self,
        file: DataFile,
        namespace: str,
        parse: ParseLine,
        cls: type = PlainDocument,
        header: int = 0,
        hint: str = "",
    ) -> None:
        self._file, self._namespace, self._cls, self._hint = file, namespace, cls, hint
        self.parse, self.header = parse, header
        self._store: LineDocstore | None = None

    def docs_iter(self) -> Iterator[Any]:
        return (doc for _, doc in self._numbered())

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Each passage and the number of its line."""
        path, number, blank = self._file.path(), 0, 0
        for number, line in read_lines(path):
            if not line.strip():
                blank = blank or number
            elif blank:
                raise InputError("is a blank line within the file", path=path, line=blank, hint=self._hint)
            elif number > self.header:
                yield number, self.parse(line, path, number)
        count = (blank or number + 1) - 1 - self.header
        if count < 1:
            raise InputError("holds no passages", path=path, hint=self._hint)
        self._file.confirm(count)

    def repeated(self, docid: str) -> InputError:
        """The error for a docid that two passages have; the file is read again to find their lines."""
        first, second, *_ = (number for number, doc in self._numbered() if doc.doc_id == docid)
        return InputError(f"repeats the docid {docid!r} of line {first}", path=self._file.path(), line=second)

    def docs_count(self) -> int:
        return self.docs_store().count()

    def docs_store(self, field: str = "doc_id", options: Any = None) -> LineDocstore:
        path, checksum = self._file.path(), self.fingerprint()
        if self._store is None or not self._store.matches(path, checksum):
            self._store = self.store_class(self, path, checksum)
        return self._store

    def docs_cls(self) -> type:
        return self._cls

    def docs_namespace(self) -> str:
        return self._namespace

    def docs_lang(self) -> str | None:
        return None

    def fingerprint(self) -> str:
        return self._file.fingerprint()


class TsvPassages(LinePassages):
    """English passages in DPR's tab-separated format: a header line, then id, text, title; the ids are 1, 2, 3, …"""

    store_class = NumberedDocstore

    def __init__(self, file: DataFile, namespace: str) -> None:
        super().__init__(file, namespace, parse_numbered, Passage, header=1, hint=_DAMAGED)

    def docs_lang(self) -> str:
        return "en"


def parse_numbered(line: str, path: Path, number: int | None) -> Passage:
    """As :func:`parse_passage`; :class:`InputError` unless the line's number is one above the id."""
    passage = parse_passage(line, path, number, _DAMAGED)
    if number is not None and passage.doc_id != str(number - 1):
        problem = f"expected the id {number - 1}, got {quote(passage.doc_id)}"
        raise InputError(problem, path=path, line=number, hint=_DAMAGED)
    return passage


def parse_passage(line: str, path: Path, number: int | None, hint: str = "") -> Passage:
    """The passage in a line of DPR's format; :class:`InputError` if there is none.

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
        raise InputError(problem, path=path, line=number, hint=hint)
    return Passage(doc_id=row[0], title=row[2], text=row[1])
