"""What every training keeps when it is interrupted or killed: the bytes of one that was not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import contents
from interrupts import interrupted_at

from train.processes import start, train_until_killed
from train.samples import write_recipe

Train = Callable[[Any, Path], Any]


def check_interrupted(train: Train, recipe: Any, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Interrupt a training at its third step, and check that it ends as one that was not interrupted.

    ``recipe`` has a number of steps, and a checkpoint at each; the folder gets models ``stopped`` and ``whole``.
    """
    with interrupted_at("step 3 of"):
        train(recipe, folder / "stopped")
    train(recipe, folder / "stopped")
    assert f"train: resumes from step 2 of {recipe.steps}" in caplog.messages
    train(recipe, folder / "whole")
    assert contents(folder / "stopped") == contents(folder / "whole")


def check_killed(
    train: Train, recipe: Any, folder: Path, caplog: pytest.LogCaptureFixture, whole: Path | None = None
) -> None:
    """The same for a training that another process starts, and SIGKILL ends.

    ``whole`` is a model folder of a training of this recipe; without one, the model is trained.
    """
    path = write_recipe(recipe, folder / "recipe.yaml")
    threads = torch.get_num_threads()
    process = start(train_until_killed, path, folder / "killed", "step 3 of", threads, recipe.KIND)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    train(recipe, folder / "killed")
    assert f"train: resumes from step 2 of {recipe.steps}" in caplog.messages
    if whole is None:
        whole = folder / "whole"
        train(recipe, whole)
    assert contents(folder / "killed") == contents(whole)
