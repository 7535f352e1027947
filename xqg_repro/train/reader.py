"""Trains a reader: an encoder with a layer on top that marks where the answer to a question begins and ends.

The loss is the mean of two cross-entropies over a window's tokens, of the first and of the last token of the answer, as
for BERT on SQuAD (Devlin et al. 2019). In a window without the answer, both are the first token, as for SQuAD 2.0.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import re
from collections.abc import Iterator, Sequence
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.measures.match import exact_match, f1, normalise_squad
from xqg_repro.models.loading import load_model, model_fingerprint, resolve_model
from xqg_repro.models.reader import SEEN, SpanReader, check_reads, padded, windows
from xqg_repro.train import distributed
from xqg_repro.train.curve import Point
from xqg_repro.train.data import Example, Split, TevatronFile, load_split
from xqg_repro.train.loop import (
    arguments,
    check_installed,
    curve_of,
    finish,
    fit,
    freeze,
    save,
    train_folder,
    whole_batches,
)
from xqg_repro.train.recipe import ReaderRecipe

logger = logging.getLogger(__name__)

BATCHES_SORTED = 16
"""So many batches are drawn together and sorted by length, so that little is spent on padding."""


def train(recipe: ReaderRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a reader and write a model folder: weights (safetensors), tokenizer, configuration and model card.

    The same recipe on the same machine gives the same bytes. A folder that matches is reused. A training that was
    killed goes on from its last checkpoint, if the recipe has any.

    Raises:
        InputError: no model to start from, unknown data, an answer that is not where its question says, no question
            with an answer in its passage, or a loss that is no number.
    """
    check_installed()
    return train_folder(recipe, plan(recipe), _build, output, force=force)


def plan(recipe: ReaderRecipe) -> tuple[Split, Manifest]:
    """The training examples of a recipe, and the identity of the model folder that it makes of them."""
    if not recipe.model:
        raise InputError(f"the recipe {recipe.name} names no encoder to start from", hint="give it a model")
    split = load_split(recipe)
    if isinstance(split.examples, TevatronFile):
        raise InputError("has no answers to learn", path=recipe.data, hint="give a .json file in SQuAD's format")
    inputs = {"data": split.version, "model": model_fingerprint(recipe.model)}
    return split, Manifest("train-reader", {"recipe": dataclasses.asdict(recipe)}, inputs)


def _build(recipe: ReaderRecipe, split: Split, inputs: dict[str, str], folder: Path) -> dict[str, int]:
    import torch

    kept, held_out = ([e for e in part if located(e)] for part in (split.kept, split.held_out))
    left_out = len(split.kept) - len(kept)
    if not kept:
        raise InputError(f"no question of {recipe.data} has an answer in its passage")
    start = resolve_model(recipe.model)
    heads = ("qa_outputs.",)
    tokenizer, model = load_model(start, torch.float32, "AutoModelForQuestionAnswering", "an encoder", untrained=heads)
    check_reader(tokenizer, model, recipe.reader(""), start)
    freeze(model, recipe)
    logger.info(
        f"train: {len(kept)} questions, {left_out} left out (no answer in the passage), {len(held_out)} held out"
    )
    steps = recipe.steps or ceil(recipe.epochs * ceil(len(kept) / recipe.batch_size) / recipe.accumulation)
    curve = _fit(recipe, model, tokenizer, kept, held_out, steps, folder)
    if distributed.get_rank():
        return {}
    save(model, tokenizer, folder, recipe, curve)
    with atomic_write(folder / SEEN) as file:
        file.writelines(f"{qid}\n" for qid in sorted({example.qid for example in kept}))
    scores = quality(recipe, folder, held_out) if held_out else {}
    for what, score in scores.items():
        logger.info(f"train: {what} of held-out questions on their own passages: {score:.3f}")
    facts = {"parameters": model.num_parameters(), "trained": len(kept), "held_out": len(held_out), "quality": scores}
    finish(folder, "reader_card.md", recipe, inputs, left_out=left_out, **facts)
    counts = {"parameters": model.num_parameters(), "questions": len(kept), "left_out": left_out}
    return counts | {"held_out": len(held_out), "steps": steps}


def located(example: Example) -> tuple[int, int] | None:
    """Where the first answer that the passage holds begins and ends, in characters; ``None`` where it holds none.

    An answer without a place is looked for as whole words, from the beginning of the passage on.

    Raises:
        InputError: an answer is not at its place.

    >>> from xqg_repro.train.data import TrainingPassage
    >>> passage = TrainingPassage("1", "", "In 1990 it had 90 inhabitants.")
    >>> located(Example("How many?", passage, answers=("90",), starts=(-1,)))
    (15, 17)
    """
    text = example.positive.text
    for answer, start in zip(example.answers, example.starts, strict=True):
        if start < 0:
            if answer and (match := re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text)):
                return match.span()
        elif text[start : start + len(answer)] != answer:
            problem = f"the answer {answer!r} to question {example.qid} is not at character {start} of its passage"
            raise InputError(problem, hint="mend answer_start, or leave the question out")
        elif answer:
            return start, start + len(answer)
    return None


