from __future__ import annotations

import csv
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini
from scipy import stats

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.evaluation.compare import Comparison, System, compare, nearest
from xqg_repro.evaluation.printing import MeasureConfig, printing
from xqg_repro.evaluation.significance import Correction, Test, corrected, mcnemar
from xqg_repro.retrieval.runfile import Hit, write_run

PERCENT = {"R2kt": MeasureConfig(scale=100, digits=1)}
LANGUAGES = ("ar", "fi")


def system(name: str, ar: list[float], fi: list[float], baseline: str = "") -> System:
    scores = {
        language: {f"{language}{i}": score for i, score in enumerate(values)}
        for language, values in (("ar", ar), ("fi", fi))
    }
    return System(name, name.title(), {"R2kt": scores}, baseline)


PLAIN = system("plain", [0.0] * 12 + [1.0] * 8, [1.0] * 10)
BETTER = system("better", [1.0] * 12 + [1.0] * 8, [1.0] * 9 + [0.0], "plain")
WORSE = system("worse", [0.0] * 20, [1.0] * 10, "plain")


def compared(*systems: System, **how: Any) -> Comparison:
    return compare(systems, LANGUAGES, PERCENT, **how)


def test_scores_differences_and_marks() -> None:
    found = compared(PLAIN, BETTER, WORSE)
    assert found.result("plain", "R2kt").score == pytest.approx((0.4 + 1) / 2)
    assert found.result("better", "R2kt").difference == pytest.approx((0.6 - 0.1) / 2)
    assert found.result("better", "R2kt", "ar").questions == 20
    assert found.text().splitlines()[:5] == [
        "R2kt       ar       fi  average",
        "---------------------------------",
        "Plainᵃ   40.0    100.0     70.0",
        "Better  100.0ᵃ    90.0     95.0ᵃ",
        "Worse     0.0⁻ᵃ  100.0     50.0⁻ᵃ",
    ]
    assert [r.significant for r in found.results if r.column == "fi"] == [False, False, False]


def test_a_language_that_the_baseline_lacks_has_no_difference() -> None:
    partial = System("partial", "Partial", {"R2kt": {"ar": PLAIN.scores["R2kt"]["ar"], "fi": {}}})
    found = compared(partial, dataclasses.replace(BETTER, baseline="partial"))
    assert found.result("better", "R2kt", "ar").difference == pytest.approx(0.6)
    for column in ("fi", AVERAGE):
        result = found.result("better", "R2kt", column)
        assert result.score is not None and result.difference is None and result.p is None
    assert "–" in found.text()


def test_best_scores_are_bold_and_equal_ones_are_not() -> None:
    found = compared(PLAIN, BETTER)
    assert "| Better | **100.0**<sup>a</sup> | 90.0 | **95.0**<sup>a</sup> |" in found.markdown()
    assert "| Plain<sup>a</sup> | 40.0 | **100.0** | 70.0 |" in found.markdown()
    assert "\033[1m100.0\033[0mᵃ" in found.text(bold=True)
    assert "**" not in compared(PLAIN, system("same", [0.0] * 12 + [1.0] * 8, [1.0] * 10, "plain")).markdown()


def test_p_values_are_the_tests_corrected_by_family() -> None:
    found = compared(PLAIN, BETTER, WORSE, test=Test.MCNEMAR, correction=Correction.BONFERRONI)
    # better in 12 of 12 Arabic questions, worse in one Finnish: two languages, a family of two
    assert found.result("better", "R2kt", "ar").p == pytest.approx(stats.binomtest(12, 12).pvalue)
    assert found.result("better", "R2kt", "ar").p_corrected == pytest.approx(2 * stats.binomtest(12, 12).pvalue)
    assert found.result("better", "R2kt", "fi").p == 1.0
    # averages of both systems are the other family
    averages = [found.result(name, "R2kt", AVERAGE) for name in ("better", "worse")]
    assert averages[0].p == mcnemar({"x": np.array([1.0] * 12 + [-1.0])})
    assert [r.p_corrected for r in averages] == corrected([r.p for r in averages if r.p], Correction.BONFERRONI)


def test_a_system_without_a_baseline_has_scores_only() -> None:
    found = compared(PLAIN)
    assert found.result("plain", "R2kt").p is None
    assert found.legend() == "" and "against" not in found.text()


def test_a_language_that_was_not_measured_is_a_dash_and_leaves_no_average() -> None:
    half = System("half", "Half", {"R2kt": {"ar": BETTER.scores["R2kt"]["ar"]}}, "plain")
    found = compared(PLAIN, half)
    assert found.result("half", "R2kt", "ar").difference == pytest.approx(0.6)
    assert found.result("half", "R2kt", "fi").score is found.result("half", "R2kt").score is None
    assert "| Half | **100.0**<sup>a</sup> | – | – |" in found.markdown()


