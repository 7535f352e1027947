"""Make the runs that a reproduction wrote to out/ the reference runs of its benchmark.

Writes runs/ (compressed runs with metadata, and compressed answers), and puts the new checksums and expected scores
into the YAML files of the regressions and conditions. With ``--scores``, it writes only compressed scores and metadata,
for a benchmark whose passages are not at hand wherever the pages are made. Run ``make docs`` afterwards.
"""

from __future__ import annotations

import argparse
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
from xqg_repro.reproduction.benchmark import Benchmark, load_benchmark
from xqg_repro.reproduction.paths import answers_path, run_path, scores_path
from xqg_repro.reproduction.report import report_of_runs
from xqg_repro.reproduction.run import Outcome
from xqg_repro.retrieval.metadata import metadata_path, read_measurement

RUNS = Path("runs")


def main() -> None:
    """Copy runs, metadata and answers, and update checksums and expected scores; or copy scores and metadata."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", nargs="?", default="xor-mini", help="default: %(default)s")
    parser.add_argument("--scores", action="store_true", help="copy scores instead of runs")
    args = parser.parse_args()
    benchmark = load_benchmark(args.benchmark)
    RUNS.mkdir(exist_ok=True)
    for outcome in report_of_runs(benchmark, "out/runs").outcomes:
        condition = outcome.condition
        for topics in benchmark.topic_sets():
            which = (benchmark, condition, topics, "out")
            run = Path(run_path(*which))
            if not condition.random:
                copy_metadata(run)
            if args.scores:
                compress(Path(scores_path(*which)))
            else:
                copy_run(run)
                if benchmark.reading:
                    compress(Path(answers_path(*which)))
        if not args.scores:
            update_expected(benchmark, outcome)


def copy_metadata(run: Path) -> None:
    """Copy a run's metadata into runs/."""
    if read_measurement(run).commit.endswith("-dirty"):
        print(f"{run} was made with uncommitted changes; search again with --force in a clean checkout")
    shutil.copyfile(metadata_path(run), RUNS / metadata_path(run).name)


def copy_run(run: Path) -> None:
    """Copy a run into runs/, and its checksum into the regressions that have it."""
    reference = compress(run)
    for regression in resource("regressions").glob("*.yaml"):
        replace(regression, rf'(?<=  {re.escape(reference.name)}: )(?:""|\w+)', file_digest(reference))


def compress(path: Path) -> Path:
    """Compress a file into runs/; equal files give equal bytes."""
    reference = RUNS / f"{path.name}.gz"
    with atomic_write(reference, "wb") as file:
        file.write(path.read_bytes())
    return reference


def update_expected(benchmark: Benchmark, outcome: Outcome) -> None:
    """Make the measured scores of a condition the expected ones."""
    lines = ""
    for measure, config in benchmark.measures.items():
        scores = {column: outcome.scores[measure][column] for column in (*benchmark.languages, AVERAGE)}
        line = ", ".join(f"{column}: {format_score(score, config)}" for column, score in scores.items())
        lines += f"      {measure}: {{{line}}}\n"
    block = rf"(  - name: {re.escape(outcome.condition.name)}\n(?:    .*\n)*?    expected:\n)(?:      .*\n)+"
    replace(resource("conditions", f"{benchmark.name}.yaml"), block, rf"\g<1>{lines}")


def replace(path: Path, pattern: str, new: str) -> None:
    """Replace every match of a pattern in a file."""
    before = read_text(path)
    after = re.sub(pattern, new, before)
    if after != before:
        with atomic_write(path) as file:
            file.write(after)


if __name__ == "__main__":
    sys.exit(exit_status(main))
