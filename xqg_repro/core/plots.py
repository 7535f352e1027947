"""Plots as SVG: equal numbers give equal bytes.

They need matplotlib, from the extra ``plots``, and raise :class:`InputError` if it is not installed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# dark enough for thin lines and safe for colour-blind readers; dashes distinguish more than seven lines
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#6a3d9a")
_DASHES = ("-", "--", ":")
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xqg_repro",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],  # the first ships with matplotlib: one layout everywhere
    "font.size": 9,
    "text.parse_math": False,  # print a $ in a name as it is
}
_WIDTH, _HEIGHT = 4.4, 3.4  # inches per panel
_LABEL_GAP = 0.125  # inches between two labels
_MAX_NAME = 40  # characters in a legend


class Bar(NamedTuple):
    """A mean and the ends of its confidence interval; NaN if there is no value."""

    value: float
    low: float
    high: float


class Panel(NamedTuple):
    """A pair of axes: the y label, and for each line its name and a value (or NaN) at every x position."""

    label: str
    lines: Mapping[str, Sequence[float]]


def check_matplotlib() -> None:
    """Raise :class:`InputError` if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        hint = "pip install 'xqg_repro[plots]'"
        raise InputError("plots need matplotlib, which is not installed", hint=hint) from None


def plot_lines(path: str | Path, x: str, ticks: Sequence[str], panels: Sequence[Panel], bold: str) -> None:
    """Draw panels side by side over the same x positions and write them to an SVG file.

    Args:
        path: the file; :class:`InputError` if it cannot be written.
        x: label of the x axis.
        ticks: labels of the x positions, which are equally spaced.
        panels: the panels; each line has its name at its right end.
        bold: name of the line that is thick and black; the others are thin and coloured.
    """

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.1)  # keeps the names at the right off the next panel
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.set(xlabel=x, ylabel=panel.label, xticks=range(len(ticks)), xticklabels=ticks)
            _style(axes)
            _draw_lines(axes, panel.lines, bold)

    svg = _svg(draw, _WIDTH * len(panels), _HEIGHT)
    with atomic_write(path) as file:
        file.write(svg)


