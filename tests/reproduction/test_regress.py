"""Regressions: what runs, what is checked, and that the shipped ones agree with the files they name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from conftest import REPOSITORY

from reproduction.toy import TOY, TOY_WITH_ANSWERS, register
from xqg_repro import cli, collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.reproduction import regress
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.regress import Regression, RunDifference, compare_runs, load_regression, regression_names
from xqg_repro.reproduction.run import Outcome
from xqg_repro.reproduction.tasks import Step
from xqg_repro.reproduction.verdict import Verdict
from xqg_repro.retrieval.runfile import Hit, Run, write_run

REFERENCE: Run = {
    "q1": [Hit("a", 640.0), Hit("b", 3.0), Hit("c", 2.0), Hit("d", 1.0)],
    "q2": [Hit("a", 0.5), Hit("c", 0.25)],
}
FIRST, SECOND = REFERENCE["q1"], REFERENCE["q2"]

# comparing runs


@pytest.mark.parametrize(
    ("run", "difference", "verdict"),
    [
        ({}, RunDifference(2, 0, 0, 1.0), Verdict.OK),
        ({"q2": [Hit("a", 0.50009), SECOND[1]]}, RunDifference(2, 0, 0, 1.0), Verdict.OK),
        ({"q2": [Hit("a", 0.5002), SECOND[1]]}, RunDifference(2, 0, 1, 0.5), Verdict.FAIL),
        # the tolerance is relative for scores above 1
        ({"q1": [Hit("a", 640.06), *FIRST[1:]]}, RunDifference(2, 0, 0, 1.0), Verdict.OK),
        ({"q1": [Hit("a", 640.07), *FIRST[1:]]}, RunDifference(2, 0, 1, 0.75), Verdict.OKISH),
        ({"q2": SECOND[::-1]}, RunDifference(2, 1, 0, 1.0), Verdict.OKISH),
        ({"q1": [*FIRST[:3], Hit("x", 1.0)]}, RunDifference(2, 1, 0, 0.75), Verdict.OKISH),
        ({"q1": FIRST[:2]}, RunDifference(2, 1, 0, 0.5), Verdict.FAIL),
        ({"q1": [*FIRST, *(Hit(docid, 0.5) for docid in "wxyz")]}, RunDifference(2, 1, 0, 0.5), Verdict.FAIL),
    ],
)
def test_runs_are_compared_by_passages_ranks_and_scores(run: Run, difference: RunDifference, verdict: Verdict) -> None:
    found = compare_runs({**REFERENCE, **run}, REFERENCE, 1e-4)
    assert (found, found.verdict(0.75)) == (difference, verdict)


def test_runs_of_different_questions_are_not_compared() -> None:
    with pytest.raises(InputError, match="'q2'"):
        compare_runs({"q1": FIRST}, REFERENCE, 1e-4)


# a toy regression, whose stages do nothing

RUN = "run.toy.free.ar.txt"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Regression:
    """A regression whose conditions score as expected, with a run in ``out/runs`` equal to the reference run.

    It takes the place of the regressions that ship with the package.
    """
    monkeypatch.chdir(tmp_path)
    register()
    Path("toy.yaml").write_text(TOY)
    for folder in ("out/runs", "runs"):
        write_run(REFERENCE, f"{folder}/{RUN}", "free")

    def run_condition(benchmark: Benchmark, condition: Condition, directory: str, *, steps: list[Step]) -> Outcome:
        scores = {"ar": {"q1": 1.0, "q2": 0.0}, "fi": {"q3": 0.6}}
        return Outcome(condition, benchmark.languages, {"R@1": scores} if Step.EVALUATE in steps else {})

    monkeypatch.setattr(regress, "run_condition", run_condition)
    monkeypatch.setattr(collection, "file_checksum", lambda name, file: f"md5 of {name}/{file}")
    data = {"passages.tsv": "md5 of toy/passages.tsv", "other.tsv": ""}
    runs = {RUN: file_digest(Path("runs") / RUN)}
    regression = Regression("toy", "Toy", "", "toy.yaml", ("plain", "free"), data, runs)
    monkeypatch.setattr(regress, "regression_names", lambda: ["toy"])
    monkeypatch.setattr(regress, "load_regression", lambda name: regression)
    return regression


def checks(regression: Regression, *steps: Step) -> list[str]:
    return [str(check) for check in regress.regress(regression, "out", steps or tuple(Step))]


def test_data_scores_and_runs_are_checked(toy: Regression) -> None:
    assert checks(toy) == [
        "[OK] data: passages.tsv md5 of toy/passages.tsv",
        "[OK] data: other.tsv md5 of toy/other.tsv (none is published)",
        "[OK] plain R@1: 3 of 3 scores as expected",
        "free: no expected scores to compare with",
        f"[OK] run: {RUN}: docids, ranks and scores of all 2 questions",
    ]
    assert checks(toy, Step.INDEX, Step.SEARCH) == []


def test_other_data_scores_and_runs_fail(toy: Regression) -> None:
    other = dataclasses.replace(toy, data={"passages.tsv": "0123"})
    assert checks(other)[0].startswith("[FAIL] data: passages.tsv: expected MD5 0123")
    Path("toy.yaml").write_text(TOY.replace("fi: 60", "fi: 70"))
    assert checks(toy)[2] == "[FAIL] plain R@1: 2 of 3 scores as expected\n    [FAIL] fi: measured 60.0, expected 70.0"
    write_run({**REFERENCE, "q1": [Hit("x", 1.0)]}, f"out/runs/{RUN}", "free")
    assert checks(toy)[-1].startswith(f"[FAIL] run: {RUN}: passages or ranks differ for 1 of 2")


def test_missing_or_changed_runs_fail(toy: Regression) -> None:
    write_run(REFERENCE, f"runs/{RUN}", "another-tag")
    assert checks(toy)[-1].startswith(f"[FAIL] run: runs/{RUN}: expected SHA-256")
    for folder in ("runs", "out/runs"):
        write_run(REFERENCE, f"runs/{RUN}", "free")
        Path(folder, RUN).unlink()
        assert checks(toy, Step.EVALUATE)[-1].startswith(f"[FAIL] run: {folder}/{RUN}: ")


def test_tasks_that_conditions_share_appear_once() -> None:
    verbs = [task.verb for task in regress.regression_tasks(load_regression("xor-mini-xdr"), "out")]
    indexing = ["encode", "index", "generate", "sum", "augment", "index", "augment", "index"]
    assert verbs == [*indexing, *["search"] * 3, *["read"] * 3, *["evaluate"] * 6]


# the command


def test_command_prints_the_checks_and_a_fail_is_status_1(
    toy: Regression, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["regress", "--regression", "toy", "--verify"]) == 0
    assert capsys.readouterr().out.startswith("toy\n[OK] data: passages.tsv")
    Path("runs", RUN).unlink()
    assert cli.main(["regress", "--all", "--index", "--search", "--verify"]) == 1
    assert f"[FAIL] runs/{RUN}: no such reference run" in capsys.readouterr().out
    assert cli.main(["regress", "--all", "--verify"]) == 1
    assert "[FAIL] run: " in capsys.readouterr().out
    assert cli.main(["regress", "--all", "--verify", "--dry-run"]) == 1
    assert cli.main(["regress", "--regression", "toy", "--verify", "--dry-run"]) == 2

    def fail(*_: object, **__: object) -> Outcome:
        raise InputError("could not be downloaded", path="model")

    monkeypatch.setattr(regress, "run_condition", fail)
    assert cli.main(["regress", "--all", "--verify"]) == 1  # so that the others still run
    assert "[FAIL] model: could not be downloaded" in capsys.readouterr().out
    assert cli.main(["regress", "--regression", "toy", "--verify"]) == 2


def test_dry_run_prints_the_tasks_of_the_chosen_steps(toy: Regression, capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.yaml").write_text(TOY_WITH_ANSWERS)
    for option, verbs in {
        "--index": ["encode", "index", "index"],
        "--search": ["search"] * 4 + ["read"] * 4,
        "--verify": ["evaluate"] * 8,
    }.items():
        assert cli.main(["regress", "--all", option, "--dry-run"]) == 0
        assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == verbs


# those that ship


def test_unknown_regression_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'xor-mini-xrd'.*xor-mini-xdr"):
        load_regression("xor-mini-xrd")


def test_every_condition_is_in_one_regression() -> None:
    regressions = list(map(load_regression, regression_names()))
    for name in ("xor-mini", "xor-tydi", "xor-tydi-vital", "xquad"):
        covered = [condition for r in regressions if r.benchmark == name for condition in r.conditions]
        assert sorted(covered) == sorted(condition.name for condition in load_benchmark(name).conditions)


@pytest.mark.parametrize("name", regression_names())
def test_checksums_are_those_of_the_files(name: str) -> None:
    regression = load_regression(name)
    assert regression.name == name
    listed = read_yaml(resource("collections", "files.yaml"))
    for file, checksum in regression.data.items():
        if regression.benchmark == "xor-mini":
            assert collection.file_checksum("xor-mini", file) == checksum
        elif regression.benchmark in listed:
            assert listed[regression.benchmark][file].get("md5", "") == checksum
    for run, checksum in regression.runs.items():
        assert file_digest(REPOSITORY / "runs" / run) == checksum
    assert bool(regression.runs) == (regression.benchmark == "xor-mini")


@pytest.mark.integration
def test_checksum_of_the_small_wikipedia(shared_data: Path) -> None:
    regression = load_regression("xor-tydi-vital")
    found = {
        file: collection.file_checksum(load_benchmark("xor-tydi-vital").collection, file) for file in regression.data
    }
    assert found == regression.data
