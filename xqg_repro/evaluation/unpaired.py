"""Compare a run with a published system of which only percentages are known: unpaired tests of two proportions.

Languages are tested with Boschloo's exact test, and all languages together with the test of Cochran, Mantel
and Haenszel, with a language as a stratum. The comparison is conservative: both systems answered the same questions,
easy and hard ones, but without knowing which of them the published system answered, an unpaired test counts that
variance as chance. With the other system's run, compare the runs instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import TypeAlias

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.baselines import load_baselines
from xqg_repro.evaluation.printing import MISSING, format_p
from xqg_repro.evaluation.scores import ByLanguage
from xqg_repro.evaluation.significance import Correction, correct_p_values

Count: TypeAlias = tuple[int, int]
"""(questions with an answer found, questions)"""

UNPAIRED = (
    "Unpaired and therefore conservative: Boschloo's exact test for each language, the Cochran–Mantel–Haenszel test "
    "for all. It is unknown which questions the published system answered; if you have its run, compare the runs."
)
"""The note under a comparison with a published system."""


def compare_published(
    title: str, scores: Mapping[str, ByLanguage], published: str, correction: Correction
) -> list[Table]:
    """Compare one run with a published system: a table of questions answered, percentages and p-values per measure.

    Args:
        title, published: names of the run and of the published system.
        scores: measure → language → qid → score, 0 or 1.
        correction: of the p-values of all languages.

    Raises:
        InputError: the published system is unknown (names the nearest) or has no figures by language for a measure; or
            a score is neither 0 nor 1.
    """
    baselines = load_baselines()
    tables = []
    for measure, by_language in scores.items():
        theirs = baselines.counts(baselines.find(published, measure))
        ours = count_answered(measure, by_language)
        p_values, p_overall = compare_proportions(ours, theirs)
        corrected = dict(zip(p_values, correct_p_values(list(p_values.values()), correction), strict=True))
        rows = []
        for language, p in p_values.items():
            percentages = [
                f"{_percent(count):.1f} ({count[0]}/{count[1]})" for count in (ours[language], theirs[language])
            ]
            rows.append([language, *percentages, format_p(p), format_p(corrected[language])])
        means = [macro_percentage({code: counts[code] for code in p_values}) for counts in (ours, theirs)]
        rows.append([AVERAGE, *(f"{mean:.1f}" for mean in means), format_p(p_overall), MISSING])
        tables.append(Table([measure, title, published, "p", "corrected"], rows))
    return tables


def count_answered(measure: str, scores: ByLanguage) -> dict[str, Count]:
    """Language → (questions with an answer found, questions); :class:`InputError` if a score is neither 0 nor 1."""
    counts = {}
    for language, values in scores.items():
        if any(score not in (0, 1) for score in values.values()):
            hint = "only R2kt and R5kt can be compared with published figures"
            raise InputError(f"scores in {measure} are not all 0 or 1", hint=hint)
        if values:
            counts[language] = int(sum(values.values())), len(values)
    return counts


def macro_percentage(counts: Mapping[str, Count]) -> float:
    """The mean of the languages' percentages."""
    return fmean(map(_percent, counts.values()))


def _percent(count: Count) -> float:
    return 100 * count[0] / count[1]


def compare_proportions(ours: Mapping[str, Count], theirs: Mapping[str, Count]) -> tuple[dict[str, float], float]:
    """p-values of two-sided tests of two systems' proportions, by each language that both have and overall.

    Raises:
        InputError: they have no language in common.
    """
    tables = {language: (ours[language], theirs[language]) for language in ours if language in theirs}
    if not tables:
        raise InputError("the run and the published system have no language in common")
    p_values = {language: exact_test(*table) for language, table in tables.items()}
    return p_values, mantel_haenszel(tables.values())


def exact_test(ours: Count, theirs: Count) -> float:
    """Boschloo's exact p-value for the proportions of two systems; 1 if equal. Never less powerful than Fisher's."""
    from scipy import stats

    (k, n), (j, m) = ours, theirs
    if k * m == j * n:
        return 1.0
    return min(1.0, float(stats.boschloo_exact([[k, j], [n - k, m - j]]).pvalue))


def mantel_haenszel(tables: Iterable[tuple[Count, Count]]) -> float:
    """Cochran, Mantel and Haenszel's p-value without continuity correction.

    Strata in which both systems answer all questions or none carry no information and are left out.
    """
    from statsmodels.stats.contingency_tables import StratifiedTable

    strata = [[[k, n - k], [j, m - j]] for (k, n), (j, m) in tables if 0 < k + j < n + m and n and m]
    if not strata:
        return 1.0
    return float(StratifiedTable(strata).test_null_odds(correction=False).pvalue)
