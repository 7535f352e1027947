"""Stage ``sum``: generated queries → running sums of their embeddings, which is all that augmentation needs.

A shard ``NNNNN`` is three files, or five with int8:

- ``NNNNN.npy``, float32 or float16, shape (passages, groups, ranks, dimension): at [i, g, r] the sum over passage i's
  first ``ranks[r]`` queries in each language of group g; :mod:`xqg_repro.representation.sumstore` describes int8;
- ``NNNNN.counts.npy``, uint16, shape (passages, groups, ranks): the number of queries in each of these sums;
- ``NNNNN.docid``, one docid per line, in the same order.

The embeddings of single queries are never stored: with 35 queries per passage, all sums together take a seventh of
their space, and the sum over all queries takes a thirty-fifth. Shards follow the order of the queries.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from xqg_repro.core.cluster import Distribution
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import write_array
from xqg_repro.core.languages import XOR_LANGUAGES, check_languages
from xqg_repro.core.shards import check_dtype, check_shard_size, read_docids, shard_path, split_shards, write_docids
from xqg_repro.core.stages import Manifest, build_stage, open_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.folders import Side
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig, encoder_settings
from xqg_repro.models.untied import check_side, side_config
from xqg_repro.representation.queries import check_passages, queries_fingerprint, read_queries
from xqg_repro.representation.shards import WriteShard, vector_size, write_shards
from xqg_repro.representation.sumstore import DTYPES, StoredSums, write_sums

if TYPE_CHECKING:
    from tqdm import tqdm

SHARD_SIZE = 10_000
_MAX_QUERIES = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Layout:
    """Which sums are kept for each passage.

    Attributes:
        languages: ISO 639-1 codes of the languages whose queries are summed.
        count: queries per language.
        per_language: one sum per language instead of one over all languages.
        every_rank: the sums of the first 1, 2, …, ``count`` queries per language instead of only the last of these.
    """

    languages: tuple[str, ...] = XOR_LANGUAGES
    count: int = 5
    per_language: bool = False
    every_rank: bool = True

    def __post_init__(self) -> None:
        check_languages(self.languages)
        if len(set(self.languages)) < len(self.languages):
            raise InputError(f"a language occurs twice: {' '.join(self.languages)}")
        if not 0 < len(self.languages) * self.count <= _MAX_QUERIES:
            raise InputError(
                f"cannot sum {self.count} queries in each of {len(self.languages)} languages",
                hint=f"a passage must have between 1 and {_MAX_QUERIES:,} queries",
            )

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The languages of each group."""
        return tuple((language,) for language in self.languages) if self.per_language else (self.languages,)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The number of queries per language in each sum."""
        return tuple(range(1, self.count + 1)) if self.every_rank else (self.count,)


def sum_queries(
    queries: str | Path,
    config: EncoderConfig,
    output: str | Path,
    *,
    languages: Sequence[str] = XOR_LANGUAGES,
    count: int = 5,
    per_language: bool = False,
    every_rank: bool = True,
    dtype: str = "float32",
    allow_missing: bool = False,
    shard_size: int = SHARD_SIZE,
    device: str | None = None,
    distribute: Distribution | None = None,
    force: bool = False,
) -> Manifest:
    """Embed generated queries and sum them for each passage, or reuse an existing folder that matches.

    Args:
        queries: see :func:`~xqg_repro.representation.queries.query_files`.
        config: the encoder; queries are encoded as questions are, by that of the questions if there are two.
        languages, count, per_language, every_rank: see :class:`Layout`.
        dtype: one of :data:`~xqg_repro.representation.sumstore.DTYPES`; applies to the files only, sums are computed
            in float32.
        allow_missing: accept passages with fewer queries.
        shard_size, device, distribute, force: as for :func:`~xqg_repro.representation.encode.encode`.

    Returns:
        the manifest, which counts the passages, their queries, and the missing queries.

    :class:`InputError` if a passage occurs twice, or has too few queries and not ``allow_missing``.
    """
    check_shard_size(shard_size)
    check_dtype(dtype, "sums", DTYPES)
    layout = Layout(tuple(languages), count, per_language, every_rank)
    check_side(config.model, Side.QUERY)
    config = side_config(config, Side.QUERY)
    model = model_fingerprint(config.model)  # before the queries, which may be a large download
    wanted = Manifest(
        "sum",
        {
            "encoder": encoder_settings(config),
            **dataclasses.asdict(layout),
            "dtype": dtype,
            "allow_missing": allow_missing,
            "shard_size": shard_size,
        },
        {"queries": queries_fingerprint(queries), "model": model},
    )

    def build(folder: Path) -> dict[str, int]:
        passages = check_passages(read_queries(queries, layout.languages, count, allow_missing=allow_missing), queries)
        work, shards = SumWork(config, layout, dtype), split_shards(passages, folder, shard_size)
        counts = write_shards(work, shards, "sum", "passages", total=None, device=device, distribute=distribute)
        missing = counts["passages"] * len(layout.languages) * layout.count - counts["queries"]
        return {**counts, "missing": missing, "dimension": vector_size(folder)}

    return build_stage(output, wanted, build, force=force)


@dataclass(frozen=True)
class SumWork:
    """Passages' queries → a shard of sums."""

    config: EncoderConfig
    layout: Layout
    dtype: str
    per_item: ClassVar = 1

    def open(self, device: str | None, progress: tqdm) -> WriteShard[PassageQueries]:
        """Load the encoder."""
        encoder = TextEncoder(self.config, device)

        def write(path: Path, shard: Sequence[PassageQueries]) -> Counter[str]:
            sums, counts = sum_shard(shard, encoder, self.layout)
            write_docids(path, [passage.docid for passage in shard])
            write_array(_counts_path(path), counts)
            write_sums(path, sums, self.dtype)  # last, because its file marks the shard as complete
            progress.update(len(shard))
            return self.count(path, shard)

        return write

    def count(self, path: Path, shard: Sequence[PassageQueries]) -> Counter[str]:
        """The numbers of passages and of their queries."""
        queries = sum(len(texts) for passage in shard for texts in passage.queries.values())
        return Counter(passages=len(shard), queries=queries)


