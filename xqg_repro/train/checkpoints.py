"""Checkpoints of a training: folders ``checkpoint-STEP``, of which only the complete ones count.

A training that is killed while saving leaves part of a checkpoint. Each checkpoint is therefore marked once all its
files are written, and unmarked ones are deleted.

Nothing in a checkpoint is unpickled: weights are safetensors, the trainer's state is JSON, and ``Trainer`` reads the
states of optimiser, schedule and random numbers by ``torch.load`` with ``weights_only=True``. The only pickle,
``training_args.bin``, is never read.

The mark holds the number of processes. Each of them saved its own random state, so only the same number can resume.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write

MARK = ".whole"


def last_complete(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps."""
    complete = [path for path in _checkpoints(folder) if (path / MARK).exists()]
    return max(complete, key=_step, default=None)


def drop_incomplete(folder: Path) -> None:
    """Delete checkpoints that are not complete."""
    for path in _checkpoints(folder):
        if not (path / MARK).exists():
            shutil.rmtree(path)


def check_processes(checkpoint: Path, processes: int) -> None:
    """Raise :class:`InputError` if another number of processes saved the checkpoint."""
    saved = (checkpoint / MARK).read_text()
    if saved != str(processes):
        raise InputError(
            f"was saved by {saved} processes; {processes} cannot resume it",
            path=checkpoint,
            hint=f"start {saved} processes, or use --force to start over",
        )


def complete(checkpoint: Path, best: str | None, processes: int = 1) -> None:
    """Mark a checkpoint as complete, then delete earlier ones except ``best``, of which only the name counts."""
    for path in checkpoint.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    with atomic_write(checkpoint / MARK) as mark:
        mark.write(str(processes))
    kept = {checkpoint.name, Path(best or "").name}
    for path in _checkpoints(checkpoint.parent):
        if path.name not in kept:
            (path / MARK).unlink(missing_ok=True)  # first, as a kill may interrupt the deletion
            shutil.rmtree(path)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
