"""Writes the generated documentation: ``make docs``, in a checkout.

Regression pages, two-click pages and the landing page are generated whole. In other pages, generated parts stand
between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the rest is left alone.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from landing import landing_page

from xqg_repro import collection
from xqg_repro.collection.topics import read_topics, write_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.core.templates import template
from xqg_repro.core.text import read_json, read_text
from xqg_repro.reproduction import regress
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.claims import claims_table
from xqg_repro.reproduction.page import Figure, write_page
from xqg_repro.reproduction.report import BY_LANGUAGE, Report, report_of_runs
from xqg_repro.reproduction.tasks import Step
from xqg_repro.retrieval.metadata import read_measurement
from xqg_repro.study.page import machine_section
from xqg_repro.study.tables import study_part
from xqg_repro.study.transfer import transfer_table

BENCHMARKS = ("xor-mini", "xor-tydi", "xor-tydi-vital", "xquad")
"""The benchmarks that have a two-click page."""

_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str) -> str:
    """Replace every generated part of a page by its current content."""

    def replace(match: re.Match[str]) -> str:
        kind, _, argument = match[2].partition(":")
        if kind not in _PARTS:
            raise InputError(f"nothing generates {match[2]!r}", hint=f"known: {', '.join(_PARTS)}")
        return f"{match[1]}{_PARTS[kind](argument)}\n{match[3]}"

    return _BLOCK.sub(replace, text)


def summary(benchmark_name: str) -> str:
    """The expected scores in one Markdown table: two measures by language, and averages of the others."""
    benchmark = load_benchmark(benchmark_name)
    by_language, others = [*benchmark.measures][:BY_LANGUAGE], [*benchmark.measures][BY_LANGUAGE:]
    columns, rows = [*benchmark.languages, AVERAGE], []
    for condition in benchmark.conditions:
        averages = [_expected(benchmark, condition, measure, AVERAGE) for measure in others]
        for measure in by_language:
            first = measure == by_language[0]
            scores = [_expected(benchmark, condition, measure, column) for column in columns]
            rows.append(
                [condition.title if first else "", measure, *scores, *(averages if first else [""] * len(others))]
            )
    return Table(["system", "", *columns, *others], rows, left=2).markdown()


def expected_table(benchmark: Benchmark, measure: str, conditions: Sequence[Condition]) -> Table:
    """Conditions × languages: expected scores of one measure."""
    columns = [*benchmark.languages, AVERAGE]
    rows = [[c.title, *(_expected(benchmark, c, measure, column) for column in columns)] for c in conditions]
    return Table([measure, *columns], rows)


def _expected(benchmark: Benchmark, condition: Condition, measure: str, column: str) -> str:
    score = condition.expected.get(measure, {}).get(column)
    return "–" if score is None else f"{score:.{benchmark.measures[measure].digits}f}"


def data_files(collection_name: str) -> str:
    """Address and checksum of each file of a collection that is downloaded, as a Markdown table."""
    listed = read_yaml(resource("collections", "files.yaml"))[collection_name]
    rows = [
        [f"[{name}]({entry['url']})", entry.get("md5") or "recorded at first use"] for name, entry in listed.items()
    ]
    return Table(["file", "md5"], rows, left=2).markdown()


def topic_files(folder: str) -> str:
    """Number of questions and checksum of each topic file of the embedded collection, as a Markdown table."""
    rows = [
        [path.name, str(sum(1 for _ in path.open(encoding="utf-8"))), file_digest(path, "md5")]
        for path in sorted(Path(folder).glob("topics.*.tsv"))
    ]
    return Table(["file", "questions", "md5"], rows).markdown()


def ablation(folder: str) -> str:
    """The tables of an ablation in docs/ablations."""
    return read_text(Path("docs", "ablations", folder, "table.md")).strip()


def fine_tuning(_: str) -> str:
    """Encoders before and after training on some articles of XQuAD, a table for each measurement that is kept."""
    parts = []
    for path in sorted(Path("docs", "fine-tuning").glob("*.json")):
        measured = read_json(path)
        about = f"questions in each language, about {measured['articles']} articles that the training did not see"
        table = transfer_table(measured).markdown()
        parts.append(f"[{path.stem}](fine-tuning/{path.name}), {measured['questions']} {about}:\n\n{table}")
    return "\n\n".join(parts)


def model_kinds(_: str) -> str:
    """Which kinds of models each verb takes; tried in a process of its own, with a home of its own for ir-datasets."""
    script = Path(__file__).with_name("model_table.py")
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "IR_DATASETS_HOME": home, "PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.run(
            [sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return process.stdout.strip()


def claims(benchmark_name: str) -> str:
    """The paper's claims, checked on the reference runs of a benchmark."""
    return claims_table(_report(benchmark_name).evidence).markdown()


