"""Atomic writing and checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np


_DISK_FULL = {None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # NumPy reports a short write without a number
_WRITE_FAILURES = _DISK_FULL | {
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


def digest(value: Any) -> str:
    """SHA-256 (hexadecimal) of a JSON-serialisable value in canonical form: sorted keys, no white space.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Checksum (hexadecimal) of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def input_digest(path: Path, algorithm: str = "sha256") -> str:
    """Like :func:`file_digest`, but computed once per process until the file changes; for large inputs."""
    status = path.stat()
    return _input_digest(path, algorithm, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _input_digest(path: Path, algorithm: str, *version: int) -> str:
    return file_digest(path, algorithm)


@contextmanager
def explain_write_errors(path: Path, *others: Path) -> Iterator[None]:
    """Raise :class:`InputError` if ``path`` or one of the others cannot be written; other errors pass through."""
    try:
        yield
    except OSError as error:
        is_own = error.filename is None or Path(error.filename) in {path, *others, *path.parents}
        if error.errno not in _WRITE_FAILURES or not is_own:
            raise
        full = error.errno in _DISK_FULL
        hint = "free some space, then rerun the same command" if full else "choose another place to write to"
        raise InputError(f"could not be written: {error.strerror or error}", path=path, hint=hint) from error


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; rename it to ``path`` only if the block ends without an error.

    Text is UTF-8 with ``\\n`` line endings. A full disk, an exception or a kill never leaves a partial file under the
    final name.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with explain_write_errors(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, mode, encoding=encoding, newline=newline) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write an array in NumPy's format, atomically; unlike ``numpy.save``, it detects every short write."""
    import numpy as np

    array = np.ascontiguousarray(array)
    with atomic_write(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
