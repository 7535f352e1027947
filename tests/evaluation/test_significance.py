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
    correct_p_values,
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
"""Questions per language in the simulations: unequal numbers, so that a pooled average would differ."""


def binary(draw: np.random.Generator, better: float = 0.0) -> dict[str, np.ndarray]:
    """Differences of two systems' R@kt; a question is equally difficult for both."""
    differences = {}
    for language, n in LANGUAGES.items():
        chance = draw.beta(1.5, 1.5, size=n)
        scores, baseline = draw.random(n) < np.minimum(chance + better, 1), draw.random(n) < chance
        differences[language] = scores.astype(float) - baseline
    return differences


def graded(draw: np.random.Generator, better: float = 0.0) -> dict[str, np.ndarray]:
    """Differences of two systems' reciprocal ranks."""
    return {
        language: 1 / np.ceil(10 * draw.random(n) * (1 - better)) - 1 / np.ceil(10 * draw.random(n))
        for language, n in LANGUAGES.items()
    }


# against SciPy and statsmodels


def test_exact_tests_are_scipys_and_statsmodels() -> None:
    draw = np.random.default_rng(1)
    scores, baseline = draw.random((2, 40))
    assert t_test({"fi": scores - baseline}) == pytest.approx(stats.ttest_rel(scores, baseline).pvalue, rel=1e-9)

    a, b = draw.integers(0, 2, (2, 50))
    table = [[np.sum(a & b), np.sum(a & 1 - b)], [np.sum(1 - a & b), np.sum((1 - a) & (1 - b))]]
    expected = statsmodels_mcnemar(table, exact=True).pvalue
    assert mcnemar({"fi": (a - b).astype(float)}) == pytest.approx(expected, rel=1e-9)

    values = draw.normal(0.4, 1, 10)
    expected = stats.permutation_test(
        (values, np.zeros(10)), lambda a, b, axis: np.mean(a - b, axis), permutation_type="samples", vectorized=True
    ).pvalue
    assert randomisation({"fi": values}) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("make", [binary, graded])
def test_sampled_randomisation_agrees_with_scipys(make: Callable[..., Differences]) -> None:
    differences = make(np.random.default_rng(7), 0.06)
    weights = np.concatenate([[1 / (3 * len(values))] * len(values) for values in differences.values()])
    values = np.concatenate(list(differences.values()))
    expected = stats.permutation_test(
        (values, np.zeros(len(values))),
        lambda a, b, axis: np.sum((a - b) * weights, axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=1999,
        batch=500,
        rng=1,
    ).pvalue
    assert 0.01 < expected < 0.9
    variance = expected * (1 - expected) * (1 / 1999 + 1 / 9999)
    assert randomisation(differences) == pytest.approx(expected, abs=4 * np.sqrt(variance))


def test_randomisation_of_scores_of_0_and_1_is_mcnemars() -> None:
    differences = {"fi": np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)}
    assert randomisation(differences) == pytest.approx(mcnemar(differences), abs=1e-12)
    with pytest.raises(InputError, match="scores of 0 and 1"):
        mcnemar(graded(np.random.default_rng(1)))


@pytest.mark.parametrize("make", [binary, graded])
def test_bootstrap_interval_is_scipys(make: Callable[..., Differences]) -> None:
    differences = make(np.random.default_rng(3))
    expected = stats.bootstrap(
        tuple(differences.values()),
        lambda *parts, axis: np.mean([np.mean(part, axis) for part in parts], axis=0),
        method="percentile",
        n_resamples=4999,
        rng=5,
    ).confidence_interval
    assert bootstrap_interval(differences) == pytest.approx(tuple(expected), abs=0.006)


def test_corrections_by_hand_and_by_statsmodels() -> None:
    assert correct_p_values([0.04, 0.01, 0.03], Correction.HOLM) == pytest.approx([0.06, 0.03, 0.06])
    assert correct_p_values([0.04, 0.01, 0.5], Correction.BONFERRONI) == pytest.approx([0.12, 0.03, 1.0])
    p_values = [0.01, 0.04, 0.03, 0.2, 0.9]
    for correction in (Correction.HOLM, Correction.BONFERRONI):
        expected = multipletests(p_values, method=correction.value)[1]
        assert correct_p_values(p_values, correction) == pytest.approx(expected)
    assert correct_p_values(p_values, Correction.NONE) == p_values
    assert correct_p_values([], Correction.HOLM) == []


