"""Published results, and comparisons with them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.baselines import Published, load_baselines
from xqg_repro.evaluation.significance import Correction
from xqg_repro.evaluation.unpaired import compare_proportions, compare_published, exact_test, mantel_haenszel

KNOWN = load_baselines()


def test_rows_are_those_of_the_facts_file(shared: Path) -> None:
    facts = yaml.safe_load((shared / "facts" / "xor_retrieve_published.yaml").read_text(encoding="utf-8"))
    assert len(facts) == len(KNOWN.rows) == 87
    for fact, row in zip(facts, KNOWN.rows, strict=True):
        for name in ("system", "average", "source", "provenance"):
            assert getattr(row, name) == fact[name]
        assert row.per_language == fact.get("per_language", {})
        assert (row.paper or None, row.note or None) == (fact.get("paper"), fact.get("note"))
        assert row.split + (" (inferred)" if row.inferred else "") == fact["split"]
        assert row.measure == fact["metric"].replace("@", "")


def digits(row: Published) -> int:
    return max(len(str(percent).partition(".")[2]) for percent in (row.average, *row.per_language.values()))


def test_published_dev_percentages_are_counts_with_known_exceptions() -> None:
    assert all(row.source and row.provenance in ("primary", "secondary") for row in KNOWN.rows)
    assert sum(KNOWN.questions.values()) == 1928
    odd = []
    for row in (row for row in KNOWN.rows if row.split == "dev" and row.per_language):
        mean = sum(row.per_language.values()) / len(row.per_language)
        assert row.average == pytest.approx(mean, abs=10 ** -digits(row) + 1e-9)
        for language, (k, n) in KNOWN.counts(row).items():
            if abs(100 * k / n - row.per_language[language]) > 0.5 * 10 ** -digits(row) + 1e-9:
                odd.append(f"{row.system}, {row.measure}, {language}")
    assert odd == [
        "DPR + own MT, R5kt, ru",
        "CLASS-US, R2kt, ar",
        "CLASS-US, R2kt, te",
        "CLASS-US, R5kt, ar",
        "CLASS-US, R5kt, fi",
    ]


def test_a_row_is_found_by_name() -> None:
    row = KNOWN.find("xDR mBERT + xQG", "R5kt")
    assert (row.average, KNOWN.counts(row)["bn"]) == (53.35, (184, 304))


@pytest.mark.parametrize(
    ("name", "measure", "problem"),
    [
        ("xDR mBERTT", "R2kt", "did you mean xDR mBERT"),
        ("xDR XLM-R (paper)", "R2kt", "R2kt on dev, average only"),
        ("BM25 + human translation", "R2kt", "R2kt on test"),
        ("xDR mBERT", "R3kt", "no published R3kt on dev"),
    ],
)
def test_an_unknown_row_is_refused(name: str, measure: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem.replace("(", r"\(")):
        KNOWN.find(name, measure)


# the tests


@pytest.mark.parametrize(("ours", "theirs"), [((12, 40), (21, 38)), ((3, 15), (9, 20)), ((0, 9), (5, 9))])
def test_exact_tests_are_scipys(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    table = [[ours[0], theirs[0]], [ours[1] - ours[0], theirs[1] - theirs[0]]]
    assert exact_test(ours, theirs) == pytest.approx(stats.boschloo_exact(table).pvalue)
    assert exact_test(ours, theirs) <= stats.fisher_exact(table).pvalue + 1e-9


def test_mantel_haenszel_is_statsmodels() -> None:
    tables = [((12, 40), (21, 38)), ((30, 50), (36, 60)), ((5, 9), (8, 11))]
    cells = [[[k, n - k], [j, m - j]] for (k, n), (j, m) in tables]
    expected = StratifiedTable(cells).test_null_odds(correction=False).pvalue
    assert mantel_haenszel(tables) == pytest.approx(expected)
    # languages in which both systems answer all questions or none carry no information
    assert mantel_haenszel([*tables, ((0, 9), (0, 8)), ((9, 9), (8, 8))]) == pytest.approx(expected)


def test_equal_and_empty_tables_have_p_1_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ours, theirs in (((0, 9), (0, 9)), ((9, 9), (8, 8)), ((5, 10), (10, 20))):
            assert compare_proportions({"ar": ours}, {"ar": theirs}) == ({"ar": 1.0}, 1.0)


def test_languages_that_both_have_are_tested() -> None:
    assert set(compare_proportions({"ar": (1, 2), "fi": (1, 2)}, {"fi": (2, 2), "te": (1, 2)})[0]) == {"fi"}
    with pytest.raises(InputError, match="no language in common"):
        compare_proportions({"ar": (1, 2)}, {"fi": (1, 2)})


def test_null_comparisons_are_rarely_rejected_and_effects_often() -> None:
    """Boschloo's exact test rejects less often than 5%, Cochran, Mantel and Haenszel's about as often."""
    draw, n, exact = np.random.default_rng(7), 12, cache(exact_test)

    def rejected(other: float, comparisons: int) -> tuple[float, float]:
        boschloo = overall = 0
        for _ in range(comparisons):
            tables = [((int(draw.binomial(n, 0.5)), n), (int(draw.binomial(n, other)), n)) for _ in range(3)]
            boschloo += exact(*tables[0]) <= 0.05
            overall += mantel_haenszel(tables) <= 0.05
        return boschloo / comparisons, overall / comparisons

    boschloo, overall = rejected(0.5, 400)
    assert boschloo <= 0.05 and 0.03 <= overall <= 0.08
    boschloo, overall = rejected(0.95, 50)
    assert boschloo > 0.5 and overall > 0.9


def test_a_system_is_compared_with_a_published_one() -> None:
    counts = {language: (k // 10, n // 10) for language, (k, n) in KNOWN.counts(KNOWN.find("CLASS", "R2kt")).items()}
    scores = {code: {f"{code}{i}": float(i < k) for i in range(n)} for code, (k, n) in counts.items()}
    (table,) = compare_published("Ours", {"R2kt": {**scores, "en": {}}}, "xDR mBERT", Correction.HOLM)
    assert table.header == ["R2kt", "Ours", "xDR mBERT", "p", "corrected"]
    assert table.rows[0][:3] == ["ar", "66.7 (20/30)", "41.1 (127/309)"]
    assert [row[0] for row in table.rows] == [*scores, "average"]
    assert table.rows[-1][2] == "44.2" and table.rows[-1][3] == "<0.001"
    with pytest.raises(InputError, match="R2kt are not all 0 or 1"):
        compare_published("o", {"R2kt": {"ar": {"a": 0.5}}}, "xDR mBERT", Correction.HOLM)


def test_runs_of_other_questions_are_not_compared_with_published_systems(verb: Callable[..., tuple]) -> None:
    status, _, errors = verb("compare", "run.xor-mini.xdr-mini.dev.txt", "--published", "xDR mBERT")
    assert status == 2 and "published results are on xor-tydi/dev, not on xor-mini/dev" in errors
