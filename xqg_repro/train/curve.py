"""The loss curve of a training, as a table and a plot beside the weights."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from xqg_repro.core.files import atomic_write
from xqg_repro.core.plots import curves

BY_LANGUAGE = "eval_loss."
"""What precedes a language's code in the log of its held-out loss."""


class Point(NamedTuple):
    """A measured loss.

    Attributes:
        stage: the stage of the training.
        step: optimiser steps done in this stage.
        loss: mean over the steps since the last measurement; ``None`` if only the held-out loss was measured.
        held_out: loss on the held-out questions; ``None`` if not measured.
        by_language: the same by language, if measured so.
    """

    stage: str
    step: int
    loss: float | None
    held_out: float | None
    by_language: Mapping[str, float] = MappingProxyType({})


def curve_points(stage: str, history: Iterable[Mapping[str, Any]]) -> list[Point]:
    """The log history of transformers' ``Trainer`` in a stage, as one point per step."""
    points: dict[int, Point] = {}
    for entry in history:
        step = entry["step"]
        point = points.get(step, Point(stage, step, None, None))
        if "loss" in entry:
            points[step] = point._replace(loss=float(entry["loss"]))
        elif "eval_loss" in entry:
            losses = {key.removeprefix(BY_LANGUAGE): loss for key, loss in entry.items() if key.startswith(BY_LANGUAGE)}
            points[step] = point._replace(held_out=float(entry["eval_loss"]), by_language=losses)
    return list(points.values())


def write_curve(points: Sequence[Point], folder: Path) -> None:
    """Write ``loss.csv``, and ``loss.svg`` if matplotlib is installed."""
    languages = sorted({code for point in points for code in point.by_language})
    with atomic_write(folder / "loss.csv") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("step", "stage", "loss", "held_out_loss", *(f"held_out_loss.{code}" for code in languages)))
        for point in points:
            losses = (point.loss, point.held_out, *map(point.by_language.get, languages))
            table.writerow((point.step, point.stage, *("" if loss is None else f"{loss:.6g}" for loss in losses)))
    if importlib.util.find_spec("matplotlib"):
        with atomic_write(folder / "loss.svg") as file:
            file.write(plot_curve(points))


def plot_curve(points: Sequence[Point]) -> str:
    """The losses as SVG text, one panel per stage, and one for its held-out losses by language if measured."""
    panels = {}
    for stage in dict.fromkeys(point.stage for point in points):
        in_stage = [point for point in points if point.stage == stage]
        lines = {
            "training": [(point.step, point.loss) for point in in_stage if point.loss is not None],
            "held-out": [(point.step, point.held_out) for point in in_stage if point.held_out is not None],
        }
        panels[f"loss ({stage})"] = {name: line for name, line in lines.items() if line}
        if languages := sorted({code for point in in_stage for code in point.by_language}):
            panels[f"held-out loss ({stage})"] = {
                code: [(point.step, point.by_language[code]) for point in in_stage if code in point.by_language]
                for code in languages
            }
    return curves("step", panels)
