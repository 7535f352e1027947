"""Regressions: what is planned, what is found, and that the shipped ones agree with the files they speak of."""

from __future__ import annotations

import dataclasses
import gzip
import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from conftest import REPOSITORY, Mini
from test_reproduce import ANSWERS, MINI, READING, TOY
from test_reproduce import RUN as MINI_RUN

from xqg_repro import cli, collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.reproduction import regress
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.regress import Regression, compare_runs, load_regression, planned
from xqg_repro.reproduction.run import Outcome
from xqg_repro.reproduction.tasks import Step
from xqg_repro.reproduction.verdict import Verdict
from xqg_repro.retrieval.metadata import Measurement, metadata_path
from xqg_repro.retrieval.runfile import Hit, Run, write_run

REFERENCE: Run = {
    "q1": [Hit("a", 640.0), Hit("b", 3.0), Hit("c", 2.0), Hit("d", 1.0)],
    "q2": [Hit("a", 0.5), Hit("c", 0.25)],
}


def changed(qid: str, *hits: Hit) -> Run:
    return {**REFERENCE, qid: list(hits)}


def test_the_same_run_is_ok() -> None:
    assert compare_runs(REFERENCE, REFERENCE, 1e-4).verdict(1) is Verdict.OK
    assert str(compare_runs(REFERENCE, REFERENCE, 1e-4)) == "docids, ranks and scores of all 2 questions"


@pytest.mark.parametrize(("score", "same"), [(0.50009, True), (0.5002, False)])
def test_scores_may_differ_by_the_tolerance(score: float, same: bool) -> None:
    found = compare_runs(changed("q2", Hit("a", score), Hit("c", 0.25)), REFERENCE, 1e-4)
    assert (found.verdict(1) is Verdict.OK) == same
    assert (found.scores, found.moved, found.overlap) == ((0, 0, 1.0) if same else (1, 0, 0.5))


@pytest.mark.parametrize(("score", "same"), [(640.06, True), (640.07, False)])
def test_the_tolerance_of_large_scores_is_relative(score: float, same: bool) -> None:
    found = compare_runs(changed("q1", Hit("a", score), *REFERENCE["q1"][1:]), REFERENCE, 1e-4)
    assert (found.verdict(1) is Verdict.OK) == same


def test_passages_in_another_order_are_okish() -> None:
    found = compare_runs(changed("q2", Hit("c", 0.25), Hit("a", 0.5)), REFERENCE, 1e-4)
    assert (found.moved, found.scores, found.overlap, found.verdict(1)) == (1, 0, 1.0, Verdict.OKISH)


def test_other_passages_fail_below_the_overlap() -> None:
    found = compare_runs(changed("q1", *REFERENCE["q1"][:3], Hit("x", 1.0)), REFERENCE, 1e-4)
    assert (found.moved, found.overlap) == (1, 0.75)
    assert found.verdict(0.75) is Verdict.OKISH
    assert found.verdict(0.76) is Verdict.FAIL
    assert "1 of 2 questions have other passages or ranks" in str(found)
    assert "75%" in str(found)


def test_fewer_or_more_passages_are_no_smaller_overlap_than_they_are() -> None:
    assert compare_runs(changed("q1", *REFERENCE["q1"][:2]), REFERENCE, 1e-4).overlap == 0.5
    assert compare_runs(REFERENCE, changed("q1", *REFERENCE["q1"][:2]), 1e-4).overlap == 0.5


def test_runs_of_other_questions_are_not_compared() -> None:
    with pytest.raises(InputError, match="same questions: 'q2'"):
        compare_runs({"q1": REFERENCE["q1"]}, REFERENCE, 1e-4)


def test_an_unknown_regression_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no regression 'xor-mini-xrd'.*did you mean xor-mini-xdr"):
        load_regression("xor-mini-xrd")


# a toy regression, whose stages do nothing

RUN = "run.toy.free.ar.txt"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Regression:
    """A regression whose conditions score as expected, with a run in ``out/runs`` that is the reference run."""
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(TOY)
    for folder in ("out/runs", "runs"):
        write_run(REFERENCE, f"{folder}/{RUN}", "free")

    def run_condition(benchmark, condition, directory, *, steps) -> Outcome:
        scores = {"ar": {"q1": 1.0, "q2": 0.0}, "fi": {"q3": 0.6}}
        return Outcome(condition, benchmark.languages, {"R@1": scores} if Step.EVALUATE in steps else {})

    monkeypatch.setattr(regress, "run_condition", run_condition)
    monkeypatch.setattr(collection, "file_checksum", lambda name, file: f"md5 of {name}/{file}")
    data = {"passages.tsv": "md5 of toy/passages.tsv", "other.tsv": ""}
    return Regression("toy", "Toy", "toy.yaml", ("plain", "free"), data, {RUN: file_digest(Path("runs") / RUN)})


