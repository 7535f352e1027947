"""Augmenting a shard: the reference's 35 pickled files of query embeddings against stored sums; disk needed."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import Section, times
from disk import PASSAGES, QUERIES, RANKS, WIDTHS, Formats, section

from xqg_repro.core.files import atomic_write, write_array
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage
from xqg_repro.core.tables import Table
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.augment import augment
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import Layout
from xqg_repro.representation.sumstore import write_sums
from xqg_repro.retrieval.index import build_index

HOW = Augmentation()
LAYOUTS = {f"sums of {RANKS} ranks": Layout(), "sums of the last rank": Layout(every_rank=False)}
WAYS = {f"{name}, {dtype}": (layout, dtype) for dtype in WIDTHS for name, layout in LAYOUTS.items()}
WAYS[f"sums of {RANKS} ranks, int8"] = (Layout(), "int8")
FACTORIES = {"float32": "Flat", "float16": "SQfp16"}
REFERENCE = "reference"


def measure(folder: Path, passages: int, dimension: int, rounds: int) -> list[Section]:
    """Measure time, memory and disk of augmenting one shard of random vectors.

    Args:
        folder: an empty folder, for 3 GB of files at 20,000 passages of 768 dimensions.
        passages, dimension: size of the shard.
        rounds: how often each way is timed.
    """
    docids = [str(1 + number * PASSAGES // passages) for number in range(passages)]
    write_inputs(folder, docids, dimension)
    ways: dict[str, tuple[Callable[[Path], None], Path]] = {REFERENCE: (reference, folder / REFERENCE)}
    ways |= {name: (ours, folder / name) for name in WAYS}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    os.sync()  # what was written so far shall not be written while the clock runs
    for _ in range(rounds):
        for name, (action, place) in ways.items():
            shutil.rmtree(place / "augmented", ignore_errors=True)
            costs[name].append(in_child(action, place))
    sizes = {name: _sizes(place) for name, (_, place) in ways.items()}
    timed = Section("Augmenting one shard", _timed(ways, costs, sizes, len(docids), dimension, rounds))
    for dtype, factory in FACTORIES.items():
        place = folder / f"sums of the last rank, {dtype}"
        build_index(place / "augmented", place / "index", factory=factory)
    measured = {name: size / passages for name, size in _components(folder).items()}
    computed = Formats(dimension, sum(map(len, docids)) / passages).components()
    return [timed, section(measured, computed, passages, dimension)]


def write_inputs(folder: Path, docids: list[str], dimension: int) -> None:
    """Write the same random vectors as the reference keeps them and as ``encode`` and ``sum`` do, in all formats."""
    draw = np.random.default_rng(1)
    shape = (len(docids), dimension)
    (folder / REFERENCE).mkdir()
    vectors = draw.standard_normal(shape, dtype=np.float32)
    _pickle((vectors, docids), folder / REFERENCE / "passages.pkl")
    sums = np.zeros((len(docids), 1, RANKS, dimension), dtype=np.float32)
    for number in range(QUERIES):
        queries = draw.standard_normal(shape, dtype=np.float32)
        _pickle((queries, docids), folder / REFERENCE / f"queries{number}.pkl")
        sums[:, 0, number % RANKS] += queries
    np.cumsum(sums, axis=2, out=sums)
    encoder = {"encoder": dataclasses.asdict(EncoderConfig("random vectors"))}
    inputs = dict.fromkeys(("collection", "model", "queries"), "random vectors")
    counts = {"passages": len(docids), "dimension": dimension}
    for name, (layout, dtype) in WAYS.items():
        common = {**encoder, "dtype": dtype, "shard_size": len(docids)}
        parameters = {**common, **dataclasses.asdict(layout), "allow_missing": False}
        held = sums if layout.every_rank else sums[:, :, -1:]
        numbers = np.tile(np.array(layout.ranks, np.uint16) * len(XOR_LANGUAGES), (len(docids), 1, 1))

        def write_shard(partial: Path, held: np.ndarray = held, dtype: str = dtype, numbers: Any = numbers) -> None:
            write_array(partial / "00000.counts.npy", numbers)
            write_sums(partial / "00000.npy", held, dtype)

        def write_passages(partial: Path, dtype: str = dtype) -> None:
            write_array(partial / "00000.npy", vectors.astype("float16" if dtype == "int8" else dtype))

        _stage(folder / name / "sums", Manifest("sum", parameters, inputs), write_shard, docids, counts)
        _stage(folder / name / "passages", Manifest("encode", common, inputs), write_passages, docids, counts)


def _stage(
    folder: Path, manifest: Manifest, write: Callable[[Path], None], docids: list[str], counts: dict[str, int]
) -> None:
    def build(partial: Path) -> dict[str, int]:
        with atomic_write(partial / "00000.docid") as file:
            file.writelines(f"{docid}\n" for docid in docids)
        write(partial)
        return counts

    build_stage(folder, manifest, build)


def reference(place: Path) -> None:
    """Read the files of queries one by one, add them up, combine, and write, as the reference does."""
    vectors, docids = _unpickle(place / "passages.pkl")
    total = np.zeros(vectors.shape, dtype=np.float32)
    for number in range(QUERIES):
        queries, theirs = _unpickle(place / f"queries{number}.pkl")
        if theirs != docids:
            raise ValueError(f"queries{number}.pkl has other docids than the passages")
        total += queries
        del queries  # or two of them would be in memory while the next is read
    (place / "augmented").mkdir()
    _pickle(((1 - HOW.alpha) * vectors + HOW.alpha * total, docids), place / "augmented" / "passages.pkl")


def ours(place: Path) -> None:
    """The stage ``augment``, with its checksums and its flushing to the disk."""
    augment(place / "passages", place / "sums", place / "augmented", HOW)


def in_child(action: Callable[[Path], None], place: Path) -> tuple[float, float]:
    """Run an action in a process of its own; seconds, and the bytes by which its memory grew at most."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_cost, action, place).result()


