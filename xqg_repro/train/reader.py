"""Trains a reader: an encoder with a layer that marks where the answer to a question starts and ends.

The loss is the mean of two cross-entropies over a window's tokens, for the first and the last token of the answer, as
for BERT on SQuAD (Devlin et al. 2019). In a window without the answer, both are the first token, as for SQuAD 2.0.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Sequence
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError, in_file
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.measures.match import exact_match, f1, normalise_squad
from xqg_repro.models.loading import load_model, resolve_model
from xqg_repro.models.reader import FIRST, SEEN, SpanReader, check_reader, pad_windows, windows
from xqg_repro.train import distributed
from xqg_repro.train.data import Example, Split, TevatronFile, load_split
from xqg_repro.train.loop import Trained, folder_identity, in_parts, take_batches, train_folder
from xqg_repro.train.recipe import ReaderRecipe

logger = logging.getLogger(__name__)

HEADS = ("qa_outputs.", "classifier.", "head.")
"""Names of the layers that question answering adds to an encoder, in BERT and most others, or in ModernBERT."""

BATCHES_SORTED = 16
"""Number of batches that are drawn together and sorted by length, to save padding."""


def train(recipe: ReaderRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a reader and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does.

    Raises:
        InputError: also if the recipe names no model, an answer is not where its question says, or no question has an
            answer in its passage.
    """
    return train_folder(recipe, plan, _train, "reader_card.md", output, force=force)