def found(regression: Regression, *steps: Step) -> list[str]:
    return [str(check) for check in regress.regress(regression, "out", steps or tuple(Step))]


def test_data_scores_and_runs_are_checked(toy: Regression) -> None:
    assert found(toy) == [
        "[OK] data: passages.tsv md5 of toy/passages.tsv",
        "[OK] data: other.tsv md5 of toy/other.tsv (none is published)",
        "[OK] plain R@1: 3 of 3 scores as expected",
        "free: no expected scores to compare with",
        f"[OK] run: {RUN}: docids, ranks and scores of all 2 questions",
    ]


def test_nothing_is_checked_without_verification(toy: Regression) -> None:
    assert found(toy, Step.INDEX, Step.SEARCH) == []


def test_other_data_fail(toy: Regression) -> None:
    other = dataclasses.replace(toy, data={"passages.tsv": "0123"})
    assert found(other)[0] == "[FAIL] data: passages.tsv has the MD5 md5 of toy/passages.tsv, not 0123"


def test_other_scores_fail(toy: Regression) -> None:
    Path("toy.yaml").write_text(TOY.replace("fi: 60", "fi: 70"))
    assert found(toy)[2] == ("[FAIL] plain R@1: 2 of 3 scores as expected\n    [FAIL] fi: measured 60.0, expected 70.0")


def test_another_run_fails(toy: Regression) -> None:
    write_run(changed("q1", Hit("x", 1.0)), f"out/runs/{RUN}", "free")
    assert found(toy)[-1].startswith(f"[FAIL] run: {RUN}: 1 of 2 questions have other passages or ranks")


@pytest.mark.parametrize("folder", ["out/runs", "runs"])
def test_a_missing_run_fails(toy: Regression, folder: str) -> None:
    Path(folder, RUN).unlink()
    last = found(toy)[-1]
    assert last.startswith(f"[FAIL] run: {folder}/{RUN}: ") and "no such" in last


def test_a_changed_reference_run_fails(toy: Regression) -> None:
    write_run(REFERENCE, f"runs/{RUN}", "another-tag")
    assert f"[FAIL] run: runs/{RUN}: has the SHA-256" in found(toy)[-1]


@pytest.fixture
def shipped(toy: Regression, monkeypatch: pytest.MonkeyPatch) -> Regression:
    """The toy in place of the regressions that ship with the package."""
    monkeypatch.setattr(regress, "names", lambda: ["toy"])
    monkeypatch.setattr(regress, "load_regression", lambda name: toy)
    return toy


def test_the_command_prints_what_it_found(shipped: Regression, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["regress", "--regression", "toy", "--verify"]) == 0
    assert capsys.readouterr().out.startswith("toy\n[OK] data: passages.tsv")


