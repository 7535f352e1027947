"""Line plots as SVG files: the same numbers give the same bytes. Needs matplotlib, the extra ``plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xqg_repro.artifacts import atomic_write
from xqg_repro.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# dark enough for thin lines, apart for the colour-blind too; beyond seven lines the dashes tell them apart
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#6a3d9a")
_DASHES = ("-", "--", ":")
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xqg_repro",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],  # the first comes with matplotlib: one layout everywhere
    "font.size": 9,
}
_WIDTH, _HEIGHT, _LETTER = 4.4, 3.4, 0.125  # inches: a panel's, and the distance of two labels


class Panel(NamedTuple):
    """One system of axes: the label of y, and for each line its name and a value (or NaN) at each position of x."""

    label: str
    lines: Mapping[str, Sequence[float]]


def check_matplotlib() -> None:
    """Raise :class:`InputError` saying what to install where matplotlib is absent."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        mend = "pip install 'xqg_repro[plots]'"
        raise InputError("plots are drawn by matplotlib, which is not installed", mend=mend) from None


def plot_lines(path: str | Path, x: str, ticks: Sequence[str], panels: Sequence[Panel], bold: str) -> None:
    """Draw panels side by side over one common scale of x and write them as an SVG file.

    Args:
        path: the file.
        x: label of the x axis.
        ticks: the positions on it, at equal distances whatever they stand for.
        panels: what is drawn; each line is named at its right end.
        bold: name of the line that is drawn thick and black; the others are thin and coloured.

    Raises:
        InputError: matplotlib is absent, or the file cannot be written.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    # by hand, not by pyplot: nothing global is touched, and no screen is looked for
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH * len(panels), _HEIGHT), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1)  # the names at the right must not touch the next panel
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.set(xlabel=x, ylabel=panel.label, xticks=range(len(ticks)), xticklabels=ticks)
            axes.grid(color="#e6e6e6", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            _draw(axes, panel.lines, bold)
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _draw(axes: Axes, lines: Mapping[str, Sequence[float]], bold: str) -> None:
    styles = cycle([(colour, dash) for dash in _DASHES for colour in _COLOURS])
    drawn = {}
    for name, values in lines.items():
        colour, dash = ("black", "-") if name == bold else next(styles)
        look = {"linewidth": 2.4, "zorder": 3} if name == bold else {"linewidth": 1.0}
        axes.plot(values, color=colour, linestyle=dash, marker="o", markersize=2.5, **look)
        drawn[name] = (values[-1], colour)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    places = spread([value for value, _ in drawn.values()], gap=_LETTER / (_HEIGHT - 0.7) * (high - low))
    for (name, (value, colour)), place in zip(drawn.items(), places, strict=True):
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
    """Move values apart until neighbours are ``gap`` apart, by as little as possible (least squares), in their order.

    NaN stays NaN and takes no room.

    >>> spread([5.0, 1.0, 1.0], gap=2)
    [5.0, 0.0, 2.0]
    """
    order = np.argsort(values, kind="stable")
    blocks: list[tuple[float, int]] = []  # sum and number of values that are to be exactly one gap apart
    for step, position in enumerate(order):
        blocks.append((values[position] - step * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1] = (blocks[-1][0] + total, blocks[-1][1] + number)
    moved = np.empty(len(order))
    moved[order] = [start + i * gap for i, start in enumerate(t / n for t, n in blocks for _ in range(n))]
    return moved.tolist()
