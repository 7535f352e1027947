"""Is the difference between two systems real? Paired tests, corrections for many tests, and detectable differences.

All functions take differences of two systems' scores on the same questions, grouped by language. They test the macro
average that tables print, ``d = mean_l(mean_i(d_li))``, in which each language counts the same however many questions
it has. So questions are not pooled, which would give a language with many questions more weight in the test than in the
average: a randomisation or bootstrap sample changes questions within their language, and the standard error combines
those of the languages.

McNemar's test is the exception: it only counts questions that changed, so it pools those of all languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import inf, isclose, sqrt
from typing import TypeAlias

import numpy as np

from xqg_repro.core.errors import InputError

Differences: TypeAlias = Mapping[str, np.ndarray]
"""Language → differences, float64, one per question."""

SAMPLES = 9_999
"""Number of randomisation or bootstrap samples."""

SEED = 42

_EXACT = 12
"""The randomisation test tries all sign changes, at most 4,096, of up to this many questions that differ."""


class Test(StrEnum):
    """How a p-value is computed."""

    RANDOMISATION = "randomisation"
    T = "t"
    MCNEMAR = "mcnemar"

    __test__ = False  # a statistical test, which pytest must not collect


class Correction(StrEnum):
    """How p-values are corrected for the number of tests in a family."""

    HOLM = "holm"
    BONFERRONI = "bonferroni"
    NONE = "none"


def paired_differences(
    scores: Mapping[str, Mapping[str, float]], baseline: Mapping[str, Mapping[str, float]]
) -> dict[str, np.ndarray]:
    """Differences of two systems' scores (language → qid → score), aligned by question.

    Raises:
        InputError: the two do not have the same questions, or have none.
    """
    for language in {*scores, *baseline}:
        only_one = scores.get(language, {}).keys() ^ baseline.get(language, {}).keys()
        if only_one:
            raise InputError(
                f"the systems were not scored on the same questions: {len(only_one)} in {language} have only one "
                f"score, such as {min(only_one)}",
                hint="score questions missing from a run with zero (--missing zero)",
            )
    if not any(scores.values()):
        raise InputError("the systems have no scored question in common")
    return {
        language: np.array([score - baseline[language][qid] for qid, score in values.items()], dtype=np.float64)
        for language, values in scores.items()
        if values
    }


def p_value(differences: Differences, test: Test, *, samples: int = SAMPLES) -> float:
    """Two-sided p-value of a paired test; 1 if all differences are zero."""
    if test is Test.RANDOMISATION:
        return randomisation(differences, samples=samples)
    return t_test(differences) if test is Test.T else mcnemar(differences)


def macro_mean(differences: Differences) -> float:
    """Mean over the languages of their mean differences."""
    return float(np.mean([values.mean() for values in differences.values()]))


def randomisation(differences: Differences, *, samples: int = SAMPLES, seed: int = SEED) -> float:
    """Paired randomisation test: how often is the average as far from zero if the systems are swapped at random?

    Under the null hypothesis, a question's two scores could have come from either system, so each difference may change
    its sign. With k ≤ 12 questions that differ, all 2^k sign changes are tried. Otherwise ``samples`` of them are drawn
    and ``p = (b + 1) / (samples + 1)`` (Phipson and Smyth 2010), where b counts the samples whose average is at least
    as far from zero as the observed one.

    Differences of the same size in the same language are interchangeable, so a sample only draws how many of them keep
    their sign, a binomial number.
    """
    shares = [np.abs(values) / (len(differences) * len(values)) for values in differences.values()]
    sizes, counts = np.unique(np.concatenate([values[values > 0] for values in shares]), return_counts=True)
    if not len(sizes):
        return 1.0
    # sums that are equal may differ in their last digits
    observed = abs(macro_mean(differences)) - 1e-12 * float(sizes @ counts)
    changed = int(counts.sum())
    if changed <= _EXACT:
        signs = 2 * (np.arange(2**changed)[:, None] >> np.arange(changed) & 1) - 1
        return float(np.mean(np.abs(signs @ np.repeat(sizes, counts)) >= observed))
    kept = np.random.default_rng(seed).binomial(counts, 0.5, size=(samples, len(counts)))
    beyond = np.count_nonzero(np.abs((2 * kept - counts) @ sizes) >= observed)
    return (beyond + 1) / (samples + 1)


def t_test(differences: Differences) -> float:
    """Paired t-test; over several languages, with the standard error of the macro average.

    ``t = d / se``, ``se² = Σ_l s_l²/n_l / L²``, with Welch and Satterthwaite's degrees of freedom. For one language,
    this is Student's paired test. 1 if a language has a single question, which has no variance.
    """
    from scipy import stats

    mean, error = macro_mean(differences), standard_error(differences)
    if mean == 0 or error == inf:
        return 1.0
    if error == 0:
        return 0.0
    parts = [(values.var(ddof=1) / len(values), len(values)) for values in differences.values()]
    freedom = (error * len(differences)) ** 4 / sum(part**2 / (n - 1) for part, n in parts)
    return float(2 * stats.t.sf(abs(mean) / error, freedom))


def mcnemar(differences: Differences) -> float:
    """McNemar's exact test for scores of 0 and 1: do as many questions change for the better as for the worse?

    Raises:
        InputError: a difference is not -1, 0 or 1.
    """
    from scipy import stats

    pooled = np.concatenate(list(differences.values()))
    if not np.isin(pooled, (-1, 0, 1)).all():
        hint = "use it for R2kt, R5kt or EM, or use the randomisation test"
        raise InputError("McNemar's test needs scores of 0 and 1", hint=hint)
    better, changed = int((pooled > 0).sum()), int((pooled != 0).sum())
    return float(stats.binomtest(better, changed).pvalue) if changed else 1.0


def bootstrap_interval(
    differences: Differences, *, level: float = 0.95, samples: int = SAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Percentile interval of the macro average (paired bootstrap); questions are resampled within their language.

    A bootstrap sample draws as many questions with replacement, so the number of times that it contains each distinct
    difference is multinomial.
    """
    draw = np.random.default_rng(seed)
    means = np.zeros(samples)
    for values in differences.values():
        distinct, counts = np.unique(values, return_counts=True)
        drawn = draw.multinomial(len(values), counts / len(values), size=samples)
        means += drawn @ distinct / (len(values) * len(differences))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def standard_error(differences: Differences) -> float:
    """Standard error of the macro average; infinity if a language has a single question."""
    if any(len(values) < 2 for values in differences.values()):
        return inf
    return sqrt(sum(values.var(ddof=1) / len(values) for values in differences.values())) / len(differences)


