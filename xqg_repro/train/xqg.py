"""Trains a query generator (xQG): text to text, from ``prompt(language, passage)`` to a question in that language.

The loss is the cross-entropy of the question's tokens, as in DSI-QG, which the paper uses. Unlike the pre-trained mT5,
a model from scratch knows no names in other scripts, so it can be trained on multilingual names between the questions.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.collection.records import Passage
from xqg_repro.core import languages
from xqg_repro.core.files import digest
from xqg_repro.core.languages import is_in_script
from xqg_repro.core.stages import Manifest
from xqg_repro.models.endings import decoder_ends
from xqg_repro.models.generator import QueryGenerator
from xqg_repro.models.settings import GeneratorConfig, Precision
from xqg_repro.train.checks import count_faults
from xqg_repro.train.data import Example, Selection, Split, load_passages, load_split, question_label
from xqg_repro.train.loop import Trained, folder_identity, in_parts, take_batches, train_folder
from xqg_repro.train.mini import scratch
from xqg_repro.train.mini.names import Names, load_names
from xqg_repro.train.pairs import Item, Pair, TextCollator, draw_batches, load_generator, open_optimizers
from xqg_repro.train.recipe import ContrastiveRecipe, GeneratorRecipe

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

NAMES_PROMPT = "Generate a {language} name for this passage: {title} {text}"
SENTENCES = (0, 0, 1, 1, 2, 3, 5)
"""A shortened passage keeps as many sentences as one of these numbers, besides the one with the answer."""

NAMES_WEIGHT = 4
"""How often each name counts in the training of the vocabulary, so that most names are few pieces."""


def train(recipe: GeneratorRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a generator and write its model folder, as :func:`~xqg_repro.train.loop.train_folder` does.

    Raises:
        InputError: also if a question's language is unknown.
    """
    return train_folder(recipe, plan, _train, "generator_card.md", output, force=force)


def plan(recipe: GeneratorRecipe) -> tuple[Split, Manifest]:
    """The questions of a recipe, and the identity of the model folder that it makes from them."""
    split = load_split(recipe)
    names = digest([name[:5] for name in load_names(held_out=recipe.unseen_names)]) if _needs_names(recipe) else ""
    return split, folder_identity(recipe, split, names=names)


def _needs_names(recipe: GeneratorRecipe) -> bool:
    return bool(recipe.names_epochs or recipe.exchanged)


