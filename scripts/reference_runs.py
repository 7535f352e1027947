"""Make the runs that ``make reproduce`` wrote to out/ the reference runs of the embedded collection.

Writes runs/ (compressed runs with metadata, and compressed answers), and puts the new checksums and expected scores
into the YAML files of the regressions and conditions. Run ``make docs`` afterwards.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.settings import resource
from xqg_repro.core.streams import exit_status
from xqg_repro.core.text import read_text
from xqg_repro.evaluation.printing import format_score
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.paths import answers_path, run_path
from xqg_repro.reproduction.report import report_of_runs
from xqg_repro.reproduction.run import Outcome
from xqg_repro.retrieval.metadata import metadata_path, read_measurement

BENCHMARK = load_benchmark("xor-mini")
RUNS = Path("runs")


def main() -> None:
    """Copy runs, metadata and answers; update checksums and expected scores."""
    report = report_of_runs(BENCHMARK, "out/runs")
    for outcome in report.outcomes:
        run = Path(run_path(BENCHMARK, outcome.condition, BENCHMARK.topics, "out"))
        if read_measurement(run).commit.endswith("-dirty"):
            print(f"{run} was made with uncommitted changes; search again with --force in a clean checkout")
        reference = compress(run)
        shutil.copyfile(metadata_path(run), metadata_path(reference))
        if BENCHMARK.reading:
            compress(Path(answers_path(BENCHMARK, outcome.condition, BENCHMARK.topics, "out")))
        for regression in resource("regressions").glob("*.yaml"):
            replace(regression, rf"(?<=  {re.escape(reference.name)}: )\S+", file_digest(reference))
        update_expected(outcome)


def compress(path: Path) -> Path:
    """Compress a file into runs/; equal files give equal bytes."""
    reference = RUNS / f"{path.name}.gz"
    with atomic_write(reference, "wb") as file:
        file.write(path.read_bytes())
    return reference


def update_expected(outcome: Outcome) -> None:
    """Make the measured scores of a condition the expected ones."""
    lines = ""
    for measure, config in BENCHMARK.measures.items():
        scores = {column: outcome.scores[measure][column] for column in (*BENCHMARK.languages, AVERAGE)}
        line = ", ".join(f"{column}: {format_score(score, config)}" for column, score in scores.items())
        lines += f"      {measure}: {{{line}}}\n"
    block = rf"(  - name: {re.escape(outcome.condition.name)}\n(?:    .*\n)*?    expected:\n)(?:      .*\n)+"
    replace(resource("conditions", "xor-mini.yaml"), block, rf"\g<1>{lines}")


def replace(path: Path, pattern: str, new: str) -> None:
    """Replace every match of a pattern in a file."""
    before = read_text(path)
    after = re.sub(pattern, new, before)
    if after != before:
        with atomic_write(path) as file:
            file.write(after)


if __name__ == "__main__":
    sys.exit(exit_status(main))
