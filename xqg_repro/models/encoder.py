"""Dense encoders over any Hugging Face encoder, as plug-ins for Pyserini's dense searcher.

``p = pool(LM(passage_prefix + title + title_separator + text))`` and ``q = pool(LM(query_prefix + question))`` with
one shared language model; the score of a passage is the inner product of the two. With the default
:class:`~xqg_repro.models.settings.EncoderConfig` this is Tevatron's encoding, which the paper uses.

Pyserini's ``FaissSearcher`` takes any object with ``encode`` (and ``encode_batch``); the classes here have both and
do not import Pyserini, so that encoding needs no Java.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro.core.errors import InputError, quote
from xqg_repro.models.loading import (
    TOKENS_PER_BATCH,
    check_length,
    chosen_device,
    load_model,
    move,
    resolve_model,
    token_batches,
)
from xqg_repro.models.settings import EncoderConfig, Pooling

if TYPE_CHECKING:
    import torch

TEXTS_PER_BLOCK = 65536


def pool(states: torch.Tensor, mask: torch.Tensor, config: EncoderConfig) -> torch.Tensor:
    """Token vectors (batch, tokens, dimension) and their attention mask (batch, tokens) → (batch, dimension)."""
    import torch

    if config.pooling is Pooling.CLS:
        pooled = states[:, 0]
    else:
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(pooled, dim=-1) if config.normalize else pooled


def passage_text(title: str | None, text: str, config: EncoderConfig) -> str:
    """The text of a passage as the model reads it; ``None`` is a passage without a title."""
    separator = config.title_separator
    return config.passage_prefix + (text if separator is None or title is None else f"{title}{separator}{text}")


class TextEncoder:
    """A tokenizer and a language model that turn texts into vectors, by the settings of an :class:`EncoderConfig`.

    Args:
        config: what decides the embedding.
        device: a torch device; ``None`` takes a GPU if there is one.
        tokens_per_batch: upper bound of a batch's size with padding; changes speed and memory only, and the last
            digits. ``None`` takes what suits the device.
    """

    def __init__(self, config: EncoderConfig, device: str | None = None, tokens_per_batch: int | None = None) -> None:
        import torch

        folder = resolve_model(config.model)
        self.config = config
        self._tokenizer, self._model = load_model(folder, getattr(torch, config.precision.value))
        self.device = chosen_device(device)
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]
        move(self._model, self.device)
        longest = max(config.query_max_length, config.passage_max_length)
        check_length(self._tokenizer, self._model, longest, folder)

    @property
    def dimension(self) -> int:
        """Number of components of an embedding."""
        return int(self._model.config.hidden_size)

    def encode_queries(self, queries: Sequence[str]) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), dimension)."""
        return self._encode([self.config.query_prefix + query for query in queries], self.config.query_max_length)

    def encode_passages(self, titles: Sequence[str | None], texts: Sequence[str]) -> np.ndarray:
        """Embed passages; float32, shape (len(texts), dimension)."""
        return self._encode(
            [passage_text(title, text, self.config) for title, text in zip(titles, texts, strict=True)],
            self.config.passage_max_length,
        )

    def query_batches(self, queries: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Embed any number of questions and keep none of the vectors.

        Yields:
            positions of some of the questions, int64 (n,), and their embeddings, float32 (n, dimension). Every question
            comes up once; the order depends on nothing but the questions.
        """
        return self._batches((self.config.query_prefix + query for query in queries), self.config.query_max_length)

    def _encode(self, texts: Sequence[str], max_length: int) -> np.ndarray:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for positions, batch in self._batches(texts, max_length):
            vectors[positions] = batch
        return vectors

    def _batches(self, texts: Iterable[str], max_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of similar length, sorted within blocks so that only a block's tokens are in memory."""
        import torch

        texts, start = iter(texts), 0
        while block := list(islice(texts, TEXTS_PER_BLOCK)):
            tokens = self._tokenizer(
                block,
                truncation=True,
                max_length=max_length,
                return_token_type_ids=False,
                return_attention_mask=False,
            )["input_ids"]
            for batch in token_batches([len(ids) for ids in tokens], self.tokens_per_batch):
                padded = self._tokenizer.pad({"input_ids": [tokens[i] for i in batch]}, return_tensors="pt")
                with torch.inference_mode():
                    mask = padded["attention_mask"].to(self.device)
                    states = self._model(
                        input_ids=padded["input_ids"].to(self.device), attention_mask=mask
                    ).last_hidden_state
                    vectors = pool(states.float(), mask, self.config).cpu().numpy()
                if not np.isfinite(vectors).all():
                    text = block[batch[int(np.isfinite(vectors).all(axis=1).argmin())]]
                    raise InputError(
                        f"{self.config.model} gives {quote(text)} an embedding that is infinite or not a number",
                        hint="take --precision float32, or bfloat16; if that is what it is, its weights are spoilt",
                    )
                yield start + np.array(batch), vectors
            start += len(block)


class QueryEncoder:
    """Questions → vectors, as Pyserini's ``FaissSearcher`` wants it.

    >>> from xqg_repro.core.settings import load_preset
    >>> QueryEncoder(load_preset("xdr-mini")).encode("Mikä on Suomen pääkaupunki?").dtype
    dtype('float32')
    """

    def __init__(self, config: EncoderConfig, device: str | None = None) -> None:
        self._encoder = TextEncoder(config, device)

    def encode(self, query: str) -> np.ndarray:
        """Embed one question; float32, shape (dimension,)."""
        return self._encoder.encode_queries([query])[0]

    def encode_batch(self, queries: Sequence[str]) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), dimension)."""
        return self._encoder.encode_queries(queries)


class DocumentEncoder:
    """Passages → vectors, with the signature of Pyserini's document encoders."""

    def __init__(self, config: EncoderConfig, device: str | None = None) -> None:
        self._encoder = TextEncoder(config, device)

    def encode(self, texts: Sequence[str], titles: Sequence[str] | None = None, **_: object) -> np.ndarray:
        """Embed passages; float32, shape (len(texts), dimension). Without titles only the texts are read.

        Pyserini's ``fp16``, ``max_length`` and ``add_sep`` are accepted and ignored: the configuration decides.
        """
        return self._encoder.encode_passages([None] * len(texts) if titles is None else titles, texts)
