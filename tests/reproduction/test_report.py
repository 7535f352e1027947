from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reproduction.toy import AUGMENTED, TOY, TOY_WITH_ANSWERS, Stages, toy
from xqg_repro.reproduction.report import Report, report_of_runs
from xqg_repro.reproduction.run import run_condition
from xqg_repro.reproduction.tasks import plan


@pytest.fixture
def stages() -> Stages:
    return Stages()


def report(stages: Stages, text: str = TOY, *names: str, **settings: Any) -> Report:
    """The report of the named conditions, or of all."""
    benchmark = toy(text)
    conditions = [benchmark.condition(name) for name in names] or benchmark.conditions
    return Report(benchmark, [run_condition(benchmark, c, "out", execute=stages, **settings) for c in conditions])


def checks(report: Report) -> list[str]:
    return [line.strip() for check in report.checks() for line in str(check).splitlines()]


def test_expected_scores_that_are_met_are_one_line(stages: Stages) -> None:
    text = report(stages, TOY, "plain").text()
    assert re.search(r"^R@1 +ar +fi\n-+\nThe plain one +50\.0 +60\.0$", text, re.MULTILINE)
    assert re.search(r"^average +R@1\n-+\nThe plain one +55\.0$", text, re.MULTILINE)
    assert "[OK] all 3 scores as expected" in text


@pytest.mark.parametrize(
    ("score", "failed", "lines"),
    [
        (0.504, False, ["[OKish] ar: measured 50.4, expected 50.0", "[OKish] average: measured 55.2, expected 55.0"]),
        (0.4, True, ["[FAIL] ar: measured 40.0, expected 50.0", "[FAIL] average: measured 50.0, expected 55.0"]),
    ],
)
def test_other_scores_stand_beside_the_expected_ones(
    stages: Stages, score: float, failed: bool, lines: list[str]
) -> None:
    stages.scores["ar"] = score
    found = report(stages, TOY, "plain")
    assert found.failed is failed
    assert checks(found) == [f"{lines[0].split()[0]} plain R@1: 1 of 3 scores as expected", *lines]
    assert checks(found)[1] in found.text() and "all 3 scores" not in found.text()


def test_condition_without_expected_scores_is_not_judged(stages: Stages) -> None:
    found = report(stages, TOY, "free")
    assert not found.failed
    assert checks(found) == ["free: no expected scores to compare with"]
    assert checks(found)[0] in found.text()


def test_summary_shows_two_measures_by_language_and_the_average_of_all(stages: Stages) -> None:
    text = report(stages, TOY_WITH_ANSWERS, "plain").text()
    assert re.findall(r"^(\S+) +ar +fi$", text, re.MULTILINE) == ["EM", "F1"]
    assert re.search(r"^average +EM +F1 +R@1$", text, re.MULTILINE)


def test_conditions_are_compared_with_baselines_that_ran(stages: Stages) -> None:
    both = report(stages, TOY + AUGMENTED, "plain", "made")
    assert "The plain oneᵃ" in both.text()
    (row,) = both.comparison.differences().rows
    assert row[:3] == ["Generated – The plain one", "R@1", "+0.0"] and row[4] == "1.000"
    assert "ᵃ" not in report(stages, TOY + AUGMENTED, "made").text()


def test_markdown_has_scores_checks_and_each_conditions_commands(stages: Stages, tmp_path: Path) -> None:
    stages.scores["ar"] = 0.4
    found = report(stages, TOY + AUGMENTED, "plain", "made", languages=("fi", "ar"))
    found.write_markdown(tmp_path / "report.md", "my out", "some/model")
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "\n| Generated | 60.0 | 40.0 | 50.0 |\n" in page
    assert "[FAIL] ar: measured 40.0, expected 50.0" in page
    for outcome in found.outcomes:
        tasks = plan(found.benchmark, outcome.condition, "my out", ("fi", "ar"), "some/model")
        assert "\n".join(["```bash", *map(str, tasks), "```"]) in page


def test_report_of_an_empty_folder_has_no_scores(tmp_path: Path) -> None:
    found = report_of_runs(toy(), tmp_path, ["plain"])
    assert found.failed and checks(found)[:2] == [
        "[FAIL] plain R@1: 0 of 3 scores as expected",
        "[FAIL] ar: measured nothing, expected 50.0",
    ]
    assert re.search(r"^The plain one +– +–$", found.text(), re.MULTILINE) and "claims" not in found.text()
