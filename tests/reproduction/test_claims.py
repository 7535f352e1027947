from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.evaluation import significance
from xqg_repro.evaluation.compare import System
from xqg_repro.reproduction import claims
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.claims import CHECKS, Claim, Evidence, Finding, Status, claims_table, decide, load_claims
from xqg_repro.reproduction.report import report_of_runs
from xqg_repro.study.answer import VERSUS
from xqg_repro.study.summary import QuestionAnswer, read_summary

BENCHMARK = load_benchmark("xor-mini")
CLAIMS = {claim.name: claim for claim in load_claims()}
ENCODERS = ("xdr-mini", "xlmr-mini", "zs-mini")


def evidence(**shares: float) -> Evidence:
    """Each condition with the share of its 20 questions per language that it answers, in both measures."""
    systems = {}
    for name, share in shares.items():
        scores = {code: {f"{code}{i}": float(i < 20 * share) for i in range(20)} for code in XOR_LANGUAGES}
        baseline = name.removesuffix("-xqg") if name.endswith("-xqg") else ""
        systems[name] = System(name, name, {"R2kt": scores, "R5kt": scores}, baseline)
    return Evidence(BENCHMARK, systems)


def every_encoder(plain: float, augmented: float) -> Evidence:
    return evidence(**{f"{name}{end}": x for name in ENCODERS for end, x in (("", plain), ("-xqg", augmented))})


@pytest.fixture(autouse=True)
def only_what_claims_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """No intervals and no corrections, which take most of a comparison's time."""
    monkeypatch.setattr(significance, "bootstrap_interval", lambda differences: (0.0, 0.0))
    monkeypatch.setattr(significance, "correct_p_values", lambda p_values, correction: p_values)


@pytest.fixture(scope="module")
def better() -> Evidence:
    """Every augmented condition answers 50% where its baseline answers 40%."""
    return every_encoder(0.4, 0.5)


@pytest.fixture(scope="module")
def worse() -> Evidence:
    return every_encoder(0.5, 0.4)


def test_improvement_is_a_significant_gain(better: Evidence, worse: Evidence) -> None:
    for name in ("mbert-improves", "xlmr-improves", "zero-shot-improves"):
        claim = CLAIMS[name]
        assert decide(claim, better) == Finding(Status.REPRODUCED, "40.0 → 50.0, p <0.001")
        assert decide(claim, worse) == Finding(Status.NOT_REPRODUCED, "50.0 → 40.0, p <0.001")
    chance = evidence(**{"xdr-mini": 0.4, "xdr-mini-xqg": 0.4})
    chance.systems["xdr-mini-xqg"].scores["R2kt"]["ar"]["ar19"] = 1.0  # type: ignore[index]
    assert decide(CLAIMS["mbert-improves"], chance) == Finding(Status.NOT_REPRODUCED, "40.0 → 40.7, p 1.000")


def test_almost_all_cells_must_improve(better: Evidence, worse: Evidence) -> None:
    claim = CLAIMS["all-languages"]
    assert decide(claim, better) == Finding(Status.REPRODUCED, "42 of 42")
    status, measured = decide(claim, worse)
    assert (status, measured[:9]) == (Status.NOT_REPRODUCED, "0 of 42; ")


def test_cells_that_the_paper_excepts_may_fall() -> None:
    benchmark, claim = load_benchmark("xor-tydi"), CLAIMS["all-languages"]

    def decided(*fallen: str) -> Finding:
        systems = evidence(**{"mbert": 0.4, "mbert-xqg": 0.5}).systems
        augmented = systems["mbert-xqg"]
        for cell in fallen:
            measure, code = cell.split()
            scores = {**augmented.scores[measure], code: dict.fromkeys(augmented.scores[measure][code], 0.0)}
            augmented = dataclasses.replace(augmented, scores={**augmented.scores, measure: scores})
        return decide(claim, Evidence(benchmark, {**systems, "mbert-xqg": augmented}))

    papers = decided("R2kt ja", "R5kt fi")
    assert papers == (Status.REPRODUCED, "12 of 14; not R2kt ja of mbert-xqg, R5kt fi of mbert-xqg")
    assert decided("R2kt ja", "R5kt fi", "R5kt ru").status is Status.REPRODUCED
    assert decided("R2kt ko", "R5kt ru").status is Status.NOT_REPRODUCED


def test_better_means_in_both_measures() -> None:
    scores = {"xdr-mini": 0.5, "xlmr-mini": 0.4}
    assert decide(CLAIMS["mbert-beats-xlmr"], evidence(**scores)) == (Status.REPRODUCED, "R2kt +10.0, R5kt +10.0")
    scores["xdr-mini"] = 0.3
    assert decide(CLAIMS["mbert-beats-xlmr"], evidence(**scores)).status is Status.NOT_REPRODUCED


