from __future__ import annotations

import unicodedata

from xqg_repro.core.tables import Table


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_first_column_is_flush_left_and_the_others_flush_right() -> None:
    assert Table(["name", "score"], [["a", "1"], ["longer", "22.5"]]).text().splitlines() == [
        "name    score",
        "-------------",
        "a           1",
        "longer   22.5",
    ]
    assert Table(["a", "b"], []).text() == "a  b\n----"


def test_wide_characters_align() -> None:
    lines = Table(["名前", "x"], [["日本語", "1"], ["한국", "2"], ["Ａ", "3"], ["ä", "４"]]).text().splitlines()
    assert {columns(line) for line in lines} == {10}


def test_markdown_aligns_the_other_columns_right_and_escapes_pipes() -> None:
    text = Table(["a|b", "x"], [["c|d", "1|2"]]).markdown()
    assert text == "| a\\|b | x |\n| --- | ---: |\n| c\\|d | 1\\|2 |"
