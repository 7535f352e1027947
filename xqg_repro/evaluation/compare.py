"""Stage ``compare``: scores of several systems → one table, with what is significant and what is not.

Each system is compared with one other, its baseline, on the same questions. Tests are paired (see
:mod:`xqg_repro.evaluation.significance`) and corrected by families: the languages of one system and measure are one,
the averages
of all systems in one measure are another. Published systems, of which only percentages are known, are compared unpaired
(see :mod:`xqg_repro.evaluation.baselines`).
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
from xqg_repro.evaluation.printing import MeasureConfig, p_text, printed, signed
from xqg_repro.evaluation.significance import Correction, Test

LEVEL = 0.05
"""A corrected p-value below this is significant."""


@dataclass(frozen=True)
class System:
    """One row of a comparison.

    Attributes:
        name: unique among the systems.
        title: the row's label.
        scores: measure → language → qid → score in [0, 1]; a measure may be absent, as may a language.
        baseline: name of the system that it is compared with; empty for none.
    """

    name: str
    title: str
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    baseline: str = ""


@dataclass(frozen=True)
class Result:
    """One system's score in one column, and how it differs from its baseline's.

    Attributes:
        column: language, or ``average`` for the macro average.
        score: mean in [0, 1]; ``None`` where it was not measured.
        questions: number of questions scored.
        difference: score minus the baseline's; ``None`` without a baseline, as all that follows.
        p, p_corrected: two-sided p-value, and the same corrected within its family.
        low, high: 95% bootstrap interval of the difference.
        effect_size: Cohen's d of paired scores; ``None`` where it is infinite.
        detectable: the smallest difference that would be found in 80 of 100 such experiments.
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
        """Whether the difference from the baseline is."""
        return self.p_corrected is not None and self.p_corrected < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Systems × languages × measures, with tests; everything that is printed or written comes from here."""

    systems: tuple[System, ...]
    languages: tuple[str, ...]
    measures: Mapping[str, MeasureConfig]
    results: tuple[Result, ...]
    test: Test
    correction: Correction

    def result(self, system: str, measure: str, column: str = AVERAGE) -> Result:
        """One cell."""
        return next(r for r in self.results if (r.system, r.measure, r.column) == (system, measure, column))

    def table(self, measure: str) -> Table:
        """Systems × languages for one measure: best scores bold, significant differences as superscripts."""
        columns = [*self.languages, AVERAGE]
        letters = self._letters()
        rows: list[list[str | Cell]] = []
        for system in self.systems:
            cells = [self._cell(self.result(system.name, measure, column), letters) for column in columns]
            rows.append([Cell(system.title, letters.get(system.name, "")), *cells])
        return Table([measure, *columns], rows)

    def differences(self) -> Table:
        """What the averages differ by, with everything that is known of it."""
        header = ["average against baseline", "measure", "Δ", "95% interval", "p", "corrected", "effect", "detectable"]
        return Table(header, [self._difference(r) for r in self.results if r.column == AVERAGE and r.p is not None])

    def legend(self, *, bold: bool = True) -> str:
        """What the marks mean, ``bold`` ones if there are any, and how the tests were made."""
        if not self._letters():
            return ""
        how = {
            Test.RANDOMISATION: f"randomisation test ({significance.SAMPLES:,} samples, seed {significance.SEED}), for "
            "the average stratified by language, so that each counts the same",
            Test.T: "t-test, for the average with the languages' standard errors, so that each counts the same",
            Test.MCNEMAR: "exact McNemar test, for the average of all languages' questions pooled",
        }[self.test]
        correction = "not corrected" if self.correction is Correction.NONE else f"{self.correction.title()}-corrected"
        return (
            f"{superscript('a')} better than the system so marked, {superscript('-a')} worse (p < {LEVEL}). "
            f"Paired {how}; {correction}: languages of a system together, averages of a measure together."
            + (" Bold: best of a column." if bold else "")
        )

    def text(self, *, bold: bool = False) -> str:
        """For a terminal."""
        tables = [self.table(measure).text(bold=bold) for measure in self.measures]
        more = [self.differences().text(), self.legend(bold=bold)] if self._letters() else []
        return "\n\n".join([*tables, *more])

    def markdown(self) -> str:
        """For a Markdown page."""
        tables = [self.table(measure).markdown() for measure in self.measures]
        more = [self.differences().markdown(), self.legend()] if self._letters() else []
        return "\n\n".join([*tables, *more])

    def latex(self) -> str:
        """One tabular a measure, for booktabs; the legend as a comment's worth of text below."""
        legend = escape_latex(self.legend().replace(superscript("-a"), "-a").replace(superscript("a"), "a"))
        return "\n\n".join([*(self.table(measure).latex() for measure in self.measures), *([legend] if legend else [])])

    def csv(self) -> str:
        """A line a system, measure and column."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Result))
        writer.writerows(dataclasses.astuple(result) for result in self.results)
        return file.getvalue().removesuffix("\n")

    def json(self) -> str:
        """Everything but the scores of single questions."""
        results = [dataclasses.asdict(result) for result in self.results]
        how = {"test": self.test, "correction": self.correction, "samples": significance.SAMPLES}
        return json.dumps(
            {**how, "seed": significance.SEED, "level": LEVEL, "results": results},
            ensure_ascii=False,
            indent=1,
            allow_nan=False,
        )

    def _letters(self) -> dict[str, str]:
        """Baseline → the letter that stands for it."""
        used = {system.baseline for system in self.systems}
        return dict(zip((s.name for s in self.systems if s.name in used), MARKS, strict=False))

    def _cell(self, result: Result, letters: Mapping[str, str]) -> Cell:
        if result.score is None:
            return Cell("–")
        text = printed(result.score, self.measures[result.measure])
        rivals = [r.score for r in self.results if (r.measure, r.column) == (result.measure, result.column)]
        shown = {float(printed(score, self.measures[result.measure])) for score in rivals if score is not None}
        sign = "-" if (result.difference or 0) < 0 else ""
        mark = sign + letters.get(result.baseline, "") if result.significant else ""
        return Cell(text, mark, bold=float(text) == max(shown) and len(shown) > 1)

    def _difference(self, result: Result) -> list[str]:
        assert result.difference is not None and result.low is not None and result.high is not None
        measure = self.measures[result.measure]
        titles = {system.name: system.title for system in self.systems}
        low, high = (signed(bound, measure) for bound in (result.low, result.high))
        return [
            f"{titles[result.system]} – {titles[result.baseline]}",
            result.measure,
            signed(result.difference, measure),
            f"{low} to {high}",
            p_text(result.p),
            p_text(result.p_corrected),
            "–" if result.effect_size is None else f"{result.effect_size:.2f}",
            "–" if result.detectable is None else printed(result.detectable, measure),
        ]


def compare(
    systems: Sequence[System],
    languages: Sequence[str],
    measures: Mapping[str, MeasureConfig],
    *,
    test: Test = Test.RANDOMISATION,
    correction: Correction = Correction.HOLM,
) -> Comparison:
    """Compare systems with their baselines, measure by measure and language by language.

    Raises:
        InputError: two systems of one name, a baseline that is not among them (naming the nearest), or scores of a
            system and its baseline that are not of the same questions.
    """
    by_name = {system.name: system for system in systems}
    if len(by_name) < len(systems):
        raise InputError("two of the systems have the same name", hint="name each run once")
    for system in systems:
        if system.baseline and system.baseline not in by_name:
            raise InputError(
                f"the baseline {system.baseline!r} is not one of the systems", hint=nearest(system.baseline, by_name)
            )
    results: list[Result] = []
    for measure in measures:
        averages = []
        for system in systems:
            baseline = by_name.get(system.baseline)
            *cells, average = (
                _result(system, baseline, measure, column, languages, test) for column in (*languages, AVERAGE)
            )
            results += _corrected(cells, correction)
            averages.append(average)
        results += _corrected(averages, correction)
    return Comparison(tuple(systems), tuple(languages), measures, tuple(results), test, correction)


def _result(
    system: System, baseline: System | None, measure: str, column: str, languages: Sequence[str], test: Test
) -> Result:
    wanted = languages if column == AVERAGE else [column]
    mine = {language: system.scores.get(measure, {}).get(language, {}) for language in wanted}
    if not all(mine.values()):
        return Result(system.name, measure, column, None, 0)
    score, questions = fmean(fmean(values.values()) for values in mine.values()), sum(map(len, mine.values()))
    theirs = {language: baseline.scores.get(measure, {}).get(language, {}) for language in wanted} if baseline else {}
    if baseline is None or not all(theirs.values()):
        return Result(system.name, measure, column, score, questions)
    differences = significance.paired_differences(mine, theirs)
    low, high = significance.bootstrap_interval(differences)
    return Result(
        system.name,
        measure,
        column,
        score,
        questions,
        baseline.name,
        significance.macro_mean(differences),
        p := significance.p_value(differences, test),
        p,
        low,
        high,
        _finite(significance.effect_size(differences)),
        _finite(significance.detectable(differences)),
    )


def _corrected(family: Sequence[Result], correction: Correction) -> list[Result]:
    tested = {i: result.p for i, result in enumerate(family) if result.p is not None}
    values = dict(zip(tested, significance.corrected(list(tested.values()), correction), strict=True))
    return [dataclasses.replace(result, p_corrected=values.get(i)) for i, result in enumerate(family)]


def against_published(system: System, name: str, measures: Sequence[str], correction: Correction) -> list[Table]:
    """One system against a published one, a table a measure: questions answered, percentages, and unpaired p-values.

    Raises:
        InputError: there is no such published system (naming the nearest), it has no figures by language for a
            measure, or a measure is not of 0 and 1.
    """
    from xqg_repro.evaluation.baselines import load_baselines, unpaired

    known = load_baselines()
    tables = []
    for measure in measures:
        row = known.find(name, measure)
        ours = {language: (sum(found.values()), len(found)) for language, found in system.scores[measure].items()}
        if any(score not in (0, 1) for found in system.scores[measure].values() for score in found.values()):
            raise InputError(f"{measure} is not of 0 and 1", hint="published figures can be tested for R2kt and R5kt")
        tested = unpaired({language: (int(k), n) for language, (k, n) in ours.items() if n}, known.counts(row))
        p_values = dict(zip(tested.p, significance.corrected(list(tested.p.values()), correction), strict=True))
        rows = []
        for language, p in tested.p.items():
            shares = (f"{100 * k / n:.1f} ({k}/{n})" for k, n in (tested.ours[language], tested.theirs[language]))
            rows.append([language, *shares, p_text(p), p_text(p_values[language])])
        means = [fmean(100 * k / n for k, n in counts.values()) for counts in (tested.ours, tested.theirs)]
        rows.append([AVERAGE, *(f"{mean:.1f}" for mean in means), p_text(tested.p_overall), "–"])
        tables.append(Table([measure, system.title, name, "p", "corrected"], rows))
    return tables


UNPAIRED = (
    "Unpaired, so conservative: Boschloo's exact test by language, Cochran–Mantel–Haenszel for all. Which questions "
    "the published system answered is not known; with its run file, compare the runs."
)
"""What is said under a comparison with a published system."""


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
