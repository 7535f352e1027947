"""Trains a stage of DR.DECR, a late-interaction model; the losses are in :mod:`xqg_repro.train.late_losses`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest, check_output
from xqg_repro.models.late import LateEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.train.data import Split, TevatronFile
from xqg_repro.train.decr_data import LateCollator, Twins, load_stage
from xqg_repro.train.decr_recipe import DecrRecipe, Stage
from xqg_repro.train.loop import Trained, folder_identity, train_folder
from xqg_repro.train.xdr import batch_sizes, count_text_faults, shuffle

if TYPE_CHECKING:
    import torch

    from xqg_repro.models.token_network import TokenNetwork

logger = logging.getLogger(__name__)


def train(recipe: DecrRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a stage and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does."""
    check_output(output, *filter(None, (recipe.teacher, recipe.twins)), folder=True)
    return train_folder(recipe, plan, _train, "decr_card.md", output, force=force)


def plan(recipe: DecrRecipe) -> tuple[Split, Manifest]:
    """The data of a recipe, and the identity of the model folder that it makes of them."""
    if not recipe.model or recipe.architecture:
        raise InputError(f"the recipe {recipe.name} names no model to start from", hint="give it a model")
    split = load_stage(recipe)
    teacher = {"teacher": model_fingerprint(recipe.teacher)} if recipe.teacher else {}
    return split, folder_identity(recipe, split, **teacher)


def _train(recipe: DecrRecipe, split: Split, folder: Path) -> Trained:
    from xqg_repro.models.token_network import open_token_network
    from xqg_repro.train.trainer import RecipeTrainer

    longest = max(recipe.query_max_length, recipe.passage_max_length)
    tokenizer, model, _ = open_token_network(recipe.model, "float32", "cpu", longest, recipe.projection)
    teacher = _open_teacher(recipe, tokenizer, longest) if recipe.teacher else None
    faults = _count_faults(recipe, split, tokenizer)
    logger.info(f"train: stage {recipe.stage}, {len(split.kept)} questions, {len(split.held_out)} held out")

    class DecrTrainer(RecipeTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
            return stage_loss(model, teacher, inputs, recipe)

    collator = LateCollator(recipe, tokenizer)
    trainer = DecrTrainer(
        recipe,
        folder,
        "questions",
        model=model,
        train_dataset=split.kept,
        # the questions that stage D is measured on have no twins, so it has no held-out loss
        eval_dataset=() if recipe.stage is Stage.D else shuffle(split.held_out, recipe.seed),
        data_collator=collator,
        held_out_collator=LateCollator(recipe, tokenizer),  # stays at epoch 0: the same negatives each time
        steps=recipe.steps,
        sizes=batch_sizes(recipe, split.kept),
    )
    collator.epoch = lambda: int(trainer.state.epoch or 0)
    steps, curve = trainer.train_or_resume()

    def measure(saved: Path) -> dict[str, float]:
        if recipe.stage is Stage.C:
            return {}
        return {"rank their own passage first": held_out_accuracy(recipe, saved, split)}

    return Trained(
        tokenizer,
        model,
        steps,
        curve,
        questions=len(split.kept),
        held_out=len(split.held_out),
        measure=measure,
        counts=faults,
    )


def _open_teacher(recipe: DecrRecipe, tokenizer: Any, longest: int) -> TokenNetwork:
    """The frozen teacher; :class:`InputError` unless it reads the student's tokens and has its dimension."""
    from xqg_repro.models.token_network import open_token_network

    other, teacher, _ = open_token_network(recipe.teacher, "float32", "cpu", longest)
    if other.get_vocab() != tokenizer.get_vocab():
        problem = f"has another vocabulary than the student, {recipe.model}"
        raise InputError(problem, path=recipe.teacher, hint="start both from the same model")
    if teacher.dimension != recipe.projection:
        problem = f"has token vectors of {teacher.dimension} dimensions, but the student of {recipe.projection}"
        raise InputError(problem, path=recipe.teacher, hint="start both from the same model")
    return teacher.requires_grad_(False)


def _count_faults(recipe: DecrRecipe, split: Split, tokenizer: Any) -> dict[str, int]:
    """Read the training file once, and its twins, so that a bad line cannot stop the training midway."""
    if isinstance(split.kept, Twins):
        split.kept.check()
    if recipe.stage is Stage.C:
        return {}
    return count_text_faults(recipe, split, tokenizer, recipe.late(""))


def stage_loss(model: Any, teacher: TokenNetwork | None, inputs: dict[str, Any], recipe: DecrRecipe) -> torch.Tensor:
    """The loss of a collated batch, :data:`~xqg_repro.train.decr_data.Batch`; the teacher reads English only."""
    import torch

    from xqg_repro.train.late_losses import pairwise_loss, score_distillation, token_loss

    def embed(network: Any, name: str) -> torch.Tensor:
        return network(inputs[name]["input_ids"], inputs[name]["attention_mask"])

    queries, passages = embed(model, "query"), embed(model, "passage")
    if teacher is None:
        return pairwise_loss(_scores(queries, inputs["query"], passages, inputs["passage"], recipe))
    with torch.no_grad():
        teacher.to(queries.device)
        english, other = embed(teacher, "english"), embed(teacher, "passage")
    if recipe.stage is Stage.C:
        return token_loss(queries, english, passages, other, recipe.query_weight)
    mine = _scores(queries, inputs["query"], passages, inputs["passage"], recipe)
    theirs = _scores(english, inputs["english"], other, inputs["passage"], recipe)
    return score_distillation(mine, theirs, recipe.temperature)


def _scores(
    queries: torch.Tensor, asked: dict[str, Any], passages: torch.Tensor, read: dict[str, Any], recipe: DecrRecipe
) -> torch.Tensor:
    """MaxSim of each question with its positive and its negative, in float32; (questions, 2)."""
    import torch

    from xqg_repro.models.maxsim import maxsim

    def pairs(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unflatten(0, (2, len(queries))).transpose(0, 1)

    masks = asked["scored"][:, None], pairs(read["scored"])
    with torch.autocast(queries.device.type, enabled=False):
        return maxsim(queries[:, None], pairs(passages), *masks, recipe.similarity)


def held_out_accuracy(recipe: DecrRecipe, model: str | Path, split: Split) -> float:
    """Share of held-out questions whose own passage has the highest MaxSim.

    The passages that compete are those of :func:`xqg_repro.train.xdr.held_out_accuracy`.
    """
    import numpy as np

    from xqg_repro.retrieval.late_search import score_passage

    encoder = LateEncoder(recipe.late(str(model)))
    examples = split.held_out if isinstance(split.examples, TevatronFile) else (*split.kept, *split.held_out)
    passages = {p.doc_id: p for example in examples for p in (example.positive, *example.negatives)}
    tokens = encoder.encode_passages([p.title for p in passages.values()], [p.text for p in passages.values()])
    questions = encoder.encode_queries([example.query for example in split.held_out])
    everyone = np.arange(len(questions))
    scores = np.stack([score_passage(questions, everyone, tokens.of(i)) for i in range(len(passages))], axis=1)
    best = np.array(list(passages))[scores.argmax(1)]
    return float(np.mean(best == np.array([example.positive.doc_id for example in split.held_out])))
