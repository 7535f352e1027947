"""Folders of embeddings of any size: checked at once, then read in blocks, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.ids import check_id, check_unique
from xqg_repro.core.shards import DTYPES, ENCODE_AGAIN, check_length, map_vectors, shard_paths
from xqg_repro.core.text import decode, open_bytes

_LINES = 1 << 14


@dataclass(frozen=True)
class Shard:
    """A checked shard of embeddings.

    Attributes:
        path: the file of its vectors.
        start: the position in the folder of its first passage, from 0.
        passages, dimension: the shape of its vectors.
    """

    path: Path
    start: int
    passages: int
    dimension: int

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """The vectors in blocks of ``rows``; they are read rather than mapped, so that memory holds one block.

        Yields:
            float16 or float32, shape (n, dimension). :class:`InputError` if the file ends early.
        """
        stored = map_vectors(self.path)
        with open(self.path, "rb") as file:
            file.seek(stored.offset)
            for start in range(0, self.passages, rows):
                size = min(rows, self.passages - start) * self.dimension
                block = np.fromfile(file, stored.dtype, size)
                if block.size < size:
                    raise InputError("is cut off", path=self.path, hint=ENCODE_AGAIN)
                yield block.reshape(-1, self.dimension)

    def docids(self) -> Iterator[str]:
        """The docids in order; memory holds some of them. :class:`InputError` names a line that is not a docid."""
        path = self.path.with_suffix(".docid")
        with open_bytes(path) as file:
            for start in count(1, _LINES):
                lines = list(islice(file, _LINES))
                if not lines:
                    return
                text = decode(b"".join(lines), path, start).replace("\r\n", "\n")
                docids = text.split("\n")
                if text.split() != docids[:-1]:
                    for number, docid in enumerate(docids[:-1], start):
                        check_id(docid, path, number)
                yield from docids[:-1]  # a line without an end is not complete


def open_shards(folder: str | Path) -> list[Shard]:
    """Check a folder of embeddings, except for the numbers in its vectors, and list its shards in order.

    Raises:
        InputError: names the file. A shard is damaged or has no docids; the numbers of docids and vectors differ; the
            shards differ in dimension; a docid is not an id, or occurs twice; or there are no passages.
    """

    shards: list[Shard] = []

    def docids() -> Iterator[str]:
        for path in shard_paths(folder):
            shards.append(_open_shard(path, shards))
            lines = 0
            for docid in shards[-1].docids():
                lines += 1
                yield docid
            check_length(path, lines, map_vectors(path))

    def read_again() -> Iterator[str]:
        return chain.from_iterable(shard.docids() for shard in shards)

    def repeated(docid: str, count: int) -> InputError:
        hint = "encode a corrected collection"
        return InputError(f"the docid {docid!r} occurs {count} times", path=folder, hint=hint)

    if not sum(1 for _ in check_unique(docids(), str, read_again, repeated)):
        raise InputError("holds no passages", path=folder, hint=ENCODE_AGAIN)
    return shards


def _open_shard(path: Path, earlier: Sequence[Shard]) -> Shard:
    """The shard that follows the earlier ones; its docids are not checked."""
    vectors = map_vectors(path)
    check_length(path, len(vectors) if vectors.ndim else 0, vectors)
    if vectors.dtype not in map(np.dtype, DTYPES) or not vectors.flags.c_contiguous:
        raise InputError(f"holds {vectors.dtype}, expected rows of {' or '.join(DTYPES)}", path=path, hint=ENCODE_AGAIN)
    start, dimension = 0, vectors.shape[1]
    if earlier:
        start = earlier[-1].start + earlier[-1].passages
        if dimension != earlier[-1].dimension:
            problem = f"has vectors of {dimension} dimensions, but {earlier[-1].path.name} of {earlier[-1].dimension}"
            raise InputError(problem, path=path, hint=ENCODE_AGAIN)
    return Shard(path, start, len(vectors), dimension)


def find_docids(shards: Sequence[Shard], positions: np.ndarray) -> list[str]:
    """The docids at these positions (int64, increasing) in a folder; memory holds no others."""
    docids = []
    for shard in shards:
        first, end = np.searchsorted(positions, [shard.start, shard.start + shard.passages])
        if first == end:
            continue
        gaps = np.diff(positions[first:end], prepend=shard.start - 1) - 1  # lines to skip before each
        with open_bytes(shard.path.with_suffix(".docid")) as lines:
            docids += [next(islice(lines, gap, None)).decode().rstrip("\r\n") for gap in gaps.tolist()]
    return docids
