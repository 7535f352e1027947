"""Sampling from a causal language model: several token rows for each prompt, picked by given numbers.

However many rows a prompt gets, the model reads it once: its keys and values are then repeated.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xqg_repro.models.sampling import sample_rows
from xqg_repro.models.settings import GeneratorConfig

if TYPE_CHECKING:
    import numpy as np
    import torch

_PADDING = 0
"""Any token does, as the attention mask hides it."""


class CausalSampler:
    """A causal language model that writes several token rows after each prompt.

    Args:
        model: the model, in evaluation mode on its device.
        config: how to pick tokens; see :func:`~xqg_repro.models.sampling.sample_tokens`.
        ends: the tokens that end a row; none of them is its first.
    """

    def __init__(self, model: Any, config: GeneratorConfig, ends: list[int]) -> None:
        import torch

        self._model, self._config = model, config
        self._ends = torch.tensor(ends, device=model.device)

    def sample(self, prompts: list[list[int]], draws: np.ndarray) -> list[list[int]]:
        """The tokens of each row, including the end token; the rows of a prompt are neighbours.

        Args:
            prompts: the token ids of each prompt.
            draws: numbers in (0, 1] that pick the tokens, float32, shape (rows, steps), with as many rows per prompt.
        """
        import torch

        with torch.inference_mode():
            rows = _Rows(self._model, prompts, len(draws) // len(prompts))
            rows.scores[:, self._ends] = -torch.inf
            return sample_rows(rows, torch.from_numpy(draws).to(self._model.device), self._ends, self._config)


class _Rows:
    """The rows of a batch of prompts while they are written, and the model's cache.

    Args:
        model: a causal language model.
        prompts: the token ids of each prompt.
        count: rows per prompt.

    Attributes:
        scores: logits of the next token, shape (rows, vocabulary).
    """

    def __init__(self, model: Any, prompts: Sequence[list[int]], count: int) -> None:
        self._model, self._cache = model, None
        self._takes = inspect.signature(model.forward).parameters
        ids, self._mask = pad_left(prompts, model.device)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        self.scores = self._score(ids, positions).repeat_interleave(count, 0)
        cache: Any = self._cache
        cache.batch_repeat_interleave(count)
        self._mask = self._mask.repeat_interleave(count, 0)
        self._positions = positions[:, -1:].repeat_interleave(count, 0)

    def append(self, tokens: torch.Tensor) -> None:
        """Append a token to each row, shape (rows,), and compute the scores of the next."""
        import torch

        del self.scores  # the next ones can use its memory
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        self._positions = self._positions + 1
        self.scores = self._score(tokens[:, None], self._positions)

    def keep(self, kept: torch.Tensor) -> None:
        """Drop all rows except those at some ascending positions."""
        cache: Any = self._cache
        cache.batch_select_indices(kept)
        self._mask, self._positions = self._mask[kept], self._positions[kept]

    def _score(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Let the model read tokens, shape (rows, tokens), and return the logits of the next one of each row."""
        optional = {"position_ids": positions, "logits_to_keep": 1}
        output = self._model(
            input_ids=tokens,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self._takes},
        )
        self._cache = output.past_key_values
        return output.logits[:, -1]


def pad_left(prompts: Sequence[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts padded on the left to the longest, and their attention mask: int64, shape (prompts, tokens)."""
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[_PADDING] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask
