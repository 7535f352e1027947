from __future__ import annotations

import pytest

from xqg_repro.core import ids
from xqg_repro.core.errors import InputError
from xqg_repro.core.ids import check_unique, lookalike_hint


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


class Alike(str):
    """A name whose hash is that of all others."""

    def __hash__(self) -> int:
        return 7


def repeated(name: str, count: int) -> InputError:
    return InputError(f"{name}: {count}")


def same(name: str) -> str:
    return name


@pytest.mark.parametrize("names", [[], ["a"], list("abcdefg"), [Alike(name) for name in "abcde"]])
def test_items_whose_names_differ_are_passed_on(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    monkeypatch.setattr(ids, "_IDS_PER_CHECK", 3)
    assert list(check_unique(names, same, lambda: names, repeated)) == names


@pytest.mark.parametrize("size", [2, 3, 100])
def test_a_name_that_repeats_ends_a_block(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(ids, "_IDS_PER_CHECK", size)
    numbers, passed = [1, 2, 1, *range(3, 50), 1], []
    with pytest.raises(InputError, match="1: 3"):
        passed.extend(check_unique(numbers, str, lambda: numbers, repeated))
    assert len(passed) in (3, 4, 51)
    names = [Alike(name) for name in "abcb"]
    with pytest.raises(InputError, match="b: 2"):
        list(check_unique(names, same, lambda: names, repeated))