def _cost(action: Callable[[Path], None], place: Path) -> tuple[float, float]:
    before, start = _memory("VmRSS"), time.perf_counter()
    action(place)
    return time.perf_counter() - start, _memory("VmHWM") - before


def _memory(key: str) -> float:
    # not getrusage: a new process inherits its parent's peak there
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _pickle(value: object, path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump(value, file)


def _unpickle(path: Path) -> tuple[np.ndarray, list[str]]:
    with open(path, "rb") as file:  # only files that this script wrote a moment ago
        return pickle.load(file)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST)


def _sizes(place: Path) -> tuple[int, int]:
    """Bytes of the files that a way reads and of those that it writes."""
    if place.name == REFERENCE:
        return sum(path.stat().st_size for path in place.glob("*.pkl")), _size(place / "augmented")
    return _size(place / "passages") + _size(place / "sums"), _size(place / "augmented")


def _components(folder: Path) -> dict[str, int]:
    """Sizes on the disk, by the names of :meth:`disk.Formats.components`."""
    found = {"reference: passages, and the same augmented": _size(folder / REFERENCE / "augmented")}
    found[f"reference: one of {QUERIES} files of queries"] = (folder / REFERENCE / "queries0.pkl").stat().st_size
    found |= {name: _size(folder / name / "sums") for name in WAYS}
    for dtype in WIDTHS:
        place = folder / f"sums of the last rank, {dtype}"
        for name, part in (("embeddings", "passages"), ("augmented embeddings", "augmented"), ("index", "index")):
            found[f"{name}, {dtype}"] = _size(place / part)
    return found


def _difference(place: Path, truth: np.ndarray) -> float:
    _, vectors = next(read_shards(place / "augmented"))
    return float(np.abs(vectors - truth).max())


def _timed(
    ways: Mapping[str, tuple[Callable[[Path], None], Path]],
    costs: Mapping[str, list[tuple[float, float]]],
    sizes: Mapping[str, tuple[int, int]],
    passages: int,
    dimension: int,
    rounds: int,
) -> str:
    truth, _ = _unpickle(ways[REFERENCE][1] / "augmented" / "passages.pkl")
    rows = []
    for name, (_, place) in ways.items():
        seconds = [cost[0] for cost in costs[name]]
        faster = median(theirs[0] / mine for mine, theirs in zip(seconds, costs[REFERENCE], strict=True))
        cells = [f"{median(seconds):.2f}", f"{faster:.1f}×", f"{median(cost[1] for cost in costs[name]) / 1e6:,.0f}"]
        cells += [f"{size / 1e6:,.0f}" for size in sizes[name]]
        rows.append((name, *cells, "–" if name == REFERENCE else f"{_difference(place, truth):.0e}"))
    header = ("way", "seconds", "faster", "peak memory, MB", "files read, MB", "written, MB", "largest difference")
    return f"""One shard of {passages:,} passages of {dimension} dimensions with {QUERIES} queries each, all of random
numbers; α = {HOW.alpha}; {times(rounds)}; every way in a process of its own, its files in the page cache.

- *reference*: {QUERIES} pickled (array, ids) files are read one after the other, added up in float32, combined with
  the pickled passages, and pickled.
- *sums*: the stage `augment` from stored sums. Its time includes SHA-256 of what it writes and flushing that to the
  disk, both of which the reference goes without.

Peak memory is what the process took beyond its start; of ours, part is files mapped into memory, which the system
can take back. The largest difference is to the reference's augmented vectors.

{Table(header, rows).markdown()}
"""
