from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.baselines import Published, hits, load_baselines, mantel_haenszel, proportions, unpaired
from xqg_repro.evaluation.compare import System, against_published
from xqg_repro.evaluation.significance import Correction

KNOWN = load_baselines()


def test_rows_are_those_of_the_facts_file(shared: Path) -> None:
    path = shared / "facts" / "xor_retrieve_published.yaml"
    facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len(facts) == len(KNOWN.rows) == 87
    for fact, row in zip(facts, KNOWN.rows, strict=True):
        assert (row.system, row.average, row.source, row.provenance, row.per_language) == (
            fact["system"],
            fact["average"],
            fact["source"],
            fact["provenance"],
            fact.get("per_language", {}),
        )
        assert (row.paper or None, row.note or None) == (fact.get("paper"), fact.get("note"))
        assert (row.split + (" (inferred)" if row.inferred else ""), row.measure) == (
            fact["split"],
            fact["metric"].replace("@", ""),
        )


def test_every_row_has_a_source() -> None:
    assert len(KNOWN.rows) == 87
    assert all(row.source and row.provenance in ("primary", "secondary") for row in KNOWN.rows)
    assert sum(KNOWN.questions.values()) == 1928


@pytest.mark.parametrize(
    ("percent", "questions", "digits", "expected"),
    [
        (41.1, 309, 1, 127),  # 41.100
        (49.01, 304, 2, 149),  # 49.013
        (33.3, 237, 1, 79),
        (37.8, 237, 1, None),  # 89/237 is 37.55, 90/237 is 37.97
        (0.0, 237, 1, 0),
        (100.0, 237, 1, 237),
    ],
)
def test_a_percentage_gives_its_count_back(percent: float, questions: int, digits: int, expected: int | None) -> None:
    assert hits(percent, questions, digits) == expected


@pytest.mark.parametrize("questions", KNOWN.questions.values())
def test_every_count_comes_back(questions: int) -> None:
    for digits in (1, 2):
        assert [hits(round(100 * k / questions, digits), questions, digits) for k in range(questions + 1)] == list(
            range(questions + 1)
        )


def test_published_cells_that_are_no_count_are_reported() -> None:
    assert [line.partition(";")[0] for line in KNOWN.check()] == [
        "DPR + own MT, R5kt, ru: 37.8 is no k/237",
        "CLASS-US, R2kt, ar: 54.5 is no k/309",
        "CLASS-US, R2kt, te: 65.6 is no k/238",
        "CLASS-US, R5kt, ar: 64.8 is no k/309",
        "CLASS-US, R5kt, fi: 64.7 is no k/314",
    ]


def test_an_average_that_is_not_its_cells_is_reported() -> None:
    row = Published("x", "dev", "R2kt", 99.0, "here", "primary", per_language={"ar": 100 / 309 * 127})
    assert "the mean of the cells is 41.10" in type(KNOWN)(KNOWN.questions, (row,)).check()[-1]


def test_a_row_is_found_by_name() -> None:
    row = KNOWN.find("xDR mBERT + xQG", "R5kt")
    assert (row.average, row.digits, KNOWN.counts(row)["bn"]) == (53.35, 2, (184, 304))


