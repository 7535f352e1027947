"""Stage ``compare``: scores of several systems → one table with tests of significance.

Each system is compared with one other, its baseline, on the same questions. Tests are paired (see
:mod:`xqg_repro.evaluation.significance`). p-values are corrected within families: the languages of one system and
measure are one family, the averages of all systems in one measure are another. Published systems, of which only
percentages are known, are compared unpaired (see :mod:`xqg_repro.evaluation.unpaired`).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.tables import MARKS, Cell, Table, escape_latex, superscript
from xqg_repro.evaluation import significance
from xqg_repro.evaluation.printing import MISSING, MeasureConfig, format_difference, format_p, format_score
from xqg_repro.evaluation.scores import ByLanguage
from xqg_repro.evaluation.significance import Correction, Test

LEVEL = 0.05
"""A difference is significant if its corrected p-value is below this."""

_TESTS = {
    Test.RANDOMISATION: f"randomisation test ({significance.SAMPLES:,} samples, seed {significance.SEED}); for the "
    "average it is stratified by language, so that each language counts the same",
    Test.T: "t-test; for the average it uses the languages' standard errors, so that each language counts the same",
    Test.MCNEMAR: "exact McNemar test; for the average it pools the questions of all languages",
}


@dataclass(frozen=True)
class System:
    """One row of a comparison.

    Attributes:
        name: unique among the systems.
        title: the row's label.
        scores: measure → language → qid → score in [0, 1], as in :class:`~xqg_repro.evaluation.scores.Scores`; measures
            and languages may be missing.
        baseline: name of the system that it is compared with; empty for none.
    """

    name: str
    title: str
    scores: Mapping[str, ByLanguage]
    baseline: str = ""


@dataclass(frozen=True)
class Result:
    """One system's score in one column, and its difference from the baseline's.

    Attributes:
        column: a language, or ``average`` for the macro average.
        score: mean in [0, 1]; ``None`` if it was not measured.
        questions: number of questions scored.
        difference: score minus the baseline's; ``None`` without a baseline, like all fields below.
        p, p_corrected: two-sided p-value, and the same corrected within its family.
        low, high: 95% bootstrap interval of the difference.
        effect_size: Cohen's d of paired scores; ``None`` if it is infinite.
        detectable: the smallest difference that 80 of 100 such experiments would find significant.
    """

    system: str
    measure: str
    column: str
    score: float | None
    questions: int
    baseline: str = ""
    difference: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    low: float | None = None
    high: float | None = None
    effect_size: float | None = None
    detectable: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the difference from the baseline is significant."""
        return self.p_corrected is not None and self.p_corrected < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Systems × languages × measures, with tests. Everything that is printed or written is derived from it."""

    systems: tuple[System, ...]
    languages: tuple[str, ...]
    measures: Mapping[str, MeasureConfig]
    results: tuple[Result, ...]
    test: Test
    correction: Correction

    def result(self, system: str, measure: str, column: str = AVERAGE) -> Result:
        """The result of one system in one measure and column."""
        return next(r for r in self.results if (r.system, r.measure, r.column) == (system, measure, column))

    def table(self, measure: str) -> Table:
        """Systems × languages for one measure: best scores in bold, significant differences as superscripts."""
        columns = [*self.languages, AVERAGE]
        letters = self._letters()
        rows: list[list[str | Cell]] = []
        for system in self.systems:
            cells = [self._cell(self.result(system.name, measure, column), letters) for column in columns]
            rows.append([Cell(system.title, letters.get(system.name, "")), *cells])
        return Table([measure, *columns], rows)

    def differences(self) -> Table:
        """The differences of the averages, with intervals, p-values and effect sizes."""
        header = ["average against baseline", "measure", "Δ", "95% interval", "p", "corrected", "effect", "detectable"]
        return Table(header, [self._difference(r) for r in self.results if r.column == AVERAGE and r.p is not None])

    def legend(self, *, bold: bool = True) -> str:
        """What the marks mean and how differences were tested; empty without a baseline."""
        if not self._letters():
            return ""
        correction = "not corrected" if self.correction is Correction.NONE else f"{self.correction.title()}-corrected"
        sentences = [
            f"{superscript('a')} significantly better than the system marked {superscript('a')}, "
            f"{superscript('-a')} significantly worse (p < {LEVEL}).",
            f"Paired {_TESTS[self.test]}.",
            f"p-values are {correction}; the languages of a system are one family, the averages of a measure another.",
        ]
        return " ".join([*sentences, *(["Bold: best in the column."] if bold else [])])

    def text(self, *, bold: bool = False) -> str:
        """All tables, for a terminal."""
        tables = [self.table(measure).text(bold=bold) for measure in self.measures]
        tests = [self.differences().text(), self.legend(bold=bold)] if self._letters() else []
        return "\n\n".join([*tables, *tests])

    def markdown(self) -> str:
        """All tables, for a Markdown page."""
        tables = [self.table(measure).markdown() for measure in self.measures]
        tests = [self.differences().markdown(), self.legend()] if self._letters() else []
        return "\n\n".join([*tables, *tests])

    def latex(self) -> str:
        """One tabular per measure, for booktabs, followed by the legend."""
        tables = [self.table(measure).latex() for measure in self.measures]
        legend = self.legend().replace(superscript("-a"), "-a").replace(superscript("a"), "a")
        return "\n\n".join([*tables, *([escape_latex(legend)] if legend else [])])

    def csv(self) -> str:
        """One line per system, measure and column."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Result))
        writer.writerows(dataclasses.astuple(result) for result in self.results)
        return file.getvalue().removesuffix("\n")

    def json(self) -> str:
        """All results and how they were tested, without the scores of single questions."""
        content = {
            "test": self.test,
            "correction": self.correction,
            "samples": significance.SAMPLES,
            "seed": significance.SEED,
            "level": LEVEL,
            "results": [dataclasses.asdict(result) for result in self.results],
        }
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)

    def _letters(self) -> dict[str, str]:
        """Baseline → the letter that marks it."""
        baselines = {system.baseline for system in self.systems}
        return dict(zip((s.name for s in self.systems if s.name in baselines), MARKS, strict=False))

    def _cell(self, result: Result, letters: Mapping[str, str]) -> Cell:
        if result.score is None:
            return Cell(MISSING)
        measure = self.measures[result.measure]
        text = format_score(result.score, measure)
        column = [r.score for r in self.results if (r.measure, r.column) == (result.measure, result.column)]
        printed = {float(format_score(score, measure)) for score in column if score is not None}
        sign = "-" if (result.difference or 0) < 0 else ""
        mark = sign + letters.get(result.baseline, "") if result.significant else ""
        return Cell(text, mark, bold=float(text) == max(printed) and len(printed) > 1)

    def _difference(self, result: Result) -> list[str]:
        assert result.difference is not None and result.low is not None and result.high is not None
        measure = self.measures[result.measure]
        titles = {system.name: system.title for system in self.systems}
        return [
            f"{titles[result.system]} – {titles[result.baseline]}",
            result.measure,
            format_difference(result.difference, measure),
            f"{format_difference(result.low, measure)} to {format_difference(result.high, measure)}",
            format_p(result.p),
            format_p(result.p_corrected),
            MISSING if result.effect_size is None else f"{result.effect_size:.2f}",
            format_score(result.detectable, measure),
        ]


