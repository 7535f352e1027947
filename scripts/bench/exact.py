"""Exact search of stored embeddings against FAISS's flat index: python scripts/bench/exact.py [--quick].

Prints a page and writes it to docs/benchmarks-search.md. By default, a million random vectors of 768 float16 numbers
are searched by both in turns, three times each: 1.5 GB of temporary space (in ``TMPDIR``), 4 GB of memory for FAISS,
and three minutes. ``--passages 18003200 --rounds 1`` has those of XOR-TyDi: 27.7 GB of space, 13 GB of memory for
FAISS's part of them (``--flat``), and a quarter of an hour. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import (
    Section,
    Target,
    Timing,
    describe_machine,
    describe_rounds,
    memory,
    ratio_target,
    target_table,
    write_page,
)
from disk import DIMENSION, PASSAGES

from xqg_repro.core.embeddings import open_shards
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import shard_path, write_shard
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.models.loading import choose_device
from xqg_repro.retrieval.best import BestPassages
from xqg_repro.retrieval.exact import search_shards

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-search.md"
MEMORY_LIMIT = 4e9
MINUTES = 15
_MULTIPLIED = 4_000  # passages in a product that measures the machine's peak


@dataclass(frozen=True)
class Sizes:
    """How much is searched.

    Attributes:
        passages: number of stored vectors.
        flat: how many of them FAISS searches, in memory as float32.
        questions, dimension, depth: number of questions, dimension of the vectors, and passages per question.
        shard: passages per shard.
    """

    passages: int = 1_000_000
    flat: int = 4_000_000
    questions: int = 2_110
    dimension: int = DIMENSION
    depth: int = 100
    shard: int = 50_000


QUICK = Sizes(passages=3_000, flat=2_000, questions=20, dimension=64, depth=10, shard=700)


class Cost(NamedTuple):
    """What a search took.

    Attributes:
        seconds: time from the questions' vectors to their hits.
        memory: peak of the process, in bytes.
        read: bytes read from disk.
        positions, scores: of the hits of each question, in order; shape (questions, depth).
    """

    seconds: float
    memory: float
    read: int
    positions: np.ndarray
    scores: np.ndarray


def write_vectors(folder: Path, sizes: Sizes) -> None:
    """Write random vectors as shards of float16 embeddings. Each shard has the numbers of the first in other places."""
    draw = np.random.default_rng(1)
    numbers = draw.standard_normal((sizes.shard, sizes.dimension), dtype=np.float32).astype(np.float16)
    for number, start in enumerate(range(0, sizes.passages, sizes.shard)):
        size = min(sizes.shard, sizes.passages - start)
        turns, shift = divmod(number, sizes.dimension)
        vectors = np.roll(numbers, (turns, shift), axis=(0, 1))[:size]
        write_shard(shard_path(folder, number), map(str, range(start, start + size)), vectors)


def questions_of(sizes: Sizes) -> np.ndarray:
    """Random questions, float32, shape (questions, dimension)."""
    return np.random.default_rng(2).standard_normal((sizes.questions, sizes.dimension), dtype=np.float32)


def search_streamed(folder: Path, sizes: Sizes, device: str) -> Cost:
    """Search the shards as ``search --embeddings`` does, with all its checks."""
    import torch  # noqa: F401 # before the clock runs

    questions, read, start = questions_of(sizes), _bytes_read(), time.perf_counter()
    shards = open_shards(folder)
    best = BestPassages(shards, questions, sizes.depth, device)
    for _ in search_shards(shards, best):
        pass
    hits = [sorted(ranking, key=lambda hit: -hit.score) for ranking in best.hits()]
    seconds = time.perf_counter() - start
    positions = np.array([[int(hit.docid) for hit in ranking] for ranking in hits])
    scores = np.array([[hit.score for hit in ranking] for ranking in hits])
    return Cost(seconds, memory("VmHWM"), _bytes_read() - read, positions, scores)


def search_flat(folder: Path, sizes: Sizes, device: str) -> Cost:
    """Search the first vectors in memory with FAISS's flat index; its time has neither reading nor conversion."""
    import faiss

    questions, index = questions_of(sizes), faiss.IndexFlatIP(sizes.dimension)
    read, left = _bytes_read(), sizes.flat
    for shard in open_shards(folder):
        for block in shard.blocks(10_000):
            index.add(block[:left].astype(np.float32))
            left -= min(left, len(block))
    start = time.perf_counter()
    scores, positions = index.search(questions, sizes.depth)
    return Cost(time.perf_counter() - start, memory("VmHWM"), _bytes_read() - read, positions, scores)


def measure_peak(folder: Path, sizes: Sizes, device: str) -> float:
    """The highest rate of float32 products of the questions and a block of passages, in operations per second."""
    import torch

    questions = questions_of(sizes)
    passages = np.random.default_rng(3).standard_normal((_MULTIPLIED, sizes.dimension), dtype=np.float32)
    on_device = [torch.from_numpy(vectors).to(device) for vectors in (questions, passages)]

    def multiply() -> float:
        """One number of the product, which is waited for."""
        if device == "cpu":
            return float((questions @ passages.T)[0, 0])
        return float((on_device[0] @ on_device[1].T)[0, 0])

    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return 2 * sizes.questions * _MULTIPLIED * sizes.dimension / min(seconds)


