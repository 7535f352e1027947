"""The order of work that all trainings share, from a recipe to a finished model folder."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest, check_output
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.retrieval.metadata import commit
from xqg_repro.train import distributed
from xqg_repro.train.curve import Point, write_curve
from xqg_repro.train.data import Split
from xqg_repro.train.recipe import Recipe, model_card

logger = logging.getLogger(__name__)

CHECKPOINTS = ".trainer"
"""Folder of the checkpoints in an unfinished model folder; it has one folder per stage of the training."""

_SHIPPED_MODELS = "xqg_repro/resources/models"
"""Changes below this folder do not make a card's commit dirty, as ``make models`` writes several models in a row."""

R = TypeVar("R", bound=Recipe)
T = TypeVar("T")


@dataclass(frozen=True)
class Trained:
    """A trained model, ready to be saved.

    Attributes:
        steps: optimiser steps of the last stage.
        curve: losses of all stages.
        questions: number of questions trained on.
        measure: measures the saved folder on the held-out questions: what → value.
        counts: further counts, for the manifest and the model card.
        facts: further facts, for the model card.
    """

    tokenizer: Any
    model: Any
    steps: int
    curve: list[Point]
    questions: int
    held_out: int
    measure: Callable[[Path], dict[str, float]]
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def train_folder(
    recipe: R,
    plan: Callable[[R], tuple[Split, Manifest]],
    train: Callable[[R, Split, Path], Trained],
    card: str,
    output: str | Path,
    *,
    force: bool = False,
) -> Manifest:
    """Train a model and write its folder: weights (safetensors), tokenizer, configuration and model card.

    The same recipe on the same machine gives the same bytes. A folder that matches is reused, unless ``force`` is set.
    An interrupted training resumes from its last checkpoint, if the recipe saves any.

    Args:
        plan: recipe → its questions and the folder's identity.
        train: recipe, questions and unfinished folder → the trained model.
        card: template of the model card.

    Raises:
        InputError: the data is unknown, a line of the training file is malformed, the model is unavailable, or a loss
            is infinite or NaN.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise InputError("training needs the package accelerate", hint="pip install 'xqg_repro[train]'")
    check_output(output, *filter(None, (recipe.model, recipe.data, recipe.held_out_data)), folder=True)
    if distributed.get_rank():  # only rank 0 reports progress
        logging.getLogger("xqg_repro").setLevel(logging.WARNING)
    split, wanted = plan(recipe)

    def build(folder: Path) -> dict[str, int]:
        _prepare(recipe.seed)
        trained = train(recipe, split, folder)
        return {} if distributed.get_rank() else _finish(folder, recipe, trained, card, wanted.inputs)

    return distributed.build_stage_together(output, wanted, build, force=force)


def folder_identity(recipe: Recipe, split: Split, **inputs: str) -> Manifest:
    """The identity of the model folder that a recipe makes.

    ``inputs`` are fingerprints besides that of the data, and that of the model unless it is among them.
    """
    model = inputs.get("model") or (model_fingerprint(recipe.model) if recipe.model else "")
    stage = f"train-{recipe.KIND}"
    return Manifest(stage, {"recipe": recipe.settings()}, {"data": split.version, **inputs, "model": model})


def take_batches(recipe: Recipe, batches: Iterable[T], per_epoch: int) -> list[T]:
    """The batches that a recipe trains on, of an endless series with ``per_epoch`` batches per epoch."""
    steps = recipe.steps or ceil(recipe.epochs * per_epoch / recipe.accumulation)
    return list(islice(batches, steps * recipe.accumulation))


def in_parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """The items in parts of ``size``; the last part may be smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _prepare(seed: int) -> None:
    """Seed all random numbers and silence the libraries."""
    import torch
    import transformers

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformers.set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _finish(folder: Path, recipe: Recipe, trained: Trained, card: str, inputs: dict[str, str]) -> dict[str, int]:
    """Save and measure a trained model, write its card and drop its checkpoints; return the manifest's counts."""
    from xqg_repro.train.untied import split_networks

    model, tokenizer = trained.model, trained.tokenizer
    if recipe.half_precision_weights:
        model.half()
    tokenizer.backend_tokenizer.no_truncation()  # otherwise the last batch's settings are saved
    tokenizer.backend_tokenizer.no_padding()
    for name, network in split_networks(model).items():
        network.save_pretrained(folder / name)
        (folder / name / "model.safetensors").chmod(0o644)  # save_pretrained makes it readable by the owner only
        tokenizer.save_pretrained(folder / name)
    write_curve(trained.curve, folder)

    quality = trained.measure(folder) if trained.held_out else {}
    for what, value in quality.items():
        logger.info(f"train: held-out questions: {what}: {value:.3f}")

    counts = {
        "parameters": model.num_parameters(),
        "questions": trained.questions,
        "held_out": trained.held_out,
        "steps": trained.steps,
        **trained.counts,
    }
    made_by = commit(apart_from=_SHIPPED_MODELS)
    page = model_card(card, recipe, inputs=inputs, commit=made_by, counts=counts, quality=quality, **trained.facts)
    with atomic_write(folder / "README.md") as file:
        file.write(page)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return counts
