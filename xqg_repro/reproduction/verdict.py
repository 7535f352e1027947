"""The one judgement of a reproduction: does a measured score equal the expected one?"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

from xqg_repro.evaluation.printing import MeasureConfig, format_score


class Verdict(StrEnum):
    """Equal at printed precision, inside the stated tolerance, or neither."""

    OK = "[OK]"
    OKISH = "[OKish]"
    FAIL = "[FAIL]"


class Check(NamedTuple):
    """What was checked, the verdict and its details; no verdict if there was nothing to compare with."""

    verdict: Verdict | None
    text: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        first = f"{self.verdict} {self.text}" if self.verdict else self.text
        return "\n    ".join([first, *self.details])


def judge(score: float, expected: float, measure: MeasureConfig) -> Verdict:
    """Compare a measured score in [0, 1] with an expected one in printed units. A NaN fails.

    >>> judge(0.4412, 44.1, MeasureConfig(scale=100, digits=1, tolerance=0.5)).value
    '[OK]'
    >>> judge(0.4452, 44.1, MeasureConfig(scale=100, digits=1, tolerance=0.5)).value
    '[OKish]'
    """
    if not (math.isfinite(score) and math.isfinite(expected)):
        return Verdict.FAIL
    if format_score(score, measure) == f"{expected:.{measure.digits}f}":
        return Verdict.OK
    # floats need slack: 0.657 - 0.652 exceeds 0.005
    return Verdict.OKISH if abs(score * measure.scale - expected) <= measure.tolerance + 1e-9 else Verdict.FAIL
