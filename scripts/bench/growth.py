"""Time and memory of the stages as the collection grows: python scripts/bench/growth.py [--quick].

Prints a page and writes it to docs/benchmarks-growth.md, with its plot in docs/images. Collections of a thousand to a
million passages take 3 GB of temporary space (in ``TMPDIR``) and five minutes, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import Target, describe_machine, memory, target_table, write_page
from exact import run_in_child

from xqg_repro import collection
from xqg_repro.collection.xor_tydi import NAME, SPLITS
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.plots import curves
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.evaluation import evaluate
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import load_preset
from xqg_repro.representation.augment import augment
from xqg_repro.representation.encode import SHARD_SIZE, encode
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import SHARD_SIZE as SHARD_OF_SUMS, sum_queries
from xqg_repro.retrieval.exact import search_embeddings

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-growth.md"
SIZES, QUICK = (1_000, 10_000, 100_000, 1_000_000), (10, 100)
QUESTIONS, DEPTH = 200, 100
ENCODER = "xdr-mini"
MOST_BYTES = 64  # for a further passage: 1.2 GB for the 18 million passages of XOR-TyDi
MOST_SLOPE = 1.1
LEAST_SLOPE = 0.9  # of a stage that is called linear


class Cost(NamedTuple):
    """What a stage took.

    Attributes:
        seconds: time of the stage, without starting Python and importing libraries.
        memory: peak of the process, in bytes.
        start: memory of the process before the stage, in bytes.
    """

    seconds: float
    memory: float
    start: float


Costs = Mapping[str, Sequence[Cost]]  # stage → its costs, one per size


def write_collection(folder: Path, passages: int) -> None:
    """Write passages and questions as XOR-TyDi's files, and generated queries: those of xor-mini, each with a number.

    The numbers make all texts distinct, so that no stage can reuse its work.
    """
    docs = list(collection.load("xor-mini").docs_iter())
    questions = list(collection.load("xor-mini/dev").queries_iter())
    with open(folder / "enwiki_20190201_w100.tsv", "w", encoding="utf-8") as file:
        file.write("id\ttext\ttitle\n")
        for number, doc in zip(range(1, passages + 1), cycle(docs), strict=False):
            file.write(f"{number}\t{doc.text} {number}\t{doc.title}\n")
    with open(folder / SPLITS["test"], "w", encoding="utf-8") as file:
        for question in questions[:: len(questions) // QUESTIONS][:QUESTIONS]:
            fields = {"id": question.query_id, "question": question.text, "lang": question.lang}
            file.write(json.dumps({**fields, "answers": question.answers}) + "\n")
    texts = [cycle(question.text for question in questions if question.lang == code) for code in XOR_LANGUAGES]
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
        for number, row in enumerate(islice(zip(*texts, strict=True), passages), 1):
            queries = {code: [f"{number} {text}"] for code, text in zip(XOR_LANGUAGES, row, strict=True)}
            line = {"docid": str(number), "generated_queries": queries}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


STAGES: dict[str, Callable[[Path], object]] = {
    "encode": lambda folder: encode(NAME, load_preset(ENCODER), folder / "embeddings", device="cpu"),
    "sum": lambda folder: sum_queries(
        folder / "queries.jsonl", load_preset(ENCODER), folder / "sums", count=1, device="cpu"
    ),
    "augment": lambda folder: augment(folder / "embeddings", folder / "sums", folder / "augmented", Augmentation()),
    "search": lambda folder: search_embeddings(
        folder / "augmented", f"{NAME}/test", folder / "run.txt", depth=DEPTH, device="cpu"
    ),
    "evaluate": lambda folder: evaluate(folder / "run.txt", f"{NAME}/test", ["R2kt", "R5kt"]),
}


def run_stage(name: str, folder: Path) -> Cost:
    """Run a stage in this process, with random vectors in place of the network's."""
    import ir_measures  # noqa: F401 # as the encoder, before the clock runs

    logging.getLogger("xqg_repro").setLevel(logging.ERROR)  # the files are not as large as XOR-TyDi's
    draw = np.random.default_rng(1)

    def embed(encoder: TextEncoder, tokens: list[list[int]], project: object) -> np.ndarray:
        return draw.standard_normal((len(tokens), encoder.dimension), dtype=np.float32)

    TextEncoder._embed = embed  # type: ignore[method-assign] # the tokenizer, batches and checks remain
    TextEncoder(load_preset(ENCODER), "cpu").encode_queries(["?"])
    before, start = memory("VmRSS"), time.perf_counter()
    STAGES[name](folder)
    return Cost(time.perf_counter() - start, memory("VmHWM"), before)


def measure(sizes: Sequence[int]) -> Costs:
    """Run all stages on collections of these sizes, each in its own process."""
    costs: dict[str, list[Cost]] = {name: [] for name in STAGES}
    for passages in sizes:
        with tempfile.TemporaryDirectory(prefix="xqg-bench-") as name:
            folder = Path(name)
            write_collection(folder, passages)
            os.environ.update(XQG_REPRO_DATA=name, IR_DATASETS_HOME=str(folder / "home"))  # of the stages' processes
            os.sync()  # so that no earlier writes run while the clock does
            for stage in STAGES:
                costs[stage].append(run_in_child(run_stage, stage, folder))
                print(f"growth: {passages:,} passages, {stage}", file=sys.stderr, flush=True)
    return costs


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The exponent of growth, by least squares of the logarithms: 1 is linear, 0 is flat."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def draw_plot(sizes: Sequence[int], costs: Costs) -> str:
    """Seconds and peak memory against the number of passages, as SVG text."""
    seconds = {name: [(n, cost.seconds) for n, cost in zip(sizes, row, strict=True)] for name, row in costs.items()}
    peaks = {name: [(n, cost.memory / 1e6) for n, cost in zip(sizes, row, strict=True)] for name, row in costs.items()}
    return curves("passages", {"seconds": seconds, "peak memory, MB": peaks}, logarithmic=True)


