"""The working folder of a running stage: locked, kept after an interruption, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, explain_write_errors

_IDENTITY, _LOCK = ".identity", ".lock"
_FORCED = " --force"


@contextmanager
def working_folder(folder: Path, identity: str, force: bool) -> Iterator[Path]:
    """Lock ``<folder>.partial``; empty it unless an interrupted run of the same identity left it.

    A run with ``force`` does not resume one without. The folder stays after an error, unless the error is an
    :class:`InputError` and no file has been written.
    """
    from filelock import FileLock, Timeout

    partial = folder.with_name(folder.name + ".partial")
    note, lock = partial / _IDENTITY, FileLock(partial / _LOCK)
    if partial.exists() and any(partial.iterdir()) and not (note.exists() or (partial / _LOCK).exists()):
        hint = "move it or choose another --output"
        raise InputError("is in the way and was not written by a stage", path=partial, hint=hint)
    with explain_write_errors(partial, note):
        partial.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            hint = "wait until it has finished, then rerun the same command"
            raise InputError("is being built by another process", path=folder, hint=hint) from None
    try:
        with explain_write_errors(partial, note):
            previous = note.read_text() if note.exists() else ""
            resume = previous == identity + _FORCED or (previous == identity and not force)
            _clean(partial, keep_files=resume)
            with atomic_write(note) as file:
                file.write(identity + (_FORCED if force else ""))
        yield partial
    except InputError:
        if {path.name for path in partial.glob("*")} == {_IDENTITY, _LOCK}:
            shutil.rmtree(partial)
        raise
    finally:
        (partial / _LOCK).unlink(missing_ok=True)  # while locked, so that no other process has it open
        lock.release()


def _clean(partial: Path, keep_files: bool) -> None:
    """Remove the temporary files of interrupted runs and dead workers, and the complete ones unless they are kept."""
    for path in partial.iterdir():
        is_temporary = path.name.startswith(".") and path.name.endswith(".tmp")
        if path.name != _LOCK and (is_temporary or not keep_files):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def swap(partial: Path, folder: Path) -> None:
    """Replace a stage folder by its finished working folder; after a kill at any point, the same command repairs it."""
    with explain_write_errors(folder, partial):
        remove_stale(folder)
        _clean(partial, keep_files=True)
        if folder.exists():
            os.replace(folder, _stale(folder))
        os.replace(partial, folder)
        for name in (_IDENTITY, _LOCK):
            (folder / name).unlink()
        remove_stale(folder)


def remove_stale(folder: Path) -> None:
    """Remove what an interrupted :func:`swap` left of the replaced folder."""
    shutil.rmtree(_stale(folder), ignore_errors=True)


def _stale(folder: Path) -> Path:
    return folder.with_name(folder.name + ".stale")
