"""Checkpoints of a training: folders ``checkpoint-STEP``, of which only the whole ones count.

A training that is killed while it saves leaves a part of a checkpoint behind. So each one gets a mark when everything
in it is written, and one without the mark is thrown away. Nothing in a checkpoint is unpickled: weights are
safetensors, the Trainer's state is JSON, and optimiser, schedule and random state are read by ``torch.load`` with
``weights_only=True``, which ``Trainer`` sets. ``training_args.bin``, the one pickle in it, is never read.

The mark holds the number of processes, each of which saved its own random state: no other number goes on as they did.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write

MARK = ".whole"


def last_whole(folder: Path) -> Path | None:
    """The whole checkpoint of the most steps."""
    return max((path for path in _checkpoints(folder) if (path / MARK).exists()), key=_step, default=None)


def drop_broken(folder: Path) -> None:
    """Delete checkpoints that are not whole."""
    for path in _checkpoints(folder):
        if not (path / MARK).exists():
            shutil.rmtree(path)


def check_processes(checkpoint: Path, processes: int) -> None:
    """Raise :class:`InputError` where another number of processes saved the checkpoint."""
    if (saved := (checkpoint / MARK).read_text()) != str(processes):
        raise InputError(
            f"was saved by {saved} processes, and {processes} would not go on alike",
            path=checkpoint,
            hint=f"start as many as {saved}, or --force to begin anew",
        )


def finish(checkpoint: Path, best: str | None, processes: int = 1) -> None:
    """Mark a checkpoint as whole, then delete those before it but the best, which ``best`` names."""
    for path in checkpoint.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    with atomic_write(checkpoint / MARK) as mark:
        mark.write(str(processes))
    for path in _checkpoints(checkpoint.parent):
        if path != checkpoint and path.name != Path(best or "").name:
            (path / MARK).unlink(missing_ok=True)  # first, as a kill may leave the rest
            shutil.rmtree(path)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
