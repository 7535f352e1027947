"""Trains a dual encoder (xDR) contrastively: one shared encoder for questions and passages, or one for each.

The loss is in :mod:`xqg_repro.train.contrastive`.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest
from xqg_repro.core.stages import Manifest
from xqg_repro.models.agreement import read_layout
from xqg_repro.models.architectures import check_encoder, check_length, read_with_encoder
from xqg_repro.models.encoder import open_encoders, passage_text
from xqg_repro.models.folders import Side
from xqg_repro.models.loading import load_model, resolve_model
from xqg_repro.models.questions import question_text
from xqg_repro.models.settings import LANGUAGE
from xqg_repro.models.untied import is_untied, pair_fingerprints, side_model
from xqg_repro.models.vocabulary import lower_case
from xqg_repro.train import distributed
from xqg_repro.train.checks import count_faults
from xqg_repro.train.curve import Point
from xqg_repro.train.data import Example, Selection, Split, TevatronFile, load_split
from xqg_repro.train.encoder_recipe import EncoderRecipe, ParallelRecipe
from xqg_repro.train.loop import Trained, folder_identity, train_folder
from xqg_repro.train.mini import scratch
from xqg_repro.train.mini.names import load_names

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def train(recipe: EncoderRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train an encoder and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does."""
    return train_folder(recipe, plan, _train, "encoder_card.md", output, force=force)


