"""Trains a query generator (xQG): text to text, from ``prompt(language, passage)`` to a question in that language.

The loss is the cross-entropy of the question's tokens, as in DSI-QG, which the paper uses. A model from scratch knows
no names in other scripts, as mT5 does from its pre-training; so it may learn multilingual names between the questions.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest
from xqg_repro.core.languages import LANGUAGE_NAMES, XOR_LANGUAGES, is_in_script
from xqg_repro.core.stages import Manifest
from xqg_repro.models.generator import QueryGenerator
from xqg_repro.models.loading import load_model, model_fingerprint, resolve_model
from xqg_repro.models.settings import GeneratorConfig, Precision
from xqg_repro.train import distributed
from xqg_repro.train.checks import counted
from xqg_repro.train.curve import Point
from xqg_repro.train.data import Example, Split, labelled, load_names, load_passages, load_split, together
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
from xqg_repro.train.mini import scratch
from xqg_repro.train.mini.names import Names
from xqg_repro.train.recipe import GeneratorRecipe

logger = logging.getLogger(__name__)

NAMES_PROMPT = "Generate a {language} name for this passage: {title} {text}"
SENTENCES = (0, 0, 1, 1, 2, 3, 5)
"""How many sentences a shortened passage keeps besides that with the answer: one of these."""

NAMES_WEIGHT = 4
"""How often a name counts when the vocabulary is trained, so that most names are few pieces."""


class Pair(NamedTuple):
    """What the model reads, what it is to write, and the part of that which the loss counts ("" for all of it)."""

    source: str
    target: str
    counted: str = ""


def train(recipe: GeneratorRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train a generator and write a model folder: weights (safetensors), tokenizer, configuration and model card.

    The same recipe on the same machine gives the same bytes. A folder that matches is reused. A training that was
    killed goes on from its last checkpoint, if the recipe has any.

    Raises:
        InputError: unknown data, a training file with a bad line, a question whose language cannot be told, a model
            that cannot be had, or a loss that is no number.
    """
    check_installed()
    return train_folder(recipe, plan(recipe), _build, output, force=force)


def plan(recipe: GeneratorRecipe) -> tuple[Split, Manifest]:
    """The training examples of a recipe, and the identity of the model folder that it makes of them."""
    split = load_split(recipe)
    inputs = {
        "data": split.version,
        "model": model_fingerprint(recipe.model) if recipe.model else "",
        "names": digest([name[:5] for name in load_names(held_out=True)]) if _needs_names(recipe) else "",
    }
    return split, Manifest("train-xqg", {"recipe": dataclasses.asdict(recipe)}, inputs)


def _build(recipe: GeneratorRecipe, split: Split, inputs: dict[str, str], folder: Path) -> dict[str, int]:
    kept, held_out = split.kept, split.held_out
    names = Names(load_names(held_out=True), load_passages(recipe.data)) if _needs_names(recipe) else None
    pairs = names.pairs if names else []
    tokenizer, model = _start(recipe, kept, pairs)
    freeze(model, recipe)

    def read(example: Example) -> tuple[str, str]:
        source, target, _ = question_pair(example, recipe.prompt)
        return target, source

    found = counted(recipe, split, tokenizer, read, (recipe.query_max_length, recipe.prompt_max_length))
    examples = together(kept, held_out) if held_out else kept
    collator = Collator(recipe, tokenizer, examples, names, model.config.decoder_start_token_id)
    logger.info(f"train: {len(kept)} questions, {len(held_out)} held out, {len(pairs)} names")
    epoch = ceil(len(kept) / recipe.batch_size) + recipe.names_epochs * ceil(len(pairs) / recipe.batch_size)
    steps = recipe.steps or ceil(recipe.epochs * epoch / recipe.accumulation)
    chosen = list(islice(batches(len(kept), len(pairs), recipe, collator.length), steps * recipe.accumulation))
    evaluated = [Row(position, None) for position in range(len(kept), len(kept) + len(held_out))]
    curve = _fit(recipe, model, collator, chosen, evaluated, folder)
    if distributed.get_rank():
        return {}
    save(model, tokenizer, folder, recipe, curve)
    scores = quality(recipe, folder, held_out) if held_out else {}
    for what, share in scores.items():
        logger.info(f"train: {what}: {share:.3f}")
    facts = {"parameters": model.num_parameters(), "trained": len(kept), "held_out": len(held_out), "quality": scores}
    finish(folder, "generator_card.md", recipe, inputs, found=found, names=len(pairs), **facts)
    counts = {"parameters": model.num_parameters(), "questions": len(kept), "held_out": len(held_out), "steps": steps}
    return counts | found


