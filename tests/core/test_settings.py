from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
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
        ({"scores": [50]}, r"scores is \[50\], expected a mapping"),
        ({"scores": {"R@1": {"ar": "fifty"}}}, r"scores\.R@1\.ar is 'fifty'"),
    ],
)
def test_bad_settings_are_named_with_their_file(data: Any, problem: str) -> None:
    if isinstance(data, dict) and data:
        data = {"name": "w"} | data
    with pytest.raises(InputError, match=f"^x.yaml: {problem}"):
        parse(Whole, data, "x.yaml")


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
        (b"a: \x00\n", "is not valid YAML", None),
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
