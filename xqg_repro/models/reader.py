"""A question and a passage as an extractive reader sees them: windows of tokens that know their characters.

A passage too long to be read at once is read in several windows, which overlap. Training and reading share this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xqg_repro.core.settings import ReaderConfig

FIRST = 0
"""The position of a window's first token, which stands for *no answer here*."""


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        pair: which of the pairs it is from.
        inputs: what the model reads, by name (``input_ids``, …), integers, length T each, not padded.
        offsets: (start, end) in characters of the passage for each token; ``None`` for any but the passage's.
    """

    pair: int
    inputs: dict[str, list[int]]
    offsets: list[tuple[int, int] | None]

    def __len__(self) -> int:
        return len(self.offsets)

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """First and last token of the characters from ``start`` to ``end``; :data:`FIRST` twice if they are not in."""
        inside = [i for i, at in enumerate(self.offsets) if at and at[0] < end and at[1] > start]
        if inside and self.offsets[inside[0]][0] <= start and self.offsets[inside[-1]][1] >= end:
            return inside[0], inside[-1]
        return FIRST, FIRST


def windows(
    tokenizer: Any, questions: Sequence[str], passages: Sequence[str], config: ReaderConfig
) -> Iterator[Window]:
    """The windows of pairs of a question and a passage, in their order.

    Args:
        tokenizer: a fast one, which knows tokens' characters.
        questions, passages: of equal number; a question is cut at ``question_max_length`` tokens.
        config: lengths, see :class:`~xqg_repro.core.settings.ReaderConfig`.
    """
    found = tokenizer(
        [cut(tokenizer, question, config.question_max_length) for question in questions],
        list(passages),
        truncation="only_second",
        max_length=config.max_length,
        stride=config.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=True,
    )
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in found]
    for number, pair in enumerate(found["overflow_to_sample_mapping"]):
        kept = [
            _without_space(passages[pair], *at) if part == 1 else None
            for at, part in zip(found["offset_mapping"][number], found.sequence_ids(number), strict=True)
        ]
        yield Window(pair, {name: found[name][number] for name in names}, kept)


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """A token's characters without the space that some tokenizers count as its first one."""
    return end - len(text[start:end].lstrip()), end


def cut(tokenizer: Any, text: str, limit: int) -> str:
    """A text without what is behind its first ``limit`` tokens."""
    ends = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"][:limit]
    return text[: ends[-1][1]] if ends else text


def padded(tokenizer: Any, some: Sequence[Window]) -> dict[str, Any]:
    """Windows as one batch of tensors, each int64 of shape (windows, T)."""
    names = some[0].inputs
    return dict(tokenizer.pad({name: [w.inputs[name] for w in some] for name in names}, return_tensors="pt"))
