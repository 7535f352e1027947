from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from xqg_repro.train.curve import Point, curve_points, write_curve


def test_the_curve_has_a_point_for_each_measured_step() -> None:
    history = [
        {"step": 50, "loss": 2.0, "epoch": 0.5},
        {"step": 60, "loss": 1.5},
        {"step": 60, "eval_loss": 1.25},
        {"step": 60, "train_runtime": 3.0},
        {"step": 61, "eval_loss": 1.0},
    ]
    assert curve_points("names", history) == [
        Point("names", 50, 2.0, None),
        Point("names", 60, 1.5, 1.25),
        Point("names", 61, None, 1.0),
    ]


def test_held_out_losses_by_language_have_columns_and_lines_of_their_own(tmp_path: Path) -> None:
    history = [
        {"step": 5, "loss": 2.0},
        {"step": 5, "eval_loss": 1.5, "eval_loss.fi": 1.0, "eval_loss.ar": 2.0},
        {"step": 9, "loss": 0.5},
    ]
    points = curve_points("pairs", history)
    assert points == [Point("pairs", 5, 2.0, 1.5, {"fi": 1.0, "ar": 2.0}), Point("pairs", 9, 0.5, None)]
    write_curve(points, tmp_path)
    table = "step,stage,loss,held_out_loss,held_out_loss.ar,held_out_loss.fi\n5,pairs,2,1.5,2,1\n9,pairs,0.5,,,\n"
    assert (tmp_path / "loss.csv").read_text() == table
    assert "held-out loss (pairs)" in (tmp_path / "loss.svg").read_text()


def test_the_curve_is_a_table_and_with_matplotlib_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point("names", 3, 1 / 3, None), Point("questions", 2, None, 0.5)]
    write_curve(points, tmp_path)
    table = "step,stage,loss,held_out_loss\n3,names,0.333333,\n2,questions,,0.5\n"
    assert (tmp_path / "loss.csv").read_text() == table
    svg = (tmp_path / "loss.svg").read_text()
    assert svg.startswith("<?xml") and "loss (names)" in svg and "loss (questions)" in svg
    assert svg.count("held-out") == 1
    write_curve(points, tmp_path / "again")
    assert (tmp_path / "again" / "loss.svg").read_text() == svg

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    write_curve(points, tmp_path / "plain")
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["loss.csv"]
