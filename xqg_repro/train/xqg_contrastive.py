"""Trains a query generator to tell a question's passage from others, as the teacher of a distillation.

This is the second stage of QuiCK's teacher: a sequence-to-sequence model that already writes questions learns to find a
question likelier under its own passage than under retrieved ones. The loss is in
:mod:`xqg_repro.train.generator_contrast`. The negatives are those of the data, which ``train mine`` retrieves.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from itertools import count
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.endings import decoder_ends
from xqg_repro.models.likelihood import IGNORED, shift_right
from xqg_repro.models.scorer import AskedPassage, QuestionScorer
from xqg_repro.train.data import Example, Selection, Split, load_split
from xqg_repro.train.loop import Trained, folder_identity, in_parts, take_batches, train_folder
from xqg_repro.train.pairs import load_generator, open_optimizers, tokenize
from xqg_repro.train.recipe import ContrastiveRecipe
from xqg_repro.train.xqg import count_pair_faults, question_language, question_pair

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def train(recipe: ContrastiveRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a generator and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does.

    The manifest also counts the questions ``without_negatives``, which are not trained on.

    Raises:
        InputError: also if the recipe names no model, no question has a negative, or a question's language is unknown.
    """
    return train_folder(recipe, plan, _train, "contrastive_card.md", output, force=force)


def plan(recipe: ContrastiveRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them."""
    if not recipe.model:
        raise InputError(f"the recipe {recipe.name} names no generator to start from", hint="give it a model")
    split = load_split(recipe)
    return split, folder_identity(recipe, split)


def _train(recipe: ContrastiveRecipe, split: Split, folder: Path) -> Trained:
    from xqg_repro.train.generator_contrast import generator_loss
    from xqg_repro.train.trainer import RecipeTrainer

    class ListTrainer(RecipeTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
            return generator_loss(model, inputs, recipe)

    tokenizer, model = load_generator(recipe.model, max(recipe.prompt_max_length, recipe.query_max_length))
    faults = count_pair_faults(recipe, split, tokenizer)
    kept, held_out = _with_negatives(split.kept), _with_negatives(split.held_out)
    if not kept:
        hint = "mine some with xqg-repro train mine"
        raise InputError(f"no question of {recipe.data} has negatives to tell its passage from", hint=hint)
    logger.info(f"train: {len(kept)} questions with negatives, {len(held_out)} held out")

    batches = take_batches(recipe, draw_batches(len(kept), recipe), ceil(len(kept) / recipe.batch_size))
    steps = len(batches) // recipe.accumulation
    start = decoder_ends(model, folder)[0]
    trainer = ListTrainer(
        recipe,
        folder,
        "lists",
        model=model,
        train_dataset=batches,
        eval_dataset=in_parts([Item(position, 0) for position in range(len(held_out))], recipe.batch_size),
        data_collator=ListCollator(recipe, tokenizer, kept, start),
        held_out_collator=ListCollator(recipe, tokenizer, held_out, start),
        steps=steps,
        optimizers=open_optimizers(model, recipe, steps),
    )
    steps, curve = trainer.train_or_resume()
    return Trained(
        tokenizer,
        model,
        steps,
        curve,
        questions=len(kept),
        held_out=len(held_out),
        measure=lambda saved: {"rank their own passage first": held_out_accuracy(recipe, saved, held_out)},
        counts={**faults, "without_negatives": len(split.kept) - len(kept)},
    )


def _with_negatives(examples: Sequence[Example]) -> Sequence[Example]:
    return Selection([(examples, position) for position, example in enumerate(examples) if example.negatives])


class Item(NamedTuple):
    """A question by its position, and the epoch."""

    position: int
    epoch: int


def draw_batches(questions: int, recipe: ContrastiveRecipe) -> Iterator[Sequence[Item]]:
    """Endless batches: each epoch has every question once, in random order."""
    for epoch in count():
        order = random.Random(f"{recipe.seed}|{epoch}").sample(range(questions), questions)
        yield from in_parts([Item(position, epoch) for position in order], recipe.batch_size)


def draw_list(example: Example, recipe: ContrastiveRecipe, epoch: int) -> list[Passage]:
    """A question's positive and negatives in an epoch, the positive first.

    Of several positives, each epoch uses the next one.
    """
    positives = (example.positive, *example.other_positives)
    draw = random.Random(f"{recipe.seed}|{epoch}|{example.query}")
    negatives = draw.sample(example.negatives, min(recipe.negatives, len(example.negatives)))
    return [positives[epoch % len(positives)], *negatives]


class ListCollator:
    """Collates a batch, as :func:`~xqg_repro.train.generator_contrast.generator_loss` expects it.

    Args:
        examples: the questions that items refer to by position.
        start: the decoder's first token.
    """

    def __init__(self, recipe: ContrastiveRecipe, tokenizer: Any, examples: Sequence[Example], start: int) -> None:
        self.recipe, self.tokenizer, self.examples, self.start = recipe, tokenizer, examples, start

    def __call__(self, batches: Sequence[Sequence[Item]]) -> dict[str, Any]:
        """Tokenise one batch, which ``Trainer`` passes as a list of one."""
        import torch

        items = [item for batch in batches for item in batch]
        examples = [self.examples[item.position] for item in items]
        sources: list[str] = []
        owners: list[int] = []
        lists = torch.full((len(items), 1 + self.recipe.negatives), -1)
        for number, (item, example) in enumerate(zip(items, examples, strict=True)):
            for place, passage in enumerate(draw_list(example, self.recipe, item.epoch)):
                lists[number, place] = len(sources)
                sources.append(question_pair(example._replace(positive=passage), self.recipe.prompt).source)
                owners.append(number)
        prompts = tokenize(self.tokenizer, sources, self.recipe.prompt_max_length)
        targets = tokenize(self.tokenizer, [example.query for example in examples], self.recipe.query_max_length)
        labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, IGNORED)
        return {
            "input_ids": prompts["input_ids"],
            "attention_mask": prompts["attention_mask"],
            "decoder_input_ids": shift_right(labels, self.start),
            "labels": labels,
            "owners": torch.tensor(owners),
            "lists": lists,
            "questions": [example.label for example in examples],
        }


def held_out_accuracy(recipe: ContrastiveRecipe, model: str | Path, examples: Sequence[Example]) -> float:
    """Share of held-out questions that are likelier under their positive than under each of the negatives drawn."""
    scorer = QuestionScorer(recipe.scorer(str(model)))
    first = 0
    for example in examples:
        language = question_language(example)
        passages = draw_list(example, recipe, 0)
        asked = [AskedPassage(language, passage.title, passage.text, (example.query,)) for passage in passages]
        scores = [own[0] for own in scorer.score(asked).scores]
        first += scores[0] > max(scores[1:])
    return first / len(examples)