def effect_size(differences: Differences) -> float:
    """Cohen's d for paired scores: the average divided by the standard deviation of differences within a language.

    0 if nothing differs, infinity if all questions differ by the same amount.
    """
    mean = macro_mean(differences)
    deviation = sqrt(np.mean([values.var(ddof=1) if len(values) > 1 else 0.0 for values in differences.values()]))
    if isclose(mean, 0, abs_tol=1e-15):
        return 0.0
    return mean / deviation if deviation else inf * np.sign(mean)


def detectable(differences: Differences, *, level: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference that 80 of 100 experiments with this number and variance of questions would detect.

    ``(z_{1-level/2} + z_power) · se``, the usual approximation for a two-sided test.
    """
    from scipy import stats

    return float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)) * standard_error(differences)


def correct_p_values(p_values: Sequence[float], correction: Correction) -> list[float]:
    """Correct the p-values of one family of tests for their number, as statsmodels' ``multipletests`` does.

    That one collects garbage at each call, which takes longer than all tests of a family.
    """
    if correction is Correction.NONE or not p_values:
        return list(p_values)
    values, number = np.asarray(p_values), len(p_values)
    if correction is Correction.BONFERRONI:
        return np.minimum(1, number * values).tolist()
    order = np.argsort(values)
    corrected = np.empty(number)
    # the smallest is tested as one of n, the next as one of n - 1, …; none becomes smaller than the one before
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(number, 0, -1)))
    return corrected.tolist()