# how often the tests err


def excludes_zero(differences: Differences) -> bool:
    low, high = bootstrap_interval(differences, samples=299)
    return low > 0 or high < 0


TESTS: dict[str, Callable[[Differences], bool]] = {
    "randomisation": lambda differences: randomisation(differences, samples=299) <= 0.05,
    "t": lambda differences: t_test(differences) <= 0.05,
    "mcnemar": lambda differences: mcnemar(differences) <= 0.05,
    "bootstrap": excludes_zero,
}


def rejected(test: str, make: Callable[..., Differences], better: float, comparisons: int) -> float:
    draw = np.random.default_rng(2024)
    return float(np.mean([TESTS[test](make(draw, better)) for _ in range(comparisons)]))


@pytest.mark.parametrize(
    ("test", "make"),
    [(test, make) for test in TESTS for make in (binary, graded) if (test, make) != ("mcnemar", graded)],
)
def test_about_one_null_comparison_in_twenty_is_rejected(test: str, make: Callable[..., Differences]) -> None:
    least = 0.01 if test == "mcnemar" else 0.03  # McNemar's p-values come in steps, so it rejects less often than 5%
    assert least <= rejected(test, make, 0.0, 500) <= 0.075


@pytest.mark.parametrize("test", TESTS)
def test_power_rises_with_the_effect(test: str) -> None:
    shares = [rejected(test, binary, better, 80) for better in (0.0, 0.1, 0.2)]
    assert shares[0] + 0.2 < shares[1] < shares[2] - 0.1
    assert shares[2] > 0.9


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    draw = np.random.default_rng(11)
    better = float(np.mean([detectable(binary(draw)) for _ in range(20)]))
    # `better` is added to a chance that cannot exceed 1, so the effect is a little smaller
    effect = float(np.mean([macro_mean(binary(draw, better)) for _ in range(200)]))
    assert 0.7 < rejected("t", binary, better * better / effect, 300) < 0.9


# what is tested


def test_averages_effect_sizes_and_standard_errors_by_hand() -> None:
    assert macro_mean({"ar": np.ones(1), "fi": np.zeros(9)}) == 0.5  # languages count the same
    values = np.array([1.0, 0.0, 0.0, 1.0])
    assert effect_size({"fi": values}) == pytest.approx(0.5 / values.std(ddof=1))
    assert standard_error({"fi": values}) == pytest.approx(values.std(ddof=1) / 2)
    assert standard_error({"fi": values, "ar": values}) == pytest.approx(values.std(ddof=1) / 2 / np.sqrt(2))


@pytest.mark.parametrize("test", Test)
def test_p_values_are_reproducible_and_two_sided(test: Test) -> None:
    differences = binary(np.random.default_rng(5), 0.05)
    p = p_value(differences, test)
    assert p == p_value(differences, test)
    assert p == pytest.approx(p_value({language: -d for language, d in differences.items()}, test), abs=0.02)


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
    differences = paired_differences({"fi": {"a": 1.0, "b": 0.0}, "ar": {}}, {"fi": {"b": 1.0, "a": 0.5}, "ar": {}})
    assert {language: list(values) for language, values in differences.items()} == {"fi": [0.5, -1.0]}


@pytest.mark.parametrize(
    ("scores", "baseline", "problem"),
    [
        ({"fi": {"a": 1.0, "b": 1.0}}, {"fi": {"a": 1.0}}, "1 in fi have only one score, such as b"),
        ({"fi": {"a": 1.0}}, {"fi": {"a": 1.0}, "ar": {"c": 1.0}}, "1 in ar"),
        ({"fi": {}}, {"fi": {}}, "no scored question in common"),
    ],
)
def test_different_questions_are_refused(scores: dict, baseline: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        paired_differences(scores, baseline)
