"""The study's figures as SVG files: scores by method, language, pair of languages and α; answers; trends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.plots import Bar, Panel, heat_map, intervals, plot_lines, scatter
from xqg_repro.study.cells import comparison
from xqg_repro.study.settings import NONE
from xqg_repro.study.summary import StudySummary

BY_LANGUAGE = ("queries-all", "passages-all")
"""Methods whose curves are drawn by language."""


def write_figures(summary: StudySummary, folder: Path) -> None:
    """Write all figures of a study into a folder.

    The files are ``methods.MEASURE.svg`` (methods × question languages), ``alpha.MEASURE.svg`` and
    ``alpha-languages.MEASURE.svg``. With several paragraph languages there are also ``pairs.MEASURE.METHOD.svg`` and
    ``pairs.MEASURE.METHOD.OTHER.svg``, the difference of two methods. With machine-made texts there are also
    ``answers.MEASURE.svg``, the research question's answers with their intervals, and ``trends.MEASURE.svg``, gains
    against resources. Names of measures lose their ``@``.
    """
    first = summary.passages[0]
    for measure, means in summary.means.items():
        methods = list(means[f"{first}/{first}"])
        grid = [[means[f"{first}/{code}"][method] for code in summary.languages] for method in methods]
        label = f"{measure}, {first} paragraphs"
        path = folder / f"methods.{_file_name(measure)}.svg"
        _write_heat_map(path, methods, summary.languages, grid, label, digits=3)
        if len(summary.passages) > 1:
            _write_pairs(summary, measure, folder)
        if len(summary.languages) > 1 and measure in summary.curves:
            _write_curves(summary, measure, folder)
            _write_curves_by_language(summary, measure, folder)
        _write_answers(summary, measure, folder)
        _write_trends(summary, measure, folder)


def _write_answers(summary: StudySummary, measure: str, folder: Path) -> None:
    """One row per comparison of the research question, in points."""
    rows: dict[str, Bar] = {}
    for answer in summary.answers:
        if answer.measure == measure:
            limits = (100 * answer.difference, 100 * answer.low, 100 * answer.high)
            rows[comparison(answer.method, answer.other)] = Bar(*limits)
    if rows:
        _write(folder / f"answers.{_file_name(measure)}.svg", intervals(list(rows.items()), f"{measure}, points"))


def _write_trends(summary: StudySummary, measure: str, folder: Path) -> None:
    """One panel per trend: a point for each question language."""
    panels = []
    for trend in summary.trends:
        if trend.measure == measure:
            points = {code: (x, 100 * gain) for code, (x, gain) in trend.points.items()}
            panels.append((trend.against, f"{measure}, {comparison(trend.method, trend.other)}", points))
    if panels:
        _write(folder / f"trends.{_file_name(measure)}.svg", scatter(panels))


def _write_pairs(summary: StudySummary, measure: str, folder: Path) -> None:
    """Heat maps of paragraph languages × question languages."""
    means, first = summary.means[measure], summary.passages[0]
    axes, start = (summary.passages, summary.languages), f"pairs.{_file_name(measure)}"
    grids = {}
    for method in means[f"{first}/{first}"]:
        rows = [[means[f"{passages}/{questions}"][method] for questions in axes[1]] for passages in axes[0]]
        grids[method] = np.array(rows)

    for method, grid in grids.items():
        _write_heat_map(folder / f"{start}.{method}.svg", *axes, (100 * grid).tolist(), f"{measure}, {method}")
    for method, other in dict.fromkeys((test.method, test.other) for test in summary.tests if test.measure == measure):
        # the colours show values above 0, so the method that is better on average comes first
        ordered = (method, other) if grids[method].mean() >= grids[other].mean() else (other, method)
        points = 100 * (grids[ordered[0]] - grids[ordered[1]]) + 0.0
        label = f"{measure}, {ordered[0]} − {ordered[1]}"
        _write_heat_map(folder / f"{start}.{method}.{other}.svg", *axes, points.tolist(), label)


def _write_curves(summary: StudySummary, measure: str, folder: Path) -> None:
    """One panel per aggregate: means over the questions in other languages, for paragraphs in the first language."""
    first, curves = summary.passages[0], summary.curves[measure]
    panels = []
    for aggregate in curves[NONE][f"{first}/{first}"]:
        lines = {}
        for method, by_pair in curves.items():
            if aggregate in by_pair[f"{first}/{first}"]:
                rows = [by_pair[f"{first}/{code}"][aggregate] for code in summary.question_languages]
                lines[method] = np.mean(rows, axis=0)
        panels.append(Panel(f"{measure}, {aggregate}", lines))
    plot_lines(folder / f"alpha.{_file_name(measure)}.svg", "α", _alpha_ticks(summary), panels, bold=NONE)


def _write_curves_by_language(summary: StudySummary, measure: str, folder: Path) -> None:
    """One panel per method of :data:`BY_LANGUAGE`, with the aggregate ``mean``."""
    first, curves = summary.passages[0], summary.curves[measure]
    panels = []
    for method in BY_LANGUAGE:
        if method in curves:
            lines = {code: curves[method][f"{first}/{code}"]["mean"] for code in summary.question_languages}
            average = np.mean(list(lines.values()), axis=0)
            panels.append(Panel(f"{measure}, {method}, mean", {**lines, AVERAGE: average}))
    path = folder / f"alpha-languages.{_file_name(measure)}.svg"
    plot_lines(path, "α", _alpha_ticks(summary), panels, bold=AVERAGE)


def _alpha_ticks(summary: StudySummary) -> list[str]:
    """Every other α, as a panel has no room for all of them."""
    texts = [f"{alpha:g}".removeprefix("0" if alpha else "") for alpha in summary.alphas]
    return ["" if index % 2 else text for index, text in enumerate(texts)]


def _file_name(measure: str) -> str:
    return measure.replace("@", "")


def _write_heat_map(
    path: Path,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    label: str,
    digits: int = 1,
) -> None:
    _write(path, heat_map(rows, columns, values, label, digits=digits))


def _write(path: Path, svg: str) -> None:
    with atomic_write(path) as file:
        file.write(svg)
