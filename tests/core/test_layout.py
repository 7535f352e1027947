"""The package's layout: folders import only earlier ones, modules are small and import each other without cycles."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from statistics import median

from conftest import REPOSITORY
from setuptools import find_namespace_packages

PACKAGE = REPOSITORY / "xqg_repro"
ORDER = "core collection models representation retrieval evaluation train study reproduction cli 2cr"
FOLDERS = ORDER.split(" ")
FILES = sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py"))
TREES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
    for path in FILES
}


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Modules of the package that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in TREES)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name in TREES)
            if node.module in TREES and not set(names) <= TREES.keys():
                yield node.module


def test_folders_import_only_earlier_folders() -> None:
    upward = []
    for name, tree in TREES.items():
        allowed = FOLDERS[: FOLDERS.index(name.split(".")[1]) + 1]
        upward += [f"{name} -> {other}" for other in imports(ast.walk(tree)) if other.split(".")[1] not in allowed]
    assert upward == []


def test_modules_import_each_other_without_cycles() -> None:
    TopologicalSorter({name: set(imports(tree.body)) for name, tree in TREES.items()}).prepare()


def test_the_package_contains_all_of_its_resources() -> None:
    config = ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    patterns = config["options.package_data"]["*"].split(", ")
    include = [config["options.packages.find"]["include"]]
    packages = {name.replace(".", "/") for name in find_namespace_packages(str(REPOSITORY), include=include)}
    files = [path.relative_to(REPOSITORY) for path in (PACKAGE / "resources").rglob("*") if path.is_file()]
    assert any(path.parent.name == "te-en" for path in files)
    left_out = [f for f in files if str(f.parent) not in packages or not any(fnmatch(f.name, p) for p in patterns)]
    assert left_out == []


def test_the_package_has_few_entries_and_small_modules() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
    assert entries == {*FOLDERS, "resources"}
    lengths = {str(path.relative_to(PACKAGE)): path.read_text().count("\n") for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 350} == {}
    assert median(lengths.values()) <= 130
