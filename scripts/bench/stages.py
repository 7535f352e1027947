"""Where ``make reproduce`` spends its time: python scripts/bench/stages.py.

Runs all conditions of xor-mini in a temporary folder once, as the first ``make reproduce`` does, and writes the seconds
of each stage to docs/benchmarks-reproduction.md. This takes four minutes, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from common import Target, describe_machine, target_table, write_page

from xqg_repro.cli import two_click
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.execute import execute
from xqg_repro.reproduction.tasks import Task

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-reproduction.md"
BENCHMARK = "xor-mini"
MINUTES = 4


def measure(conditions: Sequence[str]) -> tuple[Target, Table]:
    """Run conditions with the two-click command, and measure seconds by stage."""
    seconds: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    calls: Counter[str] = Counter()

    def timed(task: Task) -> Any:
        start = time.perf_counter()
        result = execute(task)
        took = time.perf_counter() - start
        seconds[task.verb] += took
        calls[task.verb] += 1
        slowest[task.verb] = max(slowest.get(task.verb, 0), took)
        return result

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="xqg-bench-") as folder, redirect_stdout(io.StringIO()):
        options = ["--condition", *conditions, "--directory", folder, "--output", f"{folder}/report.html"]
        status = two_click.main(BENCHMARK, options, timed)
    total = time.perf_counter() - start
    if status == 2:
        raise SystemExit("stages: the reproduction failed; its message is above")
    rest = total - seconds.total()
    rows = [
        (verb, str(calls[verb]), f"{seconds[verb]:.1f}", f"{slowest[verb]:.1f}", f"{seconds[verb] / total:.0%}")
        for verb, _ in seconds.most_common()
    ]
    rows += [("significance, claims and report", "1", f"{rest:.1f}", "–", f"{rest / total:.0%}")]
    rows += [("all", "", f"{total:.1f}", "–", "100%")]
    target = Target(
        "`make reproduce`, once installed", f"at most {60 * MINUTES} s", f"{total:.0f} s", total <= 60 * MINUTES
    )
    return target, Table(("stage", "calls", "seconds", "the slowest call", "share"), rows)


def main() -> int:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [condition.name for condition in load_benchmark(BENCHMARK).conditions]
    parser.add_argument("--condition", nargs="+", default=names, help="conditions to run (default: all)")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: %(default)s)")
    args = parser.parse_args()
    target, table = measure(args.condition)
    about = f"""Written by `make bench`. One run of {len(args.condition)} conditions of {BENCHMARK} with the two-click
command, into an empty folder. Conditions share stages: a call that finds its output up to date takes no time. The first
`search` starts a Java virtual machine, and the first `encode` loads torch."""
    parts = ["# Benchmark of the reproduction", about]
    parts += [describe_machine().markdown(), target_table([target]).markdown(), table.markdown()]
    write_page(args.output, parts)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
