"""What is not as it should be in a training file, counted before anything is trained on it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.train.data import Example, Split, TevatronFile
from xqg_repro.train.recipe import Recipe

logger = logging.getLogger(__name__)

_SHOWN = 5
_LINES_AT_ONCE = 500

Read = Callable[[Example], tuple[str, str]]
"""Example → the two texts that the model reads of it (of the passages, the positive)."""


class Findings:
    """What was found, each with how often and in which lines.

    Attributes:
        counts: what → number of negatives left out, or of lines with a text that is cut.
        lines: what → the lines' numbers, the first ones.
    """

    def __init__(self) -> None:
        names = ("repeated_negatives", "positives_among_negatives", "cut_questions", "cut_passages")
        self.counts = dict.fromkeys(names, 0)
        self.lines: dict[str, list[int]] = {name: [] for name in names}

    def add(self, what: str, number: int, line: int) -> None:
        """Count ``number`` more in a line."""
        self.counts[what] += number
        if number and len(self.lines[what]) <= _SHOWN:
            self.lines[what].append(line)

    def __str__(self) -> str:
        found = [
            f"{count:,} {what.replace('_', ' ')} (line {', '.join(map(str, self.lines[what][:_SHOWN]))}"
            + (", …)" if len(self.lines[what]) > _SHOWN else ")")
            for what, count in self.counts.items()
            if count
        ]
        return "; ".join(found) or "nothing to report"


def counted(recipe: Recipe, split: Split, tokenizer: Any, read: Read, limits: tuple[int, int]) -> dict[str, int]:
    """The counts of :func:`examine` for a recipe's data, logged in one line; nothing for data of another kind.

    Held-out data of their own are looked through, too, as a bad line would show only when they are measured on.
    """
    if recipe.held_out_data and isinstance(split.held_out, TevatronFile):
        examine(split.held_out, tokenizer, read, limits)
    if not isinstance(split.examples, TevatronFile):
        return {}
    findings = examine(split.examples, tokenizer, read, limits)
    logger.info(f"train: {recipe.data}: {findings}")
    return findings.counts


def examine(examples: TevatronFile, tokenizer: Any, read: Read, limits: tuple[int, int]) -> Findings:
    """Read a training file once from its first line to its last.

    * A *repeated negative* is in its line before, a *positive among negatives* is one of the line's positives: the same
      docid, or the same title and text. Both are left out.
    * A *cut question* or *passage* has more tokens than the recipe lets the model read, special tokens included. It is
      cut at its end, which is quite usual. Of the passages, the first positive is looked at.

    Args:
        examples: the file.
        tokenizer: the model's.
        read: the question and the passage as the model reads them.
        limits: the most tokens of both.

    Raises:
        InputError: lines are not examples or have no positive passage; the file, the first such line and the number of
            the others are named.
    """
    findings, bad = Findings(), []
    for start in range(0, len(examples), _LINES_AT_ONCE):
        lines = []
        for i in range(start, min(start + _LINES_AT_ONCE, len(examples))):
            try:
                lines.append(examples.read(i))
            except InputError as error:
                bad.append(error)
        if not lines:
            continue
        for line in lines:
            findings.add("repeated_negatives", line.repeated, line.number)
            findings.add("positives_among_negatives", line.positive, line.number)
        texts = zip(*(read(line.example) for line in lines), strict=True)
        for what, of_kind, limit in zip(("cut_questions", "cut_passages"), texts, limits, strict=True):
            tokens = tokenizer(list(of_kind), truncation=False, padding=False)["input_ids"]
            for line, ids in zip(lines, tokens, strict=True):
                findings.add(what, len(ids) > limit, line.number)
    if len(bad) > 1:
        others = ", ".join(str(error.line) for error in bad[1 : _SHOWN + 1]) + (", …" if len(bad) > _SHOWN + 1 else "")
        problem = f"{bad[0].problem}; {len(bad) - 1:,} more lines are bad (line {others})"
        raise InputError(problem, path=bad[0].path, line=bad[0].line, hint=bad[0].hint)
    if bad:
        raise bad[0]
    return findings
