from __future__ import annotations

import csv
import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini
from scipy import stats

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.evaluation.compare import Comparison, System, compare
from xqg_repro.evaluation.printing import MeasureConfig, measure_config
from xqg_repro.evaluation.significance import Correction, Test, correct_p_values, mcnemar
from xqg_repro.retrieval.runfile import Hit, write_run

PERCENT = {"R2kt": MeasureConfig(scale=100, digits=1)}
LANGUAGES = ("ar", "fi")


def system(name: str, ar: list[float], fi: list[float], baseline: str = "") -> System:
    scores = {code: {f"{code}{i}": s for i, s in enumerate(values)} for code, values in (("ar", ar), ("fi", fi))}
    return System(name, name.title(), {"R2kt": scores}, baseline)


PLAIN = system("plain", [0.0] * 12 + [1.0] * 8, [1.0] * 10)
BETTER = system("better", [1.0] * 12 + [1.0] * 8, [1.0] * 9 + [0.0], "plain")
WORSE = system("worse", [0.0] * 20, [1.0] * 10, "plain")


def compared(*systems: System, **how: Any) -> Comparison:
    return compare(systems, LANGUAGES, PERCENT, **how)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compared(PLAIN, BETTER)


def test_scores_differences_and_marks() -> None:
    comparison = compared(PLAIN, BETTER, WORSE)
    assert comparison.result("plain", "R2kt").score == pytest.approx((0.4 + 1) / 2)
    assert comparison.result("better", "R2kt").difference == pytest.approx((0.6 - 0.1) / 2)
    assert comparison.result("better", "R2kt", "ar").questions == 20
    assert comparison.text().splitlines()[:5] == [
        "R2kt       ar       fi  average",
        "---------------------------------",
        "Plainᵃ   40.0    100.0     70.0",
        "Better  100.0ᵃ    90.0     95.0ᵃ",
        "Worse     0.0⁻ᵃ  100.0     50.0⁻ᵃ",
    ]
    assert [r.significant for r in comparison.results if r.column == "fi"] == [False, False, False]


def test_a_language_that_the_baseline_lacks_has_no_difference() -> None:
    partial = System("partial", "Partial", {"R2kt": {"ar": PLAIN.scores["R2kt"]["ar"], "fi": {}}})
    comparison = compared(partial, dataclasses.replace(BETTER, baseline="partial"))
    assert comparison.result("better", "R2kt", "ar").difference == pytest.approx(0.6)
    for column in ("fi", AVERAGE):
        result = comparison.result("better", "R2kt", column)
        assert result.score is not None and result.difference is None and result.p is None
    assert "–" in comparison.text()


def test_best_scores_are_bold_and_equal_ones_are_not(comparison: Comparison) -> None:
    assert "| Better | **100.0**<sup>a</sup> | 90.0 | **95.0**<sup>a</sup> |" in comparison.markdown()
    assert "| Plain<sup>a</sup> | 40.0 | **100.0** | 70.0 |" in comparison.markdown()
    assert "\033[1m100.0\033[0mᵃ" in comparison.text(bold=True)
    assert "**" not in compared(PLAIN, system("same", [0.0] * 12 + [1.0] * 8, [1.0] * 10, "plain")).markdown()


def test_p_values_are_the_tests_corrected_by_family() -> None:
    comparison = compared(PLAIN, BETTER, WORSE, test=Test.MCNEMAR, correction=Correction.BONFERRONI)
    # better in 12 of 12 Arabic questions, worse in one Finnish: two languages, a family of two
    assert comparison.result("better", "R2kt", "ar").p == pytest.approx(stats.binomtest(12, 12).pvalue)
    assert comparison.result("better", "R2kt", "ar").p_corrected == pytest.approx(2 * stats.binomtest(12, 12).pvalue)
    assert comparison.result("better", "R2kt", "fi").p == 1.0
    # averages of both systems are the other family
    averages = [comparison.result(name, "R2kt", AVERAGE) for name in ("better", "worse")]
    assert averages[0].p == mcnemar({"x": np.array([1.0] * 12 + [-1.0])})
    assert [r.p_corrected for r in averages] == correct_p_values([r.p for r in averages if r.p], Correction.BONFERRONI)


def test_a_language_that_was_not_measured_is_a_dash_and_leaves_no_average() -> None:
    alone = compared(PLAIN)
    assert alone.result("plain", "R2kt").p is None and alone.legend() == "" and "against" not in alone.text()
    half = System("half", "Half", {"R2kt": {"ar": BETTER.scores["R2kt"]["ar"]}}, "plain")
    comparison = compared(PLAIN, half)
    assert comparison.result("half", "R2kt", "ar").difference == pytest.approx(0.6)
    assert comparison.result("half", "R2kt", "fi").score is comparison.result("half", "R2kt").score is None
    assert "| Half | **100.0**<sup>a</sup> | – | – |" in comparison.markdown()