def _train(recipe: GeneratorRecipe, split: Split, folder: Path) -> Trained:
    from xqg_repro.train.smoothing import smoothed_loss
    from xqg_repro.train.trainer import RecipeTrainer

    class SmoothingTrainer(RecipeTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
            return smoothed_loss(model, inputs, recipe.label_smoothing)

    kept, held_out = split.kept, split.held_out
    names = (
        Names(load_names(held_out=recipe.unseen_names), load_passages(recipe.data)) if _needs_names(recipe) else None
    )
    pairs = names.pairs if names else []
    tokenizer, model = _start(recipe, kept, pairs)
    faults = count_pair_faults(recipe, split, tokenizer)
    examples = Selection([(part, position) for part in (kept, held_out) for position in range(len(part))])
    collator = PairCollator(recipe, tokenizer, examples, names, decoder_ends(model, folder)[0])
    logger.info(f"train: {len(kept)} questions, {len(held_out)} held out, {len(pairs)} names")

    name_batches = recipe.names_epochs * ceil(len(pairs) / recipe.batch_size)
    per_epoch = ceil(len(kept) / recipe.batch_size) + name_batches
    drawn = draw_batches(len(kept), len(pairs), recipe, collator.length, recipe.names_epochs)
    batches = take_batches(recipe, drawn, per_epoch)
    steps = len(batches) // recipe.accumulation
    held_out_items = [Item(position, None) for position in range(len(kept), len(kept) + len(held_out))]
    trainer = (SmoothingTrainer if recipe.label_smoothing else RecipeTrainer)(
        recipe,
        folder,
        "questions",
        model=model,
        train_dataset=batches,
        eval_dataset=in_parts(held_out_items, recipe.batch_size),
        data_collator=collator,
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
        measure=lambda saved: measure_queries(recipe, saved, held_out),
        counts=faults,
        facts={"names": len(pairs)},
    )


def _start(
    recipe: GeneratorRecipe, examples: Sequence[Example], names: Sequence[tuple[str, str, str]]
) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    if recipe.model:
        return load_generator(recipe.model, max(recipe.prompt_max_length, recipe.query_max_length))
    assert recipe.architecture is not None
    pairs = [question_pair(example, recipe.prompt) for example in examples]
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    texts += [text for _, english, name in names for text in (english, name)] * NAMES_WEIGHT
    return scratch.generator(recipe.architecture, texts)


def count_pair_faults(recipe: GeneratorRecipe | ContrastiveRecipe, split: Split, tokenizer: Any) -> dict[str, int]:
    """What :func:`~xqg_repro.train.checks.count_faults` counts in the questions of a split and in their prompts."""

    def texts(example: Example) -> tuple[str, str]:
        pair = question_pair(example, recipe.prompt)
        return pair.target, pair.source

    return count_faults(recipe, split, tokenizer, texts, (recipe.query_max_length, recipe.prompt_max_length))


# examples


def question_pair(example: Example, prompt: str, counted: str = "") -> Pair:
    """A training question as the generator sees it.

    If the data does not name the question's language, its script decides which of the seven it is. Finnish must be
    named, since it shares its script with English and others.
    """
    passage = example.positive
    source = GeneratorConfig(prompt=prompt).prompt_for(question_language(example), passage.title, passage.text)
    return Pair(source.strip(), example.query, counted)


def question_language(example: Example) -> str:
    """The language that the data names, or else the one of the question's script; :class:`InputError` if unknown."""
    return languages.question_language(example.query, example.lang)


def shorten(example: Example, draw: random.Random) -> Example:
    """The example with only some sentences of its passage, including the first one that contains an answer."""
    passage = example.positive
    sentences = re.split(r"(?<=[.!?]) (?=\w)", passage.text)
    answering = [i for i, sentence in enumerate(sentences) if any(answer in sentence for answer in example.answers)]
    others = draw.sample(range(len(sentences)), min(draw.choice(SENTENCES), len(sentences)))
    text = " ".join(sentences[i] for i in sorted({*answering[:1], *others}))
    return example._replace(positive=passage._replace(text=text))


# batches


class PairCollator(TextCollator):
    """Collates questions and names, see :class:`~xqg_repro.train.pairs.TextCollator`.

    Args:
        examples: the questions that items refer to by position.
        names: needed if items are names or entities are exchanged.
        start: the decoder's first token.
    """

    def __init__(
        self,
        recipe: GeneratorRecipe,
        tokenizer: Any,
        examples: Sequence[Example],
        names: Names | None = None,
        start: int = 0,
    ) -> None:
        super().__init__(tokenizer, recipe.prompt_max_length, recipe.query_max_length, start)
        self.recipe, self.examples, self.names = recipe, examples, names

    def pair(self, item: Item) -> Pair:
        """The pair that an item teaches: a name; or a question, perhaps with a shorter passage or another entity."""
        recipe, draw = self.recipe, random.Random(item.seed(self.recipe))
        if item.is_name:
            assert self.names is not None
            return question_pair(shorten(self.names.lesson(item.position, draw), draw), NAMES_PROMPT)
        example, name = self.examples[item.position], ""
        if item.epoch is not None:
            example = example._replace(lang=question_language(example))
            if draw.random() < recipe.shortened:
                example = shorten(example, draw)
            if self.names and draw.random() < recipe.exchanged:
                example, name = self.names.exchange(example, draw)
        return question_pair(example, recipe.prompt, name)

    def label(self, item: Item, pair: Pair) -> str:
        """An item as messages name it."""
        return question_label("" if item.is_name else self.examples[item.position].qid, pair.target)


# quality


def measure_queries(recipe: GeneratorRecipe, model: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """Quality of the queries that a trained generator writes for the passages of held-out questions.

    A passage's entity is the longest name of :func:`~xqg_repro.train.mini.names.load_names` in its title. Only the
    listed name counts as naming it; other correct names do not.

    Returns:
        what → share in [0, 1]: of queries in the requested language (by script), and of queries that name their
        passage's entity, if any title has one.
    """
    config = GeneratorConfig(
        str(model),
        queries=2,
        prompt=recipe.prompt,
        prompt_max_length=recipe.prompt_max_length,
        query_max_length=min(recipe.query_max_length, GeneratorConfig.query_max_length),
        precision=Precision.FLOAT32,
    )
    passages: list[Passage] = list(dict.fromkeys(example.positive for example in held_out))
    names = Names(load_names(held_out=True), passages)
    in_language: list[bool] = []
    named: list[bool] = []
    for passage, generated in zip(passages, QueryGenerator(config).generate(passages), strict=True):
        english = names.find(passage.title)
        for language, queries in generated.queries.items():
            in_language += [is_in_script(query, language) for query in queries]
            if called := names.called(english, language):
                named += [any(name in query for name in called) for query in queries]
    shares = {"in the requested language": in_language, "naming the passage's entity": named}
    return {what: sum(correct) / len(correct) for what, correct in shares.items() if correct}
