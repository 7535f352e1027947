"""The page of a two-click reproduction: scores, the commands behind them and what they mean, in one HTML file.

The file loads nothing: style, script and plots are embedded. Measured and expected scores look different; an expected
score is never shown as if it had been measured. The template has the layout; this module fills it.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xqg_repro.core import plots
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE, LANGUAGE_NAMES
from xqg_repro.core.tables import Cell, superscript
from xqg_repro.core.templates import template
from xqg_repro.evaluation import significance
from xqg_repro.evaluation.compare import Comparison, System
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.reproduction.benchmark import Benchmark, Condition
from xqg_repro.reproduction.claims import Evidence, claims_table, has_claims
from xqg_repro.reproduction.leaderboard import compare_with_published, published_rows
from xqg_repro.reproduction.tasks import Task, plan, two_click_tasks
from xqg_repro.reproduction.verdict import Verdict, judge
from xqg_repro.retrieval.metadata import Measurement

if TYPE_CHECKING:
    from markupsafe import Markup

# marks that change the direction of text, and a carriage return, which HTML would turn into a line feed
_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\r]")
_NONE: Mapping[str, Measurement] = MappingProxyType({})


class Figure(NamedTuple):
    """A plot.

    Attributes:
        title: the caption.
        alt: alternative text.
        svg: the text of the SVG file.
    """

    title: str
    alt: str
    svg: str

    @property
    def source(self) -> str:
        """The plot as a data URL."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


class Score(NamedTuple):
    """One condition in one column and measure.

    Attributes:
        measured: as the comparison prints it; ``None`` if not measured.
        exact: the measured score at full precision, to sort by; empty if not measured.
        expected: in printed units; empty if there is none.
        verdict: of the measured score; ``None`` unless there are both scores.
    """

    measured: Cell | None = None
    exact: str = ""
    expected: str = ""
    verdict: Verdict | None = None


class Row(NamedTuple):
    """One condition.

    Attributes:
        mark: its letter in superscripts, if other conditions are compared with it.
        measured: when and on what; ``None`` if not measured.
        scores: for each column, one score per measure.
        run: the command that makes the runs.
        evaluation: the commands that read and score them.
        stages: all stages one by one.
    """

    condition: Condition
    mark: str
    measured: Measurement | None
    scores: list[list[Score]]
    run: Task
    evaluation: list[Task]
    stages: list[Task]


def write_page(
    evidence: Evidence,
    path: str | Path,
    *,
    measured: Mapping[str, Measurement] = _NONE,
    directory: str = "out",
    ablations: Sequence[Figure] = (),
) -> None:
    """Write the page; equal evidence gives equal bytes.

    Args:
        evidence: the benchmark and the measured scores; a condition without scores shows its expected ones.
        path: the HTML file.
        measured: condition → when and on what it was measured.
        directory: where the commands on the page write.
        ablations: additional plots.

    Raises:
        InputError: a condition and its baseline were scored on different questions, matplotlib is missing, or the file
            cannot be written.
    """
    benchmark = evidence.benchmark
    compared = evidence.comparison
    scored = [name for name in evidence.systems if evidence.has_scores(name)]
    rows = list(_rows(evidence, measured, directory))
    page = template("2cr.html", {"shown": _shown, "superscript": superscript}).render(
        benchmark=benchmark,
        columns=[(code, LANGUAGE_NAMES.get(code, "")) for code in benchmark.languages],
        measures=list(benchmark.measures),
        rows=rows,
        published=published_rows(benchmark),
        against=compare_with_published(evidence),
        verdicts=Counter(s.verdict for row in rows for scores in row.scores for s in scores if s.verdict),
        verdict_names=list(Verdict),
        differences=compared.differences(),
        legend=compared.legend(),
        figures=[*_bars(compared), *_heat_maps(benchmark, compared)],
        ablations=ablations,
        claims=claims_table(evidence) if scored and has_claims(benchmark) else None,
    )
    with atomic_write(path) as file:
        file.write(page)


def _shown(text: object) -> Markup:
    """Part of a command as HTML, which can be copied exactly; direction marks in it are made visible."""
    from markupsafe import Markup, escape

    return Markup(_CONTROLS.sub(lambda found: f"<bdi>&#{ord(found[0])};</bdi>", str(escape(text))))


