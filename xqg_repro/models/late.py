"""Late-interaction encoders: one vector per token of a question or passage (see :mod:`xqg_repro.models.maxsim`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xqg_repro.core.errors import InputError, quote
from xqg_repro.models.encoder import passage_text, tokenize
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.loading import TOKENS_PER_BATCH, token_batches
from xqg_repro.models.punctuation import Punctuation


class TokenVectors(NamedTuple):
    """Vectors of the tokens of several passages, one passage after another.

    Attributes:
        vectors: float, shape (tokens, dimension).
        offsets: int64, shape (passages + 1,); passage i has the tokens from ``offsets[i]`` to ``offsets[i + 1]``.
    """

    vectors: np.ndarray
    offsets: np.ndarray

    def of(self, passage: int) -> np.ndarray:
        """The token vectors of one passage, shape (its tokens, dimension)."""
        return self.vectors[self.offsets[passage] : self.offsets[passage + 1]]


class LateEncoder:
    """A tokenizer and a :class:`~xqg_repro.models.token_network.TokenNetwork` as a :class:`LateConfig` specifies.

    Args:
        config: everything that determines the vectors.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size with padding; affects only speed, memory and the last digits.
            ``None`` takes a default that suits the device.

    Raises:
        InputError: as :func:`~xqg_repro.models.token_network.open_token_network`.
    """

    def __init__(self, config: LateConfig, device: str | None = None, tokens_per_batch: int | None = None) -> None:
        from xqg_repro.models.token_network import open_token_network

        self.config = config
        longest = max(config.query_max_length, config.passage_max_length)
        self._tokenizer, self._model, self.device = open_token_network(config.model, config.precision, device, longest)
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]
        self._punctuation = Punctuation(self._tokenizer)

    @property
    def dimension(self) -> int:
        """Number of components of a token's vector."""
        return self._model.dimension

    def encode_queries(self, queries: Sequence[str]) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), ``query_max_length``, dimension).

        A token that is not scored, which is padding without ``pad_queries``, has the vector 0, which adds 0 to a
        MaxSim.
        """
        length = self.config.query_max_length
        texts = [self.config.query_prefix + query for query in queries]
        tokens = tokenize(self._tokenizer, texts, length, self.config.model)
        size = max(1, self.tokens_per_batch // length)
        vectors = np.empty((len(queries), length, self.dimension), np.float32)
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            vectors[part], mask = self._embed(tokens[part], queries[part], length)
            if not self.config.pad_queries:
                vectors[part][~mask] = 0
        return vectors

    def encode_passages(self, titles: Sequence[str | None], texts: Sequence[str]) -> TokenVectors:
        """Embed passages; float32. Padding is left out and, with ``mask_punctuation``, so is punctuation.

        A passage of nothing but punctuation keeps it.
        """
        passages = [passage_text(*parts, self.config) for parts in zip(titles, texts, strict=True)]
        tokens = tokenize(self._tokenizer, passages, self.config.passage_max_length, self.config.model)
        parts: list[np.ndarray] = [np.empty(0)] * len(tokens)
        for batch in token_batches([len(ids) for ids in tokens], self.tokens_per_batch):
            vectors, _ = self._embed([tokens[i] for i in batch], [passages[i] for i in batch])
            for position, rows in zip(batch, vectors, strict=True):
                ids = tokens[position]
                parts[position] = rows[: len(ids)][scored_tokens(ids, self._punctuation, self.config)]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        joined = np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)
        return TokenVectors(joined, offsets)

    def _embed(
        self, tokens: Sequence[np.ndarray], texts: Sequence[str], length: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors, float32 (batch, length, dimension), and which of them are no padding, boolean (batch, length)."""
        import torch

        padding: dict[str, Any] = {"padding": "max_length", "max_length": length} if length else {"padding": True}
        ids = [row.tolist() for row in tokens]
        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt", **padding).to(self.device)
        with torch.inference_mode():
            vectors = self._model(padded["input_ids"], padded["attention_mask"]).cpu().numpy()
        finite = np.isfinite(vectors).all(axis=(1, 2))
        if not finite.all():
            problem = f"{self.config.model} gives {quote(texts[int(finite.argmin())])} vectors that are not numbers"
            raise InputError(problem, hint="try --precision float32 or bfloat16; otherwise the weights are damaged")
        return vectors, padded["attention_mask"].cpu().numpy().astype(bool)


def scored_tokens(ids: np.ndarray, punctuation: Punctuation, config: LateConfig) -> np.ndarray:
    """Which tokens of a passage are scored, by their ids; boolean, shape (tokens,); at least one is."""
    if not config.mask_punctuation:
        return np.ones(len(ids), bool)
    kept = ~punctuation.find(ids)
    return kept if kept.any() else ~kept
