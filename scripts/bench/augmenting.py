"""Augmenting a shard: the reference's 35 pickled files of query embeddings against stored sums; and disk space."""

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
from typing import NamedTuple

import numpy as np
from common import Section, describe_rounds, memory
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

AUGMENTATION = Augmentation()
LAYOUTS = {f"sums of {RANKS} ranks": Layout(), "sums of the last rank": Layout(every_rank=False)}
WAYS = {f"{name}, {dtype}": (layout, dtype) for dtype in WIDTHS for name, layout in LAYOUTS.items()}
WAYS[f"sums of {RANKS} ranks, int8"] = (Layout(), "int8")
FACTORIES = {"float32": "Flat", "float16": "SQfp16"}
REFERENCE = "reference"


class Cost(NamedTuple):
    """Seconds, and the growth of the process's memory in bytes."""

    seconds: float
    memory: float


def measure(folder: Path, passages: int, dimension: int, rounds: int) -> list[Section]:
    """Measure time, memory and disk space of augmenting one shard of random vectors.

    Args:
        folder: an empty folder, for 3 GB of files at 20,000 passages of 768 dimensions.
        passages, dimension: size of the shard.
        rounds: how often each way is timed.
    """
    docids = [str(1 + number * PASSAGES // passages) for number in range(passages)]
    write_inputs(folder, docids, dimension)
    ways = {REFERENCE: augment_as_reference} | dict.fromkeys(WAYS, augment_from_sums)
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    os.sync()  # so that no earlier writes run while the clock does
    for _ in range(rounds):
        for name, action in ways.items():
            shutil.rmtree(folder / name / "augmented", ignore_errors=True)
            costs[name].append(run_in_child(action, folder / name))
    table = _cost_table(folder, costs)

    for dtype, factory in FACTORIES.items():
        place = folder / f"sums of the last rank, {dtype}"
        build_index(place / "augmented", place / "index", factory=factory)
    measured = {name: size / passages for name, size in _components(folder).items()}
    computed = Formats(dimension, sum(map(len, docids)) / passages).components()
    timed = Section("Augmenting one shard", _text(table, passages, dimension, rounds))
    return [timed, section(measured, computed, passages, dimension)]


def write_inputs(folder: Path, docids: list[str], dimension: int) -> None:
    """Write the same random vectors as the reference stores them and, in all formats, as ``encode`` and ``sum`` do."""
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
    for name, (layout, dtype) in WAYS.items():
        _write_stages(folder / name, docids, vectors, sums, layout, dtype)


def _write_stages(
    folder: Path, docids: list[str], vectors: np.ndarray, sums: np.ndarray, layout: Layout, dtype: str
) -> None:
    """Write the stage folders ``sums`` and ``passages`` of one way."""
    if not layout.every_rank:
        sums = sums[:, :, -1:]
    query_counts = np.tile(np.array(layout.ranks, np.uint16) * len(XOR_LANGUAGES), (len(docids), 1, 1))

    def write_docids(partial_folder: Path) -> dict[str, int]:
        with atomic_write(partial_folder / "00000.docid") as file:
            file.writelines(f"{docid}\n" for docid in docids)
        return {"passages": len(docids), "dimension": vectors.shape[1]}

    def build_sums(partial_folder: Path) -> dict[str, int]:
        write_array(partial_folder / "00000.counts.npy", query_counts)
        write_sums(partial_folder / "00000.npy", sums, dtype)
        return write_docids(partial_folder)

    def build_passages(partial_folder: Path) -> dict[str, int]:
        write_array(partial_folder / "00000.npy", vectors.astype("float16" if dtype == "int8" else dtype))
        return write_docids(partial_folder)

    encoder = dataclasses.asdict(EncoderConfig("random vectors"))
    common = {"encoder": encoder, "dtype": dtype, "shard_size": len(docids)}
    inputs = dict.fromkeys(("collection", "model", "queries"), "random vectors")
    parameters = {**common, **dataclasses.asdict(layout), "allow_missing": False}
    build_stage(folder / "sums", Manifest("sum", parameters, inputs), build_sums)
    build_stage(folder / "passages", Manifest("encode", common, inputs), build_passages)


def augment_as_reference(folder: Path) -> None:
    """Read the files of queries one by one, sum them, combine the sum with the passages, and write the result."""
    vectors, docids = _unpickle(folder / "passages.pkl")
    total = np.zeros(vectors.shape, dtype=np.float32)
    for number in range(QUERIES):
        queries, query_docids = _unpickle(folder / f"queries{number}.pkl")
        if query_docids != docids:
            raise ValueError(f"queries{number}.pkl has other docids than the passages")
        total += queries
        del queries  # or two of them would be in memory while the next one is read
    (folder / "augmented").mkdir()
    augmented = (1 - AUGMENTATION.alpha) * vectors + AUGMENTATION.alpha * total
    _pickle((augmented, docids), folder / "augmented" / "passages.pkl")


def augment_from_sums(folder: Path) -> None:
    """Run the stage ``augment``, which computes checksums and flushes its output to disk."""
    augment(folder / "passages", folder / "sums", folder / "augmented", AUGMENTATION)


def run_in_child(action: Callable[[Path], None], folder: Path) -> Cost:
    """Run an action in its own process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, action, folder).result()


def _run(action: Callable[[Path], None], folder: Path) -> Cost:
    before, start = memory("VmRSS"), time.perf_counter()
    action(folder)
    return Cost(time.perf_counter() - start, memory("VmHWM") - before)


def _pickle(value: object, path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump(value, file)


def _unpickle(path: Path) -> tuple[np.ndarray, list[str]]:
    with open(path, "rb") as file:  # only files that this script has just written
        return pickle.load(file)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST)


def _read_and_written(folder: Path) -> tuple[int, int]:
    """Bytes of the files that a way reads and of those that it writes."""
    written = _size(folder / "augmented")
    if folder.name == REFERENCE:
        return sum(path.stat().st_size for path in folder.glob("*.pkl")), written
    return _size(folder / "passages") + _size(folder / "sums"), written


def _components(folder: Path) -> dict[str, int]:
    """Sizes on disk, by the names of :meth:`disk.Formats.components`."""
    sizes = {"reference: passages, and the same augmented": _size(folder / REFERENCE / "augmented")}
    sizes[f"reference: one of {QUERIES} files of queries"] = (folder / REFERENCE / "queries0.pkl").stat().st_size
    sizes |= {name: _size(folder / name / "sums") for name in WAYS}
    for dtype in WIDTHS:
        place = folder / f"sums of the last rank, {dtype}"
        for name, stage in (("embeddings", "passages"), ("augmented embeddings", "augmented"), ("index", "index")):
            sizes[f"{name}, {dtype}"] = _size(place / stage)
    return sizes


def _cost_table(folder: Path, costs: Mapping[str, list[Cost]]) -> Table:
    expected, _ = _unpickle(folder / REFERENCE / "augmented" / "passages.pkl")
    rows = []
    for name, mine in costs.items():
        speedup = median(theirs.seconds / cost.seconds for cost, theirs in zip(mine, costs[REFERENCE], strict=True))
        seconds, memory = median(cost.seconds for cost in mine), median(cost.memory for cost in mine)
        sizes = [f"{size / 1e6:,.0f}" for size in _read_and_written(folder / name)]
        difference = "–"
        if name != REFERENCE:
            _, vectors = next(read_shards(folder / name / "augmented"))
            difference = f"{np.abs(vectors - expected).max():.0e}"
        rows.append((name, f"{seconds:.2f}", f"{speedup:.1f}×", f"{memory / 1e6:,.0f}", *sizes, difference))
    header = ("way", "seconds", "speed-up", "peak memory, MB", "files read, MB", "written, MB", "largest difference")
    return Table(header, rows)


def _text(table: Table, passages: int, dimension: int, rounds: int) -> str:
    return f"""One shard of {passages:,} passages with {QUERIES} queries each, all random vectors of {dimension}
dimensions; α = {AUGMENTATION.alpha}; {describe_rounds(rounds)}. Each method runs in its own process, with its files in
the page cache.

- *reference*: reads {QUERIES} pickled (array, ids) files one by one, sums them in float32, combines the sum with the
  pickled passages, and pickles the result.
- *sums*: the stage `augment`, from stored sums. Its time includes computing the SHA-256 of its output and flushing the
  output to disk; the reference does neither.

Peak memory is the growth of the process from its start. Part of ours is memory-mapped files, which the system can
reclaim. The largest difference is from the reference's augmented vectors.

{table.markdown()}
"""
