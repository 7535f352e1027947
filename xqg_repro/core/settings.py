"""Settings as dataclasses: read from YAML, and checked as they are read."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from importlib import resources
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro.core.errors import InputError, in_file, quote
from xqg_repro.core.text import read_text

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_KINDS = {
    tuple: "a list",
    Mapping: "a mapping",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
"""Numbers such as ``1e-05``, which are text in YAML 1.1."""
_LARGEST = 100_000
"""How many values a YAML file may have once its aliases are written out."""


def resource(*parts: str) -> Path:
    """Path of a file or folder that ships with the package."""
    return Path(str(resources.files("xqg_repro"))).joinpath("resources", *parts)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    :class:`InputError` with the line if it cannot be parsed, repeats a key, or is huge once its aliases are expanded.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise InputError(f"repeats the key {key.value!r}", path=path, line=key.start_mark.line + 1)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    text = read_text(path)
    problem, line = "", None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded_size(node, path, {}) > _LARGEST:
            raise InputError(f"has more than {_LARGEST:,} values with its aliases expanded", path=path)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        problem = f"{error.reason} (U+{error.character:04X})"
        line = text.count("\n", 0, error.position) + 1
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or ""
        line = error.problem_mark.line + 1 if error.problem_mark else None
    except RecursionError:
        problem = "it is nested too deeply"
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # of PyYAML's constructors
        problem = str(error)
    raise InputError(f"is not valid YAML: {problem}", path=path, line=line)


def _expanded_size(node: Any, path: Path, sizes: dict[int, float]) -> float:
    """How many values are below a YAML node, itself included; infinity if it contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = inf  # until it is known
        children = () if isinstance(node.value, str) else node.value
        pairs = (child if isinstance(child, tuple) else (child,) for child in children)
        sizes[id(node)] = 1 + sum(_expanded_size(child, path, sizes) for pair in pairs for child in pair)
        if isinstance(node.value, str) and re.search("[\ud800-\udfff]", node.value):
            problem = "contains half a character (an unpaired surrogate)"
            raise InputError(problem, path=path, line=node.start_mark.line + 1)
    return sizes[id(node)]


def parse(cls: type[T], data: Any, source: str | Path) -> T:
    """Build a dataclass from YAML data.

    Nested dataclasses, tuples, mappings, enums, ``| None`` and plain types are supported. The dataclass's own checks
    run too. :class:`InputError` names ``source`` and the key that is unknown, missing or of another type.
    """
    if not isinstance(data, dict):
        raise InputError(f"{cls.__name__} must be a mapping, not {type(data).__name__}", path=source)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            hint = f"known: {', '.join(sorted(fields))}"
            raise InputError(f"{cls.__name__} has no key {key!r}", path=source, hint=hint)
    for name, field in fields.items():
        if name not in data and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{cls.__name__} lacks the key {name!r}", path=source)

    types = typing.get_type_hints(cls)
    values = {key: _convert(types[key], value, source, key) for key, value in data.items()}
    with in_file(source):
        return cls(**values)


def _convert(expected: Any, value: Any, source: str | Path, key: str) -> Any:
    """A YAML value as a field of the expected type."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if dataclasses.is_dataclass(expected):
        return parse(expected, value, source)  # type: ignore[arg-type]
    if isinstance(expected, type) and issubclass(expected, StrEnum):
        return to_member(expected, value, key, source)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, source, key) for item in value)
    if origin is Mapping and isinstance(value, dict):
        for name in value:
            if isinstance(name, bool) or not isinstance(name, str | int):
                raise InputError(f"{key} has the key {name!r}, expected text", path=source, hint="put it in quotes")
        return {str(name): _convert(arguments[1], item, source, f"{key}.{name}") for name, item in value.items()}
    if type(None) in arguments:
        return None if value is None else _convert(arguments[0], value, source, key)

    if expected is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not (isfinite(value) if isinstance(value, float) else abs(value) < 2**63):
        raise InputError(f"{key} is infinite, not a number or too large", path=source)
    if expected is float and is_number:
        return float(value)
    if isinstance(expected, type) and isinstance(value, expected) and (expected is not int or is_number):
        return value
    kind = _KINDS.get(origin or expected, getattr(expected, "__name__", expected))
    shown = str(value) if isinstance(value, date) else quote(value)
    hint = "put it in quotes" if expected is str and isinstance(value, int | float | date) else ""
    raise InputError(f"{key} is {shown}, expected {kind}", path=source, hint=hint)


def to_member(kind: type[E], value: Any, key: str, source: str | Path | None = None) -> E:
    """The enum's member of that value; :class:`InputError` if there is none."""
    if value not in list(kind):
        raise InputError(f"{key} is {quote(value)}", path=source, hint=f"choose from: {', '.join(kind)}")
    return kind(value)


def convert_enums(settings: Any, **kinds: type[StrEnum]) -> None:
    """Replace plain strings in a frozen dataclass's enum fields, as notebooks pass them, by the enums' members."""
    for name, kind in kinds.items():
        object.__setattr__(settings, name, to_member(kind, getattr(settings, name), name))


def read_preset(cls: type[T], file: str, name: str, what: str) -> T:
    """Named settings from a YAML file of ``resources``; :class:`InputError` lists all names if the name is unknown."""
    path = resource(file)
    presets = read_yaml(path)
    if name not in presets:
        raise InputError(f"unknown {what} {name!r}", hint=f"choose from: {', '.join(presets)}")
    return parse(cls, presets[name], path)