@pytest.mark.parametrize(
    ("name", "measure", "problem"),
    [
        ("xDR mBERTT", "R2kt", "did you mean xDR mBERT"),
        ("xDR XLM-R (paper)", "R2kt", "R2kt on dev, average only"),
        ("BM25 + human translation", "R2kt", "R2kt on test"),
        ("xDR mBERT", "R3kt", "has no R3kt on dev"),
    ],
)
def test_a_row_that_there_is_not(name: str, measure: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        KNOWN.find(name, measure)
    assert problem in str(caught.value)


# the tests


@pytest.mark.parametrize(("one", "other"), [((12, 40), (21, 38)), ((3, 15), (9, 20)), ((0, 9), (5, 9))])
def test_exact_tests_are_scipys(one: tuple[int, int], other: tuple[int, int]) -> None:
    table = [[one[0], other[0]], [one[1] - one[0], other[1] - other[0]]]
    assert proportions(one, other) == pytest.approx(stats.boschloo_exact(table).pvalue)
    assert proportions(one, other, "fisher") == pytest.approx(stats.fisher_exact(table).pvalue)
    assert proportions(one, other) <= proportions(one, other, "fisher") + 1e-9


def test_mantel_haenszel_is_statsmodels() -> None:
    tables = [((12, 40), (21, 38)), ((30, 50), (36, 60)), ((5, 9), (8, 11))]
    cells = [[[k, n - k], [j, m - j]] for (k, n), (j, m) in tables]
    expected = StratifiedTable(cells).test_null_odds(correction=False).pvalue
    assert mantel_haenszel(tables) == pytest.approx(expected)
    # languages in which nobody or everybody answers tell nothing
    assert mantel_haenszel([*tables, ((0, 9), (0, 8)), ((9, 9), (8, 8))]) == pytest.approx(expected)


def test_equal_and_empty_tables_have_p_1_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one, other in (((0, 9), (0, 9)), ((9, 9), (8, 8)), ((5, 10), (10, 20))):
            found = unpaired({"ar": one}, {"ar": other})
            assert (found.p["ar"], found.p_overall) == (1.0, 1.0)


def test_languages_that_both_have_are_tested() -> None:
    assert set(unpaired({"ar": (1, 2), "fi": (1, 2)}, {"fi": (2, 2), "te": (1, 2)}).p) == {"fi"}
    with pytest.raises(InputError, match="no language in common"):
        unpaired({"ar": (1, 2)}, {"fi": (1, 2)})


@pytest.mark.integration
def test_null_comparisons_are_rarely_rejected_and_effects_often() -> None:
    """Boschloo's test, exact, rejects less often than 5%; Cochran, Mantel and Haenszel's about as often."""
    draw, n = np.random.default_rng(7), 30
    exact = cache(proportions)

    def shares(other: float, comparisons: int) -> tuple[float, float]:
        boschloo = overall = 0
        for _ in range(comparisons):
            tables = [((int(draw.binomial(n, 0.5)), n), (int(draw.binomial(n, other)), n)) for _ in range(3)]
            boschloo += exact(*tables[0]) <= 0.05
            overall += mantel_haenszel(tables) <= 0.05
        return boschloo / comparisons, overall / comparisons

    boschloo, overall = shares(0.5, 2000)
    assert 0.01 <= boschloo <= 0.05 + 0.015
    assert 0.035 <= overall <= 0.065
    stronger = shares(0.8, 100)
    assert stronger[0] > 0.5 and stronger[1] > 0.9


def test_a_system_is_compared_with_a_published_one() -> None:
    counts = KNOWN.counts(KNOWN.find("xDR mBERT + xQG", "R2kt"))
    scores = {language: {f"{language}{i}": float(i < k) for i in range(n)} for language, (k, n) in counts.items()}
    ours = System("ours", "Ours", {"R2kt": scores})
    (table,) = against_published(ours, "xDR mBERT", ["R2kt"], Correction.HOLM)
    assert table.header == ["R2kt", "Ours", "xDR mBERT", "p", "corrected"]
    assert table.rows[0][:3] == ["ar", "42.4 (131/309)", "41.1 (127/309)"]
    assert table.rows[-1][1:3] == ["46.2", "44.2"]
    assert float(str(table.rows[-1][3])) == pytest.approx(0.170, abs=1e-3)


def test_measures_between_0_and_1_cannot_be_tested() -> None:
    with pytest.raises(InputError, match="not of 0 and 1"):
        against_published(System("o", "O", {"R2kt": {"ar": {"a": 0.5}}}), "xDR mBERT", ["R2kt"], Correction.HOLM)


def test_runs_of_other_questions_are_not_compared_with_published_systems(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "run.xor-mini.xdr-mini.dev.txt", "--published", "xDR mBERT"]) == 2
    assert "published results are on xor-tydi/dev, not on xor-mini/dev" in capsys.readouterr().err
