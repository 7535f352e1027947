"""Packs all targets of a text into one sequence: the text once, then one block after another that goes on from it.

A causal language model learns many questions about one passage. As separate sequences, the passage would be computed
once for each of them. Here a sequence is

    head · block 1 · block 2 · …

with the start token and the passage as its *head*, and in each *block* the end of a prompt, the target and an end
token. A block sees the head and itself but no other block, and its positions follow the head's. So every token gets
the vector that it has in the sequence of its own.

The texts of a batch stand one after another in a single row without padding. Attention is computed per text by
:func:`attend`, for any architecture that uses transformers' ``AttentionInterface``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch

_NAME = "packed_texts"
"""The name of :func:`attend` among transformers' implementations of attention."""


class Block(NamedTuple):
    """Token ids of the end of a prompt, and of the target behind it, with its end token."""

    tail: list[int]
    target: list[int]


class PackedText(NamedTuple):
    """Token ids of a text, which ``blocks`` go on from."""

    head: list[int]
    blocks: list[Block]


def pack(texts: Sequence[PackedText]) -> dict[str, Any]:
    """A batch as one row.

    Returns:
        ``input_ids`` and ``position_ids``, int64, shape (1, tokens); ``predictors``, int64, shape (targets' tokens,):
        the position in the row of the token that predicts each token of a target; ``labels``, int64, of the same shape:
        these tokens; ``lengths``: for each text, the lengths of head and blocks.
    """
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    labels: list[int] = []
    for head, blocks in texts:
        ids += head
        positions += range(len(head))
        last = len(ids) - 1
        for tail, target in blocks:
            before = [last, *range(len(ids), len(ids) + len(tail) + len(target) - 1)]
            predictors += before[len(tail) :]
            labels += target
            positions += range(len(head), len(head) + len(tail) + len(target))
            ids += [*tail, *target]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "predictors": torch.tensor(predictors),
        "labels": torch.tensor(labels),
        "lengths": [[len(head), *(len(tail) + len(target) for tail, target in blocks)] for head, blocks in texts],
    }


class TextLayout:
    """Where a text's head and blocks are in the row.

    Args:
        start: position of the head's first token.
        lengths: of head and blocks.

    Attributes:
        head: positions of the head.
        grid: position of each token of a block, int64, shape (blocks, longest block); padding repeats the last one.
        calls: how many attentions were computed.
        places: flat positions on the grid of the blocks' tokens, in order, without padding.
    """

    def __init__(self, start: int, lengths: Sequence[int], device: torch.device) -> None:
        self.device, self.calls, blocks = device, 0, lengths[1:]
        self.head, self.head_length = slice(start, start + lengths[0]), lengths[0]
        self.longest = max(blocks, default=0)
        starts = torch.tensor([start + sum(lengths[: i + 1]) for i in range(len(blocks))], dtype=torch.long)
        sizes, steps = torch.tensor(blocks, dtype=torch.long)[:, None], torch.arange(self.longest)[None]
        self.grid = (starts[:, None] + steps.minimum(sizes - 1)).to(device)
        self.places = (steps < sizes).flatten().nonzero()[:, 0].to(device)
        self._masks: dict[tuple[str, int | None], torch.Tensor] = {}

    def head_mask(self, window: int | None) -> torch.Tensor | None:
        """What each token of the head sees of it, bool; ``None`` if it sees all before it."""
        if window is None or self.head_length <= window:
            return None
        positions = torch.arange(self.head_length, device=self.device)
        return self._mask("head", window, positions, positions)

    def block_mask(self, window: int | None) -> torch.Tensor:
        """What each token of a block sees of head and block, bool, shape (1, 1, longest block, head + longest block).

        It is the same for all blocks: padding is behind a block, where none of its tokens looks.
        """
        keys = torch.arange(self.head_length + self.longest, device=self.device)
        return self._mask("block", window, keys[self.head_length :], keys)

    def _mask(self, name: str, window: int | None, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        if (name, window) not in self._masks:
            distance = queries[:, None] - keys[None]
            seen = distance >= 0 if window is None else (distance >= 0) & (distance < window)
            self._masks[name, window] = seen[None, None]
        return self._masks[name, window]


_current: ContextVar[list[TextLayout]] = ContextVar("layouts")


@contextmanager
def use_lengths(lengths: Sequence[Sequence[int]], device: torch.device) -> Iterator[None]:
    """A block in which the model reads a row of these ``lengths``, as :func:`pack` returns them.

    Raises:
        ValueError: it computes attention in another way, which would let each token see all before it.
    """
    layouts, start = [], 0
    for text in lengths:
        layouts.append(TextLayout(start, text, device))
        start += sum(text)
    token = _current.set(layouts)
    try:
        yield
    finally:
        _current.reset(token)
    if not layouts[0].calls:
        raise ValueError("its attention cannot be exchanged")


def attend_by_text(model: Any) -> str:
    """Let a model compute attention by :func:`attend`; return the name of its former implementation."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, lambda *args, **kwargs: None)
    former = str(model.config._attn_implementation)
    model.set_attn_implementation(_NAME)
    return former


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """SDPA attention of a packed row, per text: its head, then all its blocks at once.

    Args:
        query: shape (1, heads, tokens, size); ``key`` and ``value`` may have fewer heads.
        mask: ignored, as the layout decides.
        options: of transformers; ``sliding_window`` counts positions.

    Returns:
        shape (1, tokens, heads, size), and ``None`` for the weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    window = options.pop("sliding_window", None)
    options.pop("is_causal", None)
    parts: list[torch.Tensor] = []
    for layout in _current.get():
        layout.calls += 1
        q, k, v = (tensor[:, :, layout.head] for tensor in (query, key, value))
        head_mask = layout.head_mask(window)
        attended, _ = sdpa_attention_forward(module, q, k, v, head_mask, is_causal=head_mask is None, **options)
        parts.append(attended[0])
        if not layout.longest:
            continue
        blocks = len(layout.grid)
        grids = [tensor[0][:, layout.grid].transpose(0, 1) for tensor in (query, key, value)]
        keys, values = (
            torch.cat([head.expand(blocks, -1, -1, -1), grid], dim=2)
            for head, grid in zip((k, v), grids[1:], strict=True)
        )
        block_mask = layout.block_mask(window)
        attended, _ = sdpa_attention_forward(module, grids[0], keys, values, block_mask, is_causal=False, **options)
        parts.append(attended.flatten(0, 1)[layout.places])
    return torch.cat(parts)[None], None
