"""Ways to damage a file: its bytes, the lines of a table, or a value in JSON or YAML."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

Damage = Callable[[random.Random, bytes], bytes]


def _splice(rng: random.Random, data: bytes, new: bytes, length: int = 0) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + new + data[start + length :]


def _bytes(rng: random.Random, data: bytes) -> bytes:
    """Damage without regard to the format."""
    half = len(data) // 2
    choices: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: data[: rng.randrange(len(data) + 1)],
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("utf-8", "replace").encode("utf-16"),
        lambda: data.decode("utf-8", "replace").encode("latin-1", "replace"),
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: data + data,
        lambda: data[half:] + data[:half],
        lambda: _splice(rng, data, b"", rng.randint(1, 40)),
        lambda: _splice(rng, data, rng.choice([b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80", b'"', b"\t", b"\n", b"\\"])),
        lambda: _splice(rng, data, "  ﻿۳x".encode()),
        lambda: _splice(rng, data, b"x" * 200_000),
        lambda: gzip.compress(data),
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        lambda: b"<!DOCTYPE html><html><body>Not found</body></html>",
    ]
    return rng.choice(choices)()


def _lines(rng: random.Random, data: bytes) -> bytes:
    """Damage to the lines of a table."""
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    columns = re.split(rb"(\s)", lines[i])
    column = rng.randrange(0, len(columns), 2)
    action = rng.randrange(8)
    if action == 0:
        del lines[i]
    elif action == 1:
        lines.insert(j, lines[i])
    elif action == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif action == 3:
        lines.insert(i, rng.choice([b"", b"   ", b"# comment", b"\t\t"]))
    elif action == 4:
        lines += [b"", b""]
    else:
        odd = [
            b"",
            b"nan",
            b"-1",
            b"1e400",
            b"0",
            b"1_000",
            "é".encode(),
            "e\u0301".encode(),
            b"a b",
            b"\xff",
            b"9" * 400,
        ]
        columns[column] = rng.choice(odd)
        lines[i] = b"".join(columns)
    return b"\n".join(lines)


ODD_VALUES: list[Any] = [
    None,
    True,
    "",
    " ",
    "a b",
    "text",
    [],
    {},
    ["a"],
    [None],
    [[]],
    {"a": 1},
    "\x00",
    "../x",
    "é" * 999,
]
ODD_NUMBERS: list[Any] = [0, -1, 1, 3, 1000, 0.5, float("nan"), 10**30]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield value, key
        yield from _places(part)


def _value(rng: random.Random, value: Any) -> Any:
    """Damage to one place of a parsed value."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places or rng.random() < 0.03:
        return rng.choice([*ODD_VALUES, *ODD_NUMBERS])
    shallow = [place for place in places if place[0] is value]
    container, key = rng.choice(shallow if rng.random() < 0.5 else places)
    old, action = container[key], rng.randrange(5)
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)
    elif isinstance(old, int | float) and rng.random() < 0.6:
        container[key] = rng.choice(ODD_NUMBERS)
    elif isinstance(old, list) and old and rng.random() < 0.4:
        container[key] = rng.choice([old + old, old[:-1], old[0]])
    else:
        container[key] = rng.choice(ODD_VALUES)
    return value


def _json(rng: random.Random, data: bytes) -> bytes:
    text = json.dumps(_value(rng, json.loads(data)), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:
        text = text.replace('"', '"\\ud83d', 2)
    return text.encode()


def _json_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines()
    i = rng.randrange(len(lines))
    lines[i] = _json(rng, lines[i])
    return b"\n".join(lines) + b"\n"


def _yaml(rng: random.Random, data: bytes) -> bytes:
    return yaml.safe_dump(_value(rng, yaml.safe_load(data)), allow_unicode=True, sort_keys=False).encode()


DAMAGES: dict[str, tuple[Damage, ...]] = {
    ".json": (_bytes, _json, _json, _json),
    ".jsonl": (_bytes, _lines, _json_lines, _json_lines),
    ".yaml": (_bytes, _lines, _yaml, _yaml),
    ".docid": (_bytes, _lines),
}


def damage(rng: random.Random, data: bytes, suffix: str) -> bytes:
    """A damaged copy of a file's bytes, by a way that suits its format."""
    return rng.choice(DAMAGES.get(suffix, (_bytes, _lines, _lines)))(rng, data)
