"""Stage ``sum``: generated queries → running sums of their embeddings, the only thing that augmentation needs of them.

A shard ``NNNNN`` is three files, or five with int8:

- ``NNNNN.npy``, float32 or float16, shape (passages, groups, ranks, dimension): at [i, g, r] the sum over passage i's
  first ``ranks[r]`` queries in each language of group g; with int8, the last rank alone, and the others in
  ``NNNNN.codes.npy`` and ``NNNNN.scales.npy`` as differences from it, see :mod:`xqg_repro.representation.sumstore`;
- ``NNNNN.counts.npy``, uint16, shape (passages, groups, ranks): how many queries are in each of these sums;
- ``NNNNN.docid``, one id a line, the same order.

The queries' own vectors are never stored: for 35 queries a passage, all the sums together take a seventh of their
space, and the sum over all queries takes a thirty-fifth. Shards follow the order of the queries, so a killed run goes
on behind its last whole shard and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, read_text, write_array
from xqg_repro.core.languages import LANGUAGE_NAMES, XOR_LANGUAGES
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, build_stage, verify
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.queries import queries_fingerprint, read_queries
from xqg_repro.representation.sumstore import StoredSums, check_dtype, write_sums

SHARD_SIZE = 10_000
_MOST = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Layout:
    """Which sums are kept for each passage.

    Attributes:
        languages: ISO 639-1 codes of the languages whose queries are summed.
        count: queries a language.
        per_language: a sum for each language, instead of one over all of them.
        every_rank: the sums of the first 1, 2, …, ``count`` queries a language, instead of the last of these alone.
    """

    languages: tuple[str, ...] = XOR_LANGUAGES
    count: int = 5
    per_language: bool = False
    every_rank: bool = True

    def __post_init__(self) -> None:
        if unknown := [code for code in self.languages if code not in LANGUAGE_NAMES]:
            raise InputError(f"unknown language {unknown[0]!r}", hint=f"choose from: {' '.join(LANGUAGE_NAMES)}")
        if len(set(self.languages)) < len(self.languages):
            raise InputError(f"a language is named twice: {' '.join(self.languages)}")
        if not 0 < len(self.languages) * self.count <= _MOST:
            raise InputError(
                f"{self.count} queries in each of {len(self.languages)} languages cannot be summed",
                hint=f"a passage must have between 1 and {_MOST:,} queries",
            )

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The languages of each group."""
        return tuple((language,) for language in self.languages) if self.per_language else (self.languages,)

    @property
    def ranks(self) -> tuple[int, ...]:
        """How many queries a language each kept sum is of."""
        return tuple(range(1, self.count + 1)) if self.every_rank else (self.count,)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of groups and of ranks."""
        return len(self.groups), len(self.ranks)


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
    force: bool = False,
) -> Manifest:
    """Embed generated queries and add them up for each passage, or reuse the folder that holds the sums.

    Args:
        queries: see :func:`~xqg_repro.representation.queries.query_files`.
        config: the encoder; the queries are encoded as questions are.
        output: the stage folder.
        languages, count, per_language, every_rank: see :class:`Layout`.
        dtype: of :data:`~xqg_repro.representation.sumstore.DTYPES`, of the files alone: sums are always added up in
            float32.
        allow_missing: sum what there is of a passage with fewer queries than are due.
        shard_size: passages a shard; a shard is what a killed run loses and what must fit into memory.
        device: a torch device; ``None`` takes a GPU if there is one.
        force: sum again even if the folder matches.

    Returns:
        the manifest, which counts the passages, the queries that were summed and the ones missing of those due.

    Raises:
        InputError: an unknown language, a passage that occurs twice or (without ``allow_missing``) has too few
            queries, a line of another form, a sum beyond float16's range, a model folder without weights, a full disk.
    """
    if shard_size < 1:
        raise InputError(f"a shard cannot hold {shard_size} passages")
    check_dtype(dtype)
    layout = Layout(tuple(languages), count, per_language, every_rank)
    model = model_fingerprint(config.model)  # before the queries: without a model no need to download them
    wanted = Manifest(
        "sum",
        {
            "encoder": dataclasses.asdict(config),
            **dataclasses.asdict(layout),
            "dtype": dtype,
            "allow_missing": allow_missing,
            "shard_size": shard_size,
        },
        {"queries": queries_fingerprint(queries), "model": model},
    )

    def build(folder: Path) -> dict[str, int]:
        passages = _unique(read_queries(queries, layout.languages, count, allow_missing=allow_missing), queries)
        return _sum_shards(passages, TextEncoder(config, device), layout, folder, dtype, shard_size)

    return build_stage(output, wanted, build, force=force)


def _unique(passages: Iterator[PassageQueries], source: str | Path) -> Iterator[PassageQueries]:
    """The passages as they come; :class:`InputError` where one comes again, or where there is none."""
    seen = set()
    for passage in passages:
        if passage.docid in seen:
            raise InputError(f"has queries for the passage {passage.docid} twice", path=source)
        seen.add(passage.docid)
        yield passage
    if not seen:
        raise InputError("holds no generated queries", path=source)


def _sum_shards(
    passages: Iterator[PassageQueries], encoder: TextEncoder, layout: Layout, folder: Path, dtype: str, shard_size: int
) -> dict[str, int]:
    """Write the shards that are not there yet; return what was counted."""
    number, total, queries = 0, 0, 0
    with progress_bar(None, "sum", "passages") as progress:
        while shard := list(islice(passages, shard_size)):
            sums_path, counts_path, ids_path = _paths(folder, number)
            if not sums_path.exists():
                sums, counts = sum_shard(shard, encoder, layout)
                with atomic_write(ids_path) as ids:
                    ids.writelines(f"{passage.docid}\n" for passage in shard)
                write_array(counts_path, counts)
                write_sums(sums_path, sums, dtype)  # the last, so that it tells a whole shard
            number, total = number + 1, total + len(shard)
            queries += sum(len(texts) for passage in shard for texts in passage.queries.values())
            progress.update(len(shard))
    missing = total * len(layout.languages) * layout.count - queries
    return {"passages": total, "queries": queries, "missing": missing, "dimension": encoder.dimension}


def sum_shard(
    passages: Sequence[PassageQueries], encoder: TextEncoder, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """Embed the queries of some passages, each text once, and add them up.

    Returns:
        sums, float32, shape (passages, groups, ranks, dimension), and the number of queries in each of them, uint16,
        shape (passages, groups, ranks).
    """
    shape = (len(passages), *layout.shape)
    sums = np.zeros((*shape, encoder.dimension), dtype=np.float32)
    counts = np.zeros(shape, dtype=np.uint16)
    places: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for i, passage in enumerate(passages):
        for group, languages in enumerate(layout.groups):
            for language in languages:
                for rank, text in enumerate(passage.queries.get(language, ())[: layout.count]):
                    place = (i, group, rank if layout.every_rank else 0)
                    counts[place] += 1
                    places[text].append(place)
    where = list(places.values())
    for positions, vectors in encoder.query_batches(places):
        # microseconds a vector, beside which the encoding is long; without threads, so always in the same order
        for position, vector in zip(positions, vectors, strict=True):
            for place in where[position]:
                sums[place] += vector
    np.cumsum(sums, axis=2, out=sums)
    np.cumsum(counts, axis=2, out=counts)
    return sums, counts


def _paths(folder: Path, number: int) -> tuple[Path, Path, Path]:
    """The files of a shard: sums, counts and docids."""
    stem = folder / f"{number:05d}"
    return stem.with_suffix(".npy"), stem.with_suffix(".counts.npy"), stem.with_suffix(".docid")


@dataclass(frozen=True)
class Sums:
    """A folder that ``sum`` wrote, of which only what is asked for is read.

    A passage's *place* is its position in the whole folder.

    Attributes:
        folder: the stage folder.
        manifest: what the sums were made from.
    """

    folder: Path
    manifest: Manifest

    @cached_property
    def layout(self) -> Layout:
        """Which sums there are."""
        values = {field.name: self.manifest.parameters[field.name] for field in dataclasses.fields(Layout)}
        return Layout(**{**values, "languages": tuple(values["languages"])})

    def select(self, languages: Sequence[str] = (), queries: int = 0) -> tuple[list[int], int]:
        """Where the sums of the first ``queries`` in these languages are kept.

        Args:
            languages: whose queries; empty for all that there are. The order does not matter.
            queries: how many a language; 0 for all that there are.

        Returns:
            positions of the groups, whose sums are to be added, and the position of the rank.

        Raises:
            InputError: the sums are of other languages, of fewer queries, or not kept apart as far as is asked.
        """
        held, count = self.layout.languages, self.layout.count
        if unknown := [language for language in languages if language not in held]:
            hint = f"the languages are: {' '.join(held)}"
            raise InputError(f"holds no sums of queries in {unknown[0]!r}", path=self.folder, hint=hint)
        chosen = set(languages or held)
        groups = [g for g, group in enumerate(self.layout.groups) if chosen.issuperset(group)]
        if sum(len(self.layout.groups[g]) for g in groups) < len(chosen):
            hint = "sum them again with --per-language, or take them all"
            raise InputError(f"holds one sum over {' '.join(held)} together", path=self.folder, hint=hint)
        queries = queries or count
        if queries > count:
            hint = f"sum them again with {queries} queries a language"
            raise InputError(f"holds sums of {count} queries a language, not {queries}", path=self.folder, hint=hint)
        if queries not in self.layout.ranks:
            hint = "sum them again without --last-rank"
            problem = f"holds the sum of all {count} queries a language alone, not of the first {queries}"
            raise InputError(problem, path=self.folder, hint=hint)
        return groups, self.layout.ranks.index(queries)

    def shards(self) -> Iterator[tuple[list[str], StoredSums, np.ndarray]]:
        """The shards in order: docids, sums and counts, these of the shape above; the arrays are memory-mapped."""
        for number in range(-(-self.manifest.counts["passages"] // self._shard_size)):
            yield read_text(_paths(self.folder, number)[2]).split("\n")[:-1], *self._shard(number)

    def take(self, places: np.ndarray, groups: Sequence[int], rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The sums of some passages over some groups at one rank.

        Args:
            places: int64, shape (n,), in any order; -1 for a passage that has none.
            groups, rank: as :meth:`select` returns them.

        Returns:
            sums, float32, shape (n, dimension), and how many queries are in each, int64, shape (n,).
        """
        totals = np.zeros((len(places), self.manifest.counts["dimension"]), dtype=np.float32)
        counts = np.zeros(len(places), dtype=np.int64)
        shards, rows = np.divmod(places, self._shard_size)
        for number in np.unique(shards[places >= 0]):
            chosen = np.flatnonzero(shards == number)
            sums, numbers = self._shard(number)
            for group in groups:
                totals[chosen] += sums.take(rows[chosen], group, rank)
                counts[chosen] += numbers[rows[chosen], group, rank]
        return totals, counts

    @property
    def _shard_size(self) -> int:
        return int(self.manifest.parameters["shard_size"])

    def _shard(self, number: int) -> tuple[StoredSums, np.ndarray]:
        sums_path, counts_path, _ = _paths(self.folder, number)
        return StoredSums.open(sums_path), np.load(counts_path, mmap_mode="r", allow_pickle=False)


def read_sums(folder: str | Path) -> Sums:
    """Open a folder that ``sum`` wrote.

    Raises:
        InputError: another stage wrote it, or one of its files is missing or cut off.
    """
    manifest = verify(Path(folder))
    if manifest.stage != "sum":
        hint = "run xqg-repro sum first"
        raise InputError(f"is the output of {manifest.stage}, not query sums", path=folder, hint=hint)
    return Sums(Path(folder), manifest)