class Batch(NamedTuple):
    """Positions of some questions, and the pass over them, which decides their negatives."""

    positions: tuple[int, ...]
    epoch: int


def batches(examples: Sequence[Example], recipe: ReaderRecipe) -> Iterator[Batch]:
    """Batches without end: each epoch holds every question once, shuffled, those of similar length together."""
    size, lengths = recipe.batch_size, [len(example.positive.text) for example in examples]
    for epoch in count():
        draw = random.Random(f"{recipe.seed}|{epoch}")
        order, found = draw.sample(range(len(examples)), len(examples)), []
        for at in range(0, len(order), size * BATCHES_SORTED):
            some = sorted(order[at : at + size * BATCHES_SORTED], key=lambda i: (lengths[i], i))
            found += [Batch(tuple(some[i : i + size]), epoch) for i in range(0, len(some), size)]
        yield from draw.sample(found, len(found))


class Collator:
    """A batch of :func:`batches` → token ids of all its windows, ``start_positions`` and ``end_positions``."""

    def __init__(self, recipe: ReaderRecipe, tokenizer: Any, examples: Sequence[Example]) -> None:
        self.recipe, self.tokenizer, self.examples = recipe, tokenizer, examples

    def __call__(self, batch: Sequence[Batch]) -> dict[str, Any]:
        """Tokenise one batch; the ``Trainer`` hands it over in a list of one."""
        import torch

        pairs: list[tuple[str, str, tuple[int, int] | None]] = []
        for positions, epoch in batch:
            for example in (self.examples[i] for i in positions):
                pairs.append((example.query, example.positive.text, located(example)))
                pairs += [(example.query, text, None) for text in self._negatives(example, epoch)]
        found = list(windows(self.tokenizer, [p[0] for p in pairs], [p[1] for p in pairs], self.recipe.reader("")))
        spans = [window.locate(*place) if (place := pairs[window.pair][2]) else (0, 0) for window in found]
        first, last = torch.tensor(spans).T
        asked = [self.examples[i].label for positions, _ in batch for i in positions]
        labels = {"start_positions": first, "end_positions": last, "questions": asked}
        return pad_windows(self.tokenizer, found) | labels

    def _negatives(self, example: Example, epoch: int) -> list[str]:
        """Texts of passages without the answer."""
        those = [p.text for p in example.negatives if not any(answer in p.text for answer in example.answers)]
        draw = random.Random(f"{self.recipe.seed}|{epoch}|{example.qid}")
        return draw.sample(those, min(self.recipe.negatives, len(those)))


def _fit(
    recipe: ReaderRecipe,
    model: Any,
    tokenizer: Any,
    kept: Sequence[Example],
    held_out: Sequence[Example],
    steps: int,
    folder: Path,
) -> list[Point]:
    """Train ``model`` in place; with evaluation, end with the checkpoint that the recipe keeps."""
    from xqg_repro.train.trainer import RecipeTrainer

    size = recipe.batch_size
    evaluated = [Batch(tuple(range(at, min(at + size, len(held_out)))), 0) for at in range(0, len(held_out), size)]
    sizes = whole_batches(recipe)
    trainer = RecipeTrainer(
        model=model,
        args=arguments(recipe, folder, "questions", steps=steps, evaluated=bool(held_out), **sizes),
        train_dataset=list(islice(batches(kept, recipe), steps * recipe.accumulation)),
        eval_dataset=evaluated,
        data_collator=Collator(recipe, tokenizer, kept),
        eval_collator=Collator(recipe, tokenizer, held_out),
    )
    fit(trainer, recipe.checkpoint_steps)
    return curve_of(trainer)


def quality(recipe: ReaderRecipe, model: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """EM and F1, normalised as by SQuAD, of answers to held-out questions from their own passages; in [0, 1]."""
    spans = SpanReader(recipe.reader(str(model))).read(
        [example.query for example in held_out], [example.positive.text for example in held_out]
    )
    answers = [e.positive.text[s.start : s.end] if s else "" for e, s in zip(held_out, spans, strict=True)]
    return {
        name: sum(score(a, e.answers, normalise_squad) for a, e in zip(answers, held_out, strict=True)) / len(answers)
        for name, score in (("EM", exact_match), ("F1", f1))
    }