def run_in_child(action: Callable[..., Any], *arguments: object) -> Any:
    """Run an action in its own process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(action, *arguments).result()


def measure(folder: Path, sizes: Sizes, rounds: int = 1, device: str | None = None) -> Section:
    """Write the vectors and search them in both ways in turns, each in its own process, after the machine's peak.

    Args:
        folder: an empty folder for the vectors.
        sizes: how much is searched.
        rounds: how often.
        device: torch device of our way; ``None`` takes a GPU if available.
    """
    if shutil.disk_usage(folder).free < 1.05e9 * space_of(sizes):
        hint = "set TMPDIR to another folder, or use --passages"
        raise InputError(f"has no space for {space_of(sizes):.1f} GB of vectors", path=folder, hint=hint)
    write_vectors(folder, sizes)
    device = choose_device(device)
    ways = (measure_peak, search_flat, search_streamed)
    outcomes = [[run_in_child(way, folder, sizes, device) for way in ways] for _ in range(rounds)]
    peaks, flat, ours = zip(*outcomes, strict=True)
    return _section(sizes, device, max(peaks), flat, ours)


def largest_difference(ours: Cost, flat: Cost, count: int) -> float:
    """The largest difference in score, rank by rank, between FAISS's hits and those of ours among its passages."""
    differences = [0.0]
    for positions, scores, others in zip(ours.positions, ours.scores, flat.scores, strict=True):
        common = scores[positions < count]
        differences.append(float(np.abs(common - others[: len(common)]).max(initial=0)))
    return max(differences)


def _section(sizes: Sizes, device: str, peak: float, flat: Sequence[Cost], ours: Sequence[Cost]) -> Section:
    searched, rows = min(sizes.flat, sizes.passages), []
    difference = largest_difference(ours[0], flat[0], sizes.flat)
    timings = [Timing(n, [cost.seconds for cost in costs]) for n, costs in ((searched, flat), (sizes.passages, ours))]
    for name, costs, timing in zip(("FAISS, flat", "ours"), (flat, ours), timings, strict=True):
        operations = 2 * timing.rate * sizes.questions * sizes.dimension
        rows.append(
            (
                *(name, f"{timing.count:,}", f"{timing.count / timing.rate:,.1f}", f"{timing.rate:,.0f}"),
                *(f"{operations / 1e9:,.1f}", f"{operations / peak:.0%}"),
                *(f"{max(cost.memory for cost in costs) / 1e9:.2f}", f"{max(cost.read for cost in costs) / 1e9:.1f}"),
            )
        )
    header = ("way", "passages", "seconds", "passages/s", "GFLOP/s", "of the peak", "peak memory, GB", "read, GB")
    minutes, memory_used = PASSAGES / timings[1].rate / 60, max(cost.memory for cost in ours)
    targets = [
        ratio_target("exact search, rate of FAISS's flat index", 1, timings[1].ratio_to(timings[0])),
        Target("exact search, peak memory", "under 4 GB", f"{memory_used / 1e9:.2f} GB", memory_used < MEMORY_LIMIT),
        Target(
            f"exact search of {PASSAGES:,} passages{'' if sizes.passages == PASSAGES else ', at this rate'}",
            f"under {MINUTES} minutes",
            f"{minutes:.1f} minutes",
            minutes < MINUTES,
        ),
    ]
    place = "the CPU" if device == "cpu" else "a GPU, FAISS on the CPU"
    text = f"""{sizes.questions:,} questions and the {sizes.depth} best passages for each, all random vectors of
{sizes.dimension} dimensions, on {place}. The passages are float16 in shards of {sizes.shard:,}, which take
{space_of(sizes):.1f} GB on disk. Each way runs in its own process, in turns, {describe_rounds(len(ours))}.

- *FAISS, flat*: the passages that fit into memory as float32. Its time has neither reading nor conversion.
- *ours*: `search --embeddings` from the shards on disk: checks of all docids, reading, conversion and search. Where the
  processor has bfloat16 instructions, it finds candidates with them, so that its share of the float32 peak can exceed
  100 %; scores are float64 in any case.

The peak is the fastest of {20 * len(ours)} float32 products of the questions and {_MULTIPLIED:,} passages:
{peak / 1e9:,.1f} GFLOP/s. Bytes read are those from the disk, not from the page cache. The largest difference between
the scores of the two ways is {difference:.0e}.

{Table(header, rows).markdown()}
"""
    return Section("Exact search", text, targets)


def space_of(sizes: Sizes) -> float:
    """Size of the vectors in GB."""
    return 2 * sizes.passages * sizes.dimension / 1e9


def _bytes_read() -> int:
    """Bytes that this process had read from the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def main() -> int:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=Sizes.passages, help="stored vectors (default: %(default)s)")
    parser.add_argument("--flat", type=int, default=Sizes.flat, help="vectors for FAISS (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way runs (default: %(default)s)")
    parser.add_argument("--device", help="torch device of our way (default: a GPU if there is one)")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: docs/benchmarks-search.md)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test the script in seconds")
    args = parser.parse_args()
    sizes = QUICK if args.quick else Sizes(args.passages, min(args.flat, args.passages))
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="xqg-bench-") as name:
        section = measure(Path(name), sizes, 1 if args.quick else args.rounds, args.device)
    options = f" --passages {sizes.passages} --flat {sizes.flat} --rounds {args.rounds}"
    about = f"Written by `python scripts/bench/exact.py{' --quick' if args.quick else options}`."
    warning = ["**Made with `--quick`, to test the script: these numbers mean nothing.**"] if args.quick else []
    parts = [
        "# Benchmark of exact search",
        about,
        *warning,
        machine.markdown(),
        target_table(section.targets).markdown(),
    ]
    write_page(args.output, [*parts, section.text])
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
