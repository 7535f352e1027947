"""Takes the runs that ``make reproduce`` left in out/ as the reference runs of the embedded collection.

Writes runs/ (compressed, with metadata), and the new checksums and expected scores into the YAML files of the
regressions and conditions. ``make docs`` does the rest.
"""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

from xqg_repro.artifacts import atomic_write, file_digest, read_text
from xqg_repro.commands import run_path
from xqg_repro.config import AVERAGE, load_benchmark, resource
from xqg_repro.metadata import metadata_path, read_measurement
from xqg_repro.report import report_of_runs
from xqg_repro.reproduce import Outcome
from xqg_repro.verdict import printed

BENCHMARK = load_benchmark("xor-mini")
RUNS = Path("runs")


def main() -> None:
    """Take over runs, metadata, checksums and scores."""
    report = report_of_runs(BENCHMARK, "out/runs")
    for outcome in report.outcomes:
        made = Path(run_path(BENCHMARK, outcome.condition, BENCHMARK.topics, "out"))
        if read_measurement(made).commit.endswith("-dirty"):
            print(f"{made} was made with files that are not committed; search again (--force) in a clean checkout")
        kept = RUNS / f"{made.name}.gz"
        with atomic_write(kept, "wb") as file:
            file.write(gzip.compress(made.read_bytes(), 9, mtime=0))
        shutil.copyfile(metadata_path(made), metadata_path(kept))
        for regression in resource("regressions").glob("*.yaml"):
            replace(regression, rf"(?<=  {re.escape(kept.name)}: )\S+", file_digest(kept))
        expect(outcome)


def expect(outcome: Outcome) -> None:
    """Write what was measured as what is expected from now on."""
    path = resource("conditions", "xor-mini.yaml")
    for measure, scores in outcome.scores.items():
        how = BENCHMARK.measures[measure]
        columns = [*BENCHMARK.languages, AVERAGE]
        line = ", ".join(f"{column}: {printed(scores[column], how)}" for column in columns)
        block = rf"(?s)(- name: {outcome.condition.name}\n(?:(?!- name:).)*?      {re.escape(measure)}: )\{{[^}}]*\}}"
        replace(path, block, rf"\g<1>{{{line}}}")


def replace(path: Path, pattern: str, new: str) -> None:
    """Put ``new`` wherever the pattern occurs in a file."""
    before = read_text(path)
    after = re.sub(pattern, new, before)
    if after != before:
        with atomic_write(path) as file:
            file.write(after)


if __name__ == "__main__":
    main()
