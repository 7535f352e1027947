from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.significance import (
    Correction,
    Differences,
    Test,
    bootstrap_interval,
    corrected,
    detectable,
    effect_size,
    macro_mean,
    mcnemar,
    p_value,
    paired_differences,
    randomisation,
    standard_error,
    t_test,
)

LANGUAGES = {"ar": 60, "fi": 110, "te": 30}
"""Questions a language in the simulations: not equally many, so that an average that pools would show."""


def binary(draw: np.random.Generator, better: float = 0.0) -> dict[str, np.ndarray]:
    """Differences of two systems' R@kt, a question's difficulty being the same for both."""
    found = {}
    for language, n in LANGUAGES.items():
        chance = draw.beta(1.5, 1.5, size=n)
        one, other = draw.random(n) < np.minimum(chance + better, 1), draw.random(n) < chance
        found[language] = one.astype(float) - other
    return found


def graded(draw: np.random.Generator, better: float = 0.0) -> dict[str, np.ndarray]:
    """Differences of two systems' reciprocal ranks."""
    return {
        language: 1 / np.ceil(10 * draw.random(n) * (1 - better)) - 1 / np.ceil(10 * draw.random(n))
        for language, n in LANGUAGES.items()
    }


# against SciPy and statsmodels


@pytest.mark.parametrize("seed", range(5))
def test_t_test_of_one_language_is_scipys(seed: int) -> None:
    one, other = np.random.default_rng(seed).random((2, 40))
    assert t_test({"fi": one - other}) == pytest.approx(stats.ttest_rel(one, other).pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_statsmodels(seed: int) -> None:
    one, other = np.random.default_rng(seed).integers(0, 2, (2, 50))
    table = [[np.sum(one & other), np.sum(one & 1 - other)], [np.sum(1 - one & other), np.sum((1 - one) & (1 - other))]]
    expected = statsmodels_mcnemar(table, exact=True).pvalue
    assert mcnemar({"fi": (one - other).astype(float)}) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_exact_randomisation_is_scipys(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.4, 1, 10)
    expected = stats.permutation_test(
        (values, np.zeros(10)), lambda a, b, axis: np.mean(a - b, axis), permutation_type="samples", vectorized=True
    )
    assert randomisation({"fi": values}) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("make", [binary, graded])
def test_sampled_randomisation_agrees_with_scipys(make: Callable[..., Differences]) -> None:
    differences = make(np.random.default_rng(7), 0.06)
    n = np.concatenate([[1 / (3 * len(values))] * len(values) for values in differences.values()])
    values = np.concatenate(list(differences.values()))
    expected = stats.permutation_test(
        (values, np.zeros(len(values))),
        lambda a, b, axis: np.sum((a - b) * n, axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        batch=500,
        rng=1,
    ).pvalue
    assert 0.01 < expected < 0.9
    # two samples of 9,999 each
    assert randomisation(differences) == pytest.approx(expected, abs=4 * np.sqrt(2 * expected * (1 - expected) / 9999))


def test_randomisation_of_scores_of_0_and_1_is_mcnemars() -> None:
    differences = {"fi": np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)}
    assert randomisation(differences) == pytest.approx(mcnemar(differences), abs=1e-12)


@pytest.mark.parametrize("make", [binary, graded])
def test_bootstrap_interval_is_scipys(make: Callable[..., Differences]) -> None:
    differences = make(np.random.default_rng(3))
    expected = stats.bootstrap(
        tuple(differences.values()),
        lambda *parts, axis: np.mean([np.mean(part, axis) for part in parts], axis=0),
        method="percentile",
        rng=5,
    ).confidence_interval
    assert bootstrap_interval(differences) == pytest.approx(tuple(expected), abs=0.006)


@pytest.mark.parametrize("correction", [Correction.HOLM, Correction.BONFERRONI])
def test_correction_is_statsmodels(correction: Correction) -> None:
    found = [0.01, 0.04, 0.03, 0.2, 0.9]
    assert corrected(found, correction) == pytest.approx(multipletests(found, method=correction.value)[1])
    assert corrected(found, Correction.NONE) == found
    assert corrected([], correction) == []


def test_holm_by_hand() -> None:
    assert corrected([0.04, 0.01, 0.03], Correction.HOLM) == pytest.approx([0.06, 0.03, 0.06])
    assert corrected([0.04, 0.01, 0.5], Correction.BONFERRONI) == pytest.approx([0.12, 0.03, 1.0])


# how often they err


TESTS: dict[str, Callable[[Differences], bool]] = {
    "randomisation": lambda d: randomisation(d, samples=999) <= 0.05,
    "t": lambda d: t_test(d) <= 0.05,
    "mcnemar": lambda d: mcnemar(d) <= 0.05,
    "bootstrap": lambda d: not (lambda low, high: low <= 0 <= high)(*bootstrap_interval(d, samples=999)),
}
LEAST = {"mcnemar": 0.01}
"""McNemar's test is exact: its p-values come in steps, so it rejects less often than 5%."""


def rejected(test: str, make: Callable[..., Differences], better: float, comparisons: int) -> float:
    draw = np.random.default_rng(2024)
    return float(np.mean([TESTS[test](make(draw, better)) for _ in range(comparisons)]))


@pytest.mark.integration
@pytest.mark.parametrize(("test", "make"), [(test, make) for test in TESTS for make in (binary, graded)])
def test_one_null_comparison_in_twenty_is_rejected(test: str, make: Callable[..., Differences]) -> None:
    if test == "mcnemar" and make is graded:
        with pytest.raises(InputError, match="scores of 0 and 1"):
            mcnemar(graded(np.random.default_rng(1)))
        return
    assert LEAST.get(test, 0.035) <= rejected(test, make, 0.0, 2000) <= 0.065


@pytest.mark.parametrize("test", TESTS)
def test_power_rises_with_the_effect(test: str) -> None:
    shares = [rejected(test, binary, better, 200) for better in (0.0, 0.1, 0.2)]
    assert shares[0] + 0.2 < shares[1] < shares[2] - 0.1
    assert shares[2] > 0.9


def test_detectable_difference_is_found_four_times_in_five() -> None:
    draw = np.random.default_rng(11)
    detected = [detectable(binary(draw)) for _ in range(50)]
    better = float(np.mean(detected))
    # `better` is added to a chance that cannot exceed 1, so the effect is a little smaller than that
    effect = float(np.mean([macro_mean(binary(draw, better)) for _ in range(300)]))
    found = rejected("t", binary, better * better / effect, 400)
    assert 0.72 < found < 0.88


# what is tested


def test_languages_count_the_same_however_many_questions_they_have() -> None:
    differences = {"ar": np.ones(1), "fi": np.zeros(9)}
    assert macro_mean(differences) == 0.5
    assert macro_mean(differences) != np.concatenate(list(differences.values())).mean()


def test_effect_size_by_hand() -> None:
    values = np.array([1.0, 0.0, 0.0, 1.0])
    assert effect_size({"fi": values}) == pytest.approx(0.5 / values.std(ddof=1))
    assert standard_error({"fi": values}) == pytest.approx(values.std(ddof=1) / 2)
    assert standard_error({"fi": values, "ar": values}) == pytest.approx(values.std(ddof=1) / 2 / np.sqrt(2))


@pytest.mark.parametrize("test", Test)
def test_a_seed_gives_the_same_value_and_signs_do_not_matter(test: Test) -> None:
    differences = binary(np.random.default_rng(5), 0.05)
    found = p_value(differences, test)
    assert found == p_value(differences, test)
    assert found == pytest.approx(p_value({language: -d for language, d in differences.items()}, test), abs=0.02)


@pytest.mark.parametrize("test", Test)
@pytest.mark.parametrize("questions", [1, 2, 200])
def test_equal_scores_give_p_1_without_a_warning(test: Test, questions: int) -> None:
    differences = {"ar": np.zeros(questions), "fi": np.zeros(questions)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert p_value(differences, test) == 1.0
        assert bootstrap_interval(differences) == (0.0, 0.0)
        assert effect_size(differences) == 0.0
        assert detectable(differences) == (0.0 if questions > 1 else np.inf)


@pytest.mark.parametrize(
    ("test", "expected"), [(Test.T, 0.0), (Test.RANDOMISATION, 2 / 10_000), (Test.MCNEMAR, 0.5**19)]
)
def test_the_same_difference_everywhere(test: Test, expected: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert p_value({"fi": np.ones(20)}, test) <= expected + 1e-12
        assert effect_size({"fi": np.ones(20)}) == np.inf
        assert bootstrap_interval({"fi": np.ones(20)}) == (1.0, 1.0)


def test_scores_are_aligned_by_question() -> None:
    found = paired_differences({"fi": {"a": 1.0, "b": 0.0}, "ar": {}}, {"fi": {"b": 1.0, "a": 0.5}, "ar": {}})
    assert {language: list(values) for language, values in found.items()} == {"fi": [0.5, -1.0]}


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        ({"fi": {"a": 1.0, "b": 1.0}}, {"fi": {"a": 1.0}}, "1 in fi have only one score, such as b"),
        ({"fi": {"a": 1.0}}, {"fi": {"a": 1.0}, "ar": {"c": 1.0}}, "1 in ar"),
        ({"fi": {}}, {"fi": {}}, "no scored question in common"),
    ],
)
def test_different_questions_are_refused(one: dict, other: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        paired_differences(one, other)
