"""What the trainings share: transformers' ``Trainer`` with a recipe's settings, quietly and seeded, and saving."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest
from xqg_repro.models.settings import Precision
from xqg_repro.retrieval.metadata import commit
from xqg_repro.train import distributed
from xqg_repro.train.curve import Point, points, write_curve
from xqg_repro.train.recipe import Recipe, model_card

_STATES = ".trainer"
"""Folder of the checkpoints, a folder a stage, in a model folder that is not finished."""

_MODELS = "xqg_repro/resources/models"
"""The shipped models, which ``make models`` writes one after the other: no card is to say that the others changed."""


def check_installed() -> None:
    """Raise :class:`InputError` where what only training needs is not installed."""
    if importlib.util.find_spec("accelerate") is None:
        raise InputError("training needs the package accelerate", hint="pip install 'xqg_repro[train]'")


def prepare(seed: int) -> None:
    """Seed everything random and quieten the libraries."""
    import torch
    import transformers

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformers.set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def freeze(model: Any, recipe: Recipe) -> None:
    """Leave the word embeddings out of the training where the recipe says so; before the ``Trainer`` is made."""
    if recipe.frozen_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)


def arguments(recipe: Recipe, folder: Path, stage: str, *, steps: int, evaluated: bool, **sizes: Any) -> Any:
    """transformers' ``TrainingArguments`` for a stage of a recipe: a linear schedule, no reports, one device a process.

    Args:
        recipe: what is trained.
        folder: the unfinished model folder.
        stage: names the folder of its checkpoints.
        steps: of the optimiser; 0 takes the recipe's epochs.
        evaluated: whether there are held-out questions.
        sizes: further arguments, such as the sizes of batches.

    Raises:
        InputError: the GPU does not compute in the recipe's precision.
    """
    import torch
    import transformers

    narrow = recipe.precision is Precision.BFLOAT16
    if narrow and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise InputError("this GPU does not compute in bfloat16", hint="set precision: float32 in the recipe")
    settings = {
        "output_dir": str(folder / _STATES / stage),
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_steps": steps or -1,
        "num_train_epochs": recipe.epochs,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": narrow,
        "use_cpu": not torch.cuda.is_available(),
        "ddp_broadcast_buffers": False,  # it would change them between the passes over questions and passages
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    if evaluated := bool(recipe.evaluation_steps and evaluated):
        settings |= {"eval_strategy": "steps", "eval_steps": recipe.evaluation_steps}
    keep_best = evaluated and recipe.keep_best
    if save_steps := recipe.evaluation_steps if keep_best else recipe.checkpoint_steps:
        settings |= {"save_strategy": "steps", "save_steps": save_steps, "load_best_model_at_end": keep_best}
    found = transformers.TrainingArguments(**settings, **sizes)
    # of several GPUs a process without others takes one: transformers would multiply the batch by their number
    found._n_gpu = min(found.n_gpu, 1)
    return found


def whole_batches(recipe: Recipe) -> dict[str, Any]:
    """Further arguments where each item of the data is a whole batch, to be taken in their order."""
    return {
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": distributed.per_process(recipe.accumulation, "accumulation"),
        "train_sampling_strategy": "sequential",
    }


def fit(trainer: Any, checkpoint_steps: int = 0) -> int:
    """Run a :class:`~xqg_repro.train.trainer.RecipeTrainer` quietly; return the number of optimiser steps.

    A training that was killed goes on from its last whole checkpoint, and ends as if nothing had happened.

    Raises:
        InputError: a loss or gradient that is infinite or no number.
    """
    from xqg_repro.train.trainer import run

    return run(trainer, checkpoint_steps)


def curve_of(trainer: Any) -> list[Point]:
    """The losses that a trainer logged, those before it was killed included."""
    return points(Path(trainer.args.output_dir).name, trainer.state.log_history)


def save(model: Any, tokenizer: Any, folder: Path, recipe: Recipe, curve: list[Point]) -> None:
    """Write what training made into a model folder: weights (safetensors), configuration, tokenizer, loss curve."""
    if recipe.half_precision_weights:
        model.half()
    tokenizer.backend_tokenizer.no_truncation()  # or the last batch's settings would be saved
    tokenizer.backend_tokenizer.no_padding()
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone
    tokenizer.save_pretrained(folder)
    write_curve(curve, folder)


def finish(folder: Path, template: str, recipe: Recipe, inputs: dict[str, str], **facts: Any) -> None:
    """Write the model card, of a template and facts, and drop the checkpoints: the model folder is complete."""
    made_by = commit(apart_from=_MODELS)
    with atomic_write(folder / "README.md") as card:
        card.write(model_card(template, recipe, inputs=inputs, commit=made_by, **facts))
    shutil.rmtree(folder / _STATES, ignore_errors=True)


def train_folder(
    recipe: Any, planned: tuple[Any, Manifest], build: Callable[..., dict[str, int]], output: str | Path, *, force: bool
) -> Manifest:
    """Bring a model folder into being or reuse it: ``build(recipe, split, inputs, folder)`` writes the files."""
    split, wanted = planned
    if distributed.get_rank():  # only the first process reports
        logging.getLogger("xqg_repro").setLevel(logging.WARNING)

    def building(folder: Path) -> dict[str, int]:
        prepare(recipe.seed)
        return build(recipe, split, wanted.inputs, folder)

    return distributed.build_stage_together(output, wanted, building, force=force)