def test_equal_scores_give_p_1_and_no_warning() -> None:
    same = System("same", "Same", PLAIN.scores, "plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for test in Test:
            found = compared(PLAIN, same, test=test)
            assert {r.p_corrected for r in found.results if r.system == "same"} == {1.0}
            assert "+0.0  +0.0 to +0.0  1.000      1.000    0.00" in found.text()


def test_latex_has_a_tabular_with_booktabs_rules() -> None:
    shown = compared(PLAIN, BETTER).latex()
    assert shown.startswith("\\begin{tabular}{lrrr}\n\\toprule\nR2kt & ar & fi & average \\\\\n\\midrule\n")
    assert "Better & \\textbf{100.0}$^{a}$ & 90.0 & \\textbf{95.0}$^{a}$ \\\\\n\\bottomrule" in shown
    assert "ᵃ" not in shown


def test_csv_and_json_hold_every_cell() -> None:
    found = compared(PLAIN, BETTER)
    rows = list(csv.DictReader(found.csv().splitlines()))
    results = json.loads(found.json())["results"]
    assert len(rows) == len(results) == len(found.results) == 6
    for row, result in zip(rows, results, strict=True):
        assert {k: v or None for k, v in row.items()} == {
            k: None if v in (None, "") else str(v) for k, v in result.items()
        }
    assert json.loads(found.json())["test"] == "randomisation"


@pytest.mark.parametrize(
    ("systems", "problem"),
    [
        ((PLAIN, PLAIN), "same name"),
        ((PLAIN, system("x", [1.0] * 20, [1.0] * 10, "plian")), "did you mean plain?"),
        ((PLAIN, system("x", [1.0] * 19, [1.0] * 10, "plain")), "not scored on the same questions: 1 in ar"),
    ],
)
def test_systems_that_cannot_be_compared(systems: tuple[System, ...], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        compared(*systems)
    assert problem in str(caught.value)


def test_far_names_list_all() -> None:
    assert nearest("zzz", ["plain", "better"]) == "choose from: plain, better"


def test_measures_of_answers_are_printed_in_percent() -> None:
    assert (printing("R2kt").scale, printing("EM_mlqa").scale, printing("RR@10").scale) == (100, 100, 1)


# the command


@pytest.fixture
def runs(mini_data: Mini, tmp_path: Path) -> dict[str, str]:
    """A run in which all questions find their passage, and one in which none does."""
    found = {}
    for name, docid in (("right", ""), ("wrong", "60")):
        run = {qid: [Hit(docid or own, 1.0)] for qid, own in mini_data.qrels}
        found[name] = str(tmp_path / f"run.test-mini.{name}.dev.txt")
        write_run(run, found[name], name)
    return found


def test_runs_are_compared_on_the_topics_that_their_names_tell(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", runs["wrong"], runs["right"], "--measures", "R@1", "--format", "json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    average = next(r for r in results if r["system"] == "right" and r["column"] == "average")
    assert (average["score"], average["difference"], average["baseline"], average["questions"]) == (
        1.0,
        1.0,
        "wrong",
        14,
    )


def test_answers_are_compared(mini_data: Mini, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name, found in (("right", lambda q: q["answers"][0]), ("none", lambda q: "zzz")):
        path = tmp_path / f"answers.test-mini.{name}.dev.json"
        path.write_text(json.dumps({q["id"]: found(q) for q in mini_data.questions}))
        paths.append(str(path))
    assert cli.main(["compare", "--answers", *paths, "--test", "mcnemar", "--measures", "EM", "--format", "json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    average = next(r for r in results if r["system"] == "none" and r["column"] == "average")
    assert (average["score"], average["difference"], average["baseline"], average["measure"]) == (0, -1, "right", "EM")
    assert cli.main(["compare", "--answers", *paths]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("EM") and "\nF1" in shown and "Bold" not in shown
    assert cli.main(["compare", *paths, "--measures", "EM"]) == 2
    assert "EM is of answers, not of runs (name files of answers (--answers))" in capsys.readouterr().err


@pytest.mark.parametrize("baseline", ["right", "run.test-mini.right.dev.txt"])
def test_the_baseline_is_named_or_its_file_is(
    runs: dict[str, str], baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["compare", *runs.values(), "--measures", "R@1", "--baseline", baseline]
    assert cli.main(line) == 0
    assert "wrong – right" in capsys.readouterr().out


def test_output_is_written(runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "table.md"
    line = ["compare", *runs.values(), "--measures", "R@1", "--format", "markdown", "--output", str(output)]
    assert cli.main(line) == 0
    assert output.read_text().startswith("| R@1 | ar |")
    assert capsys.readouterr().out == ""


def test_clear_errors(runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def problem(*arguments: str) -> str:
        assert cli.main(["compare", *arguments, "--measures", "R@1"]) == 2
        return capsys.readouterr().err

    both = [runs["wrong"], runs["right"]]
    assert "did you mean right or wrong?" in problem(*both, "--baseline", "rihgt")
    renamed = tmp_path / "mine.txt"
    renamed.write_text(Path(runs["right"]).read_text())
    assert "do not tell one topic set (name it: --topics xor-mini/dev)" in problem(str(renamed), runs["wrong"])
    twice = tmp_path / "run.test-mini.twice.dev.txt"
    lines = Path(runs["right"]).read_text().splitlines(keepends=True)
    twice.write_text("".join([lines[0], lines[0].replace(" 1 ", " 2 ", 1), *lines[1:]]))
    assert f"{twice}:2" in problem(str(twice), runs["right"])
    part = tmp_path / "run.test-mini.part.dev.txt"
    part.write_text("".join(lines[3:]))
    assert "--missing zero" in problem(str(part), runs["right"], "--missing", "skip")
    assert cli.main(["compare", str(part), runs["right"], "--measures", "R@1"]) == 0
    assert "3 questions are not in" in capsys.readouterr().err
    other = tmp_path / "run.test-mini.other.dev.txt"
    other.write_text("x Q0 1 1 0.5 t\n")
    assert "no question 'x'" in problem(str(other), runs["right"])
    assert "--published compares one run" in problem(*both, "--published", "xDR mBERT")
