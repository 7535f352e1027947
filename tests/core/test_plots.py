"""Plots as SVG: the same numbers give the same bytes."""

from __future__ import annotations

import xml.dom.minidom
from math import nan
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from hypothesis import given, strategies as st

from xqg_repro.core.plots import Bar, Panel, bars, curves, heat_map, intervals, plot_lines, scatter, spread


def texts(svg: str) -> set[str]:
    return {node.firstChild.data for node in xml.dom.minidom.parseString(svg).getElementsByTagName("text")}


def test_bars_are_named_to_the_letter_and_drawn_the_same_twice() -> None:
    systems = [("$a_{$ <&", [Bar(1, 0.5, 2)] * 2), ("_b\x01\u202e" + 100 * "b", [Bar(nan, nan, nan)] * 2)]
    svg = bars(["ar", "average"], systems, "R@1, %")
    assert svg == bars(["ar", "average"], systems, "R@1, %")
    assert {"$a_{$ <&", "_b " + 36 * "b" + "…", "ar", "average", "R@1, %"} <= texts(svg)


def test_heat_map_prints_its_numbers_and_a_dash() -> None:
    svg = heat_map(["en", "de"], ["ar", "fi"], [[0.25, nan], [0.5, 0]], "R@1", digits=2)
    assert {"en", "de", "ar", "fi", "0.25", "–", "0.50", "0.00", "R@1"} <= texts(svg)
    assert "–" in heat_map(["en"], ["ar"], [[nan]], "nothing")


def test_bold_line_alone_is_thick_and_black(tmp_path: Path) -> None:
    panels = [Panel("y", {"fi": [1, 2], "average": [2, 3]})]
    plot_lines(tmp_path / "p.svg", "x", ["a", "b"], panels, bold="average")
    styles = [e.get("style", "") for e in ElementTree.parse(tmp_path / "p.svg").iter() if e.tag.endswith("path")]
    (thick,) = (style for style in styles if "stroke-width: 2.4" in style)
    assert "#000000" in thick or "stroke: #" not in thick


def test_labels_without_a_value_take_no_room() -> None:
    np.testing.assert_array_equal(spread([nan, 1, 2, nan, 1.5], gap=1), [nan, 0.5, 2.5, nan, 1.5])


@given(st.lists(st.floats(-9, 9), max_size=8), st.floats(0.1, 3))
def test_labels_are_spread_as_little_as_possible(values: list[float], gap: float) -> None:
    moved = np.array(spread(values, gap))
    order = np.argsort(values, kind="stable")
    assert (np.diff(moved[order]) >= gap - 1e-6).all()
    np.testing.assert_allclose(moved.sum(), sum(values), atol=1e-6)  # least squares leave the mean where it is
    if (np.diff(np.array(values)[order]) >= gap).all():
        np.testing.assert_allclose(moved, values, atol=1e-9)


def test_logarithmic_scales_have_plain_numbers() -> None:
    svg = curves("n", {"seconds": {"a": [(10, 0.5), (1_000, 50)]}}, logarithmic=True)
    assert {"10", "100", "1,000", "0.5", "1", "2", "5", "50"} <= texts(svg)


def test_intervals_are_coloured_if_they_leave_out_zero() -> None:
    rows = [("worse", Bar(-2, -3, -1)), ("open", Bar(0.5, -1, 2)), ("better", Bar(2, 1, 3))]
    svg = intervals(rows, "points")
    assert {"worse", "open", "better", "points"} <= texts(svg)
    assert all(svg.count(colour) for colour in ("#d55e00", "#777777", "#0072b2"))
    svg = intervals(rows[1:2], "points")
    assert "#777777" in svg and "#d55e00" not in svg and "#0072b2" not in svg


def test_points_are_named() -> None:
    svg = scatter([("class", "gain", {"ar": (5, 0.1), "th": (3, 0.2)}), ("loss", "gain", {"hi": (1.5, -0.1)})])
    assert {"ar", "th", "hi", "class", "loss", "gain"} <= texts(svg)