def test_a_fail_is_status_1(shipped: Regression, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs", RUN).unlink()
    assert cli.main(["regress", "--all", "--index", "--search", "--verify"]) == 1
    assert "[FAIL] run: " in capsys.readouterr().out


def test_with_all_a_regression_that_cannot_run_is_a_fail(
    shipped: Regression, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> Outcome:
        raise InputError("could not be downloaded", path="model")

    monkeypatch.setattr(regress, "run_condition", fail)
    assert cli.main(["regress", "--all", "--verify"]) == 1
    assert "[FAIL] model: could not be downloaded" in capsys.readouterr().out
    assert cli.main(["regress", "--regression", "toy", "--verify"]) == 2


def test_a_dry_run_prints_the_steps_asked_for(shipped: Regression, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["regress", "--all", "--search", "--verify", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [str(command) for command in planned(shipped, "out", [Step.SEARCH, Step.EVALUATE])]
    assert [line.split()[1] for line in shown] == ["search"] * 4 + ["evaluate"] * 4


def test_answers_are_read_when_runs_are_searched_for(shipped: Regression, capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.yaml").write_text(TOY.replace("measures:\n", READING))
    verbs = {}
    for step in ("index", "search", "verify"):
        assert cli.main(["regress", "--all", f"--{step}", "--dry-run"]) == 0
        verbs[step] = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert verbs == {
        "index": ["encode", "index", "index"],
        "search": ["search"] * 4 + ["read"] * 4,
        "verify": ["evaluate"] * 8,
    }


def test_answers_that_were_expected_and_not_measured_fail(toy: Regression) -> None:
    text = TOY.replace("measures:\n", READING).replace("{R@1: {ar: 50,", "{EM: {ar: 50}, R@1: {ar: 50,")
    Path("toy.yaml").write_text(text)
    assert "[FAIL] plain EM: 0 of 1 scores as expected\n    [FAIL] ar: measured nothing, expected 50.0" in found(toy)


def test_without_a_step_there_is_nothing_to_do(shipped: Regression, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["regress", "--all"]) == 2
    assert "give one or more of --index --search --verify" in capsys.readouterr().err


def test_what_conditions_have_in_common_is_planned_once() -> None:
    regression = load_regression("xor-mini-xdr")
    commands = [str(command) for command in planned(regression, "out")]
    assert len(set(commands)) == len(commands)
    reads = 2 if load_benchmark(regression.benchmark).reading else 0
    assert [command.split()[1] for command in commands] == [
        *["encode", "index", "generate", "sum", "augment", "index"],
        *["search"] * 2,
        *["read"] * reads,
        *["evaluate"] * (2 + reads),
    ]


# what becomes the reference


def test_runs_and_answers_become_the_reference_with_their_scores(
    mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = spec_from_file_location("reference_runs", REPOSITORY / "scripts" / "reference_runs.py")
    assert spec and spec.loader
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    other = "  - {name: plain-too, title: Another, encoder: mbert, expected: {EM: {ar: 1.0}}}\n"
    condition = "  - name: plain\n    title: The plain one\n    encoder: mbert\n    expected:\n      R@1: {ar: 12.3}\n"
    benchmark = MINI.partition("  - {name: plain,")[0]
    path = tmp_path / "conditions" / "xor-mini.yaml"
    path.parent.mkdir()
    path.write_text(benchmark + condition + other)
    own = dataclasses.replace(loaded := load_benchmark(str(path)), conditions=loaded.conditions[:1])
    monkeypatch.setattr(script, "BENCHMARK", own)
    monkeypatch.setattr(script, "resource", tmp_path.joinpath)
    run, answers = Path("out", "runs", MINI_RUN), Path("out", "answers", ANSWERS)
    write_run({qid: [Hit(docid, 1.0)] for qid, docid in mini_data.qrels}, run, "plain")
    metadata_path(run).write_text("implementation: {source: {commit: abc1234}}\n")
    monkeypatch.setattr(script, "read_measurement", lambda made: Measurement(commit="abc1234"))
    answers.parent.mkdir()
    answers.write_text(json.dumps({question["id"]: question["answers"][0] for question in mini_data.questions}))
    script.main()
    kept = {path.name: path.read_bytes() for path in Path("runs").iterdir()}
    script.main()  # the same again
    assert {path.name: path.read_bytes() for path in Path("runs").iterdir()} == kept
    assert sorted(kept) == [f"{ANSWERS}.gz", f"{MINI_RUN}.gz", f"{MINI_RUN}.yaml"]
    assert gzip.decompress(kept[f"{ANSWERS}.gz"]) == answers.read_bytes()
    columns = (*own.languages, "average")
    full, f1 = dict.fromkeys(columns, 100.0), {"bn": 50.0, "average": 92.9}  # F1 is 0 for the answer "The"
    expected = load_benchmark(str(path)).condition("plain").expected
    assert expected == {"R@1": full, "EM": full, "F1": {**full, **f1}}
    assert path.read_text().endswith(other)  # the other one's is left alone


# those that ship


def test_every_condition_is_in_one_regression() -> None:
    regressions = list(map(load_regression, regress.names()))
    for name in ("xor-mini", "xor-tydi", "xquad"):
        covered = [condition for r in regressions if r.benchmark == name for condition in r.conditions]
        assert sorted(covered) == sorted(condition.name for condition in load_benchmark(name).conditions)


@pytest.mark.parametrize("name", regress.names())
def test_checksums_are_those_of_the_files(name: str) -> None:
    regression = load_regression(name)
    assert regression.name == name
    listed = read_yaml(resource("collections", "files.yaml"))
    for file, checksum in regression.data.items():
        if regression.benchmark == "xor-mini":
            assert collection.file_checksum("xor-mini", file) == checksum
        else:
            assert listed[regression.benchmark][file].get("md5", "") == checksum
    for run, checksum in regression.runs.items():
        assert file_digest(REPOSITORY / "runs" / run) == checksum
    assert bool(regression.runs) == (regression.benchmark == "xor-mini")
