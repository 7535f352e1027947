"""The embedded collection's two-click command, end to end, in a directory of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

from xqg_repro import cli
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.run import plan
from xqg_repro.retrieval.metadata import read_measurement

pytestmark = pytest.mark.integration
BENCHMARK = load_benchmark("xor-mini")
PLANNED = [command for condition in BENCHMARK.conditions for command in plan(BENCHMARK, condition, "out")]


def test_every_condition_has_its_expected_scores(reproduction) -> None:
    assert reproduction.process.returncode == 0, reproduction.process.stdout + reproduction.process.stderr
    for condition in BENCHMARK.conditions:
        assert set(condition.expected) == set(BENCHMARK.measures)
        for measure in BENCHMARK.measures:
            assert re.search(rf"\[OK(ish)?\] {condition.name} {re.escape(measure)}: ", reproduction.process.stdout)


def test_regressions_find_data_scores_and_runs_as_they_were(
    reproduction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reproduction.folder)
    names = ["xor-mini-xdr", "xor-mini-xlmr", "xor-mini-zero-shot"]
    status = cli.main(["regress", "--regression", *names, "--verify", "--runs", str(REPOSITORY / "runs")])
    shown = capsys.readouterr().out
    assert status == 0, shown
    for condition in BENCHMARK.conditions:
        assert re.search(rf"\[OK(ish)?\] run: run.xor-mini.{condition.name}.dev.txt: ", shown)
    assert "[OK] data: passages.tsv" in shown


def test_runs_tell_when_and_from_what_they_were_made(reproduction) -> None:
    for condition in BENCHMARK.conditions:
        made = read_measurement(reproduction.folder / "out" / "runs" / f"run.xor-mini.{condition.name}.dev.txt")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
        assert "cores" in made.hardware


def test_report_and_its_commands(reproduction) -> None:
    page = (reproduction.folder / "report.md").read_text(encoding="utf-8")
    commands = re.findall(r"^xqg-repro .*$", page, re.MULTILINE)
    shown = re.findall(r"^\$ (xqg-repro .*)$", reproduction.process.stderr, re.MULTILINE)
    assert commands == shown
    assert commands == [str(command) for command in PLANNED]


def test_a_second_time_everything_is_reused(reproduction) -> None:
    def files() -> dict[Path, int]:
        found = (p for p in (reproduction.folder / "out").rglob("*") if p.is_file() and "scores" not in p.parts)
        return {path: path.stat().st_mtime_ns for path in found}

    before = files()
    again = reproduction.again()
    assert again.returncode == 0
    assert again.stderr.count("is up to date") == sum(command.stage != "evaluate" for command in PLANNED)
    after = files()
    assert {path: after[path] for path in before} == before
