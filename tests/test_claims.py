from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from conftest import REPOSITORY

from xqg_repro import cli
from xqg_repro.claims import CHECKS, Claim, Evidence, Finding, Status, claims_table, decide, load_claims
from xqg_repro.compare import System
from xqg_repro.config import XOR_LANGUAGES, load_benchmark
from xqg_repro.errors import InputError
from xqg_repro.report import report_of_runs

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


def test_better_is_decided_by_both_measures() -> None:
    claim = CLAIMS["mbert-beats-xlmr"]
    assert decide(claim, evidence(**{"xdr-mini": 0.5, "xlmr-mini": 0.4})) == (
        Status.REPRODUCED,
        "R2kt +10.0, R5kt +10.0",
    )
    assert decide(claim, evidence(**{"xdr-mini": 0.4, "xlmr-mini": 0.5})).status is Status.NOT_REPRODUCED


def test_four_queries_need_four_queries() -> None:
    few, many = shares(0.4, 0.5), dataclasses.replace(BENCHMARK, queries=4)
    assert decide(CLAIMS["four-queries"], few) == (
        Status.NOT_RUN,
        "needs four queries a language; the conditions have 3",
    )
    found = decide(CLAIMS["four-queries"], dataclasses.replace(few, benchmark=many))
    assert found == (Status.REPRODUCED, "R2kt +10.0, p <0.001, R5kt +10.0, p <0.001")


def test_what_was_not_run_is_named() -> None:
    assert decide(CLAIMS["mbert-improves"], evidence(**{"xdr-mini": 0.5})) == (
        Status.NOT_RUN,
        "needs the run of xdr-mini-xqg",
    )
    nowhere = dataclasses.replace(CLAIMS["xlmr-improves"], conditions={})
    assert decide(nowhere, shares(0.4, 0.5)) == (Status.NOT_RUN, "needs conditions for it on xor-mini")


def test_settings_and_models_are_read() -> None:
    found = decide(CLAIMS["alpha"], evidence())
    assert found.status is Status.NOT_REPRODUCED and "(xdr-mini-xqg)" in found.measured
    assert decide(CLAIMS["alpha"], Evidence(load_benchmark("xor-tydi"), {})).status is Status.REPRODUCED
    assert decide(CLAIMS["zero-shot-training"], evidence()) == (
        Status.REPRODUCED,
        "1,000 questions of xor-mini/train/en (en)",
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


@pytest.mark.integration
def test_the_command_prints_each_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["claims", "--benchmark", "xor-mini", "--runs", str(REPOSITORY / "runs")]) == 0
    shown = capsys.readouterr().out
    assert all(f"- {claim.text}\n" in shown for claim in CLAIMS.values())
    assert "reproduced: 63.0 →" in shown
