"""Pairs of a source and a target text, in batches: what sequence-to-sequence models are trained on.

The loss is the cross-entropy of the target's tokens.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from xqg_repro.models.architectures import check_length
from xqg_repro.models.endings import decoder_ends
from xqg_repro.models.loading import load_model, resolve_model
from xqg_repro.train.answerer_recipe import AnswererRecipe
from xqg_repro.train.loop import in_parts
from xqg_repro.train.recipe import ContrastiveRecipe, GeneratorRecipe, Recipe


class Pair(NamedTuple):
    """A source and a target text. The loss counts only the part ``counted`` of the target, or all of it if empty."""

    source: str
    target: str
    counted: str = ""


class Item(NamedTuple):
    """A question or a name by its position, and the epoch; an epoch of ``None`` leaves a question unchanged."""

    position: int
    epoch: int | None
    is_name: bool = False

    def seed(self, recipe: Recipe) -> str:
        """Seed of the item's random changes. Its form decides what the shipped models were trained on."""
        return f"{recipe.seed}|Row(position={self.position}, epoch={self.epoch}, is_name={self.is_name})"


def draw_batches(
    questions: int, names: int, recipe: Recipe, length: Callable[[Item], Any], names_epochs: int = 0
) -> Iterator[Sequence[Item]]:
    """Endless batches: each epoch has every question once and every name ``names_epochs`` times, in random order.

    A batch has either questions or names, of similar ``length`` to save padding.
    """
    for epoch in count():
        draw = random.Random(f"{recipe.seed}|{epoch}")
        passes = [[Item(position, epoch) for position in range(questions)]]
        for number in range(epoch * names_epochs, (epoch + 1) * names_epochs):
            passes.append([Item(position, number, is_name=True) for position in range(names)])
        batches: list[Sequence[Item]] = []
        for items in passes:
            by_length = sorted(draw.sample(items, len(items)), key=length)
            batches += in_parts(by_length, recipe.batch_size)
        yield from draw.sample(batches, len(batches))


def tokenize(tokenizer: Any, texts: list[str], max_length: int) -> Any:
    """A batch of texts, which are cut, and padded to the longest."""
    return tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt")


class TextCollator(ABC):
    """Collates a batch into ``input_ids``, ``attention_mask``, ``decoder_input_ids``, ``labels`` and ``questions``.

    Labels of padding, and of parts that the loss does not count, are -100.

    Args:
        tokenizer: the model's.
        source_max_length, target_max_length: in tokens, special tokens included.
        start: the decoder's first token.
    """

    def __init__(self, tokenizer: Any, source_max_length: int, target_max_length: int, start: int = 0) -> None:
        self.tokenizer, self.start = tokenizer, start
        self.source_max_length, self.target_max_length = source_max_length, target_max_length

    @abstractmethod
    def pair(self, item: Item) -> Pair:
        """The pair that an item teaches."""

    @abstractmethod
    def label(self, item: Item, pair: Pair) -> str:
        """An item as messages name it."""

    def __call__(self, batches: Sequence[Sequence[Item]]) -> dict[str, Any]:
        """Tokenise one batch, which ``Trainer`` passes as a list of one."""
        import torch

        items = [item for batch in batches for item in batch]
        pairs = [self.pair(item) for item in items]
        sources = tokenize(self.tokenizer, [pair.source for pair in pairs], self.source_max_length)
        targets = tokenize(self.tokenizer, [pair.target for pair in pairs], self.target_max_length)
        ids, counted = targets["input_ids"], targets["attention_mask"].bool()
        for row, pair in enumerate(pairs):
            if pair.counted:
                start = pair.target.index(pair.counted)
                first = targets.char_to_token(row, start)
                last = targets.char_to_token(row, start + len(pair.counted) - 1)
                counted[row, : first or 0] = False
                if last is not None:
                    counted[row, last + 2 :] = False  # the token after the name counts too, as it ends the name
        return {
            "input_ids": sources["input_ids"],
            "attention_mask": sources["attention_mask"],
            "decoder_input_ids": torch.nn.functional.pad(ids[:, :-1], (1, 0), value=self.start),
            "labels": ids.masked_fill(~counted, -100),
            "questions": [self.label(item, pair) for item, pair in zip(items, pairs, strict=True)],
        }

    def length(self, item: Item) -> tuple[int, int]:
        """Sort key by length: the target's in steps of 8 characters, then the source's."""
        pair = self.pair(item)
        return len(pair.target) // 8, len(pair.source)


# the model


def load_generator(model: str, longest: int) -> tuple[Any, Any]:
    """The tokenizer and the model that a training starts from.

    :class:`InputError` if it cannot be trained on, or does not read ``longest`` tokens.
    """
    import torch

    folder = resolve_model(model)
    tokenizer, network = load_model(folder, torch.float32, "AutoModelForSeq2SeqLM", "a sequence-to-sequence model")
    decoder_ends(network, folder)
    check_length(None, network, longest, folder, hint="lower the recipe's maximum lengths")
    return tokenizer, network


def open_optimizers(
    model: Any, recipe: GeneratorRecipe | ContrastiveRecipe | AnswererRecipe, steps: int
) -> tuple[Any, Any]:
    """Adafactor, T5's own optimiser, and its schedule; two ``None``, which stand for AdamW, if the recipe has none.

    Its steps are relative to a weight's size, as T5's weights start at very different sizes.
    """
    import transformers

    if not recipe.adafactor:
        return None, None

    optimizer = transformers.Adafactor(
        model.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        scale_parameter=True,
        relative_step=False,
    )
    return optimizer, transformers.get_linear_schedule_with_warmup(optimizer, recipe.warmup_steps, steps)