def compare(
    systems: Sequence[System],
    languages: Sequence[str],
    measures: Mapping[str, MeasureConfig],
    *,
    test: Test = Test.RANDOMISATION,
    correction: Correction = Correction.HOLM,
) -> Comparison:
    """Compare systems with their baselines, by measure and language.

    Raises:
        InputError: two systems have the same name; a baseline is not among them (names the nearest); or a system and
            its baseline were scored on different questions.
    """
    by_name = {system.name: system for system in systems}
    if len(by_name) < len(systems):
        raise InputError("two of the systems have the same name", hint="name each run once")
    for system in systems:
        if system.baseline and system.baseline not in by_name:
            problem = f"the baseline {system.baseline!r} is not one of the systems"
            raise InputError(problem, hint=nearest(system.baseline, by_name))
    results: list[Result] = []
    for measure in measures:
        averages = []
        for system in systems:
            baseline = by_name.get(system.baseline)
            cells = [_compare_column(system, baseline, measure, language, [language], test) for language in languages]
            results += _correct(cells, correction)
            averages.append(_compare_column(system, baseline, measure, AVERAGE, languages, test))
        results += _correct(averages, correction)
    return Comparison(tuple(systems), tuple(languages), measures, tuple(results), test, correction)


def _compare_column(
    system: System, baseline: System | None, measure: str, column: str, languages: Sequence[str], test: Test
) -> Result:
    """One column: a system's score over these languages, and its difference from the baseline's."""
    scores = _select(system, measure, languages)
    if not all(scores.values()):
        return Result(system.name, measure, column, None, 0)
    score = fmean(fmean(values.values()) for values in scores.values())
    result = Result(system.name, measure, column, score, sum(map(len, scores.values())))
    if baseline is None:
        return result
    baseline_scores = _select(baseline, measure, languages)
    if not all(baseline_scores.values()):
        return result
    differences = significance.paired_differences(scores, baseline_scores)
    low, high = significance.bootstrap_interval(differences)
    return dataclasses.replace(
        result,
        baseline=baseline.name,
        difference=significance.macro_mean(differences),
        p=significance.p_value(differences, test),
        low=low,
        high=high,
        effect_size=_finite(significance.effect_size(differences)),
        detectable=_finite(significance.detectable(differences)),
    )


def _select(system: System, measure: str, languages: Sequence[str]) -> dict[str, Mapping[str, float]]:
    return {language: system.scores.get(measure, {}).get(language, {}) for language in languages}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _correct(family: Sequence[Result], correction: Correction) -> list[Result]:
    """The results of one family, with corrected p-values."""
    p_values = {i: result.p for i, result in enumerate(family) if result.p is not None}
    corrected = dict(zip(p_values, significance.correct_p_values(list(p_values.values()), correction), strict=True))
    return [dataclasses.replace(result, p_corrected=corrected.get(i)) for i, result in enumerate(family)]
