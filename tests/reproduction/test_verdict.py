import math
import unicodedata

import pytest

from xqg_repro.core.tables import Table
from xqg_repro.evaluation.printing import MeasureConfig, printed
from xqg_repro.reproduction.verdict import Verdict, judge

PERCENT = MeasureConfig(scale=100, digits=1, tolerance=0.5)
PLAIN = MeasureConfig(scale=1, digits=3, tolerance=0.005)


@pytest.mark.parametrize(
    ("score", "expected", "measure", "verdict"),
    [
        (0.441, 44.1, PERCENT, Verdict.OK),
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
    ],
)
def test_verdicts_at_their_boundaries(score: float, expected: float, measure: MeasureConfig, verdict: Verdict) -> None:
    assert judge(score, expected, measure) is verdict


@pytest.mark.parametrize(("score", "expected"), [(math.nan, 44.1), (0.441, math.nan), (math.nan, math.nan)])
def test_nan_fails(score: float, expected: float) -> None:
    assert judge(score, expected, PERCENT) is Verdict.FAIL


def test_without_tolerance_only_printed_equality_counts() -> None:
    exact = MeasureConfig(scale=100, digits=1, tolerance=0)
    assert [judge(score, 44.1, exact) for score in (0.44149, 0.4416)] == [Verdict.OK, Verdict.FAIL]


def test_a_score_is_printed_with_its_scale_and_digits() -> None:
    assert (printed(0.5, PERCENT), printed(0.5, PLAIN)) == ("50.0", "0.500")


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_the_first_column_is_flush_left_and_the_others_flush_right() -> None:
    assert Table(["name", "score"], [["a", "1"], ["longer", "22.5"]]).text().splitlines() == [
        "name    score",
        "-------------",
        "a           1",
        "longer   22.5",
    ]


def test_wide_characters_align() -> None:
    lines = Table(["name", "x"], [["日本語", "1"], ["한국", "2"], ["Ａ", "3"], ["ä", "４"]]).text().splitlines()
    assert {columns(line) for line in lines} == {10}


def test_a_wide_header_has_a_rule_of_its_width() -> None:
    header, rule, _ = Table(["名前", "点数"], [["a", "1"]]).text().splitlines()
    assert columns(rule) == columns(header)


def test_a_table_without_rows_prints_its_header() -> None:
    assert Table(["a", "b"], []).text() == "a  b\n----"


def test_markdown_aligns_all_but_the_first_column_right() -> None:
    assert Table(["name", "x"], [["a", "1"]]).markdown() == "| name | x |\n| --- | ---: |\n| a | 1 |"


def test_markdown_escapes_pipes() -> None:
    lines = Table(["a|b", "x"], [["c|d", "1|2"]]).markdown().splitlines()
    assert lines[0] == "| a\\|b | x |"
    assert lines[2] == "| c\\|d | 1\\|2 |"