def plan(recipe: ReaderRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them."""
    if not recipe.model:
        raise InputError(f"the recipe {recipe.name} names no encoder to start from", hint="give it a model")
    split = load_split(recipe)
    if isinstance(split.examples, TevatronFile):
        raise InputError("has no positions of answers", path=recipe.data, hint="use a .json file in SQuAD's format")
    return split, folder_identity(recipe, split)


def _train(recipe: ReaderRecipe, split: Split, folder: Path) -> Trained:
    import torch

    from xqg_repro.train.trainer import RecipeTrainer

    with in_file(recipe.data):
        kept = [example for example in split.kept if locate_answer(example)]
    with in_file(recipe.held_out_data or recipe.data):
        held_out = [example for example in split.held_out if locate_answer(example)]
    left_out = len(split.kept) - len(kept)
    if not kept:
        raise InputError(f"no question of {recipe.data} has an answer in its passage")
    start = resolve_model(recipe.model)
    tokenizer, model = load_model(
        start, torch.float32, "AutoModelForQuestionAnswering", "a question-answering model", untrained=HEADS
    )
    check_reader(tokenizer, model, recipe.reader(""), start)
    logger.info(f"train: {len(kept)} questions, {left_out} without an answer in the passage, {len(held_out)} held out")

    batches = take_batches(recipe, draw_batches(kept, recipe), per_epoch=ceil(len(kept) / recipe.batch_size))
    trainer = RecipeTrainer(
        recipe,
        folder,
        "questions",
        model=model,
        train_dataset=batches,
        eval_dataset=[Batch(tuple(part), 0) for part in in_parts(range(len(held_out)), recipe.batch_size)],
        data_collator=SpanCollator(recipe, tokenizer, kept),
        held_out_collator=SpanCollator(recipe, tokenizer, held_out),
        steps=len(batches) // recipe.accumulation,
    )
    steps, curve = trainer.train_or_resume()
    if distributed.get_rank() == 0:
        with atomic_write(folder / SEEN) as file:
            file.writelines(f"{qid}\n" for qid in sorted({example.qid for example in kept}))
    return Trained(
        tokenizer,
        model,
        steps,
        curve,
        questions=len(kept),
        held_out=len(held_out),
        measure=lambda saved: measure_answers(recipe, saved, held_out),
        counts={"left_out": left_out},
    )


def locate_answer(example: Example) -> tuple[int, int] | None:
    """Start and end, in characters, of the first answer that is in the passage; ``None`` if there is none.

    An answer without a position is searched for as whole words.

    Raises:
        InputError: an answer is not at its position.

    >>> from xqg_repro.collection.records import Passage
    >>> passage = Passage("1", "", "In 1990 it had 90 inhabitants.")
    >>> locate_answer(Example("How many?", passage, answers=("90",), starts=(-1,)))
    (15, 17)
    """
    text = example.positive.text
    for answer, start in zip(example.answers, example.starts, strict=True):
        if start < 0:
            if answer and (match := re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text)):
                return match.span()
        elif text[start : start + len(answer)] != answer:
            problem = f"the answer {answer!r} to question {example.qid} is not at character {start} of its passage"
            raise InputError(problem, hint="correct answer_start, or remove the question")
        elif answer:
            return start, start + len(answer)
    return None


class Batch(NamedTuple):
    """Positions of a batch's questions, and the epoch, which decides their negatives."""

    positions: tuple[int, ...]
    epoch: int


def draw_batches(examples: Sequence[Example], recipe: ReaderRecipe) -> Iterator[Batch]:
    """Endless batches: each epoch has every question once, in random order, with similar lengths in a batch."""
    lengths = [len(example.positive.text) for example in examples]
    for epoch in count():
        draw = random.Random(f"{recipe.seed}|{epoch}")
        order = draw.sample(range(len(examples)), len(examples))
        batches = []
        for group in in_parts(order, recipe.batch_size * BATCHES_SORTED):
            by_length = sorted(group, key=lambda i: (lengths[i], i))
            batches += [Batch(tuple(part), epoch) for part in in_parts(by_length, recipe.batch_size)]
        yield from draw.sample(batches, len(batches))


class SpanCollator:
    """Collates a batch into token ids of all its windows, ``start_positions`` and ``end_positions``."""

    def __init__(self, recipe: ReaderRecipe, tokenizer: Any, examples: Sequence[Example]) -> None:
        self.recipe, self.tokenizer, self.examples = recipe, tokenizer, examples

    def __call__(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """Tokenise one batch, which ``Trainer`` passes as a list of one."""
        import torch

        questions: list[str] = []
        passages: list[str] = []
        answers: list[tuple[int, int] | None] = []
        labels: list[str] = []
        for positions, epoch in batches:
            for example in (self.examples[i] for i in positions):
                negatives = self._negatives(example, epoch)
                questions += [example.query] * (1 + len(negatives))
                passages += [example.positive.text, *negatives]
                answers += [locate_answer(example), *(None for _ in negatives)]
                labels.append(example.label)

        parts = list(windows(self.tokenizer, questions, passages, self.recipe.reader("")))
        spans = []
        for window in parts:
            answer = answers[window.pair]
            spans.append(window.locate(*answer) if answer else (FIRST, FIRST))
        first, last = torch.tensor(spans).T
        targets = {"start_positions": first, "end_positions": last}
        return pad_windows(self.tokenizer, parts) | targets | {"questions": labels}

    def _negatives(self, example: Example, epoch: int) -> list[str]:
        """Texts of negatives that do not contain the answer, drawn for this epoch."""
        texts = [p.text for p in example.negatives if not any(answer in p.text for answer in example.answers)]
        draw = random.Random(f"{self.recipe.seed}|{epoch}|{example.qid}")
        return draw.sample(texts, min(self.recipe.negatives, len(texts)))


def measure_answers(recipe: ReaderRecipe, model: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """EM and F1, normalised as for SQuAD, of the answers to held-out questions from their own passages; in [0, 1]."""
    passages = [example.positive.text for example in held_out]
    spans = SpanReader(recipe.reader(str(model))).read([example.query for example in held_out], passages)
    answers = [text[span.start : span.end] if span else "" for text, span in zip(passages, spans, strict=True)]
    quality = {}
    for name, score in (("EM", exact_match), ("F1", f1)):
        scores = [score(a, e.answers, normalise_squad) for a, e in zip(answers, held_out, strict=True)]
        quality[name] = sum(scores) / len(scores)
    return quality
