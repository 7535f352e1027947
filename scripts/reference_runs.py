"""Takes the runs that ``make reproduce`` left in out/ as the reference runs of the embedded collection.

Writes runs/ (compressed: runs with metadata, and the answers read from them), and the new checksums and expected scores
into the YAML files of the regressions and conditions. ``make docs`` does the rest.
"""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

from xqg_repro.core.files import atomic_write, file_digest, read_text
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.printing import format_score
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.report import report_of_runs
from xqg_repro.reproduction.run import Outcome
from xqg_repro.reproduction.tasks import answers_path, run_path
from xqg_repro.retrieval.metadata import metadata_path, read_measurement

BENCHMARK = load_benchmark("xor-mini")
RUNS = Path("runs")


def main() -> None:
    """Take over runs, metadata, answers, checksums and scores."""
    report = report_of_runs(BENCHMARK, "out/runs")
    for outcome in report.outcomes:
        made = Path(run_path(BENCHMARK, outcome.condition, BENCHMARK.topics, "out"))
        if read_measurement(made).commit.endswith("-dirty"):
            print(f"{made} was made with files that are not committed; search again (--force) in a clean checkout")
        kept = keep(made)
        shutil.copyfile(metadata_path(made), metadata_path(kept))
        if BENCHMARK.reading:
            keep(Path(answers_path(BENCHMARK, outcome.condition, BENCHMARK.topics, "out")))
        for regression in resource("regressions").glob("*.yaml"):
            replace(regression, rf"(?<=  {re.escape(kept.name)}: )\S+", file_digest(kept))
        expect(outcome)


def keep(made: Path) -> Path:
    """Put a file into runs/, compressed; the same file gives the same bytes."""
    kept = RUNS / f"{made.name}.gz"
    with atomic_write(kept, "wb") as file:
        file.write(gzip.compress(made.read_bytes(), 9, mtime=0))
    return kept


def expect(outcome: Outcome) -> None:
    """Write what was measured as what is expected from now on."""
    lines = ""
    for measure, how in BENCHMARK.measures.items():
        scores = {column: outcome.scores[measure][column] for column in (*BENCHMARK.languages, AVERAGE)}
        line = ", ".join(f"{column}: {format_score(score, how)}" for column, score in scores.items())
        lines += f"      {measure}: {{{line}}}\n"
    block = rf"(  - name: {re.escape(outcome.condition.name)}\n(?:    .*\n)*?    expected:\n)(?:      .*\n)+"
    replace(resource("conditions", "xor-mini.yaml"), block, rf"\g<1>{lines}")


def replace(path: Path, pattern: str, new: str) -> None:
    """Put ``new`` wherever the pattern occurs in a file."""
    before = read_text(path)
    after = re.sub(pattern, new, before)
    if after != before:
        with atomic_write(path) as file:
            file.write(after)


if __name__ == "__main__":
    main()
