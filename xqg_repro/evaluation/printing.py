"""How scores, differences and p-values are printed."""

from __future__ import annotations

from dataclasses import dataclass

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.measures.match import MATCH_MEASURES
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS


@dataclass(frozen=True)
class MeasureConfig:
    """How a measure is printed and how far a reproduction may be off, in printed units."""

    scale: float = 1.0
    digits: int = 3
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        if not self.scale > 0 or self.digits < 0 or self.tolerance < 0:
            raise InputError(
                f"a scale of {self.scale}, {self.digits} digits and a tolerance of {self.tolerance} print no score",
                hint="the scale must be above 0, the other two 0 or more",
            )


def printed(score: float, measure: MeasureConfig) -> str:
    """A score in [0, 1] as tables print it.

    >>> printed(0.44149, MeasureConfig(scale=100, digits=1))
    '44.1'
    """
    return f"{score * measure.scale:.{measure.digits}f}"


def printing(measure: str) -> MeasureConfig:
    """How a measure is printed where no benchmark says so: answer measures in percent, others as they are."""
    return MeasureConfig(scale=100, digits=1) if measure in {*TOKEN_LIMITS, *MATCH_MEASURES} else MeasureConfig()


def signed(difference: float, measure: MeasureConfig) -> str:
    """A difference as tables print it.

    >>> signed(0.0612, MeasureConfig(scale=100, digits=1)), signed(-0.5, MeasureConfig())
    ('+6.1', '-0.500')
    """
    return f"{difference * measure.scale:+.{measure.digits}f}"


def p_text(p: float | None) -> str:
    """A p-value as tables print it.

    >>> p_text(0.0312), p_text(0.0001), p_text(1.0), p_text(None)
    ('0.031', '<0.001', '1.000', '–')
    """
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
