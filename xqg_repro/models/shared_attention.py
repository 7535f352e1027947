"""Cross-attention whose keys and values are shared by several rows of the decoder: those written for one prompt.

Transformers' caches hold keys and values for each row, so the rows of a prompt would repeat them. Here the cache of the
cross-attention holds them once for each prompt, and the rows' queries are brought into the shape that this needs. It
works for any architecture that computes attention through transformers' ``AttentionInterface``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_NAME = "shared_prompts"
"""The name of :func:`_attend` among transformers' implementations of attention."""


class Layout:
    """Which rows of the decoder belong to which prompt.

    Args:
        prompts: the number of each row's prompt, int64, shape (rows,); ascending and without gaps.

    Attributes:
        width: the largest number of rows of a prompt.
        places: flat position of each row on a grid of shape (prompts, width).
        calls: how many attentions were computed in this layout.
    """

    def __init__(self, prompts: torch.Tensor) -> None:
        import torch

        counts = torch.bincount(prompts)
        starts = counts.cumsum(0) - counts
        self.prompts, self.calls, self.width = prompts, 0, int(counts.max())
        self.places = prompts * self.width + torch.arange(len(prompts), device=prompts.device) - starts[prompts]


_current: ContextVar[Layout] = ContextVar("layout")


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """A block in which the decoder's rows have a layout."""
    token = _current.set(layout)
    try:
        yield
    finally:
        _current.reset(token)


def share_prompts(model: Any) -> None:
    """Let a model compute attention by :func:`_attend`, if it uses transformers' SDPA attention so far."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    if getattr(model.config, "_attn_implementation", None) == "sdpa":
        model.set_attn_implementation(_NAME)


def _attend(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any) -> Any:
    """SDPA attention, where keys and values may also be those of prompts, and queries those of their rows.

    ``query`` has shape (rows, heads, 1, size), and ``key`` then (prompts, heads, tokens, size). A prompt has at least
    one row, so rows that are as many as prompts need nothing else.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layout = _current.get(None)
    if layout is not None:
        layout.calls += 1
    if layout is None or len(query) == len(key):
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    grid = query.new_zeros(len(key) * layout.width, query.shape[1], query.shape[3])
    grid[layout.places] = query[:, :, 0]
    grid = grid.unflatten(0, (len(key), layout.width)).transpose(1, 2)
    options["is_causal"] = False  # the rows of a prompt are no sequence
    output, _ = sdpa_attention_forward(module, grid, key, value, mask, **options)  # (prompts, width, heads, size)
    return output.flatten(0, 1)[layout.places, None], None
