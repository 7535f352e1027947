"""Trains an answer generator: from a question and passages to the answer, as CORA's mGEN (Asai et al. 2021).

The model reads ``answer_prompt(question, language, passages)`` and writes the question's first answer. As in CORA, the
passages are a few that hold an answer, drawn at random, and the highest-ranked others, all in random order. Those that
hold an answer are the question's positives; among its negatives, one that contains an answer is never read.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.measures.match import exact_match, f1, normalise_squad
from xqg_repro.models.answerer import Answerer, AskedPassages
from xqg_repro.models.answerer_settings import answer_language, answer_prompt
from xqg_repro.models.endings import decoder_ends
from xqg_repro.train.answerer_recipe import AnswererRecipe
from xqg_repro.train.answers import contains_answer
from xqg_repro.train.checks import count_faults
from xqg_repro.train.data import Example, Selection, Split, load_split
from xqg_repro.train.loop import Trained, folder_identity, in_parts, take_batches, train_folder
from xqg_repro.train.mini import scratch
from xqg_repro.train.pairs import Item, Pair, TextCollator, draw_batches, load_generator, open_optimizers

logger = logging.getLogger(__name__)


def train(recipe: AnswererRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train an answer generator and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does.

    The manifest also counts the questions ``without_answers``, which are not trained on.

    Raises:
        InputError: also if no question has an answer, or a question's language is needed and unknown.
    """
    return train_folder(recipe, plan, _train, "answerer_card.md", output, force=force)


def plan(recipe: AnswererRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them."""
    split = load_split(recipe)
    return split, folder_identity(recipe, split)


def _train(recipe: AnswererRecipe, split: Split, folder: Path) -> Trained:
    from xqg_repro.train.trainer import RecipeTrainer, whole_batches

    kept, held_out = _with_answers(split.kept), _with_answers(split.held_out)
    if not kept:
        raise InputError(f"no question of {recipe.data} has an answer", hint='give its lines "answers"')
    tokenizer, model = _start(recipe, kept)

    def texts(example: Example) -> tuple[str, str]:
        return example.query, _prompt(example, draw_passages(example, recipe, 0), recipe)

    faults = count_faults(recipe, split, tokenizer, texts, (recipe.prompt_max_length,) * 2)
    logger.info(f"train: {len(kept)} questions, {len(held_out)} held out")
    examples = Selection([(part, position) for part in (kept, held_out) for position in range(len(part))])
    collator = AnswerCollator(recipe, tokenizer, examples, decoder_ends(model, folder)[0])
    drawn = draw_batches(len(kept), 0, recipe, collator.length)
    batches = take_batches(recipe, drawn, ceil(len(kept) / recipe.batch_size))
    steps = len(batches) // recipe.accumulation
    held_out_items = [Item(position, None) for position in range(len(kept), len(kept) + len(held_out))]
    trainer = RecipeTrainer(
        recipe,
        folder,
        "questions",
        model=model,
        train_dataset=batches,
        eval_dataset=in_parts(held_out_items, recipe.batch_size),
        data_collator=collator,
        steps=steps,
        sizes=whole_batches(recipe) | {"label_smoothing_factor": recipe.label_smoothing},
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
        measure=lambda saved: measure_answers(recipe, saved, held_out),
        counts={**faults, "without_answers": len(split.kept) - len(kept)},
    )


def _with_answers(examples: Sequence[Example]) -> Selection:
    """The questions that have an answer to learn."""
    return Selection([(examples, position) for position, example in enumerate(examples) if example.answers])


def _start(recipe: AnswererRecipe, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    if recipe.model:
        return load_generator(recipe.model, max(recipe.prompt_max_length, recipe.answer_max_length))
    assert recipe.architecture is not None
    pairs = [answer_pair(example, draw_passages(example, recipe, 0), recipe) for example in examples]
    return scratch.generator(recipe.architecture, list(dict.fromkeys(text for pair in pairs for text in pair[:2])))


# examples


def draw_passages(example: Example, recipe: AnswererRecipe, epoch: int | None) -> list[Passage]:
    """The passages that a question is answered from in an epoch; ``None`` is the one of held-out questions.

    At most ``recipe.holders`` positives are drawn, and filled up to ``recipe.passages`` with the first negatives that
    do not contain an answer; then all are shuffled.
    """
    draw = random.Random(f"{recipe.seed}|{epoch}|{example.qid}|{example.query}")
    positives = list(dict.fromkeys((example.positive, *example.other_positives)))
    chosen = draw.sample(positives, min(recipe.holders, len(positives)))
    others = (passage for passage in example.negatives if not contains_answer(passage, example.answers))
    for passage in others:
        if len(chosen) == recipe.passages:
            break
        chosen.append(passage)
    return draw.sample(chosen, len(chosen))


def answer_pair(example: Example, passages: Sequence[Passage], recipe: AnswererRecipe) -> Pair:
    """A training question as the model sees it: the prompt, and its first answer."""
    return Pair(_prompt(example, passages, recipe), example.answers[0])


def _prompt(example: Example, passages: Sequence[Passage], recipe: AnswererRecipe) -> str:
    return answer_prompt(example.query, answer_language(recipe.language, example.query, example.lang), passages)


class AnswerCollator(TextCollator):
    """Collates questions, see :class:`~xqg_repro.train.pairs.TextCollator`.

    Args:
        examples: the questions that items refer to by position.
        start: the decoder's first token.
    """

    def __init__(self, recipe: AnswererRecipe, tokenizer: Any, examples: Sequence[Example], start: int = 0) -> None:
        super().__init__(tokenizer, recipe.prompt_max_length, recipe.answer_max_length, start)
        self.recipe, self.examples = recipe, examples

    def pair(self, item: Item) -> Pair:
        """The prompt of a question with the passages of an epoch, and its answer."""
        example = self.examples[item.position]
        return answer_pair(example, draw_passages(example, self.recipe, item.epoch), self.recipe)

    def label(self, item: Item, pair: Pair) -> str:
        """A question as messages name it."""
        return self.examples[item.position].label


# quality


def measure_answers(recipe: AnswererRecipe, model: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """EM and F1, normalised as for SQuAD, of answers to held-out questions, each from its positive alone; in [0, 1]."""
    examples = list(held_out)
    asked = [AskedPassages(example.query, example.lang, (example.positive,)) for example in examples]
    answers = Answerer(recipe.answerer(str(model))).answer(asked)
    quality = {}
    for name, score in (("EM", exact_match), ("F1", f1)):
        scores = [score(a, e.answers, normalise_squad) for a, e in zip(answers, examples, strict=True)]
        quality[name] = sum(scores) / len(scores)
    return quality
