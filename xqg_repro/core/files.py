"""Atomic writing, compression and checksums."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.outputs import destination, is_stream, open_stream

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
    errno.ELOOP,
    errno.EBUSY,
    errno.EBADF,
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

    Text is UTF-8 with ``\\n`` line endings, and is compressed if the name ends in ``.gz``; equal content gives equal
    bytes. A full disk, an exception or a kill never leaves a partial file under the final name. A link keeps its place
    and its target is replaced; a stream (see :mod:`xqg_repro.core.outputs`) is written into.
    """
    path = Path(path)
    if is_stream(path):
        with explain_write_errors(path), open_stream(path) as stream, _layers(stream, path, mode) as file:
            yield file
        return
    target = destination(path)
    assert isinstance(target, Path)
    partial = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")  # pids repeat across machines
    with explain_write_errors(path, target, partial):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as bare:
                with _layers(bare, path, mode) as file:
                    yield file
                bare.flush()
                os.fsync(bare.fileno())
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _layers(file: IO[bytes], path: Path, mode: str) -> Iterator[Any]:
    """What turns text, or bytes if ``mode`` has a b, into a file's bytes."""
    binary: Any = _Gzip(file) if path.suffix == ".gz" else file
    yield binary if "b" in mode else codecs.getwriter("utf-8")(binary)
    if isinstance(binary, _Gzip):
        binary.finish()


class _Gzip:
    """A gzip stream without a name and a time, like those of ``gzip.compress(data, mtime=0)``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._compressor = file, zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)

    def write(self, data: Any) -> int:
        self._file.write(self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
        self._file.write(self._compressor.flush())


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write an array in NumPy's format, atomically; unlike ``numpy.save``, it detects every short write."""
    import numpy as np

    array = np.ascontiguousarray(array)
    with atomic_write(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