def plan(recipe: EncoderRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them."""
    split = load_split(recipe)
    # the pairs' languages do not matter here, so they are left out
    names = digest([name[:3] for name in load_names()]) if recipe.names_steps else ""
    starts = _start_fingerprints(recipe)
    return split, folder_identity(recipe, split, names=names, **starts)


def _start_fingerprints(recipe: EncoderRecipe) -> dict[str, str]:
    """Those of the two encoders that an untied one starts from, if there are two."""
    return pair_fingerprints(recipe.model) if not recipe.tied and is_untied(recipe.model) else {}


def _train(recipe: EncoderRecipe, split: Split, folder: Path) -> Trained:
    tokenizer, model = _start(recipe, split.kept)
    settings = recipe.encoder("")

    def texts(example: Example) -> tuple[str, str]:
        passage = passage_text(example.positive.title, example.positive.text, settings)
        return question_text(example.query, example.lang, settings), passage

    check_known_languages(recipe, split)
    faults = count_faults(recipe, split, tokenizer, texts, (recipe.query_max_length, recipe.passage_max_length))
    curve: list[Point] = []
    if recipe.names_steps:
        logger.info(f"train: {recipe.names_steps} steps on multilingual names")
        first = dataclasses.replace(recipe, steps=recipe.names_steps, distillation=None)
        curve += _train_stage(first, "names", model, tokenizer, load_names(), (), folder)[1]
    logger.info(f"train: {len(split.kept)} questions, {len(split.held_out)} held out")
    steps, points = _train_stage(recipe, "questions", model, tokenizer, split.kept, split.held_out, folder)
    return Trained(
        tokenizer,
        model,
        steps,
        [*curve, *points],
        questions=len(split.kept),
        held_out=len(split.held_out),
        measure=lambda saved: {"rank their own passage first": held_out_accuracy(recipe, saved, split)},
        counts=faults,
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


def _start(recipe: EncoderRecipe, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    if recipe.tied:
        return _start_tied(recipe, examples)
    from xqg_repro.train.untied import UntiedNetwork, check_same_vocabulary

    if not is_untied(recipe.model):
        tokenizer, network = _start_tied(recipe, examples)
        return tokenizer, UntiedNetwork(network, copy.deepcopy(network))
    sides = [load_start(dataclasses.replace(recipe, model=side_model(recipe.model, side))) for side in Side]
    (tokenizer, query), (other, passage) = sides
    check_same_vocabulary(tokenizer, other, recipe.model)
    return tokenizer, UntiedNetwork(query, passage)


def _start_tied(recipe: EncoderRecipe, examples: Sequence[Example]) -> tuple[Any, Any]:
    """The same for one encoder."""
    if recipe.model:
        return load_start(recipe)
    assert recipe.architecture is not None
    texts: dict[str, None] = {}
    for example in (*examples, *(load_names() if recipe.names_steps else ())):
        passages = (example.positive, *example.negatives)
        texts |= dict.fromkeys([example.query, *(passage.default_text() for passage in passages)])
    longest = max(recipe.query_max_length, recipe.passage_max_length)
    return scratch.encoder(recipe.architecture, list(texts), longest)


def load_start(recipe: EncoderRecipe | ParallelRecipe) -> tuple[Any, Any]:
    """Tokenizer and model of a recipe that names one; :class:`InputError` if it cannot be trained."""
    import torch

    from xqg_repro.models.projection import refuse_projection

    folder = resolve_model(recipe.model)
    tokenizer, model = load_model(folder, torch.float32)
    longest = max(recipe.query_max_length, recipe.passage_max_length)
    check_length(tokenizer, read_with_encoder(model), longest, folder)
    check_encoder(tokenizer, model, folder)
    layout = read_layout(folder)
    refuse_projection(layout, model, folder)
    if layout.lower_case:
        lower_case(tokenizer)
    return tokenizer, model


def _train_stage(
    recipe: EncoderRecipe,
    stage: str,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    folder: Path,
) -> tuple[int, list[Point]]:
    """Train ``model`` in place; return optimiser steps and losses."""
    from xqg_repro.train.contrastive import contrastive_loss
    from xqg_repro.train.trainer import RecipeTrainer

    class ContrastiveTrainer(RecipeTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
            return contrastive_loss(model, inputs, recipe)

    collator = ContrastiveCollator(recipe, tokenizer)
    size = distributed.per_process(recipe.batch_size, "batch_size")
    trainer = ContrastiveTrainer(
        recipe,
        folder,
        stage,
        model=model,
        train_dataset=examples,
        eval_dataset=shuffle(held_out, recipe.seed),
        data_collator=collator,
        # stays at epoch 0: the same negatives each time, and no scores
        held_out_collator=ContrastiveCollator(dataclasses.replace(recipe, distillation=None), tokenizer),
        steps=recipe.steps,
        sizes={
            "per_device_train_batch_size": size,
            "per_device_eval_batch_size": size,
            "gradient_accumulation_steps": recipe.accumulation,
            "dataloader_drop_last": len(examples) >= recipe.batch_size,
        },
    )
    collator.epoch = lambda: int(trainer.state.epoch or 0)
    return trainer.train_or_resume()


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

    Attributes:
        epoch: returns the current epoch.
    """

    def __init__(self, recipe: EncoderRecipe, tokenizer: Any) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.epoch: Callable[[], int] = lambda: 0

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Tokenise a batch, as :func:`~xqg_repro.train.contrastive.contrastive_loss` expects it."""
        settings = self.recipe.encoder("")
        passages = [self._positive(example) for example in examples]
        lists = [[position] for position in range(len(examples))]
        for own, example in zip(lists, examples, strict=True):
            negatives = self._negatives(example)
            own += range(len(passages), len(passages) + len(negatives))
            passages += negatives
        questions = [question_text(example.query, example.lang, settings) for example in examples]
        texts = [passage_text(passage.title, passage.text, settings) for passage in passages]
        batch = {
            "query": tokenize(self.tokenizer, questions, settings.query_max_length),
            "passage": tokenize(self.tokenizer, texts, settings.passage_max_length),
            "docids": [passage.doc_id for passage in passages],
            "questions": [example.label for example in examples],
        }
        if self.recipe.distillation is None:
            return batch
        scores = []
        for own, example in zip(lists, examples, strict=True):
            assert example.scores is not None  # the data were read with scores
            scores.append([example.scores[passages[position].doc_id] for position in own])
        return batch | {"lists": lists, "teacher_scores": scores}

    def _positive(self, example: Example) -> Passage:
        positives = (example.positive, *example.other_positives)
        first = random.Random(f"{self.recipe.seed}|{example.query}").randrange(len(positives))
        return positives[(first + self.epoch()) % len(positives)]

    def _negatives(self, example: Example) -> Sequence[Passage]:
        count = min(self.recipe.negatives, len(example.negatives))
        return random.Random(f"{self.recipe.seed}|{self.epoch()}|{example.query}").sample(example.negatives, count)


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
