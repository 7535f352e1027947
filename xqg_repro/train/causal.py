"""Trains a causal language model to write questions about passages and translations of sentences, in many languages.

The loss is the mean cross-entropy of the targets' tokens, each with its end token; prompts are not learnt. All targets
of a text that are learnt at once are packed into one sequence, see :mod:`xqg_repro.train.packing`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.stages import Manifest, check_output
from xqg_repro.models.architectures import check_length
from xqg_repro.models.loading import choose_device, has_bfloat16, load_model, resolve_model
from xqg_repro.models.reader import SEEN
from xqg_repro.models.seen import write_seen
from xqg_repro.models.settings import Precision
from xqg_repro.train import distributed
from xqg_repro.train.data import Split, load_split
from xqg_repro.train.lessons import (
    Packer,
    Task,
    Text,
    check_apart,
    draw_lessons,
    held_out_lessons,
    question_texts,
    translation_texts,
)
from xqg_repro.train.loop import Trained, folder_identity, in_parts, take_batches, train_folder
from xqg_repro.train.recipe import CausalRecipe

logger = logging.getLogger(__name__)

LOSSES = "losses.json"
"""File in the model's folder: task → language → held-out ``loss``, in nats per token, and number of ``tokens``."""


def train(recipe: CausalRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a causal model and write its folder, as :func:`~xqg_repro.train.loop.train_folder` does.

    The folder also lists the questions and texts that were learnt, see :mod:`xqg_repro.models.seen`.

    Raises:
        InputError: also if the recipe names no model, a prompt cannot be filled in, the model cannot learn several
            targets at once, or held-out texts are in the training data.
    """
    check_output(output, *filter(None, (recipe.translations, recipe.held_out_translations)), folder=True)
    return train_folder(recipe, plan, _train, "causal_card.md", output, force=force)


def plan(recipe: CausalRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them and its translations."""
    if not recipe.model:
        raise InputError(f"the recipe {recipe.name} names no language model to start from", hint="give it a model")
    if recipe.held_out_translations and not recipe.translations:
        raise InputError(f"the recipe {recipe.name} has held-out translations, but none to learn")
    split = load_split(recipe)
    files = {"translations": recipe.translations, "held_out_translations": recipe.held_out_translations}
    for path in filter(None, files.values()):
        if not Path(path).is_file():
            raise InputError("no such file of translations", path=path, hint="see xqg-repro train folds --parallel")
    inputs = {name: file_digest(Path(path)) for name, path in files.items() if path}
    return split, folder_identity(recipe, split, **inputs)


def _train(recipe: CausalRecipe, split: Split, folder: Path) -> Trained:
    from xqg_repro.train.causal_trainer import CausalTrainer
    from xqg_repro.train.target_loss import learn_packed

    learnt, held_out = _texts(split.kept, recipe.translations), _texts(split.held_out, recipe.held_out_translations)
    check_apart(learnt, held_out)
    tokenizer, model, start = _start(recipe)
    packer, held_out_packer = (Packer(recipe, tokenizer, texts, tokenizer.eos_token_id) for texts in (learnt, held_out))
    undo = learn_packed(model, start)
    _freeze(model, recipe)
    tasks = Counter(text.task for text in learnt)
    logger.info(f"train: {tasks[Task.QUESTION]} passages, {tasks[Task.TRANSLATION]} sentences to translate")

    share = recipe.translation_share if recipe.translations else 0.0
    passages_per_batch = recipe.batch_size * (1 - share) or recipe.batch_size
    lessons = draw_lessons(learnt, recipe)
    batches = take_batches(
        recipe,
        iter(lambda: [next(lessons) for _ in range(recipe.batch_size)], None),
        per_epoch=ceil(tasks[Task.QUESTION] / passages_per_batch),
    )
    trainer = CausalTrainer(
        recipe,
        folder,
        "targets",
        model=model,
        train_dataset=batches,
        eval_dataset=in_parts(held_out_lessons(held_out, recipe), recipe.batch_size),
        data_collator=packer,
        held_out_collator=held_out_packer,
        steps=len(batches) // recipe.accumulation,
    )
    steps, curve = trainer.train_or_resume()
    losses = trainer.measure() if held_out else {}
    undo()
    if distributed.get_rank() == 0:
        _write_seen(folder, split, learnt)
        if held_out:
            _write_losses(folder, losses)
    return Trained(
        tokenizer,
        model,
        steps,
        curve,
        questions=len(split.kept),
        held_out=len(split.held_out),
        measure=lambda saved: {task: loss for task, (loss, _) in losses.items() if "." not in task},
        counts={"passages": tasks[Task.QUESTION], "sentences": tasks[Task.TRANSLATION]},
        facts={"losses": losses},
    )


def _texts(examples: Sequence[Any], translations: str) -> list[Text]:
    return [*question_texts(examples), *(translation_texts(translations) if translations else [])]


def _start(recipe: CausalRecipe) -> tuple[Any, Any, Path]:
    """Tokenizer, model in float32 and folder before the first step."""
    import torch

    folder = resolve_model(recipe.model)
    tokenizer, model = load_model(folder, torch.float32, "AutoModelForCausalLM", "a causal language model")
    if tokenizer.eos_token_id is None:
        raise InputError("its tokenizer has no end token, which ends a question", path=folder)
    if recipe.precision is Precision.BFLOAT16 and not has_bfloat16(choose_device(None)):
        logger.warning("train: this machine emulates bfloat16; --precision float32 is faster")
    longest = recipe.prompt_max_length + recipe.target_max_length
    check_length(None, model, longest, folder, hint="lower the recipe's maximum lengths")
    return tokenizer, model, folder


def _freeze(model: Any, recipe: CausalRecipe) -> None:
    """Freeze the embeddings if the recipe says so, in the precision of the training, so that no step converts them."""
    if not recipe.frozen_embeddings:
        return
    tables = {id(layer.weight): layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    for weight in tables.values():
        weight.requires_grad_(False)
        if recipe.precision is Precision.BFLOAT16:
            weight.data = weight.data.bfloat16()


def _write_seen(folder: Path, split: Split, learnt: Sequence[Text]) -> None:
    """List the questions and the texts that were learnt."""
    with atomic_write(folder / SEEN) as file:
        file.writelines(f"{qid}\n" for qid in sorted({example.qid for example in split.kept if example.qid}))
    write_seen(folder, [text.text for text in learnt])


def _write_losses(folder: Path, losses: dict[str, tuple[float, int]]) -> None:
    """Write the losses by task and language, as :func:`xqg_repro.study.trends.read_losses` reads them."""
    by_task: dict[str, dict[str, dict[str, float]]] = {}
    for name, (loss, tokens) in losses.items():
        task, _, language = name.partition(".")
        if language:
            by_task.setdefault(task, {})[language] = {"loss": round(loss, 6), "tokens": tokens}
    with atomic_write(folder / LOSSES) as file:
        json.dump(by_task, file, indent=1)
        file.write("\n")
