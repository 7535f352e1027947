"""The study's figures as SVG files: scores by method and language, pairs of languages, and curves over α."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.plots import Panel, heat_map, plot_lines
from xqg_repro.study.settings import NONE
from xqg_repro.study.summary import Summary

BY_LANGUAGE = ("queries-all", "passages-all")
"""Methods whose curves are drawn by language."""


def write_figures(summary: Summary, folder: Path) -> None:
    """Write all figures of a study into a folder.

    ``methods.MEASURE.svg`` (methods × question languages), ``alpha.MEASURE.svg``, ``alpha-languages.MEASURE.svg`` and,
    where there is more than one language of paragraphs, ``pairs.MEASURE.METHOD.svg`` and
    ``pairs.MEASURE.METHOD.OTHER.svg``, the difference of two; measures without the ``@``.
    """
    first = summary.passages[0]
    for measure, means in summary.means.items():
        short = measure.replace("@", "")
        names = list(means[f"{first}/{first}"])
        rows = [[means[f"{first}/{code}"][name] for code in summary.languages] for name in names]
        label = f"{measure}, {first} paragraphs"
        _write(folder / f"methods.{short}.svg", names, summary.languages, rows, label, digits=3)
        if len(summary.passages) > 1:
            _write_pairs(summary, measure, folder)
        if len(summary.languages) > 1 and measure in summary.curves:
            _write_curves(summary, measure, folder)


def _write_pairs(summary: Summary, measure: str, folder: Path) -> None:
    """Maps with the paragraphs' languages as rows and the questions' as columns."""
    grids = {
        name: np.array(
            [[summary.means[measure][f"{p}/{q}"][name] for q in summary.languages] for p in summary.passages]
        )
        for name in summary.means[measure][f"{summary.passages[0]}/{summary.passages[0]}"]
    }
    start = f"pairs.{measure.replace('@', '')}"
    for name, grid in grids.items():
        label = f"{measure}, {name}"
        _write(folder / f"{start}.{name}.svg", summary.passages, summary.languages, 100 * grid, label)
    for method, other in dict.fromkeys((t.method, t.other) for t in summary.tests if t.measure == measure):
        # the colours tell what is above nought, so the one that wins on average comes first
        one, two = (method, other) if grids[method].mean() >= grids[other].mean() else (other, method)
        label = f"{measure}, {one} − {two}"
        points = 100 * (grids[one] - grids[two]) + 0.0
        _write(folder / f"{start}.{method}.{other}.svg", summary.passages, summary.languages, points, label)


def _write_curves(summary: Summary, measure: str, folder: Path) -> None:
    """Means over questions in other languages than the first language of paragraphs."""
    # every other one: a panel has no room for all
    ticks = [f"{alpha:g}".removeprefix("0" if alpha else "") * (i % 2 == 0) for i, alpha in enumerate(summary.alphas)]
    first = summary.passages[0]
    curves, others = summary.curves[measure], [code for code in summary.languages if code != summary.passages[0]]
    short = measure.replace("@", "")
    panels = []
    for aggregate in curves[NONE][f"{first}/{first}"]:
        by_pair = {name: held for name, held in curves.items() if aggregate in held[f"{first}/{first}"]}
        lines = {
            name: np.mean([held[f"{first}/{code}"][aggregate] for code in others], axis=0)
            for name, held in by_pair.items()
        }
        panels.append(Panel(f"{measure}, {aggregate}", lines))
    plot_lines(folder / f"alpha.{short}.svg", "α", ticks, panels, bold=NONE)
    panels = []
    for name in (name for name in BY_LANGUAGE if name in curves):
        held = {code: curves[name][f"{first}/{code}"]["mean"] for code in others}
        lines = {**held, AVERAGE: np.mean(list(held.values()), axis=0)}
        panels.append(Panel(f"{measure}, {name}, mean", lines))
    plot_lines(folder / f"alpha-languages.{short}.svg", "α", ticks, panels, bold=AVERAGE)


def _write(
    path: Path,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    label: str,
    digits: int = 1,
) -> None:
    with atomic_write(path) as file:
        file.write(heat_map(rows, columns, values, label, digits=digits))
