"""Settings as dataclasses: read from YAML, and checked as they are read."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro.core.errors import InputError
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


def resource(*parts: str) -> Path:
    """Path of a file or folder that ships with the package."""
    return Path(str(resources.files("xqg_repro"))).joinpath("resources", *parts)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; :class:`InputError` with the line if it cannot be parsed or repeats a key."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise InputError(f"repeats the key {key.value!r}", path=path, line=key.start_mark.line + 1)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(read_text(path), Loader)
    except yaml.YAMLError as error:
        problem, mark = getattr(error, "problem", error), getattr(error, "problem_mark", None)
        raise InputError(f"is not valid YAML: {problem}", path=path, line=mark.line + 1 if mark else None) from None


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
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(error.problem, path=source, hint=error.hint) from None


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
        return {str(name): _convert(arguments[1], item, source, f"{key}.{name}") for name, item in value.items()}
    if type(None) in arguments:
        return None if value is None else _convert(arguments[0], value, source, key)

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected is float and is_number:
        return float(value)
    if isinstance(expected, type) and isinstance(value, expected) and (expected is not int or is_number):
        return value
    kind = _KINDS.get(origin or expected, getattr(expected, "__name__", expected))
    raise InputError(f"{key} is {value!r}, expected {kind}", path=source)


def to_member(kind: type[E], value: Any, key: str, source: str | Path | None = None) -> E:
    """The enum's member of that value; :class:`InputError` if there is none."""
    if value not in list(kind):
        raise InputError(f"{key} is {value!r}", path=source, hint=f"choose from: {', '.join(kind)}")
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
