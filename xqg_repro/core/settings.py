"""Conditions, encoders and benchmarks as frozen dataclasses, read from YAML and checked while they are read."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import read_text

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def _member(kind: type[E], value: Any, key: str, source: str | Path | None = None) -> E:
    if value not in list(kind):
        raise InputError(f"{key} is {value!r}", path=source, hint=f"choose from: {', '.join(kind)}")
    return kind(value)


def resource(*parts: str) -> Path:
    """Path of a file or folder that ships inside the package."""
    return Path(str(resources.files("xqg_repro"))).joinpath("resources", *parts)


def parse(cls: type[T], data: Any, source: str | Path) -> T:
    """Build a dataclass from YAML data, checking names and types; raise :class:`InputError` naming the key.

    Understands nested dataclasses, tuples, mappings, enums, unions with ``None`` and the plain types.
    """
    if not isinstance(data, dict):
        raise InputError(f"{cls.__name__} must be a mapping, not {type(data).__name__}", path=source)
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := [key for key in data if key not in known]:
        raise InputError(
            f"{cls.__name__} has no key {unknown[0]!r}", path=source, hint=f"known: {', '.join(sorted(known))}"
        )
    required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]  # type: ignore[arg-type]
    if absent := [name for name in required if name not in data]:
        raise InputError(f"{cls.__name__} lacks the key {absent[0]!r}", path=source, hint="add it")
    try:
        values = {key: _convert(hints[key], value, source, key) for key, value in data.items()}
        return cls(**values)
    except InputError as error:
        raise error if error.path else InputError(error.problem, path=source, hint=error.hint) from None


_KINDS = {tuple: "a list", Mapping: "a mapping", str: "a text", bool: "true or false", int: "a whole number"}
_KINDS |= {float: "a number"}


def _convert(hint: Any, value: Any, source: str | Path, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, source)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _member(hint, value, key, source)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, source, key) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {str(name): _convert(arguments[1], item, source, f"{key}.{name}") for name, item in value.items()}
    if type(None) in arguments:
        return None if value is None else _convert(arguments[0], value, source, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(
        f"{key} is {value!r}, which is not of the type it must be",
        path=source,
        hint=f"expected {_KINDS.get(origin or hint, getattr(hint, '__name__', hint))}",
    )


def read_yaml(path: Path) -> Any:
    """Parse a YAML file; :class:`InputError` with the line where it cannot be parsed or repeats a key."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            if repeated := [i for i, key in enumerate(keys) if key in keys[:i]]:
                mark = node.value[repeated[0]][0].start_mark
                raise InputError(f"repeats the key {keys[repeated[0]]!r}", path=path, line=mark.line + 1)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(read_text(path), Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(
            f"is not valid YAML: {getattr(error, 'problem', error)}", path=path, line=mark.line + 1 if mark else None
        ) from None


def _presets(cls: type[T], file: str) -> dict[str, T]:
    path = resource(file)
    return {name: parse(cls, data, path) for name, data in read_yaml(path).items()}


def _chosen(presets: dict[str, T], name: str, what: str) -> T:
    if name not in presets:
        raise InputError(f"there is no {what} {name!r}", hint=f"choose from: {', '.join(presets)}")
    return presets[name]
