"""Trains a dual encoder (xDR) contrastively: one shared encoder for questions and passages, or one for each.

The loss is in :mod:`xqg_repro.train.contrastive`. A question may be joined by a generated query of its positive in
another language (see :mod:`xqg_repro.train.generated`). The seed, the epoch and the question decide which query that
is, and at which share of the questions it starts to count. The share grows with the steps. The loss applies it, since
batches are collated ahead of their step.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest
from xqg_repro.core.languages import question_language
from xqg_repro.core.stages import Manifest, check_output
from xqg_repro.models.encoder import open_encoders, passage_text
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.questions import question_text
from xqg_repro.models.settings import LANGUAGE, EncoderConfig
from xqg_repro.train import distributed
from xqg_repro.train.base_recipe import Recipe
from xqg_repro.train.checks import count_faults
from xqg_repro.train.curve import Point
from xqg_repro.train.data import Example, Selection, Split, TevatronFile, load_split
from xqg_repro.train.encoder_recipe import EncoderRecipe
from xqg_repro.train.encoder_start import open_start, start_fingerprints
from xqg_repro.train.generated import QueryPool, alignment_fingerprint, load_pool
from xqg_repro.train.loop import Trained, folder_identity, train_folder
from xqg_repro.train.mini.names import load_names

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def train(recipe: EncoderRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train an encoder and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does.

    Raises:
        InputError: also as :func:`~xqg_repro.train.generated.load_pool`, if the recipe aligns.
    """
    if recipe.alignment:
        check_output(output, recipe.alignment.queries, folder=True)
    return train_folder(recipe, plan, _train, "encoder_card.md", output, force=force)