def sum_shard(
    passages: Sequence[PassageQueries], encoder: TextEncoder, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """Embed the queries of some passages, each distinct text once (and language, if that changes it), and sum them.

    Returns:
        sums, float32, shape (passages, groups, ranks, dimension), and the number of queries in each of them, uint16,
        shape (passages, groups, ranks).
    """
    shape = (len(passages), len(layout.groups), len(layout.ranks))
    sums = np.zeros((*shape, encoder.dimension), dtype=np.float32)
    counts = np.zeros(shape, dtype=np.uint16)
    # text and language, if that matters → where it is added
    cells: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    names_language = encoder.config.needs_language
    for i, passage in enumerate(passages):
        for group, languages in enumerate(layout.groups):
            for language in languages:
                for rank, text in enumerate(passage.queries.get(language, ())[: layout.count]):
                    cell = (i, group, rank if layout.every_rank else 0)
                    counts[cell] += 1
                    cells[text, language if names_language else ""].append(cell)
    cells_of = list(cells.values())
    texts, codes = zip(*cells, strict=True) if cells else ((), ())
    for positions, vectors in encoder.query_batches(texts, codes):
        # takes microseconds per vector, far less than encoding; no threads, so the order of additions is fixed
        for position, vector in zip(positions, vectors, strict=True):
            for cell in cells_of[position]:
                sums[cell] += vector
    np.cumsum(sums, axis=2, out=sums)
    np.cumsum(counts, axis=2, out=counts)
    return sums, counts


def _counts_path(path: Path) -> Path:
    return path.with_suffix(".counts.npy")


@dataclass(frozen=True)
class Sums:
    """A folder that ``sum`` wrote; its arrays are read on demand. A passage's *place* is its position in the folder."""

    folder: Path
    manifest: Manifest

    @cached_property
    def layout(self) -> Layout:
        """Which sums the folder has."""
        values = {field.name: self.manifest.parameters[field.name] for field in dataclasses.fields(Layout)}
        return Layout(**{**values, "languages": tuple(values["languages"])})

    def select(self, languages: Sequence[str] = (), queries: int = 0) -> tuple[list[int], int]:
        """Find the sums over the first ``queries`` queries (0 for all) in these languages (none for all), in any order.

        Returns:
            positions of the groups, whose sums are to be added, and the position of the rank.

        Raises:
            InputError: the folder lacks a language, has fewer queries, or does not keep them apart.
        """
        available, count = self.layout.languages, self.layout.count
        if unknown := [language for language in languages if language not in available]:
            hint = f"the languages are: {' '.join(available)}"
            raise InputError(f"holds no sums of queries in {unknown[0]!r}", path=self.folder, hint=hint)
        chosen = set(languages or available)
        groups = [g for g, group in enumerate(self.layout.groups) if chosen.issuperset(group)]
        if sum(len(self.layout.groups[g]) for g in groups) < len(chosen):
            hint = "sum them again with --per-language, or use all languages"
            raise InputError(f"holds only one sum over {' '.join(available)}", path=self.folder, hint=hint)
        queries = queries or count
        if queries > count:
            hint = f"sum them again with {queries} queries per language"
            raise InputError(f"holds sums of {count} queries per language, not {queries}", path=self.folder, hint=hint)
        if queries not in self.layout.ranks:
            hint = "sum them again without --last-rank"
            problem = f"holds only the sum of all {count} queries per language, not of the first {queries}"
            raise InputError(problem, path=self.folder, hint=hint)
        return groups, self.layout.ranks.index(queries)

    def docids(self) -> Iterator[str]:
        """The docid of each place."""
        for path in self._paths():
            yield from read_docids(path)

    def has_queries(self, groups: Sequence[int], rank: int) -> np.ndarray:
        """Whether the passage at each place has queries in these groups: bool, shape (passages,)."""
        counts = (np.load(_counts_path(path), mmap_mode="r", allow_pickle=False) for path in self._paths())
        return np.concatenate([shard[:, groups, rank].any(axis=1) for shard in counts])

    def take(self, places: np.ndarray, groups: Sequence[int], rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The sums of the passages at ``places`` over the groups and at the rank that :meth:`select` returned.

        Places are int64, shape (n,), in any order; -1 for a passage without sums.

        Returns:
            sums, float32, shape (n, dimension), and the number of queries in each, int64, shape (n,).
        """
        totals = np.zeros((len(places), self.manifest.counts["dimension"]), dtype=np.float32)
        counts = np.zeros(len(places), dtype=np.int64)
        shards, rows = np.divmod(places, self._shard_size)
        for number in np.unique(shards[places >= 0]):
            chosen = np.flatnonzero(shards == number)
            path = shard_path(self.folder, number)
            sums = StoredSums.open(path)
            numbers = np.load(_counts_path(path), mmap_mode="r", allow_pickle=False)
            for group in groups:
                totals[chosen] += sums.take(rows[chosen], group, rank)
                counts[chosen] += numbers[rows[chosen], group, rank]
        return totals, counts

    @property
    def _shard_size(self) -> int:
        return int(self.manifest.parameters["shard_size"])

    def _paths(self) -> list[Path]:
        shards = -(-self.manifest.counts["passages"] // self._shard_size)
        return [shard_path(self.folder, number) for number in range(shards)]


def read_sums(folder: str | Path) -> Sums:
    """Open a folder that ``sum`` wrote; :class:`InputError` if another stage did, or a file is missing or truncated."""
    return Sums(Path(folder), open_stage(folder, "sum"))
