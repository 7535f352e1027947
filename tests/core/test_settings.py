from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums, parse, read_yaml


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    size: float
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"count is {self.count}", hint="at least 0")


@dataclass(frozen=True)
class Whole:
    name: str
    colour: Colour = Colour.RED
    flag: bool = False
    note: str | None = "x"
    languages: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        convert_enums(self, colour=Colour)


def test_nested_settings_are_read_in_their_types() -> None:
    data = {
        "name": "w",
        "colour": "blue",
        "note": None,
        "languages": ["ar", "fi"],
        "parts": [{"size": 1}],
        "scores": {"R@1": {"ar": 50}},
    }
    whole = parse(Whole, data, "x.yaml")
    assert whole == Whole("w", Colour.BLUE, False, None, ("ar", "fi"), (Part(1.0),), {"R@1": {"ar": 50.0}})
    assert isinstance(whole.parts[0].size, float) and isinstance(whole.scores["R@1"]["ar"], float)
    assert whole.colour is Colour.BLUE


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "Whole must be a mapping, not list"),
        (None, "Whole must be a mapping, not NoneType"),
        ({"name": "w", "nam": 1}, "Whole has no key 'nam'.*known: .*name"),
        ({1: "x"}, "Whole has no key 1"),
        ({}, "Whole lacks the key 'name'"),
        ({"name": 3}, "name is 3, expected text"),
        ({"name": None}, "name is None"),
        ({"colour": "green"}, "colour is 'green' .*red, blue"),
        ({"colour": ["red"]}, "colour is .*red, blue"),
        ({"flag": "yes"}, "flag is 'yes', expected true or false"),
        ({"flag": 1}, "flag is 1"),
        ({"note": 5}, "note is 5"),
        ({"languages": "ar"}, "languages is 'ar', expected a list"),
        ({"languages": ["ar", 1]}, "languages is 1"),
        ({"parts": ["p"]}, "Part must be a mapping, not str"),
        ({"parts": [{"size": "1"}]}, "size is '1', expected a number"),
        ({"parts": [{"size": True}]}, "size is True"),
        ({"parts": [{"size": 1, "count": 1.5}]}, "count is 1.5, expected a whole number"),
        ({"parts": [{"size": 1, "count": 32.0}]}, "count is 32.0"),
        ({"parts": [{"size": 1, "count": True}]}, "count is True"),
        ({"parts": [{"size": 1, "count": -1}]}, "count is -1 .at least 0"),
        ({"parts": [{}]}, "Part lacks the key 'size'"),
        ({"parts": [{"size": inf}]}, "size is infinite, not a number or too large"),
        ({"parts": [{"size": nan}]}, "size is infinite, not a number"),
        ({"parts": [{"size": 10**400}]}, "size is .*too large"),
        ({"parts": [{"size": 1, "count": 10**30}]}, "count is .*too large"),
        ({"parts": [{"size": "1e999"}]}, "size is infinite"),
        ({"name": date(2020, 1, 1)}, r"name is 2020-01-01, expected text .put it in quotes"),
        ({"name": "x" * 5_000, "flag": ["x"] * 5_000}, "flag is .{,99}, expected true or false"),
        ({"scores": {"R@1": {False: 1}}}, r"scores\.R@1 has the key False, expected text"),
        ({"scores": [50]}, r"scores is \[50\], expected a mapping"),
        ({"scores": {"R@1": {"ar": "fifty"}}}, r"scores\.R@1\.ar is 'fifty'"),
    ],
)
def test_bad_settings_are_named_with_their_file(data: Any, problem: str) -> None:
    if isinstance(data, dict) and data:
        data = {"name": "w"} | data
    with pytest.raises(InputError, match=f"^x.yaml: {problem}"):
        parse(Whole, data, "x.yaml")


def test_byte_order_marks_aliases_and_exponents_are_read(tmp_path: Path) -> None:
    text = "\ufeffname: w\r\nparts:\r\n- &p {size: 1e-05}\r\n- *p\r\n- size: -2.5E3\r\n"
    (tmp_path / "file.yaml").write_bytes(text.encode())
    sizes = [part.size for part in parse(Whole, read_yaml(tmp_path / "file.yaml"), "x.yaml").parts]
    assert sizes == [1e-5, 1e-5, -2500.0]


def test_plain_strings_become_members() -> None:
    assert Whole("w", colour="blue").colour is Colour.BLUE  # type: ignore[arg-type]
    with pytest.raises(InputError, match="colour is 'green'"):
        Whole("w", colour="green")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        (b"a: 1\nb: {c: 1,\n  c: 2}\n", "repeats the key 'c'", 3),
        (b"a: 1\nb: ]\n", "is not valid YAML", 2),
        (b"a: 1\nb: 'open\n\n", "is not valid YAML", 4),
        (b"a: caf\xe9\n", "is not UTF-8", 1),
        (b"a: 1\nb: \x00\n", r"is not valid YAML: .*U\+0000", 2),
        (b"a: 1\nb:\t- c: 1\n", "is not valid YAML", 2),
        (b"{[a]: 1}\n", "unhashable key", 1),
        (b"a: !!int ''\n", "is not valid YAML", None),
        (b"a: 2020-13-45\n", "month must be in", None),
        (b'a: 1\nb: "\\ud83d"\n', "half a character", 2),
        (b"a: &a [*a]\n", "more than 100,000 values", None),
        (b"[" * 5000, "is not valid YAML: it is nested", None),
        (
            b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"x, " * 9 if not i else b"*a%d, " % (i - 1) * 9) for i in range(9)),
            "more than 100,000 values with its aliases expanded",
            None,
        ),
        (None, "no such file", None),
    ],
)
def test_a_bad_yaml_file_is_named_with_its_line(
    tmp_path: Path, text: bytes | None, problem: str, line: int | None
) -> None:
    if text is not None:
        (tmp_path / "file.yaml").write_bytes(text)
    with pytest.raises(InputError, match=problem) as caught:
        read_yaml(tmp_path / "file.yaml")
    assert (caught.value.path, caught.value.line) == (tmp_path / "file.yaml", line)
