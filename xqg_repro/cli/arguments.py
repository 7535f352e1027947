"""Paths and devices on the command line, checked for every verb before any work.

The types of options mark their values as inputs or outputs. :func:`check_arguments` compares them and makes them plain
strings. In all of them ``~`` is expanded.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from xqg_repro.core.errors import InputError
from xqg_repro.core.outputs import STANDARD_OUTPUT, check_directory, check_writable, destination, expand_home
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.core.stages import check_output, manifest_path


class PathArgument(str):
    """A path on the command line."""

    def __new__(cls, text: str) -> Self:  # noqa: D102
        return super().__new__(cls, expand_home(text))


class InputPath(PathArgument):
    """A file or a folder to read, or a name of something else, such as a model on the hub."""


class InputFile(PathArgument):
    """A file to read, or a name that a folder may share, such as an ir-datasets id."""


class OutputFile(PathArgument):
    """A file to write; ``-`` is standard output."""

    def __new__(cls, text: str) -> Self:  # noqa: D102
        return super().__new__(cls, STANDARD_OUTPUT if text == "-" else text)


class OutputFolder(PathArgument):
    """A stage folder to write, which is replaced as a whole."""


class Directory(PathArgument):
    """A directory below which stage folders are written."""


def check_arguments(args: argparse.Namespace) -> None:
    """Check the outputs against the inputs, and the device.

    Raises:
        InputError: an output cannot be written or would replace an input; or torch does not have the device.
    """
    values = list(_values(args))
    inputs = [
        value
        for value in values
        if isinstance(value, InputPath) or (isinstance(value, InputFile) and not os.path.isdir(value))
    ]
    for value in values:
        if isinstance(value, OutputFile | OutputFolder):
            check_output(value, *inputs, folder=isinstance(value, OutputFolder))
        if isinstance(value, OutputFile):
            _check_not_data(value)
        if isinstance(value, OutputFile) and not manifest_path(Path(value)).exists():  # else it may be up to date
            check_writable(value)
        if isinstance(value, Directory):
            check_directory(value)
    for name, value in vars(args).items():
        if isinstance(value, PathArgument):
            setattr(args, name, str(value))
        elif isinstance(value, list):
            setattr(args, name, [str(item) if isinstance(item, PathArgument) else item for item in value])
    if getattr(args, "device", None):
        check_device(args.device)


def _check_not_data(output: str) -> None:
    """Raise :class:`InputError` for an existing file of the package or of a collection."""
    if not os.path.isfile(output):
        return
    files = read_yaml(resource("collections", "files.yaml"))
    names = {name for collection in files.values() for name in collection}
    if Path(output).name in names or resource().parent in Path(output).resolve().parents:
        problem = "is a data file of a collection or of the package"
        raise InputError(problem, path=output, hint="choose another --output")


def _values(args: argparse.Namespace) -> Iterator[Any]:
    for value in vars(args).values():
        yield from value if isinstance(value, list) else [value]


def check_device(device: str) -> None:
    """Raise :class:`InputError` unless torch can compute on a device."""
    import torch

    try:
        if torch.empty(1, device=device).is_meta:
            raise RuntimeError("it stores no numbers")
    except (RuntimeError, AssertionError, ModuleNotFoundError) as error:
        available = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        problem = f"the device {device!r} cannot be used: {str(error).partition(chr(10))[0]}"
        raise InputError(problem, hint=f"choose from: {', '.join(available)}") from None


def summary_stream(output: str | None) -> IO[str]:
    """Where to print a summary: standard error if standard output is the output."""
    return sys.stderr if output and destination(output) == 1 else sys.stdout
