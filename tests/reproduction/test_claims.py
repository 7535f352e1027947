from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from conftest import REPOSITORY

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.evaluation.compare import System
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.claims import CHECKS, Claim, Evidence, Finding, Status, claims_table, decide, load_claims
from xqg_repro.reproduction.report import report_of_runs

BENCHMARK = load_benchmark("xor-mini")
CLAIMS = {claim.name: claim for claim in load_claims()}


def evidence(**shares: float) -> Evidence:
    """Each condition with the share of its 100 questions a language that it answers, in both measures."""
    systems = {}
    for name, share in shares.items():
        scores = {code: {f"{code}{i}": float(i < 100 * share) for i in range(100)} for code in XOR_LANGUAGES}
        systems[name] = System(name, name, {"R2kt": scores, "R5kt": scores})
    return Evidence(BENCHMARK, systems)


def shares(plain: float, augmented: float) -> Evidence:
    encoders = ("xdr-mini", "xlmr-mini", "zs-mini")
    return evidence(**{f"{name}{end}": share for name in encoders for end, share in (("", plain), ("-xqg", augmented))})


@pytest.mark.parametrize(
    ("plain", "augmented", "status", "measured"),
    [
        (0.4, 0.5, Status.REPRODUCED, "40.0 → 50.0, p <0.001"),
        (0.5, 0.4, Status.NOT_REPRODUCED, "50.0 → 40.0, p <0.001"),  # significant, but the wrong way
        (0.4, 0.4, Status.NOT_REPRODUCED, "40.0 → 40.0, p 1.000"),
    ],
)
def test_an_improvement_must_be_one_and_significant(
    plain: float, augmented: float, status: Status, measured: str
) -> None:
    for name in ("mbert-improves", "xlmr-improves", "zero-shot-improves"):
        assert decide(CLAIMS[name], shares(plain, augmented)) == Finding(status, measured)


def test_almost_all_cells_must_improve() -> None:
    assert decide(CLAIMS["all-languages"], shares(0.4, 0.5)) == Finding(Status.REPRODUCED, "42 of 42")
    status, measured = decide(CLAIMS["all-languages"], shares(0.5, 0.5))
    assert (status, measured[:9]) == (Status.NOT_REPRODUCED, "0 of 42; ")


def test_what_the_paper_itself_excepts_may_fall() -> None:
    tydi, claim = load_benchmark("xor-tydi"), CLAIMS["all-languages"]

    def decided(*fallen: str) -> Finding:
        systems = evidence(**{"mbert": 0.4, "mbert-xqg": 0.5}).systems
        for cell in fallen:
            measure, code = cell.split()
            scores = dict(systems["mbert-xqg"].scores[measure])
            scores[code] = dict.fromkeys(scores[code], 0.0)
            every = {**systems["mbert-xqg"].scores, measure: scores}
            systems["mbert-xqg"] = dataclasses.replace(systems["mbert-xqg"], scores=every)
        return decide(claim, Evidence(tydi, systems))

    papers = decided("R2kt ja", "R5kt fi")
    assert papers == (Status.REPRODUCED, "12 of 14; not R2kt ja of mbert-xqg, R5kt fi of mbert-xqg")
    assert decided("R2kt ja", "R5kt fi", "R5kt ru").status is Status.REPRODUCED
    assert decided("R2kt ko", "R5kt ru").status is Status.NOT_REPRODUCED


def test_better_is_decided_by_both_measures() -> None:
    claim = CLAIMS["mbert-beats-xlmr"]
    assert decide(claim, evidence(**{"xdr-mini": 0.5, "xlmr-mini": 0.4})) == (
        Status.REPRODUCED,
        "R2kt +10.0, R5kt +10.0",
    )
    assert decide(claim, evidence(**{"xdr-mini": 0.4, "xlmr-mini": 0.5})).status is Status.NOT_REPRODUCED


