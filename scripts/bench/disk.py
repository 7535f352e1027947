"""Bytes that each kind of file takes for a passage, by its format, and what that comes to for all of Wikipedia."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common import Section, Target

from xqg_repro.core.tables import Table

PASSAGES = 18_003_200
DIMENSION = 768
QUERIES = 35
RANKS = 5
WIDTHS = {"float32": 4, "float16": 2}
LIMITS = {f"sums of {RANKS} ranks, int8": 150, "in one stream, float16": 60}
"""Targets for the ways to the augmented embeddings, in GB."""


@dataclass(frozen=True)
class Formats:
    """Bytes a passage, without the headers that a file has once.

    Attributes:
        dimension: of an embedding.
        id_length: of a docid, on average.
    """

    dimension: int = DIMENSION
    id_length: float = 0

    def pickled(self) -> float:
        """The reference's files: float32, and a pickled string of two bytes and a length before, a mark after."""
        return 4 * self.dimension + self.id_length + 3

    def embeddings(self, dtype: str) -> float:
        """``encode`` and ``augment``, and ``index`` too: a vector, and a line with the docid."""
        return WIDTHS[dtype] * self.dimension + self.id_length + 1

    def sums(self, dtype: str, ranks: int) -> float:
        """``sum`` over all languages: for each rank a vector and a two-byte count, and a line with the docid.

        With int8, the last rank is float16, and every other rank has a scale of four bytes.
        """
        vectors = ranks * WIDTHS[dtype] * self.dimension if dtype in WIDTHS else 2 * self.dimension
        codes = 0 if dtype in WIDTHS else (ranks - 1) * (self.dimension + 4)
        return vectors + codes + 2 * ranks + self.id_length + 1

    def components(self) -> dict[str, float]:
        """Name → bytes a passage."""
        found = {"reference: passages, and the same augmented": self.pickled()}
        found[f"reference: one of {QUERIES} files of queries"] = self.pickled()
        for dtype in WIDTHS:
            found[f"embeddings, {dtype}"] = self.embeddings(dtype)
            found[f"sums of {RANKS} ranks, {dtype}"] = self.sums(dtype, RANKS)
            found[f"sums of the last rank, {dtype}"] = self.sums(dtype, 1)
            found[f"augmented embeddings, {dtype}"] = self.embeddings(dtype)
            found[f"index, {dtype}"] = self.embeddings(dtype)
        found[f"sums of {RANKS} ranks, int8"] = self.sums("int8", RANKS)
        return found


def mean_id_length(count: int) -> float:
    """Average number of digits of the numbers from 1 to ``count``.

    >>> mean_id_length(11)
    1.1818181818181819
    """
    return sum(count - 10**digits + 1 for digits in range(len(str(count)))) / count


def pipelines() -> dict[str, tuple[str, ...]]:
    """Ways to the augmented embeddings → names of the components that lie on the disk at once at their end."""
    queries = (f"reference: one of {QUERIES} files of queries",) * QUERIES
    found = {"reference": ("reference: passages, and the same augmented",) * 2 + queries}
    for dtype in WIDTHS:
        passages = (f"embeddings, {dtype}", f"augmented embeddings, {dtype}")
        for sums in (f"sums of {RANKS} ranks", "sums of the last rank"):
            found[f"{sums}, {dtype}"] = (*passages, f"{sums}, {dtype}")
        found[f"in one stream, {dtype}"] = passages
    sums = f"sums of {RANKS} ranks, int8"
    found[sums] = ("embeddings, float16", "augmented embeddings, float16", sums)
    return found


def section(measured: Mapping[str, float], computed: Mapping[str, float], passages: int, dimension: int) -> Section:
    """Disk need of the whole pipeline by the formats, beside what a sample took.

    Args:
        measured, computed: component → bytes a passage on the sample, and by the formats.
        passages, dimension: size of the sample.
    """
    sizes = {
        name: size * PASSAGES / 1e9 for name, size in Formats(id_length=mean_id_length(PASSAGES)).components().items()
    }
    rows = [(name, f"{computed[name]:,.1f}", f"{measured[name]:,.1f}", f"{sizes[name]:,.1f}") for name in computed]
    header = ("files", "bytes a passage, computed", "measured", f"{PASSAGES:,} passages, GB")
    totals = {name: sum(sizes[part] for part in parts) for name, parts in pipelines().items()}
    targets = [
        Target(f"disk, {name}", f"under {limit} GB", f"{totals[name]:,.1f} GB", totals[name] < limit)
        for name, limit in LIMITS.items()
    ]
    text = f"""What {PASSAGES:,} passages of {DIMENSION} dimensions with {QUERIES} queries each need, by the
formats. The two columns in the middle are the check: computed for the sample above ({passages:,} passages of
{dimension} dimensions), and measured on its files.

{Table(header, rows).markdown()}

The ways to the augmented embeddings hold at their end, where they are fullest, the passages, the queries (the reference
all {QUERIES} files, ours the sums, or none of them in one stream) and the augmented passages. int8 sums go with float16
passages. The reference's authors speak of around 2.5 TB, of which
its formats account for this much:

{Table(("way", "GB"), [(name, f"{total:,.1f}") for name, total in totals.items()]).markdown()}

Not counted are the collection, the text of the queries (70 GB as published), and an index, which takes as much again as
the augmented embeddings; the reference searches these in memory without one.
"""
    return Section("Disk for 18 million passages", text, targets)
