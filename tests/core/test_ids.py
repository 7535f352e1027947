from __future__ import annotations

import pytest

from xqg_repro.core.ids import lookalike_hint


@pytest.mark.parametrize(
    ("name", "known", "parts"),
    [
        ("S\u00e3o_1", "Sa\u0303o_1", ("U+00E3 (NFC)", "U+0061 U+0303 (NFD)")),
        ("Sa\u0303o_1", "S\u00e3o_1", ("U+0061 U+0303 (NFD) where 'S\u00e3o_1'", "U+00E3 (NFC)")),
        ("\uac00", "\u1100\u1161", ("U+AC00 (NFC)", "U+1100 U+1161 (NFD)")),
        ("q\uff11", "q1", ("U+FF11", "U+0031")),
        ("q1\u200b", "q1", ("U+200B where", "has nothing")),
        ("\ufeffq1", "q1", ("U+FEFF where", "has nothing")),
    ],
)
def test_ids_that_look_the_same_are_told_apart(name: str, known: str, parts: tuple[str, str]) -> None:
    hint = lookalike_hint(name, ["other", name, known])
    assert all(part in hint for part in parts), hint


@pytest.mark.parametrize("name", ["q1", "q2", "S\u00e3o", "", "q"])
def test_other_ids_get_no_hint(name: str) -> None:
    assert not lookalike_hint(name, ["q1", "q10", "Sao", "S\u00e1o"])