def test_four_queries_need_four_queries() -> None:
    claim, few = CLAIMS["four-queries"], shares(0.4, 0.5)
    needed = "needs conditions with four and with five queries a language"
    assert decide(claim, few) == (Status.NOT_RUN, f"{needed}; they have 3")
    five = dataclasses.replace(few, benchmark=dataclasses.replace(BENCHMARK, queries=5))
    assert decide(claim, five) == (Status.NOT_RUN, f"{needed}; they have 5")
    plain, augmented = BENCHMARK.condition("xdr-mini"), BENCHMARK.condition("xdr-mini-xqg")
    assert augmented.augmentation
    four = dataclasses.replace(
        augmented, name="four", augmentation=dataclasses.replace(augmented.augmentation, queries=4)
    )
    both = dataclasses.replace(five.benchmark, conditions=(plain, augmented, four))
    asked = dataclasses.replace(claim, conditions={"xor-mini": ("xdr-mini", "xdr-mini-xqg", "xdr-mini", "four")})
    assert decide(asked, dataclasses.replace(five, benchmark=both)) == (Status.NOT_RUN, "needs the run of four")
    every = evidence(**{"xdr-mini": 0.4, "xdr-mini-xqg": 0.5, "four": 0.5})
    found = decide(asked, dataclasses.replace(every, benchmark=both))
    once = "R2kt +10.0, p <0.001, R5kt +10.0, p <0.001"
    assert found == (Status.REPRODUCED, f"{once}, {once}")
    half = evidence(**{"xdr-mini": 0.4, "xdr-mini-xqg": 0.5, "four": 0.4})
    assert decide(asked, dataclasses.replace(half, benchmark=both)).status is Status.NOT_REPRODUCED


def test_what_was_not_run_is_named() -> None:
    assert decide(CLAIMS["mbert-improves"], evidence(**{"xdr-mini": 0.5})) == (
        Status.NOT_RUN,
        "needs the run of xdr-mini-xqg",
    )
    nowhere = dataclasses.replace(CLAIMS["xlmr-improves"], conditions={})
    assert decide(nowhere, shares(0.4, 0.5)) == (Status.NOT_RUN, "needs conditions for it on xor-mini")


def test_settings_and_models_are_read() -> None:
    found = decide(CLAIMS["alpha"], shares(0.4, 0.5))
    assert found.status is Status.NOT_REPRODUCED and "(xdr-mini-xqg)" in found.measured
    assert decide(CLAIMS["alpha"], evidence()) == (Status.NOT_RUN, "needs the run of an augmented condition")
    papers = Evidence(load_benchmark("xor-tydi"), evidence(**{"mbert-xqg": 0.5}).systems)
    assert decide(CLAIMS["alpha"], papers) == (Status.REPRODUCED, "0.01 (mbert-xqg)")
    assert decide(CLAIMS["zero-shot-training"], evidence()) == (
        Status.REPRODUCED,
        "1,000 questions of xor-mini/train/en (en); "
        "before, in the place of pre-training, names in seven languages with their English ones",
    )
    assert decide(CLAIMS["languages"], evidence()).status is Status.REPRODUCED
    assert decide(CLAIMS["size"], evidence()).measured.startswith("needs XOR-TyDi; xor-mini has 2,279 passages")


def test_every_claim_has_a_check_or_a_source() -> None:
    assert len(CLAIMS) == len(load_claims())
    for claim in CLAIMS.values():
        assert bool(claim.check) != bool(claim.source)
    assert {claim.check for claim in CLAIMS.values() if claim.check} == set(CHECKS)
    with pytest.raises(InputError, match="no check is called 'magic'"):
        Claim("x", "y", check="magic")


def test_literature_is_listed_with_its_source_and_not_as_measured() -> None:
    rows = {str(row[0]): row for row in claims_table(evidence()).rows}
    literature = [claim for claim in CLAIMS.values() if claim.source]
    assert len(literature) == 4
    for claim in literature:
        assert rows[claim.text][1:] == ["literature", claim.source, "–"]


def test_runs_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    found = report_of_runs(BENCHMARK, tmp_path).evidence
    assert decide(CLAIMS["mbert-improves"], found).measured == "needs the run of xdr-mini, xdr-mini-xqg"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--benchmark xquad", "no claim is about xquad (choose from: xor-mini, xor-tydi)"),
        ("--benchmark xor-mini --runs nowhere", "nowhere: there is no such folder of runs"),
    ],
)
def test_the_command_refuses_what_it_cannot_check(
    arguments: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["claims", *arguments.split()]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.integration
def test_the_command_prints_each_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["claims", "--benchmark", "xor-mini", "--runs", str(REPOSITORY / "runs")]) == 0
    shown = capsys.readouterr().out
    assert all(f"- {claim.text}\n" in shown for claim in CLAIMS.values())
    assert "reproduced: 63.0 →" in shown
