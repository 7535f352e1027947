"""How scores, differences and p-values are printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xqg_repro.core.errors import InputError
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures.match import MATCH_MEASURES
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS

MISSING = "–"
"""Printed in place of a number that is not known."""


@dataclass(frozen=True)
class MeasureConfig:
    """How a measure is printed, and by how much a reproduction may differ, in printed units."""

    scale: float = 1.0
    digits: int = 3
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        if not self.scale > 0 or self.digits < 0 or self.tolerance < 0:
            raise InputError(
                f"a scale of {self.scale}, {self.digits} digits and a tolerance of {self.tolerance} cannot be used",
                hint="the scale must be above 0, the other two 0 or more",
            )


def measure_config(measure: str) -> MeasureConfig:
    """How a measure is printed unless a benchmark says otherwise: measures of answers in percent, others in [0, 1]."""
    return MeasureConfig(scale=100, digits=1) if measure in {*TOKEN_LIMITS, *MATCH_MEASURES} else MeasureConfig()


def format_score(score: float | None, measure: MeasureConfig) -> str:
    """A score in [0, 1] as tables print it; a dash for ``None`` and NaN.

    >>> format_score(0.44149, MeasureConfig(scale=100, digits=1)), format_score(None, MeasureConfig())
    ('44.1', '–')
    """
    if score is None or score != score:
        return MISSING
    return f"{score * measure.scale:.{measure.digits}f}"


def format_difference(difference: float, measure: MeasureConfig) -> str:
    """A difference of two scores as tables print it.

    >>> format_difference(0.0612, MeasureConfig(scale=100, digits=1)), format_difference(-0.5, MeasureConfig())
    ('+6.1', '-0.500')
    """
    return f"{difference * measure.scale:+.{measure.digits}f}"


def format_p(p: float | None) -> str:
    """A p-value as tables print it.

    >>> format_p(0.0312), format_p(0.0001), format_p(1.0), format_p(None)
    ('0.031', '<0.001', '1.000', '–')
    """
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count_table(title: str, counts: Mapping[str, int]) -> Table:
    """Named counts as a table, one row each."""
    return Table([title, "count"], [(name, f"{count:,}") for name, count in counts.items()])
