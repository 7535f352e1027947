"""Public names of a package, imported on first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A package that imports each public name from its module on first use.

    A public name takes precedence over a module of that name: ``from xqg_repro.retrieval import search`` is the
    function even after ``import xqg_repro.retrieval.search``.
    """

    _homes: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self._homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{self._homes[name]}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in self._homes and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self._homes})


def export(package: str, **names: Sequence[str]) -> None:
    """Declare a package's public names, by the module that provides them; a package passes its ``__name__``."""
    module = sys.modules[package]
    module.__dict__["_homes"] = {name: home for home, public in names.items() for name in public}
    module.__class__ = LazyPackage
