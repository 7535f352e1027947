"""The number formats of stored query sums; only :mod:`xqg_repro.representation.sums` writes and reads them.

Float32 and float16 store S_k, the sum over the first k of n queries per language, directly. The queries of a passage
are similar, so S_k is close to (k/n)·S_n. int8 therefore stores S_n as float16, and for each k < n the difference
R_k = S_k - (k/n)·S_n in steps of max|R_k| / 127, the *scale* of a passage, group and rank. With five ranks this takes
three fifths of the space of float16; S_k is restored to within half a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xqg_repro.core.files import write_array
from xqg_repro.core.shards import cast_finite

DTYPES = ("float32", "float16", "int8")


def write_sums(path: Path, sums: np.ndarray, dtype: str) -> None:
    """Write a shard's sums, float32, shape (passages, groups, ranks, dimension); the file ``path`` comes last.

    With int8, ``path`` holds only the last rank, float16, shape (passages, groups, 1, dimension). If there are other
    ranks, their codes (int8, shape (passages, groups, ranks - 1, dimension)) and scales (float32, shape (passages,
    groups, ranks - 1)) are in ``NNNNN.codes.npy`` and ``NNNNN.scales.npy`` beside it. :class:`InputError` for a number
    beyond float16's range.
    """
    if dtype != "int8":
        write_array(path, cast_finite(sums, dtype, "the sums"))
        return
    last = cast_finite(sums[:, :, -1:], "float16", "the sums")
    ranks = sums.shape[2]
    if ranks > 1:
        rest = sums[:, :, :-1] - _shares(ranks)[:, None] * last.astype(np.float32)
        # if all differences are zero, any scale but zero will do
        scales = np.maximum(np.abs(rest).max(axis=3) / np.float32(127), np.finfo(np.float32).tiny)
        rest /= scales[..., None]
        write_array(_beside(path, "codes"), rest.round().astype(np.int8))
        write_array(_beside(path, "scales"), scales)
    write_array(path, last)


@dataclass(frozen=True)
class StoredSums:
    """A shard's arrays as :func:`write_sums` wrote them, memory-mapped: only the rows that are taken are read."""

    stored: np.ndarray
    codes: np.ndarray | None = None
    scales: np.ndarray | None = None

    @classmethod
    def open(cls, path: Path) -> StoredSums:
        """Map the files of a shard in any format."""
        files = [path, *filter(Path.exists, (_beside(path, "codes"), _beside(path, "scales")))]
        return cls(*(np.load(file, mmap_mode="r", allow_pickle=False) for file in files))

    def take(self, rows: np.ndarray, group: int, rank: int) -> np.ndarray:
        """The sums of some of the shard's passages, float32, shape (n, dimension), for rows of shape (n,)."""
        if self.codes is None or self.scales is None:
            return self.stored[rows, group, rank].astype(np.float32)
        last = self.stored[rows, group, 0].astype(np.float32)
        if rank == self.codes.shape[2]:
            return last
        share = _shares(self.codes.shape[2] + 1)[rank]
        return self.codes[rows, group, rank] * self.scales[rows, group, rank, None] + share * last


def _shares(ranks: int) -> np.ndarray:
    """k/n for the ranks before the last, float32, shape (ranks - 1,)."""
    return (np.arange(1, ranks) / ranks).astype(np.float32)


def _beside(path: Path, kind: str) -> Path:
    return path.with_suffix(f".{kind}.npy")