def question_pair(example: Example, prompt: str, counted: str = "") -> Pair:
    """A training question as the generator sees it.

    Where the data does not name the question's language, the script tells which of the seven it is, but for Finnish: it
    shares its script with English and many others.
    """
    passage = example.positive
    source = GeneratorConfig(prompt=prompt).prompt_for(_language(example), passage.title, passage.text)
    return Pair(source.strip(), example.query, counted)


def _language(example: Example) -> str:
    told = (code for code in XOR_LANGUAGES if code != "fi" and is_in_script(example.query, code))
    language = example.lang or next(told, "")
    if language not in LANGUAGE_NAMES:
        raise InputError(
            f"the language of the question {example.query!r} is not known", hint='give each training question a "lang"'
        )
    return language


def shortened(example: Example, draw: random.Random) -> Example:
    """The example with some sentences of its passage, the first that holds an answer among them where it has any."""
    passage = example.positive
    sentences = re.split(r"(?<=[.!?]) (?=\w)", passage.text)
    answering = [i for i, sentence in enumerate(sentences) if any(answer in sentence for answer in example.answers)]
    others = draw.sample(range(len(sentences)), min(draw.choice(SENTENCES), len(sentences)))
    text = " ".join(sentences[i] for i in sorted({*answering[:1], *others}))
    return example._replace(positive=passage._replace(text=text))


def _needs_names(recipe: GeneratorRecipe) -> bool:
    return bool(recipe.names_epochs or recipe.exchanged)


class Row(NamedTuple):
    """A question or a name by its position, and the pass over them; ``None`` leaves a question as it is."""

    position: int
    epoch: int | None
    is_name: bool = False


def batches(
    questions: int, names: int, recipe: GeneratorRecipe, length: Callable[[Row], Any]
) -> Iterator[Sequence[Row]]:
    """Batches without end: each epoch holds every question once and every name ``names_epochs`` times, shuffled.

    A batch holds questions or names, those of similar ``length`` together, so that little is spent on padding.
    """
    for epoch in count():
        draw = random.Random(f"{recipe.seed}|{epoch}")
        passes = [[Row(position, epoch) for position in range(questions)]]
        for number in range(epoch * recipe.names_epochs, (epoch + 1) * recipe.names_epochs):
            passes.append([Row(position, number, is_name=True) for position in range(names)])
        found = []
        for rows in passes:
            found += _split(sorted(draw.sample(rows, len(rows)), key=length), recipe.batch_size)
        yield from draw.sample(found, len(found))


