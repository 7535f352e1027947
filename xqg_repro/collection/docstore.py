"""Passages in files with one passage per line, found by docid through byte offsets."""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import ir_datasets
import numpy as np
from ir_datasets.indices import Docstore

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import write_array
from xqg_repro.core.text import decode, open_bytes

if TYPE_CHECKING:
    from xqg_repro.collection.passages import LinePassages

_LARGE_FILE = 100_000_000  # bytes


class LineDocstore(Docstore):
    """Random access to :class:`~xqg_repro.collection.passages.LinePassages` by byte offsets.

    Docids are looked up by their hashes, 16 bytes per passage; no text is kept in memory. The hashes and offsets of a
    large file are cached in ir-datasets' home under the file's checksum. A gzipped file has no offsets, so its text is
    unpacked into a temporary file that lasts as long as the process.
    """

    cache_suffix: ClassVar[str] = ".docids.npy"

    def __init__(self, passages: LinePassages, path: Path, checksum: str) -> None:
        super().__init__(passages.docs_cls())
        self._passages, self._path, self._checksum = passages, path, checksum

    def matches(self, path: Path, checksum: str) -> bool:
        """Whether the store is of this file."""
        return (self._path, self._checksum) == (path, checksum)

    def get_many_iter(self, doc_ids: Iterable[str]) -> Iterator[Any]:
        with self._open() as file:
            for doc_id in doc_ids:
                for offset, number in self._find(doc_id):
                    file.seek(offset)
                    doc = self._parse(file.readline(), number)
                    if doc.doc_id == doc_id:
                        yield doc

    def count(self) -> int:
        return self._count

    def built(self) -> bool:
        return True

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self._lines())

    @cached_property
    def _table(self) -> np.ndarray:
        """What :meth:`_find` looks docids up in: int64."""
        cache = ir_datasets.util.home_path() / "xqg_repro" / "offsets" / f"{self._checksum}{self.cache_suffix}"
        if cache.exists():
            with suppress(ValueError, OSError, EOFError):  # a damaged cache is made again
                return np.load(cache, mmap_mode="r", allow_pickle=False)
        table = self._read_table()
        if self._path.stat().st_size > _LARGE_FILE:
            write_array(cache, table)
        return table

    def _read_table(self) -> np.ndarray:
        """The hashes of the docids in ascending order, and below them the offsets: shape (2, passages)."""
        hashes, offsets = array("q"), array("q")  # eight bytes a passage, unlike a list
        for offset, number, line in self._lines():
            hashes.append(_hash(self._parse(line, number).doc_id))
            offsets.append(offset)
        table = np.array([np.frombuffer(hashes, np.int64), np.frombuffer(offsets, np.int64)])
        table = table[:, np.argsort(table[0], kind="stable")]
        with self._open() as file:
            for place in np.flatnonzero(table[0, 1:] == table[0, :-1]):
                docids = set()
                for offset in table[1, place : place + 2]:
                    file.seek(int(offset))
                    docids.add(self._parse(file.readline(), None).doc_id)
                if len(docids) == 1:  # and not two docids with one hash
                    raise self._passages.repeated(docids.pop())
        return table

    def _find(self, doc_id: str) -> Iterator[tuple[int, int | None]]:
        """The offsets, and line numbers if known, of the lines that may have the docid."""
        key = np.int64(_hash(doc_id))
        start, end = (int(np.searchsorted(self._table[0], key, side)) for side in ("left", "right"))
        return ((int(offset), None) for offset in self._table[1, start:end])

    def _parse(self, line: bytes, number: int | None) -> Any:
        text = decode(line, self._path, number or 1).removesuffix("\n").removesuffix("\r")
        return self._passages.parse(text, self._path, number)

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Offset, number and content of each line that has a passage."""
        with self._open() as file:
            offset = file.tell()
            for number, line in enumerate(file, 1):
                if number > self._passages.header and line.strip():
                    yield offset, number, line
                offset += len(line)

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        """The file's text, at its beginning."""
        if self._path.suffix == ".gz":
            self._unpacked.seek(0)
            yield self._unpacked
        else:
            with open_bytes(self._path) as file:
                yield file

    @cached_property
    def _unpacked(self) -> IO[bytes]:
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # it lasts as long as the store
        with open_bytes(self._path) as packed:
            try:
                shutil.copyfileobj(packed, unpacked)
            except OSError as error:
                if error.errno is None:  # the file is damaged, see open_bytes
                    raise
                problem = f"could not be unpacked into {tempfile.gettempdir()}: {error.strerror}"
                raise InputError(problem, path=self._path, hint="unpack it yourself, or set TMPDIR") from None
        return unpacked


class NumberedDocstore(LineDocstore):
    """Random access to passages with the ids 1, 2, 3, … in order: 8 bytes per passage."""

    cache_suffix = ".npy"

    @cached_property
    def _count(self) -> int:
        return len(self._table)

    def _read_table(self) -> np.ndarray:
        """The offsets of the passages."""
        return np.frombuffer(array("q", (offset for offset, *_ in self._lines())), dtype=np.int64)

    def _find(self, doc_id: str) -> Iterator[tuple[int, int | None]]:
        number = int(doc_id) if doc_id.isascii() and doc_id.isdigit() else 0
        if str(number) == doc_id and 0 < number <= len(self._table):
            yield int(self._table[number - 1]), number + self._passages.header


def _hash(docid: str) -> int:
    """A hash of 8 bytes that is the same in every process, unlike Python's."""
    return int.from_bytes(blake2b(docid.encode(errors="surrogatepass"), digest_size=8).digest(), "little", signed=True)
