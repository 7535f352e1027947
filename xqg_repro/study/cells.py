"""How the study's tables and sentences print scores and differences."""

from __future__ import annotations

from collections.abc import Sequence

from xqg_repro.evaluation.printing import MeasureConfig, format_score


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of no values."""
    return sum(values) / len(values) if values else float("nan")


def score(value: float) -> str:
    """A mean score."""
    return format_score(value, MeasureConfig())


def points(difference: float, star: bool = False) -> str:
    """A difference in points (hundredths), never negative zero.

    >>> points(0.0123), points(-0.00001, star=True)
    ('+1.2', '+0.0*')
    """
    return f"{round(100 * difference, 1) + 0.0:+.1f}{'*' if star else ''}"


def interval(low: float, high: float) -> str:
    """The limits of an interval, in points."""
    return f"{points(low)} to {points(high)}"


def comparison(method: str, other: str) -> str:
    """The name of a comparison."""
    return f"{method} − {other}"
