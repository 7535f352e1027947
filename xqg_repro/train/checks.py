"""Faults of a training file, counted before training starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.train.data import Example, Split, TevatronFile, confirm_training_file
from xqg_repro.train.loop import in_parts
from xqg_repro.train.recipe import Recipe

logger = logging.getLogger(__name__)

LINES_NAMED = 5
"""How many line numbers a message lists."""

LINES_AT_ONCE = 500

Texts = Callable[[Example], tuple[str, str]]
"""Example → the question and the (first positive) passage, as the model reads them."""


class Faults:
    """Faults by kind: ``counts`` of dropped negatives or of lines with a cut text, and the first such ``lines``."""

    def __init__(self) -> None:
        kinds = ("repeated_negatives", "positives_among_negatives", "cut_questions", "cut_passages")
        self.counts = dict.fromkeys(kinds, 0)
        self.lines: dict[str, list[int]] = {kind: [] for kind in kinds}

    def add(self, kind: str, number: int, line: int) -> None:
        """Count ``number`` more faults in a line."""
        self.counts[kind] += number
        if number and len(self.lines[kind]) <= LINES_NAMED:
            self.lines[kind].append(line)

    def __str__(self) -> str:
        parts = [
            f"{count:,} {kind.replace('_', ' ')} (line {_list_lines(self.lines[kind])})"
            for kind, count in self.counts.items()
            if count
        ]
        return "; ".join(parts) or "no faults"


def count_faults(recipe: Recipe, split: Split, tokenizer: Any, texts: Texts, limits: tuple[int, int]) -> dict[str, int]:
    """The counts of :func:`examine` for a recipe's training file; empty for other data.

    A separate file of held-out questions is read as well, since its bad lines would otherwise stop the training midway.
    """
    if recipe.held_out_data and isinstance(split.held_out, TevatronFile):
        examine(split.held_out, tokenizer, texts, limits)
        confirm_training_file(recipe.held_out_data, len(split.held_out))
    if not isinstance(split.examples, TevatronFile):
        return {}
    faults = examine(split.examples, tokenizer, texts, limits)
    confirm_training_file(recipe.data, len(split.examples))
    logger.info(f"train: {recipe.data}: {faults}")
    return faults.counts


def examine(examples: TevatronFile, tokenizer: Any, texts: Texts, limits: tuple[int, int]) -> Faults:
    """Read a training file once and count its faults.

    * A *repeated negative* occurs earlier in its line, and a *positive among negatives* is one of the line's positives:
      the same docid, or the same title and text. Both are dropped.
    * A *cut question* or *passage* has more tokens than the recipe allows, special tokens included. Its end is cut off,
      which is common. Of the passages, only the first positive is checked.

    Args:
        limits: maximum lengths of question and passage in tokens.

    Raises:
        InputError: lines are malformed or have no positive passage. The message is the first line's, with the number of
            the others.
    """
    faults = Faults()
    errors: list[InputError] = []
    for positions in in_parts(range(len(examples)), LINES_AT_ONCE):
        lines = []
        for i in positions:
            try:
                lines.append(examples.read(i))
            except InputError as error:
                errors.append(error)
        if not lines:
            continue
        for line in lines:
            faults.add("repeated_negatives", line.repeated, line.number)
            faults.add("positives_among_negatives", line.positive, line.number)
        questions, passages = zip(*(texts(line.example) for line in lines), strict=True)
        for kind, batch, limit in zip(("cut_questions", "cut_passages"), (questions, passages), limits, strict=True):
            tokens = tokenizer(list(batch), truncation=False, padding=False)["input_ids"]
            for line, ids in zip(lines, tokens, strict=True):
                faults.add(kind, len(ids) > limit, line.number)

    if not errors:
        return faults
    first, *others = errors
    problem = first.problem
    if others:
        problem += f"; {len(others):,} more bad lines (line {_list_lines([error.line for error in others])})"
    raise InputError(problem, path=first.path, line=first.line, hint=first.hint)


def _list_lines(numbers: Sequence[int | None]) -> str:
    listed = ", ".join(map(str, numbers[:LINES_NAMED]))
    return f"{listed}, …" if len(numbers) > LINES_NAMED else listed