def test_four_queries_need_conditions_with_four_and_five(better: Evidence) -> None:
    claim = CLAIMS["four-queries"]
    only_five = dataclasses.replace(claim, conditions={"xor-mini": ("xdr-mini", "xdr-mini-xqg")})
    status, measured = decide(only_five, better)
    assert status is Status.NOT_RUN and measured.endswith("they have 5")

    def decided(**shares: float) -> Finding:
        return decide(claim, evidence(**shares))

    once = "R2kt +10.0, p <0.001, R5kt +10.0, p <0.001"
    ran = {"xdr-mini": 0.4, "xdr-mini-xqg": 0.5}
    assert decided(**ran) == (Status.NOT_RUN, "needs the run of xdr-mini-xqg4")
    assert decided(**ran, **{"xdr-mini-xqg4": 0.5}) == (Status.REPRODUCED, f"{once}, {once}")
    assert decided(**ran, **{"xdr-mini-xqg4": 0.4}).status is Status.NOT_REPRODUCED


def test_settings_and_models_are_read(better: Evidence) -> None:
    found = decide(CLAIMS["alpha"], better)
    assert found.status is Status.NOT_REPRODUCED and "(xdr-mini-xqg)" in found.measured
    papers = Evidence(load_benchmark("xor-tydi"), evidence(**{"mbert-xqg": 0.5}).systems)
    assert decide(CLAIMS["alpha"], papers) == (Status.REPRODUCED, "0.01 (mbert-xqg)")
    trained = decide(CLAIMS["zero-shot-training"], evidence())
    assert trained.status is Status.REPRODUCED
    assert trained.measured.startswith("1,000 questions of xor-mini/train/en (en); before")
    assert decide(CLAIMS["languages"], evidence()).status is Status.REPRODUCED
    assert decide(CLAIMS["size"], evidence()).measured.startswith("needs XOR-TyDi; xor-mini has 2,279 passages")


def test_the_research_question_is_decided_by_the_stored_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, nothing = CLAIMS["research-question"], evidence()
    stored = read_summary(Path("docs", "study", "en"))
    monkeypatch.chdir(tmp_path)
    assert decide(claim, nothing).status is Status.NOT_RUN

    def decided(*limits: tuple[str, float, float]) -> Finding:
        ways = ("queries against none", VERSUS, VERSUS)
        answers = [
            QuestionAnswer(way, measure, "a", "b", (low + high) / 2, low, high, 0.01, 1190, None)
            for measure, low, high in limits
            for way in ways
        ]
        # a second comparison of the same way, in all languages, does not decide
        answers = [
            dataclasses.replace(answer, low=-1.0, high=1.0) if number % len(ways) != 1 else answer
            for number, answer in enumerate(answers)
        ]
        folder = tmp_path / "docs" / "study" / "machine"
        dataclasses.replace(stored, answers=tuple(answers)).write(folder)
        return decide(claim, nothing)

    better = decided(("RR", 0.01, 0.03), ("F1", 0.01, 0.02))
    assert better.status is Status.REPRODUCED
    assert better.measured.startswith("RR +2.0 points (95 % interval +1.0 to +3.0, p 0.010), F1 +1.5")
    assert decided(("RR", 0.01, 0.03), ("F1", -0.01, 0.02)).status is Status.NOT_REPRODUCED
    assert decided(("RR", -0.03, -0.01)).status is Status.NOT_REPRODUCED


def test_what_was_not_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = report_of_runs(BENCHMARK, tmp_path).evidence
    assert decide(CLAIMS["mbert-improves"], nothing) == (Status.NOT_RUN, "needs the run of xdr-mini, xdr-mini-xqg")
    assert decide(CLAIMS["alpha"], nothing) == (Status.NOT_RUN, "needs the run of an augmented condition")
    elsewhere = dataclasses.replace(CLAIMS["xlmr-improves"], conditions={})
    assert decide(elsewhere, nothing) == (Status.NOT_RUN, "needs conditions for it on xor-mini")
    assert cli.main(["claims", "--benchmark", "xor-mini", "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  not run         {CLAIMS['mbert-improves'].text} [needs the run of xdr-mini, xdr-mini-xqg]" in lines
    assert len(lines) == 1 + len(CLAIMS)


def test_every_claim_is_in_the_table_and_systems_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = [], claims.compare
    monkeypatch.setattr(claims, "compare", lambda *given: compared.append(given) or compare(*given))
    table = claims_table(every_encoder(0.4, 0.5))
    assert [row[0] for row in table.rows] == [claim.text for claim in load_claims()]
    assert len(compared) == 2  # conditions with their baselines, and mBERT with XLM-R


def test_claims_have_names_of_their_own_and_every_check_is_used() -> None:
    assert len(CLAIMS) == len(load_claims())
    assert {claim.check for claim in CLAIMS.values()} == set(CHECKS)
    with pytest.raises(InputError, match="'magic'"):
        Claim("x", "y", check="magic")