def bars(columns: Sequence[str], systems: Sequence[tuple[str, Sequence[Bar]]], label: str) -> str:
    """Grouped bars with intervals, as SVG text: one group per column, one colour per system.

    Each system has a name, for the legend, and one bar per column; ``label`` is that of the y axis.
    """
    width = 0.84 / len(systems)
    looks = cycle([(colour, hatch) for hatch in ("", "///", "...") for colour in _COLOURS])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, ((_, values), (colour, hatch)) in enumerate(zip(systems, looks, strict=False)):
            x = np.arange(len(columns)) + (i - (len(systems) - 1) / 2) * width
            heights, low, high = np.array(values).T
            errors = np.maximum([heights - low, high - heights], 0)  # rounding can put the mean outside its interval
            axes.bar(x, heights, width * 0.9, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
            axes.errorbar(x, heights, errors, fmt="none", ecolor="#333333", elinewidth=0.8, capsize=1.5)
        axes.set(ylabel=label, xticks=range(len(columns)), xticklabels=columns)
        axes.set_ylim(bottom=0)
        _style(axes, grid="y")
        names = [_short(name) for name, _ in systems]
        handles: Sequence[Any] = axes.containers[::2]  # the bars, without their intervals
        figure.legend(handles, names, loc="outside upper left", ncols=min(4, len(names)), frameon=False)

    return _svg(draw, max(_WIDTH * 1.9, 0.25 * len(columns) * (len(systems) + 1)), _HEIGHT)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], label: str, *, digits: int = 1
) -> str:
    """A heat map with the numbers in its cells, as SVG text.

    Args:
        rows, columns: their names; the first row is at the top.
        values: one per row and column, at least 0; the cell of a NaN is grey with a dash.
        label: title above the map.
        digits: decimals.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        grid = np.ma.masked_invalid(np.array(values, dtype=float))
        top = float(grid.max()) if grid.count() else 1.0
        axes.set_facecolor("#dddddd")
        axes.pcolormesh(grid, cmap="Blues", vmin=0, vmax=top or 1.0, edgecolors="white", linewidth=1.5)
        for (i, j), value in np.ndenumerate(grid.filled(np.nan)):
            colour = "white" if value > 0.6 * top else "black"
            text = "–" if math.isnan(value) else f"{value:.{digits}f}"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour)
        axes.set_title(_short(label), loc="left", fontsize=9)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    return _svg(draw, 1.0 + 0.55 * len(columns), 0.7 + 0.4 * len(rows))


def intervals(rows: Sequence[tuple[str, Bar]], label: str) -> str:
    """A value and its interval per row, the first at the top, and a line at zero, as SVG text.

    An interval without zero is coloured; ``label`` is that of the x axis.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color="#333333", linewidth=0.8)
        for place, (_, bar) in enumerate(rows):
            colour = "#777777" if bar.low <= 0 <= bar.high else _COLOURS[bar.value < 0]
            errors = [[max(bar.value - bar.low, 0)], [max(bar.high - bar.value, 0)]]
            axes.errorbar(bar.value, place, xerr=errors, fmt="o", color=colour, markersize=4, capsize=2.5)
        axes.set(xlabel=label, yticks=range(len(rows)), yticklabels=[_short(name) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _style(axes)

    return _svg(draw, _WIDTH * 1.6, 0.9 + 0.26 * len(rows))


def scatter(panels: Sequence[tuple[str, str, Mapping[str, tuple[float, float]]]]) -> str:
    """Panels side by side, each with an x label, a y label and named points, as SVG text."""

    def draw(figure: Figure) -> None:
        for axes, (x, y, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.axhline(0, color="#333333", linewidth=0.8)
            for name, point in points.items():
                axes.plot(*point, marker="o", markersize=4, color=_COLOURS[0])
                axes.annotate(_short(name), point, xytext=(4, 2), textcoords="offset points")
            axes.set(xlabel=_short(x), ylabel=y)
            _style(axes)

    return _svg(draw, _WIDTH * len(panels), _HEIGHT)


def curves(
    x: str,
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    *,
    logarithmic: bool = False,
    whole: bool = False,
) -> str:
    """Lines through points (x, y), as SVG text; the panels are side by side, each with its own scales.

    ``panels`` has, for the label of each y axis and the name of each line, the points; ``x`` labels the x axes.
    ``logarithmic`` is for both axes; ``whole`` shows whole numbers alone on the x axes.
    """

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        for axes, (label, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for (name, points), colour in zip(lines.items(), cycle(_COLOURS), strict=False):
                axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=2.5, label=_short(name))
            axes.set(xlabel=x, ylabel=label)
            if logarithmic:
                _set_log_scales(axes)
            if whole:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _style(axes)
            axes.legend(frameon=False)

    return _svg(draw, _WIDTH * len(panels), _HEIGHT)


def _svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """The figure that ``draw`` fills, as SVG text; width and height are in inches."""
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    # pyplot would change global state and look for a display
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _style(axes: Axes, grid: Literal["both", "y"] = "both") -> None:
    axes.grid(axis=grid, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _set_log_scales(axes: Axes) -> None:
    """Logarithmic scales with plain numbers at 1, 2, 5, 10, …; the usual 10³ would need math text."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(LogLocator(numticks=20))


def _short(name: str) -> str:
    """A name that fits into a legend, without control characters and line breaks."""
    printable = "".join(char if char.isprintable() else " " for char in name)
    name = " ".join(printable.split())
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _draw_lines(axes: Axes, lines: Mapping[str, Sequence[float]], bold: str) -> None:
    """Draw the lines of a panel and write each name at the line's right end."""
    styles = cycle([(colour, dash) for dash in _DASHES for colour in _COLOURS])
    ends = {}
    for name, values in lines.items():
        colour, dash = ("black", "-") if name == bold else next(styles)
        look: dict[str, Any] = {"linewidth": 2.4, "zorder": 3} if name == bold else {"linewidth": 1.0}
        axes.plot(values, color=colour, linestyle=dash, marker="o", markersize=2.5, **look)
        ends[name] = (values[-1], colour)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = _LABEL_GAP / (_HEIGHT - 0.7) * (high - low)
    places = spread([value for value, _ in ends.values()], gap)
    for (name, (value, colour)), place in zip(ends.items(), places, strict=True):
        axes.annotate(
            name,
            xy=(len(lines[name]) - 1, value),
            xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(),
            color=colour,
            va="center",
            weight="bold" if name == bold else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 2},
        )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move values apart so that neighbours differ by ``gap`` at least; they keep their order.

    The moves are the smallest possible (least squares). NaN stays NaN and takes no space.

    >>> spread([5.0, 1.0, 1.0], gap=2)
    [5.0, 0.0, 2.0]
    """
    order = np.argsort(values, kind="stable")
    blocks: list[tuple[float, int]] = []  # sum and number of values that end up exactly one gap apart
    for step, position in enumerate(order):
        blocks.append((values[position] - step * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1] = (blocks[-1][0] + total, blocks[-1][1] + number)
    moved = np.empty(len(order))
    starts = [total / number for total, number in blocks for _ in range(number)]
    moved[order] = [start + i * gap for i, start in enumerate(starts)]
    return moved.tolist()
