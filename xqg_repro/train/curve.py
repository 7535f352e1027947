"""The loss curve of a training, as a table and a plot beside the weights."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.files import atomic_write
from xqg_repro.core.plots import curves


class Point(NamedTuple):
    """A measured loss.

    Attributes:
        stage: the stage of the training.
        step: optimiser steps done in this stage.
        loss: mean over the steps since the last measurement; ``None`` if only the held-out loss was measured.
        held_out: loss on the held-out questions; ``None`` if not measured.
    """

    stage: str
    step: int
    loss: float | None
    held_out: float | None


def curve_points(stage: str, history: Iterable[Mapping[str, Any]]) -> list[Point]:
    """The log history of transformers' ``Trainer`` in a stage, as one point per step."""
    points: dict[int, Point] = {}
    for entry in history:
        step = entry["step"]
        point = points.get(step, Point(stage, step, None, None))
        if "loss" in entry:
            points[step] = point._replace(loss=float(entry["loss"]))
        elif "eval_loss" in entry:
            points[step] = point._replace(held_out=float(entry["eval_loss"]))
    return list(points.values())


def write_curve(points: Sequence[Point], folder: Path) -> None:
    """Write ``loss.csv``, and ``loss.svg`` if matplotlib is installed."""
    with atomic_write(folder / "loss.csv") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("step", "stage", "loss", "held_out_loss"))
        for point in points:
            losses = ("" if loss is None else f"{loss:.6g}" for loss in (point.loss, point.held_out))
            table.writerow((point.step, point.stage, *losses))
    if importlib.util.find_spec("matplotlib"):
        with atomic_write(folder / "loss.svg") as file:
            file.write(plot_curve(points))


def plot_curve(points: Sequence[Point]) -> str:
    """The losses as SVG text, one panel per stage."""
    panels = {}
    for stage in dict.fromkeys(point.stage for point in points):
        in_stage = [point for point in points if point.stage == stage]
        lines = {
            "training": [(point.step, point.loss) for point in in_stage if point.loss is not None],
            "held-out": [(point.step, point.held_out) for point in in_stage if point.held_out is not None],
        }
        panels[f"loss ({stage})"] = {name: line for name, line in lines.items() if line}
    return curves("step", panels)