def _rows(evidence: Evidence, measured: Mapping[str, Measurement], directory: str) -> Iterator[Row]:
    benchmark, compared = evidence.benchmark, evidence.comparison
    tables = {measure: compared.table(measure).rows for measure in benchmark.measures}
    places = {system.name: i for i, system in enumerate(compared.systems) if evidence.has_scores(system.name)}
    for condition in benchmark.conditions:
        place = places.get(condition.name)
        cells = {m: [Cell(*cell) for cell in rows[place]] for m, rows in tables.items()} if place is not None else {}
        columns = []
        for i, column in enumerate((*benchmark.languages, AVERAGE), start=1):  # the first cell is the title
            scores = [
                _score(compared, condition, measure, column, cells[measure][i] if cells else None) for measure in tables
            ]
            columns.append(scores)
        run, evaluation = two_click_tasks(benchmark, condition, directory)
        yield Row(
            condition=condition,
            mark=next(iter(cells.values()))[0].mark if cells else "",
            measured=measured.get(condition.name, Measurement()) if cells else None,
            scores=columns,
            run=run,
            evaluation=evaluation,
            stages=plan(benchmark, condition, directory),
        )


def _score(compared: Comparison, condition: Condition, measure: str, column: str, cell: Cell | None) -> Score:
    config = compared.measures[measure]
    value = condition.expected.get(measure, {}).get(column)
    expected = "" if value is None else f"{value:.{config.digits}f}"
    score = compared.result(condition.name, measure, column).score if cell else None
    if score is None:
        return Score(expected=expected)
    return Score(cell, repr(score), expected, None if value is None else judge(score, value, config))


def _bars(compared: Comparison) -> Iterator[Figure]:
    """One plot per measure, of the conditions that have scores."""
    for measure, config in compared.measures.items():
        shown = [system for system in compared.systems if any(system.scores.get(measure, {}).values())]
        if shown:
            systems = [(system.title, _system_bars(system, measure, compared.languages, config)) for system in shown]
            svg = plots.bars((*compared.languages, AVERAGE), systems, _unit(measure, config))
            yield Figure(
                f"{measure} by language and on average, with 95% bootstrap intervals",
                f"Grouped bars of the measured {measure}, one colour per condition; figures are in the table",
                svg,
            )


def _system_bars(system: System, measure: str, languages: Sequence[str], config: MeasureConfig) -> list[plots.Bar]:
    found = system.scores[measure]
    arrays = {code: np.array([*found[code].values()], dtype=np.float64) for code in languages if found.get(code)}
    groups = [{code: arrays[code]} if code in arrays else {} for code in languages]
    # there is an average only over all languages, as in the table
    return [_bar(group, config) for group in (*groups, arrays if len(arrays) == len(languages) else {})]


def _bar(scores: Mapping[str, np.ndarray], config: MeasureConfig) -> plots.Bar:
    """The macro average in printed units; NaN if not measured."""
    if not scores:
        return plots.Bar(nan, nan, nan)
    ends = significance.bootstrap_interval(scores)
    return plots.Bar(*(config.scale * value for value in (significance.macro_mean(scores), *ends)))


def _heat_maps(benchmark: Benchmark, compared: Comparison) -> Iterator[Figure]:
    """The first measure by passage and question language, if topics are pairs of the two."""
    _, pairs, passages = benchmark.collection.rpartition("/")
    if not pairs or benchmark.topics != f"{benchmark.collection}/{{language}}":
        return
    measure, config = next(iter(benchmark.measures.items()))
    for system in compared.systems:
        scores = [compared.result(system.name, measure, code).score for code in benchmark.languages]
        if any(score is not None for score in scores):
            values = [[nan if score is None else score * config.scale for score in scores]]
            title = f"{system.name}: {measure} by language of passages (rows) and questions (columns)"
            svg = plots.heat_map([passages], benchmark.languages, values, _unit(measure, config), digits=config.digits)
            yield Figure(title, f"Heat map of the measured {measure}; the table of scores has the figures", svg)


def _unit(measure: str, config: MeasureConfig) -> str:
    return f"{measure}, %" if config.scale == 100 else measure