def _split(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


class Collator:
    """A batch of :func:`batches` → token ids: ``input_ids``, ``attention_mask``, ``decoder_input_ids`` and ``labels``;
    and the ``questions``, which the model does not see.

    Labels of padding, and of what the loss does not count, are -100.

    Args:
        recipe, tokenizer: decide the texts and their lengths.
        examples: the questions that rows name by position.
        names: where rows are names, or entities are exchanged.
        start: the token that the decoder begins with.
    """

    def __init__(
        self,
        recipe: GeneratorRecipe,
        tokenizer: Any,
        examples: Sequence[Example],
        names: Names | None = None,
        start: int = 0,
    ) -> None:
        self.recipe, self.tokenizer, self.examples, self.names, self.start = recipe, tokenizer, examples, names, start

    def __call__(self, batch: Sequence[Sequence[Row]]) -> dict[str, Any]:
        """Tokenise the rows of one batch; the ``Trainer`` hands it over in a list of one."""
        import torch

        pairs = [self.pair(row) for rows in batch for row in rows]
        sources = self._tokenize([pair.source for pair in pairs], self.recipe.prompt_max_length)
        targets = self._tokenize([pair.target for pair in pairs], self.recipe.query_max_length)
        ids, counted = targets["input_ids"], targets["attention_mask"].bool()
        for row, (_, target, part) in enumerate(pairs):
            if part:
                at = target.index(part)
                first, last = targets.char_to_token(row, at), targets.char_to_token(row, at + len(part) - 1)
                counted[row, : first or 0] = False
                if last is not None:
                    counted[row, last + 2 :] = False  # the token after it counts too: there the name ends
        return {
            "input_ids": sources["input_ids"],
            "attention_mask": sources["attention_mask"],
            "decoder_input_ids": torch.nn.functional.pad(ids[:, :-1], (1, 0), value=self.start),
            "labels": ids.masked_fill(~counted, -100),
            "questions": [
                labelled("" if row.is_name else self.examples[row.position].qid, target)
                for row, (_, target, _) in zip(chain.from_iterable(batch), pairs, strict=True)
            ],
        }

    def pair(self, row: Row) -> Pair:
        """What a row teaches: a name, a question as it is, or one whose passage is shortened or entity exchanged."""
        recipe, draw = self.recipe, random.Random(f"{self.recipe.seed}|{row}")
        if row.is_name:
            assert self.names is not None
            return question_pair(shortened(self.names.lesson(row.position, draw), draw), NAMES_PROMPT)
        example, name = self.examples[row.position], ""
        if row.epoch is not None:
            example = example._replace(lang=_language(example))
            if draw.random() < recipe.shortened:
                example = shortened(example, draw)
            if self.names and draw.random() < recipe.exchanged:
                example, name = self.names.exchange(example, draw)
        return question_pair(example, recipe.prompt, name)

    def length(self, row: Row) -> tuple[int, int]:
        """How long a row's texts are: first the target in steps of 8 characters, then the source."""
        pair = self.pair(row)
        return len(pair.target) // 8, len(pair.source)

    def _tokenize(self, texts: list[str], max_length: int) -> Any:
        return self.tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt")


def _fit(
    recipe: GeneratorRecipe, model: Any, collator: Collator, chosen: list[Any], held_out: Sequence[Row], folder: Path
) -> list[Point]:
    """Train ``model`` in place on batches, one after the other; with evaluation, end with the best checkpoint."""
    from xqg_repro.train.trainer import RecipeTrainer

    steps = len(chosen) // recipe.accumulation
    sizes = whole_batches(recipe)
    trainer = RecipeTrainer(
        model=model,
        args=arguments(recipe, folder, "questions", steps=steps, evaluated=bool(held_out), **sizes),
        train_dataset=chosen,
        eval_dataset=_split(held_out, recipe.batch_size),
        data_collator=collator,
        optimizers=_adafactor(model, recipe, steps) if recipe.adafactor else (None, None),
    )
    fit(trainer, recipe.checkpoint_steps)
    return curve_of(trainer)


def _adafactor(model: Any, recipe: GeneratorRecipe, steps: int) -> tuple[Any, Any]:
    """T5's own optimiser: a step is relative to a weight's size, and T5's weights start at very different sizes."""
    import transformers

    optimizer = transformers.Adafactor(
        model.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        scale_parameter=True,
        relative_step=False,
    )
    return optimizer, transformers.get_linear_schedule_with_warmup(optimizer, recipe.warmup_steps, steps)


def _start(
    recipe: GeneratorRecipe, examples: Sequence[Example], names: Sequence[tuple[str, str, str]]
) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    import torch

    if recipe.model:
        return load_model(
            resolve_model(recipe.model), torch.float32, "AutoModelForSeq2SeqLM", "a sequence-to-sequence model"
        )
    shape = recipe.architecture
    assert shape is not None
    pairs = [question_pair(example, recipe.prompt) for example in examples]
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    texts += [text for _, english, name in names for text in (english, name)] * NAMES_WEIGHT
    return scratch.generator(shape, texts)


def quality(recipe: GeneratorRecipe, model: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """How good the trained generator's queries are, as shares of those that it writes.

    It writes for the held-out questions' passages. A passage's entity is the longest name of the list that its title
    holds. Only the name that the list has counts; another right one does not.

    Returns:
        what → share in [0, 1]: of queries in the language asked for (by script), and of queries that name their
        passage's entity, where the list has any of the titles.
    """
    config = GeneratorConfig(
        str(model),
        queries=2,
        prompt=recipe.prompt,
        prompt_max_length=recipe.prompt_max_length,
        query_max_length=min(recipe.query_max_length, GeneratorConfig.query_max_length),
        precision=Precision.FLOAT32,
    )
    passages = list({example.positive: None for example in held_out})
    known = Names(load_names(held_out=True), passages)
    in_language, named = [], []
    for passage, found in zip(passages, QueryGenerator(config).generate(passages), strict=True):
        english = known.find(passage.title)
        for language, queries in found.queries.items():
            in_language += [is_in_script(query, language) for query in queries]
            names = known.called(english, language)
            named += [any(name in query for name in names) for query in queries if names]
    shares = {"in the language asked for": in_language, "naming the passage's entity": named}
    return {what: sum(right) / len(right) for what, right in shares.items() if right}