def test_equal_scores_give_p_1_and_no_warning() -> None:
    same = System("same", "Same", PLAIN.scores, "plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for test in Test:
            comparison = compared(PLAIN, same, test=test)
            assert {r.p_corrected for r in comparison.results if r.system == "same"} == {1.0}
            assert "+0.0  +0.0 to +0.0  1.000      1.000    0.00" in comparison.text()


def test_latex_csv_and_json_hold_every_cell(comparison: Comparison) -> None:
    latex = comparison.latex()
    assert latex.startswith("\\begin{tabular}{lrrr}\n\\toprule\nR2kt & ar & fi & average \\\\\n\\midrule\n")
    assert "Better & \\textbf{100.0}$^{a}$ & 90.0 & \\textbf{95.0}$^{a}$ \\\\\n\\bottomrule" in latex
    assert "ᵃ" not in latex
    content = json.loads(comparison.json())
    rows, results = list(csv.DictReader(comparison.csv().splitlines())), content["results"]
    assert content["test"] == "randomisation" and len(rows) == len(comparison.results) == 6
    for row, result in zip(rows, results, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in result.items()}


def test_systems_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="same name"):
        compared(PLAIN, PLAIN)
    with pytest.raises(InputError, match="did you mean plain"):
        compared(PLAIN, system("x", [1.0] * 20, [1.0] * 10, "plian"))
    with pytest.raises(InputError, match="not scored on the same questions: 1 in ar"):
        compared(PLAIN, system("x", [1.0] * 19, [1.0] * 10, "plain"))


def test_measures_of_answers_are_printed_in_percent() -> None:
    assert [measure_config(name).scale for name in ("R2kt", "EM_mlqa", "RR@10")] == [100, 100, 1]
    for wrong in ({"scale": 0.0}, {"digits": -1}, {"tolerance": -1.0}):
        with pytest.raises(InputError, match="cannot be used"):
            MeasureConfig(**wrong)


# the verb

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs(mini_data: Mini, tmp_path: Path) -> dict[str, str]:
    """A run in which every question finds its passage, and one in which none does."""
    paths = {}
    for name, docid in (("right", ""), ("wrong", "60")):
        paths[name] = str(tmp_path / f"run.test-mini.{name}.dev.txt")
        write_run({qid: [Hit(docid or own, 1.0)] for qid, own in mini_data.qrels}, paths[name], name)
    return paths


def average(output: str, system: str) -> dict[str, Any]:
    return next(r for r in json.loads(output)["results"] if (r["system"], r["column"]) == (system, "average"))


def test_runs_are_compared_on_the_topics_in_their_names(runs: dict[str, str], tmp_path: Path, verb: Verb) -> None:
    status, out, _ = verb("compare", runs["wrong"], runs["right"], "--measures", "R@1", "--format", "json")
    right = average(out, "right")
    assert status == 0
    assert (right["score"], right["difference"], right["baseline"], right["questions"]) == (1.0, 1.0, "wrong", 14)
    for baseline in ("right", "run.test-mini.right.dev.txt"):
        assert "wrong – right" in verb("compare", *runs.values(), "--measures", "R@1", "--baseline", baseline)[1]
    table = tmp_path / "table.md"
    assert verb("compare", *runs.values(), "--measures", "R@1", "--format", "markdown", "--output", table)[1] == ""
    assert table.read_text().startswith("| R@1 | ar |")


def test_answers_are_compared(mini_data: Mini, tmp_path: Path, verb: Verb) -> None:
    paths = [tmp_path / f"answers.test-mini.{name}.dev.json" for name in ("right", "none")]
    paths[0].write_text(json.dumps({question["id"]: question["answers"][0] for question in mini_data.questions}))
    paths[1].write_text(json.dumps({question["id"]: "zzz" for question in mini_data.questions}))
    out = verb("compare", "--answers", *paths, "--test", "mcnemar", "--measures", "EM", "--format", "json")[1]
    none = average(out, "none")
    assert (none["score"], none["difference"], none["baseline"], none["measure"]) == (0, -1, "right", "EM")
    out = verb("compare", "--answers", *paths, "--test", "t")[1]
    assert out.startswith("EM") and "\nF1" in out and "Bold" not in out
    status, _, errors = verb("compare", *paths, "--measures", "EM")
    assert status == 2 and "EM scores answers, not runs" in errors


def test_errors_name_the_file_and_the_option(runs: dict[str, str], tmp_path: Path, verb: Verb) -> None:
    def problem(*arguments: Any) -> str:
        status, _, errors = verb("compare", *arguments, "--measures", "R@1")
        assert status == 2
        return errors

    both, lines = [runs["wrong"], runs["right"]], Path(runs["right"]).read_text().splitlines(keepends=True)

    def changed(name: str, *lines: str) -> str:
        (tmp_path / name).write_text("".join(lines))
        return str(tmp_path / name)

    assert "did you mean right or wrong?" in problem(*both, "--baseline", "rihgt")
    assert "--topics" in problem(changed("mine.txt", *lines), runs["wrong"])
    twice = changed("run.test-mini.twice.dev.txt", lines[0], lines[0].replace(" 1 ", " 2 ", 1), *lines[1:])
    assert f"{twice}:2" in problem(twice, runs["right"])
    part = changed("run.test-mini.part.dev.txt", *lines[3:])
    assert "--missing zero" in problem(part, runs["right"], "--missing", "skip")
    assert "3 questions are missing" in verb("compare", part, runs["right"], "--measures", "R@1")[2]
    other = changed("run.test-mini.other.dev.txt", "x Q0 1 1 0.5 t\n")
    assert "no question 'x'" in problem(other, runs["right"])
    assert "--published compares one run" in problem(*both, "--published", "xDR mBERT")
