"""What the trainings share: transformers' ``Trainer`` with a recipe's settings, quietly and seeded, and saving."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xqg_repro.errors import InputError
from xqg_repro.train.recipe import Recipe


def check_installed() -> None:
    """Raise :class:`InputError` where what only training needs is not installed."""
    if importlib.util.find_spec("accelerate") is None:
        raise InputError("training needs the package accelerate", mend="pip install 'xqg_repro[train]'")


def prepare(seed: int) -> None:
    """Seed everything random and quieten the libraries."""
    import torch
    import transformers

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformers.set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def arguments(recipe: Recipe, folder: Path, *, steps: int, drop_last: bool) -> dict[str, Any]:
    """Keyword arguments of ``TrainingArguments`` for a recipe: a linear schedule, no reports, nothing saved."""
    return {
        "output_dir": str(folder / ".trainer"),
        "per_device_train_batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_steps": steps or -1,
        "num_train_epochs": recipe.epochs,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "dataloader_drop_last": drop_last,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def fit(trainer: Any, log: Callable[[str], None]) -> int:
    """Run a ``Trainer``, logging its losses; return the number of optimiser steps."""
    import transformers

    class Progress(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            for name, what in (("loss", "loss"), ("eval_loss", "held-out loss")):
                if name in logs:
                    log(f"train: step {state.global_step} of {state.max_steps}, {what} {float(logs[name]):.3f}")

    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(Progress())
    return int(trainer.train().global_step)


def save(model: Any, tokenizer: Any, folder: Path, recipe: Recipe) -> None:
    """Write a model folder: weights (safetensors), configuration and tokenizer."""
    shutil.rmtree(folder / ".trainer", ignore_errors=True)
    if recipe.half_precision_weights:
        model.half()
    tokenizer.backend_tokenizer.no_truncation()  # or the last batch's settings would be saved
    tokenizer.backend_tokenizer.no_padding()
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone
    tokenizer.save_pretrained(folder)