def regressions(_: str) -> str:
    """The catalogue of regressions."""
    rows = []
    for name in regress.regression_names():
        regression = regress.load_regression(name)
        link = f"[{regression.title}]({name}.md)"
        rows.append([link, f"`{name}`", regression.benchmark, ", ".join(regression.conditions)])
    return Table(["regression", "name", "benchmark", "conditions"], rows, left=4).markdown()


def reference_runs(folder: str) -> str:
    """The reference runs: when and on what they were made, and their checksums."""
    rows = []
    for path in sorted(Path(folder).glob("run.*.gz")):
        made = read_measurement(path)
        rows.append([f"[{path.name}]({path.name})", made.date, made.commit, made.hardware, f"`{file_digest(path)}`"])
    return Table(["run", "made", "commit", "on", "SHA-256"], rows, left=5).markdown()


def regression_page(name: str) -> str:
    """The page of a regression."""
    regression = regress.load_regression(name)
    benchmark, conditions = regress.conditions_of(regression)
    commands = {step.value: "\n".join(map(str, regress.regression_tasks(regression, "out", [step]))) for step in Step}
    measures = [measure for measure in benchmark.measures if any(measure in c.expected for c in conditions)]
    checksums = {file: md5 or "none is published" for file, md5 in regression.data.items()}
    return template("regression.md").render(
        regression=regression,
        benchmark=benchmark,
        command=regress.whole_command(regression),
        steps=commands,
        data=_names_and_sums("file", "MD5", checksums),
        runs=_names_and_sums("run", "SHA-256", regression.runs) if regression.runs else "",
        expected="\n\n".join(expected_table(benchmark, measure, conditions).markdown() for measure in measures),
        tolerances=", ".join(f"{measure} ± {benchmark.measures[measure].tolerance:g}" for measure in measures),
        overlap=f"{regression.overlap:.0%}",
    )


def _names_and_sums(name: str, sum_name: str, sums: Mapping[str, str]) -> str:
    return Table([name, sum_name], [[key, value] for key, value in sums.items()], left=2).markdown()


def write_two_click_page(benchmark_name: str, path: Path) -> None:
    """The page of a benchmark, with the scores of the runs (or the scores) in ``runs/``."""
    report = _report(benchmark_name)
    write_page(report.evidence, path, measured=report.measurements("runs"), ablations=_ablations(benchmark_name))


@cache
def _report(benchmark_name: str) -> Report:
    """The report of the runs in ``runs/``; several pages show a benchmark, whose comparisons take a while."""
    return report_of_runs(load_benchmark(benchmark_name), "runs")


def _ablations(benchmark_name: str) -> list[Figure]:
    if benchmark_name != "xor-mini":
        return []
    figures = []
    for path in sorted(Path("docs", "ablations").glob("*/plot.svg")):
        encoder, varied, split = path.parent.name.split(".", 2)
        system, what = {
            "alpha": (f"{encoder} + xQG", "α"),
            "queries": (f"{encoder} + xQG", "the number of queries per language"),
            "weight": (encoder, "the weight of the first run"),
        }[varied]
        title = f"{system} by {what}, on {split} questions"
        figures.append(Figure(title, f"{title}; docs/ablations has the figures", read_text(path)))
    return figures


_PARTS = {
    "regressions": regressions,
    "runs": reference_runs,
    "claims": claims,
    "models": model_kinds,
    "summary": summary,
    "files": data_files,
    "topics": topic_files,
    "ablation": ablation,
    "fine-tuning": fine_tuning,
    "study": study_part,
    "machine-study": machine_section,
}


def main() -> None:
    """Write topic files, generated pages and generated parts; the working directory is a checkout's root."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    if not Path("docs", "regressions").is_dir():
        raise InputError("is not a checkout's root", path=Path.cwd(), hint="run make docs there")
    collection.register()
    benchmark = load_benchmark("xor-mini")
    for language in benchmark.languages:
        topics = f"{benchmark.topics}/{language}"
        write_topics(read_topics(topics)[0], Path("topics", f"topics.{topics.replace('/', '.')}.tsv"))
    for name in regress.regression_names():
        _write_if_changed(regression_page(name), Path("docs", "regressions", f"{name}.md"))
    for name in BENCHMARKS:
        write_two_click_page(name, Path("docs", "2cr", f"{name}.html"))
    for page in [*map(Path, ("README.md", "topics/README.md", "runs/README.md")), *sorted(Path("docs").rglob("*.md"))]:
        _write_if_changed(fill(read_text(page)), page)
    _write_if_changed(landing_page(), Path("docs", "index.html"))  # it reads the pages above


def _write_if_changed(text: str, page: Path) -> None:
    if not page.exists() or read_text(page) != text:
        with atomic_write(page) as file:
            file.write(text)
        print(f"wrote {page}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
