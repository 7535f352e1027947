"""Where a command may write: files, folders, links, devices, pipes and standard output.

A regular file is replaced atomically, at the target if it is named through a link. A device, a FIFO and an open file of
this process (``/dev/stdout``, ``/dev/fd/N``, also of a shell's ``>(…)``) are streams: they are written into.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from xqg_repro.core.errors import InputError

STANDARD_OUTPUT = "/dev/stdout"
"""The file that ``--output -`` stands for."""

_LINKS = 40  # as many as Linux follows
_COMPRESSED = (".bz2", ".lz4", ".tgz", ".xz", ".z", ".zip", ".zst")
_CHOOSE = "choose another --output"


def expand_home(path: str) -> str:
    """The path with ``~`` and ``~user`` at its start replaced; :class:`InputError` if there is no such user."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(path):
        raise InputError("there is no such home folder", path=path, hint=f"write ./{path} for a name in this folder")
    return expanded


def destination(path: str | Path) -> Path | int:
    """Where writing to a path ends: links are followed; the number of an open file, such as 1 for ``/dev/stdout``.

    :class:`InputError` for a link that leads back to itself.
    """
    place = Path(os.path.join(os.getcwd(), path))
    for _ in range(_LINKS):
        place = Path(os.path.realpath(place.parent), place.name)
        if match := re.fullmatch(rf"/dev/std(out|err)|/proc/{os.getpid()}(?:/task/\d+)?/fd/(\d+)", str(place)):
            return int(match[2]) if match[2] else 1 if match[1] == "out" else 2
        if not place.is_symlink():
            return place
        place = place.parent / os.readlink(place)
    raise InputError("is a link that leads back to itself", path=path, hint=_CHOOSE)


def is_stream(path: str | Path) -> bool:
    """Whether a path is written into rather than replaced; there is no manifest beside it."""
    place = destination(path)
    return isinstance(place, int) or (place.exists() and not place.is_file() and not place.is_dir())


@contextmanager
def open_stream(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a stream to write bytes; nothing is left in a buffer afterwards."""
    place = destination(path)
    standard = {1: sys.stdout, 2: sys.stderr}.get(place) if isinstance(place, int) else None
    if standard is not None and hasattr(standard, "buffer"):
        standard.flush()
        yield standard.buffer
        standard.buffer.flush()
    else:
        with open(place, "wb", closefd=isinstance(place, Path)) as file:
            yield file


def check_file(path: str | Path) -> None:
    """Raise :class:`InputError` for a path that no file can be written to, as far as that is known beforehand."""
    if not os.fspath(path):
        raise InputError("the name of the output is empty", hint="name a file, or - for standard output")
    place = destination(path)
    if isinstance(place, int):
        _check_descriptor(place, path)
        return
    if place.is_dir():
        raise InputError("is a folder, expected a file", path=path, hint=_CHOOSE)
    if os.fspath(path).endswith(os.sep):
        raise InputError("ends like a folder, expected a file", path=path, hint=f"leave out the last {os.sep}")
    if place.is_socket():
        raise InputError("is a socket, which cannot be opened as a file", path=path, hint=_CHOOSE)
    suffix = Path(path).suffix
    if suffix.lower() in _COMPRESSED or suffix == ".GZ":
        hint = "end its name in .gz to compress it, or leave the ending out"
        raise InputError(f"would not be compressed, in spite of {suffix}", path=path, hint=hint)
    _check_parent(place, path)


def check_folder(path: str | Path) -> Path:
    """The target of a path that a stage folder can be built at; :class:`InputError` for any other path."""
    if not os.fspath(path):
        raise InputError("the name of the output is empty", hint="name a folder")
    if os.fspath(path) == "-":
        hint = "name a folder, or write ./- for one of that name"
        raise InputError("standard output cannot be written to: the output is a folder", path=path, hint=hint)
    place = destination(path)
    if isinstance(place, int) or (place.exists() and not place.is_dir()):
        raise InputError("is a file, expected a folder", path=path, hint=_CHOOSE)
    place = Path(os.path.realpath(place))
    here = Path(os.path.realpath(os.getcwd()))
    if place == here or place in here.parents:
        problem = "is the current folder" if place == here else "contains the current folder"
        raise InputError(f"{problem}, which a stage would replace", path=path, hint="name a folder below it")
    _check_parent(place, path)
    return place


def check_directory(path: str | Path) -> None:
    """Raise :class:`InputError` for a path below which no folders can be written."""
    if not os.fspath(path) or os.path.realpath(path) == os.sep:
        raise InputError(f"cannot write below the directory {path!r}", hint="name a folder")
    place = destination(path)
    if isinstance(place, int) or (place.exists() and not place.is_dir()):
        raise InputError("is a file, expected a folder", path=path, hint="choose another folder")
    _check_parent(place, path)


def check_writable(path: str | Path) -> None:
    """Raise :class:`InputError` for an existing file that may not be written."""
    place = destination(path)
    if isinstance(place, Path) and place.exists() and not os.access(place, os.W_OK):
        raise InputError("may not be written: it is read-only", path=path, hint=f"{_CHOOSE}, or change its permissions")


def unwritable(folder: Path) -> str:
    """Why a folder cannot be created or written into, in words; empty if it can."""
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} is read-only"


def _check_parent(place: Path, path: str | Path) -> None:
    """Check the folder that something is to be written into, unless it is there already."""
    if not place.exists() and (reason := unwritable(place.parent)):
        raise InputError(f"cannot be written: {reason}", path=path, hint=_CHOOSE)


def _check_descriptor(number: int, path: str | Path) -> None:
    import fcntl

    try:
        is_open = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        is_open = False
    if not is_open:
        raise InputError("is not open for writing", path=path, hint=_CHOOSE)


def is_same(place: Path | int, other: str | Path) -> bool:
    """Whether a :func:`destination` is the regular file or folder that another path names, also by a hard link."""
    try:
        mine, its = os.stat(place), os.stat(other)
    except OSError:
        return place == destination(other)
    comparable = stat.S_ISREG(its.st_mode) or stat.S_ISDIR(its.st_mode)
    return comparable and os.path.samestat(mine, its)
