"""Sampling from a sequence-to-sequence model: several token rows for each prompt, picked by given numbers.

However many rows a prompt gets, the encoder reads it once, and the decoder computes the keys and values of the
cross-attention once. The loop over the tokens, :func:`sample_rows`, also serves :mod:`xqg_repro.models.causal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from xqg_repro.core.errors import InputError
from xqg_repro.models.loading import TOKENS_PER_BATCH, token_batches
from xqg_repro.models.settings import GeneratorConfig
from xqg_repro.models.shared_attention import Layout, share_prompts, use_layout

if TYPE_CHECKING:
    import numpy as np
    import torch

_FINISHED_SHARE = 1 / 8
"""Finished rows leave the batch when they are this share of it: to leave copies the caches of all others."""


class TokenSampler:
    """A sequence-to-sequence model that writes several token rows for each prompt.

    Args:
        model: the model, in evaluation mode on its device. Its attention is replaced by one that computes the same.
        tokenizer: what pads prompts for it.
        config: how to pick tokens; see :func:`sample_tokens`.
        start, ends: the token that starts a row, and those that end one.
    """

    def __init__(self, model: Any, tokenizer: Any, config: GeneratorConfig, start: int, ends: list[int]) -> None:
        import torch

        share_prompts(model)
        self._model, self._tokenizer, self._config, self._start = model, tokenizer, config, start
        self._ends = torch.tensor(ends, device=model.device)

    def sample(self, prompts: list[list[int]], draws: np.ndarray) -> list[list[int]]:
        """The tokens of each row, including the end token; the rows of a prompt are neighbours.

        Args:
            prompts: the token ids of each prompt.
            draws: numbers in (0, 1] that pick the tokens, float32, shape (rows, steps), with as many rows per prompt.
        """
        import torch

        with torch.inference_mode():
            states, mask = self._encode(prompts)
            rows = _Rows(self._model, states, mask, self._start, len(draws) // len(states))
            return sample_rows(rows, torch.from_numpy(draws).to(states.device), self._ends, self._config)

    def _encode(self, prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's output, shape (prompts, tokens, hidden size), and its mask; both are 0 at the padding."""
        import torch

        device, sizes = self._model.device, [len(ids) for ids in prompts]
        mask = torch.zeros(len(prompts), max(sizes), dtype=torch.long, device=device)
        states = torch.zeros(0)
        for batch in token_batches(sizes, TOKENS_PER_BATCH["cpu" if device.type == "cpu" else "gpu"]):
            padded = self._tokenizer.pad({"input_ids": [prompts[i] for i in batch]}, return_tensors="pt").to(device)
            part = padded["attention_mask"]
            output = self._model.get_encoder()(input_ids=padded["input_ids"], attention_mask=part).last_hidden_state
            if not len(states):
                states = output.new_zeros(*mask.shape, output.shape[2])
            states[batch, : part.shape[1]], mask[batch, : part.shape[1]] = output, part
        return states, mask


class _Rows:
    """The rows of a batch of prompts while they are written, and the decoder's caches.

    Args:
        model: a sequence-to-sequence model.
        states, mask: the encoder's output, shape (prompts, tokens, hidden size), and which tokens are not padding.
        start: the token that starts a row.
        count: rows per prompt.

    Attributes:
        scores: logits of the next token, shape (rows, vocabulary).
    """

    def __init__(self, model: Any, states: torch.Tensor, mask: torch.Tensor, start: int, count: int) -> None:
        import torch

        self._model, self._states, self._mask, self._cache = model, states, mask, None
        prompts = torch.arange(len(states), device=states.device)
        self._layout = Layout(prompts)
        # all rows of a prompt start alike, so one of them fills the caches
        self.scores = self._score(torch.full_like(prompts, start)).repeat_interleave(count, 0)
        cache: Any = self._cache
        # a layer of the decoder has two attentions; if it computes them in another way, rows cannot share keys
        self._is_shared = 0 < self._layout.calls == 2 * sum(getattr(cache, "is_updated", {}).values())
        if self._is_shared:
            cache.self_attention_cache.batch_repeat_interleave(count)
            self._layout = Layout(prompts.repeat_interleave(count))
        else:
            cache.batch_repeat_interleave(count)
            self._states, self._mask = states.repeat_interleave(count, 0), mask.repeat_interleave(count, 0)
            self._layout = Layout(torch.arange(len(self._states), device=states.device))

    def append(self, tokens: torch.Tensor) -> None:
        """Append a token to each row, shape (rows,), and compute the scores of the next."""
        del self.scores  # the next ones can use its memory
        self.scores = self._score(tokens)

    def keep(self, kept: torch.Tensor) -> None:
        """Drop all rows except those at some ascending positions, and the prompts that have no row left."""
        import torch

        cache: Any = self._cache
        remaining, prompts = torch.unique_consecutive(self._layout.prompts[kept], return_inverse=True)
        if self._is_shared:
            cache.self_attention_cache.batch_select_indices(kept)
        else:
            cache.batch_select_indices(kept)
        if len(remaining) < len(self._states):
            if self._is_shared:
                cache.cross_attention_cache.batch_select_indices(remaining)
            self._states, self._mask = self._states[remaining], self._mask[remaining]
        self._layout = Layout(prompts)

    def _score(self, tokens: torch.Tensor) -> torch.Tensor:
        """Let the decoder read a token of each row, and return the logits of the next."""
        from transformers.modeling_outputs import BaseModelOutput

        with use_layout(self._layout):
            output = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._states),
                attention_mask=self._mask,
                decoder_input_ids=tokens[:, None],
                past_key_values=self._cache,
                use_cache=True,
            )
        self._cache = output.past_key_values
        return output.logits[:, -1]


