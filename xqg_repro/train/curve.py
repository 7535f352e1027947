"""The loss over the steps of a training, as a table and as a plot beside the weights."""

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
        stage: of the training.
        step: optimiser steps done in it.
        loss: mean over the steps since the last one measured; ``None`` where only the other was measured.
        held_out: on the held-out questions.
    """

    stage: str
    step: int
    loss: float | None
    held_out: float | None


def points(stage: str, history: Iterable[Mapping[str, Any]]) -> list[Point]:
    """What transformers' ``Trainer`` logged in a stage, one point a step."""
    found: dict[int, Point] = {}
    for entry in history:
        before = found.get(entry["step"], Point(stage, entry["step"], None, None))
        if "loss" in entry:
            before = before._replace(loss=float(entry["loss"]))
        if "eval_loss" in entry:
            before = before._replace(held_out=float(entry["eval_loss"]))
        if before[2:] != (None, None):
            found[entry["step"]] = before
    return list(found.values())


def write_curve(found: Sequence[Point], folder: Path) -> None:
    """Write ``loss.csv``, and ``loss.svg`` where matplotlib is installed."""
    with atomic_write(folder / "loss.csv") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("step", "stage", "loss", "held_out_loss"))
        for point in found:
            losses = ("" if loss is None else f"{loss:.6g}" for loss in (point.loss, point.held_out))
            table.writerow((point.step, point.stage, *losses))
    if importlib.util.find_spec("matplotlib"):
        with atomic_write(folder / "loss.svg") as file:
            file.write(plot_curve(found))


def plot_curve(found: Sequence[Point]) -> str:
    """The losses as SVG text, a panel a stage."""
    panels = {}
    for stage in dict.fromkeys(point.stage for point in found):
        of_stage = [point for point in found if point.stage == stage]
        lines = {
            "training": [(point.step, point.loss) for point in of_stage if point.loss is not None],
            "held-out": [(point.step, point.held_out) for point in of_stage if point.held_out is not None],
        }
        panels[f"loss ({stage})"] = {name: line for name, line in lines.items() if line}
    return curves("step", panels)
