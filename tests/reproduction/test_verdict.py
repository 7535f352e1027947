import math

import pytest

from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.reproduction.verdict import Verdict, judge

PERCENT = MeasureConfig(scale=100, digits=1, tolerance=0.5)
PLAIN = MeasureConfig(scale=1, digits=3, tolerance=0.005)
EXACT = MeasureConfig(scale=100, digits=1, tolerance=0)


@pytest.mark.parametrize(
    ("score", "expected", "measure", "verdict"),
    [
        (0.44149, 44.1, PERCENT, Verdict.OK),
        (0.44051, 44.1, PERCENT, Verdict.OK),
        (0.4416, 44.1, PERCENT, Verdict.OKISH),
        (0.446, 44.1, PERCENT, Verdict.OKISH),
        (0.436, 44.1, PERCENT, Verdict.OKISH),
        (0.44601, 44.1, PERCENT, Verdict.FAIL),
        (0.43599, 44.1, PERCENT, Verdict.FAIL),
        (0.657, 0.652, PLAIN, Verdict.OKISH),
        (0.647, 0.652, PLAIN, Verdict.OKISH),
        (0.6571, 0.652, PLAIN, Verdict.FAIL),
        (0.0, 0.0, PLAIN, Verdict.OK),
        (1.0, 100.0, PERCENT, Verdict.OK),
        (0.44149, 44.1, EXACT, Verdict.OK),
        (0.4416, 44.1, EXACT, Verdict.FAIL),
        (math.nan, 44.1, PERCENT, Verdict.FAIL),
        (0.441, math.nan, PERCENT, Verdict.FAIL),
        (math.nan, math.nan, PERCENT, Verdict.FAIL),
    ],
)
def test_verdicts_at_their_boundaries(score: float, expected: float, measure: MeasureConfig, verdict: Verdict) -> None:
    assert judge(score, expected, measure) is verdict
