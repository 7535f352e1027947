"""The embedded collection's two-click command, end to end, in a directory of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, Reproduction

from xqg_repro import cli
from xqg_repro.core.settings import resource
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.tasks import plan
from xqg_repro.retrieval.metadata import read_measurement

pytestmark = pytest.mark.integration
BENCHMARK = load_benchmark("xor-mini")
TASKS = [task for condition in BENCHMARK.conditions for task in plan(BENCHMARK, condition, "out")]


def test_every_expected_score_is_met(reproduction: Reproduction) -> None:
    process = reproduction.process
    assert process.returncode == 0, process.stdout + process.stderr
    for condition in BENCHMARK.conditions:
        assert set(condition.expected) == set(BENCHMARK.measures)
    assert "[OK] " in process.stdout and "[FAIL]" not in process.stdout


def test_the_summary_fits_on_a_screen(reproduction: Reproduction) -> None:
    lines = reproduction.process.stdout.splitlines()
    assert len(lines) <= 20 + 4 * len(BENCHMARK.conditions)
    assert max(map(len, lines)) <= 200


def test_regressions_find_data_scores_and_runs_as_they_were(
    reproduction: Reproduction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reproduction.folder)
    names = sorted(path.stem for path in resource("regressions").glob("xor-mini-*.yaml"))
    status = cli.main(["regress", "--regression", *names, "--verify", "--runs", str(REPOSITORY / "runs")])
    printed = capsys.readouterr().out
    assert status == 0, printed
    for condition in BENCHMARK.conditions:
        assert re.search(rf"\[OK(ish)?\] run: run.xor-mini.{re.escape(condition.name)}.dev.txt: ", printed)
    assert "[OK] data: passages.tsv" in printed


def test_runs_record_when_and_on_what_they_were_made(reproduction: Reproduction) -> None:
    for condition in BENCHMARK.conditions:
        run = reproduction.folder / "out" / "runs" / f"run.xor-mini.{condition.name}.dev.txt"
        measurement = read_measurement(run)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", measurement.date)
        assert "cores" in measurement.hardware


def test_the_report_has_the_commands_that_ran(reproduction: Reproduction) -> None:
    page = (reproduction.folder / "report.md").read_text(encoding="utf-8")
    commands = re.findall(r"^xqg-repro .*$", page, re.MULTILINE)
    displayed = re.findall(r"^\$ (xqg-repro .*)$", reproduction.process.stderr, re.MULTILINE)
    assert commands == displayed == [str(task) for task in TASKS]


def test_a_second_run_reuses_everything(reproduction: Reproduction) -> None:
    def files() -> dict[Path, int]:
        paths = (p for p in (reproduction.folder / "out").rglob("*") if p.is_file() and "scores" not in p.parts)
        return {path: path.stat().st_mtime_ns for path in paths}

    before = files()
    again = reproduction.again()
    assert again.returncode == 0
    assert again.stderr.count("is up to date") == sum(task.verb != "evaluate" for task in TASKS)
    after = files()
    assert {path: after[path] for path in before} == before
