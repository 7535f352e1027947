"""Disk space per passage of each kind of file, computed from its format, and the total for all of Wikipedia."""

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
"""Targets in GB for two ways to make the augmented embeddings."""


@dataclass(frozen=True)
class Formats:
    """Bytes per passage, without the header of a file.

    Attributes:
        dimension: dimension of an embedding.
        id_length: mean length of a docid.
    """

    dimension: int = DIMENSION
    id_length: float = 0

    def pickled(self) -> float:
        """The reference's files: a float32 vector, and a pickled docid with two bytes before it and one after."""
        return 4 * self.dimension + self.id_length + 3

    def embeddings(self, dtype: str) -> float:
        """Output of ``encode``, ``augment`` and ``index``: a vector, and a line with the docid."""
        return WIDTHS[dtype] * self.dimension + self.id_length + 1

    def sums(self, dtype: str, ranks: int) -> float:
        """Output of ``sum`` over all languages: per rank a vector and a two-byte count, and a line with the docid.

        With int8, the last rank is float16, and every other rank has a four-byte scale.
        """
        if dtype in WIDTHS:
            vectors = ranks * WIDTHS[dtype] * self.dimension
        else:
            vectors = 2 * self.dimension + (ranks - 1) * (self.dimension + 4)
        return vectors + 2 * ranks + self.id_length + 1

    def components(self) -> dict[str, float]:
        """Kind of file → bytes per passage."""
        sizes = {
            "reference: passages, and the same augmented": self.pickled(),
            f"reference: one of {QUERIES} files of queries": self.pickled(),
        }
        for dtype in WIDTHS:
            sizes[f"embeddings, {dtype}"] = self.embeddings(dtype)
            sizes[f"sums of {RANKS} ranks, {dtype}"] = self.sums(dtype, RANKS)
            sizes[f"sums of the last rank, {dtype}"] = self.sums(dtype, 1)
            sizes[f"augmented embeddings, {dtype}"] = self.embeddings(dtype)
            sizes[f"index, {dtype}"] = self.embeddings(dtype)
        sizes[f"sums of {RANKS} ranks, int8"] = self.sums("int8", RANKS)
        return sizes


def mean_id_length(count: int) -> float:
    """Mean number of digits of the numbers from 1 to ``count``.

    >>> mean_id_length(11)
    1.1818181818181819
    """
    return sum(count - 10**digits + 1 for digits in range(len(str(count)))) / count


def pipelines() -> dict[str, tuple[str, ...]]:
    """Ways to make the augmented embeddings → the components that are on disk at their end."""
    query_files = (f"reference: one of {QUERIES} files of queries",) * QUERIES
    ways = {"reference": ("reference: passages, and the same augmented",) * 2 + query_files}
    for dtype in WIDTHS:
        passages = (f"embeddings, {dtype}", f"augmented embeddings, {dtype}")
        for sums in (f"sums of {RANKS} ranks", "sums of the last rank"):
            ways[f"{sums}, {dtype}"] = (*passages, f"{sums}, {dtype}")
        ways[f"in one stream, {dtype}"] = passages
    sums = f"sums of {RANKS} ranks, int8"
    ways[sums] = ("embeddings, float16", "augmented embeddings, float16", sums)
    return ways


def section(measured: Mapping[str, float], computed: Mapping[str, float], passages: int, dimension: int) -> Section:
    """Disk space of each way, computed from the formats and checked on a sample.

    Args:
        measured, computed: component → bytes per passage on the sample, measured and computed.
        passages, dimension: size of the sample.
    """
    wikipedia = Formats(id_length=mean_id_length(PASSAGES))
    sizes = {name: size * PASSAGES / 1e9 for name, size in wikipedia.components().items()}
    rows = [(name, f"{computed[name]:,.1f}", f"{measured[name]:,.1f}", f"{sizes[name]:,.1f}") for name in computed]
    header = ("files", "bytes per passage, computed", "measured", f"{PASSAGES:,} passages, GB")
    totals = {name: sum(sizes[part] for part in parts) for name, parts in pipelines().items()}
    targets = [
        Target(f"disk, {name}", f"under {limit} GB", f"{totals[name]:,.1f} GB", totals[name] < limit)
        for name, limit in LIMITS.items()
    ]
    text = f"""Disk space for {PASSAGES:,} passages of {DIMENSION} dimensions with {QUERIES} queries each, computed from
the file formats. The two middle columns check the computation on the sample above ({passages:,} passages of {dimension}
dimensions): bytes computed, and bytes measured on its files.

{Table(header, rows).markdown()}

Each method uses the most disk at its end. Then the disk has the passages, the augmented passages, and the queries: all
{QUERIES} files for the reference, the sums for ours, and nothing in one stream. int8 sums are used with float16
passages. The reference's authors report around 2.5 TB; its formats account for this much of it:

{Table(("way", "GB"), [(name, f"{total:,.1f}") for name, total in totals.items()]).markdown()}

The table leaves out the collection, the text of the queries (70 GB as published), and an index, which is as large as
the augmented embeddings. The reference has no index: it searches the embeddings in memory.
"""
    return Section("Disk for 18 million passages", text, targets)