class Rows(Protocol):
    """Rows of tokens that a model writes, each a token a step.

    Attributes:
        scores: logits of the next token, shape (rows, vocabulary).
    """

    scores: torch.Tensor

    def append(self, tokens: torch.Tensor) -> None:
        """Append a token to each row, shape (rows,), and compute the scores of the next."""

    def keep(self, kept: torch.Tensor) -> None:
        """Drop all rows except those at some ascending positions."""


def sample_rows(rows: Rows, draws: torch.Tensor, ends: torch.Tensor, config: GeneratorConfig) -> list[list[int]]:
    """The tokens that a model writes into each row, including the end token.

    Args:
        rows: of which nothing is written yet.
        draws: numbers in (0, 1] that pick the tokens, float32, shape (rows, steps).
        ends: the tokens that end a row.
        config: how to pick tokens; see :func:`sample_tokens`.
    """
    import torch

    written = torch.zeros(draws.shape, dtype=torch.long, device=draws.device)
    numbers = torch.arange(len(draws), device=draws.device)  # of the rows that are still in the batch
    finished = torch.zeros_like(numbers, dtype=torch.bool)
    for step in range(draws.shape[1]):
        last = sample_tokens(rows.scores, draws[numbers, step], config)
        written[numbers, step] = last
        finished |= torch.isin(last, ends)
        count = int(finished.sum())
        if count == len(finished) or step + 1 == draws.shape[1]:
            break
        if count >= _FINISHED_SHARE * len(finished):
            kept = (~finished).nonzero()[:, 0]
            rows.keep(kept)
            numbers, last, finished = numbers[kept], last[kept], finished[kept]
        rows.append(last)
    is_end = torch.isin(written, ends)
    lengths = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, written.shape[1])
    return [row[:length] for row, length in zip(written.tolist(), lengths.tolist(), strict=True)]


def sample_tokens(scores: torch.Tensor, draws: torch.Tensor, config: GeneratorConfig) -> torch.Tensor:
    """Sample a token for each row by inverting the cumulative distribution; token ids, int64, shape (rows,).

    Args:
        scores: logits, shape (rows, vocabulary); :class:`InputError` if one is NaN or infinite.
        draws: numbers in (0, 1], shape (rows,). A draw picks the token where the cumulative probability, summed in
            the order of token ids, reaches it.
        config: temperature, top-k and top-p, applied in this order, as in transformers.
    """
    import torch

    tokens = None
    if config.top_k or config.top_p < 1:
        scores, tokens = scores.topk(min(config.top_k or scores.shape[1], scores.shape[1]))
    shares = (scores.float() / config.temperature).softmax(-1)
    if config.top_p < 1:
        shares = shares.masked_fill(shares.cumsum(-1) - shares >= config.top_p, 0)
    if tokens is not None:
        # back to the order of token ids: in the order of probabilities, rounding would swap near-equal tokens
        tokens, order = tokens.sort(-1)
        shares = shares.gather(-1, order)
    cumulative = shares.cumsum(-1)
    total = cumulative[:, -1:]
    if not torch.isfinite(total).all():
        raise InputError("the generator's scores are not numbers", hint="try another precision, such as float32")
    positions = (cumulative < draws[:, None] * total).sum(-1, keepdim=True)
    return (positions if tokens is None else tokens.gather(-1, positions))[:, 0]