def describe(sizes: Sequence[int], costs: Costs, image: str) -> tuple[list[Target], str]:
    """The targets, and the page below them.

    Args:
        sizes: numbers of passages, increasing; the last two decide slopes and targets.
        costs: the cost of each stage at each size.
        image: the plot's path, relative to the page.
    """
    seconds = {name: [cost.seconds for cost in row] for name, row in costs.items()}
    peaks = {name: [cost.memory / 1e6 for cost in row] for name, row in costs.items()}
    slopes = {name: slope(sizes[-2:], values[-2:]) for name, values in seconds.items()}
    added = {name: 1e6 * _per_passage(sizes, values) for name, values in peaks.items()}
    targets = [
        Target(f"{name}: slope of time", f"at most {MOST_SLOPE}", f"{value:.2f}", value <= MOST_SLOPE)
        for name, value in slopes.items()
    ]
    for name, size in added.items():
        what, met = f"{name}: memory per further passage", size <= MOST_BYTES
        targets.append(Target(what, f"at most {MOST_BYTES} bytes", f"{size:,.0f} bytes", met))
    linear = _join(name for name, value in slopes.items() if LEAST_SLOPE <= value <= MOST_SLOPE)
    below = _join(name for name, value in slopes.items() if value < LEAST_SLOPE)
    flat = _join(name for name, size in added.items() if size <= MOST_BYTES)
    start = max(cost.start for row in costs.values() for cost in row) / 1e6
    dimension = TextEncoder(load_preset(ENCODER), "cpu").dimension
    text = f"""\
Each stage runs once for each size, in its own process. The passages are those of xor-mini with a number, so that
all texts differ. Random vectors of {dimension} dimensions replace the network, whose time per passage does not
depend on their number. Everything else is the stage itself: checks, tokenizer, batches, shards, checksums. Shards
have the default sizes, {SHARD_SIZE:,} embeddings and {SHARD_OF_SUMS:,} sums. `sum` reads one query per passage
in each of {len(XOR_LANGUAGES)} languages, `search --embeddings` searches the augmented passages for {QUESTIONS}
questions, and `evaluate` scores R2kt and R5kt of the {DEPTH} best passages for each.

![seconds and peak memory of each stage against the number of passages]({image})

## Time

Seconds, without starting Python and loading libraries. The slope is that of the logarithms from {sizes[-2]:,} to
{sizes[-1]:,} passages: 1 is linear, 0 is flat. The last column is what each further passage adds between these sizes.

{_table(sizes, seconds, 2, "µs per further passage").markdown()}

- Linear: {linear}.
- Less than linear: {below}.
  In `search`, encoding the questions takes a fixed time. In `evaluate`, almost all is fixed, as only the passages of
  the run are scored; what grows is the checksum of the collection's file and the places of its lines. `augment`
  mostly reads and writes files, at a rate that varies.

## Memory

Peak memory of the process in MB, of which {start:,.0f} MB are Python, the libraries and the encoder. The slope and the
last column are as above.

{_table(sizes, peaks, 0, "bytes per further passage").markdown()}

- Flat, except for at most {MOST_BYTES} bytes per passage: {flat}.
  These include 8 bytes for each docid's hash, which finds repeated docids; for each line's place in the collection's
  file; and for each passage's place among the sums.
- Below the size of a shard, memory grows until the shard is full. `--shard-size` reduces it.
"""
    return targets, text


def _table(sizes: Sequence[int], values: Mapping[str, Sequence[float]], digits: int, last: str) -> Table:
    """A row per stage: its value at each size, the slope, and what a million further passages add."""
    rows = []
    for name, row in values.items():
        growth = 1e6 * _per_passage(sizes, row)
        ends = (f"{slope(sizes[-2:], row[-2:]):.2f}", f"{growth:,.1f}" if digits else f"{growth:,.0f}")
        rows.append((name, *(f"{value:,.{digits}f}" for value in row), *ends))
    return Table(("stage", *(f"{size:,}" for size in sizes), "slope", last), rows)


def _per_passage(sizes: Sequence[int], values: Sequence[float]) -> float:
    """How much each passage adds between the two largest sizes."""
    return (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])


def _join(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def main() -> int:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: docs/benchmarks-growth.md)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test the script in seconds")
    args = parser.parse_args()
    sizes, machine = QUICK if args.quick else SIZES, describe_machine()
    costs, image = measure(sizes), args.output.parent / "images" / "growth.svg"
    targets, text = describe(sizes, costs, f"images/{image.name}")
    warning = ["**Made with `--quick`, to test the script: these numbers mean nothing.**"] if args.quick else []
    about = f"Written by `python scripts/bench/growth.py{' --quick' if args.quick else ''}`, a part of `make bench`."
    parts = ["# Benchmark of growth", about, *warning, machine.markdown(), target_table(targets).markdown(), text]
    write_page(args.output, parts)
    with atomic_write(image) as file:
        file.write(draw_plot(sizes, costs))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