def plan(recipe: EncoderRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them."""
    split = load_split(recipe)
    # the pairs' languages do not matter here, so they are left out
    names = digest([name[:3] for name in load_names()]) if recipe.names_steps else ""
    inputs = start_fingerprints(recipe)
    if recipe.alignment:
        inputs["queries"] = alignment_fingerprint(recipe.alignment)
    return split, folder_identity(recipe, split, names=names, **inputs)


def _train(recipe: EncoderRecipe, split: Split, folder: Path) -> Trained:
    names = load_names() if recipe.names_steps else []
    tokenizer, model = open_start(recipe, chain(split.kept, names))
    check_known_languages(recipe, split)
    faults = count_text_faults(recipe, split, tokenizer, recipe.encoder(""))
    pool = load_pool(recipe.alignment, split) if recipe.alignment else None
    curve: list[Point] = []
    if recipe.names_steps:
        logger.info(f"train: {recipe.names_steps} steps on multilingual names")
        first = dataclasses.replace(_plain(recipe), steps=recipe.names_steps)
        curve += _train_stage(first, "names", model, tokenizer, names, (), folder)[1]
    logger.info(f"train: {len(split.kept)} questions, {len(split.held_out)} held out")
    if pool:
        logger.info(f"train: {', '.join(f'{name} {number:,}' for name, number in pool.counts.items())}")
    steps, points = _train_stage(recipe, "questions", model, tokenizer, split.kept, split.held_out, folder, pool)
    return Trained(
        tokenizer,
        model,
        steps,
        [*curve, *points],
        questions=len(split.kept),
        held_out=len(split.held_out),
        measure=lambda saved: {"rank their own passage first": held_out_accuracy(recipe, saved, split)},
        counts={**faults, **(pool.counts if pool else {})},
    )


def check_known_languages(recipe: EncoderRecipe, split: Split) -> None:
    """Raise :class:`InputError` for a question of unknown language, if the recipe's suffix names it."""
    if not recipe.encoder("").needs_language:
        return
    for data, examples in ((recipe.data, split.kept), (recipe.held_out_data or recipe.data, split.held_out)):
        for example in examples:
            if not example.lang:
                problem = f"{data} does not say the language of the question {example.label}"
                hint = f'query_suffix names it: give each question a "lang", or replace {LANGUAGE} by the only language'
                raise InputError(problem, hint=hint)


def _plain(recipe: EncoderRecipe) -> EncoderRecipe:
    """The recipe with the contrastive loss alone."""
    return dataclasses.replace(recipe, distillation=None, alignment=None)


def count_text_faults(
    recipe: Recipe, split: Split, tokenizer: Any, settings: EncoderConfig | LateConfig
) -> dict[str, int]:
    """What :func:`~xqg_repro.train.checks.count_faults` counts in the questions and passages that an encoder reads."""

    def texts(example: Example) -> tuple[str, str]:
        passage = passage_text(example.positive.title, example.positive.text, settings)
        if isinstance(settings, EncoderConfig):
            return question_text(example.query, example.lang, settings), passage
        return settings.query_prefix + example.query, passage

    return count_faults(recipe, split, tokenizer, texts, (settings.query_max_length, settings.passage_max_length))


def _train_stage(
    recipe: EncoderRecipe,
    stage: str,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    folder: Path,
    pool: QueryPool | None = None,
) -> tuple[int, list[Point]]:
    """Train ``model`` in place; return optimiser steps and losses."""
    from xqg_repro.train.contrastive import contrastive_loss
    from xqg_repro.train.trainer import RecipeTrainer

    class ContrastiveTrainer(RecipeTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
            if recipe.alignment is None:
                return contrastive_loss(model, inputs, recipe)
            share = recipe.alignment.share_at(self.state.global_step, self.state.max_steps)
            return contrastive_loss(model, inputs, recipe, share)

    collator = ContrastiveCollator(recipe, tokenizer, pool)
    trainer = ContrastiveTrainer(
        recipe,
        folder,
        stage,
        model=model,
        train_dataset=examples,
        eval_dataset=shuffle(held_out, recipe.seed),
        data_collator=collator,
        # stays at epoch 0: the same negatives each time, and neither scores nor generated queries
        held_out_collator=ContrastiveCollator(_plain(recipe), tokenizer),
        steps=recipe.steps,
        sizes=batch_sizes(recipe, examples),
    )
    collator.epoch = lambda: int(trainer.state.epoch or 0)
    return trainer.train_or_resume()


def batch_sizes(recipe: Recipe, examples: Sequence[Example]) -> dict[str, Any]:
    """How a trainer draws batches: an epoch's last part, if it does not fill a batch, is dropped unless it is all."""
    size = distributed.per_process(recipe.batch_size, "batch_size")
    return {
        "per_device_train_batch_size": size,
        "per_device_eval_batch_size": size,
        "gradient_accumulation_steps": recipe.accumulation,
        "dataloader_drop_last": len(examples) >= recipe.batch_size,
    }


def shuffle(examples: Sequence[Example], seed: int) -> Sequence[Example]:
    """The examples in an order that depends only on ``seed``.

    Neighbours in a file are often about the same passage. A batch of them would have no negatives to tell apart, and
    its loss would be close to 0.
    """
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    return Selection([(examples, position) for position in order])


class ContrastiveCollator:
    """Collates examples into one batch of token ids: all positives first, then the negatives drawn for this epoch.

    If a training file has several positives for a question, each epoch uses the next one, starting from one that the
    seed decides, as in Tevatron.

    Args:
        pool: the generated queries of a recipe that aligns.

    Attributes:
        epoch: returns the current epoch.
    """

    def __init__(self, recipe: EncoderRecipe, tokenizer: Any, pool: QueryPool | None = None) -> None:
        self.recipe, self.tokenizer, self.pool = recipe, tokenizer, pool
        self.epoch: Callable[[], int] = lambda: 0

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Tokenise a batch, as :func:`~xqg_repro.train.contrastive.contrastive_loss` expects it."""
        settings = self.recipe.encoder("")
        passages = [draw_positive(example, self.recipe.seed, self.epoch()) for example in examples]
        lists = [[position] for position in range(len(examples))]
        for own, example in zip(lists, examples, strict=True):
            negatives = self._negatives(example)
            own += range(len(passages), len(passages) + len(negatives))
            passages += negatives
        questions = [question_text(example.query, example.lang, settings) for example in examples]
        texts = [passage_text(passage.title, passage.text, settings) for passage in passages]
        batch: dict[str, Any] = {
            "query": tokenize(self.tokenizer, questions, settings.query_max_length),
            "passage": tokenize(self.tokenizer, texts, settings.passage_max_length),
            "docids": [passage.doc_id for passage in passages],
            "questions": [example.label for example in examples],
        }
        if self.recipe.distillation or self.pool:
            batch["lists"] = lists
        if self.recipe.distillation:
            batch["teacher_scores"] = []
            for own, example in zip(lists, examples, strict=True):
                assert example.scores is not None  # the data were read with scores
                batch["teacher_scores"].append([example.scores[passages[position].doc_id] for position in own])
        if self.pool:
            drawn = [self._generated(self.pool, *pair) for pair in zip(examples, passages, strict=False)]
            texts = [question_text(text, language, settings) for text, language, _ in drawn]
            batch["generated"] = tokenize(self.tokenizer, texts, settings.query_max_length)
            batch["draws"] = [number for *_, number in drawn]
        return batch

    def _generated(self, pool: QueryPool, example: Example, positive: Passage) -> tuple[str, str, float]:
        """A generated query of a question's positive, its language, and a number in [0, 1).

        The query counts once the share of the questions that have one is above the number. Without a query, they are
        the question, its language, and 1.
        """
        draw = random.Random(f"{self.recipe.seed}|{self.epoch()}|{example.query}|generated")
        number = draw.random()
        drawn = pool.draw(positive.doc_id, question_language(example.query, example.lang), draw)
        return (*drawn, number) if drawn else (example.query, example.lang, 1.0)

    def _negatives(self, example: Example) -> Sequence[Passage]:
        count = min(self.recipe.negatives, len(example.negatives))
        return random.Random(f"{self.recipe.seed}|{self.epoch()}|{example.query}").sample(example.negatives, count)


def draw_positive(example: Example, seed: int, epoch: int) -> Passage:
    """The positive of an epoch: the next one in each, from one that the seed decides, as in Tevatron."""
    positives = (example.positive, *example.other_positives)
    first = random.Random(f"{seed}|{example.query}").randrange(len(positives))
    return positives[(first + epoch) % len(positives)]


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int) -> dict[str, torch.Tensor]:
    """Token ids and attention mask of a batch of texts, which are cut; both (N, T)."""
    tokens = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        padding=True,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def held_out_accuracy(recipe: EncoderRecipe, model: str | Path, split: Split) -> float:
    """Share of held-out questions whose own passage scores highest among all passages of the examples.

    If the examples are a training file, which may have millions of passages, only the passages of the held-out
    questions compete.
    """
    import numpy as np

    of_questions, of_passages = open_encoders(recipe.encoder(str(model)))
    examples = split.held_out if isinstance(split.examples, TevatronFile) else (*split.kept, *split.held_out)
    passages = {p.doc_id: p for example in examples for p in (example.positive, *example.negatives)}
    vectors = of_passages.encode_passages([p.title for p in passages.values()], [p.text for p in passages.values()])
    texts, languages = ([getattr(example, name) for example in split.held_out] for name in ("query", "lang"))
    scores = of_questions.encode_queries(texts, languages) @ vectors.T
    best = np.array(list(passages))[scores.argmax(1)]
    return float(np.mean(best == np.array([example.positive.doc_id for example in split.held_out])))
