"""Dense encoders over any Hugging Face encoder, and a plug-in for Pyserini's dense searcher.

``p = pool(LM(passage_prefix + title + title_separator + text))`` and
``q = pool(LM(query_prefix + question + query_suffix))`` with one shared language model, or with two (see
:mod:`xqg_repro.models.untied`); the score of a passage is their inner product. A model's folder may have further
layers, which map what is pooled (see :mod:`xqg_repro.models.projection`). The default
:class:`~xqg_repro.models.settings.EncoderConfig` is Tevatron's encoding, which the paper uses.

Pyserini's ``FaissSearcher`` takes any object with ``encode`` (and ``encode_batch``). :class:`QueryEncoder` has both,
but does not import Pyserini, so encoding needs no Java.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_repro.core.errors import InputError, quote
from xqg_repro.models.agreement import apply_layout, check_settings
from xqg_repro.models.architectures import check_text_encoder
from xqg_repro.models.folders import TOKEN_PROJECTION, Side
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.loading import TOKENS_PER_BATCH, choose_device, model_fingerprint, open_model, token_batches
from xqg_repro.models.questions import question_texts
from xqg_repro.models.settings import Backend, EncoderConfig, Pooling, torch_precision
from xqg_repro.models.untied import is_untied, side_config

if TYPE_CHECKING:
    import torch

TEXTS_PER_BLOCK = 65536
_TEXTS_PER_CALL = 1024

Project = Callable[["torch.Tensor"], "torch.Tensor"]
"""Maps pooled vectors (batch, hidden size) to (batch, dimension)."""


def pool(
    states: torch.Tensor,
    mask: torch.Tensor,
    config: EncoderConfig,
    project: Project | None = None,
) -> torch.Tensor:
    """Pool token vectors (batch, tokens, size), with attention mask (batch, tokens), to (batch, dimension).

    ``project`` maps pooled vectors (batch, size), before they are normalised, to (batch, dimension).
    """
    import torch

    if config.pooling is Pooling.CLS:
        pooled = states[:, 0]
    elif config.pooling is Pooling.LAST:
        pooled = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    else:
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
    if project is not None:
        pooled = project(pooled)
    return torch.nn.functional.normalize(pooled, dim=-1) if config.normalize else pooled


def passage_text(title: str | None, text: str, config: EncoderConfig | LateConfig) -> str:
    """The text of a passage as the model reads it; ``title`` is ``None`` for a passage without one."""
    if title is not None and config.title_separator is not None:
        text = f"{title}{config.title_separator}{text}"
    return config.passage_prefix + text


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int, model: str) -> list[np.ndarray]:
    """The token ids of each text, int32 (tokens,); :class:`InputError` names the model if a text has none."""
    tokens: list[np.ndarray] = []
    for start in range(0, len(texts), _TEXTS_PER_CALL):  # few texts, as a tokenizer returns much more than ids
        ids = tokenizer(
            list(texts[start : start + _TEXTS_PER_CALL]),
            truncation=True,
            max_length=max_length,
            return_token_type_ids=False,
            return_attention_mask=False,
        )["input_ids"]
        tokens += [np.array(row, dtype=np.int32) for row in ids]
    for text, row in zip(texts, tokens, strict=True):
        if not len(row):
            raise InputError(f"{model} reads no token in the text {quote(text)}", hint="fill it in")
    return tokens


class TextEncoder:
    """A tokenizer and a language model that turn texts into vectors as an :class:`EncoderConfig` specifies.

    Args:
        config: everything that determines the embedding.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size with padding; affects only speed, memory and the last digits.
            ``None`` takes a default that suits the device.

    Raises:
        InputError: as :func:`~xqg_repro.models.loading.open_model`; the settings differ from what the model's folder
            says (see :mod:`xqg_repro.models.agreement`); or a maximum length is beyond the model's.
    """

    def __init__(self, config: EncoderConfig, device: str | None = None, tokens_per_batch: int | None = None) -> None:
        from xqg_repro.models.projection import load_projection

        self.config = config
        folder, self._tokenizer, self._model, self.device = open_model(
            config.model, torch_precision(config), "cpu" if config.backend is Backend.CTRANSLATE2 else device
        )
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]
        if (folder / TOKEN_PROJECTION).exists():
            hint = "index it with xqg-repro index --late, or copy the folder without this file"
            raise InputError("belongs to a late-interaction model", path=folder / TOKEN_PROJECTION, hint=hint)
        layout = apply_layout(folder, self._tokenizer)
        check_settings(config, layout)
        longest = max(config.query_max_length, config.passage_max_length)
        hidden_size = check_text_encoder(self._tokenizer, self._model, longest, folder)
        self._projection = load_projection(layout, self._model, hidden_size, self.device)
        self._dimension = self._projection.dimension if self._projection else hidden_size
        self._workers = 1
        if config.backend is Backend.CTRANSLATE2:
            from xqg_repro.models.ct2_encoder import CTranslate2Network

            fingerprint, device = model_fingerprint(config.model), choose_device(device)
            network = CTranslate2Network(folder, self._tokenizer, self._model, fingerprint, device, config.precision)
            self._model, self._workers = network, network.workers

    @property
    def dimension(self) -> int:
        """Number of components of an embedding."""
        return self._dimension

    def encode_queries(self, queries: Sequence[str], languages: Sequence[str] | None = None) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), dimension).

        ``languages`` are those of the questions, which a ``query_suffix`` may need.
        """
        return self._encode(len(queries), self.query_batches(queries, languages))

    def encode_passages(self, titles: Sequence[str | None], texts: Sequence[str]) -> np.ndarray:
        """Embed passages; float32, shape (len(texts), dimension)."""
        passages = [passage_text(title, text, self.config) for title, text in zip(titles, texts, strict=True)]
        project = self._projection.passage if self._projection else None
        return self._encode(len(passages), self._batches(passages, self.config.passage_max_length, project))

    def query_batches(
        self, queries: Iterable[str], languages: Iterable[str] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Embed any number of questions without keeping the vectors, in an order that depends only on the questions.

        Args:
            queries, languages: as for :meth:`encode_queries`.

        Yields:
            positions of some of the questions, int64 (n,), and their embeddings, float32 (n, dimension).
        """
        texts = question_texts(queries, languages, self.config)
        project = self._projection.query if self._projection else None
        return self._batches(texts, self.config.query_max_length, project)

    def _encode(self, count: int, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        vectors = np.empty((count, self.dimension), dtype=np.float32)
        for positions, batch in batches:
            vectors[positions] = batch
        return vectors

    def _batches(
        self, texts: Iterable[str], max_length: int, project: Project | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions and embeddings of batches of similar length, sorted per block to keep only its tokens in memory."""
        texts, start = iter(texts), 0
        while block := list(islice(texts, TEXTS_PER_BLOCK)):
            tokens = tokenize(self._tokenizer, block, max_length, self.config.model)
            batches = list(token_batches([len(ids) for ids in tokens], self.tokens_per_batch))
            embedded = self._embed_all([[tokens[i] for i in batch] for batch in batches], project)
            for batch, vectors in zip(batches, embedded, strict=True):
                finite = np.isfinite(vectors).all(axis=1)
                if not finite.all():
                    text = block[batch[int(finite.argmin())]]
                    raise InputError(
                        f"{self.config.model} gives {quote(text)} an embedding that is infinite or not a number",
                        hint="try --precision float32 or bfloat16; if that does not help, the weights are damaged",
                    )
                yield start + np.array(batch), vectors
            start += len(block)

    def _embed_all(self, batches: Sequence[list[np.ndarray]], project: Project | None) -> Iterator[np.ndarray]:
        """The embeddings of each batch, in order; as many batches are computed side by side as the network likes."""
        embed = partial(self._embed, project=project)
        if self._workers == 1:
            yield from map(embed, batches)
            return
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                yield from pool.map(embed, batches)
            finally:
                pool.shutdown(cancel_futures=True)

    def _embed(self, tokens: list[np.ndarray], project: Project | None) -> np.ndarray:
        """The embeddings of one batch of tokenised texts; float32, shape (len(tokens), dimension)."""
        import torch

        ids = [row.tolist() for row in tokens]
        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
        mask = padded["attention_mask"]
        with torch.inference_mode():
            states = self._model(input_ids=padded["input_ids"], attention_mask=mask).last_hidden_state
            return pool(states.float(), mask, self.config, project).cpu().numpy()


def open_encoders(config: EncoderConfig, device: str | None = None) -> tuple[TextEncoder, TextEncoder]:
    """The encoder of questions and that of passages; one and the same unless they are untied."""
    query = TextEncoder(side_config(config, Side.QUERY), device)
    return query, TextEncoder(side_config(config, Side.PASSAGE), device) if is_untied(config.model) else query


class QueryEncoder:
    """Questions → vectors, with the interface that Pyserini's ``FaissSearcher`` expects.

    >>> from xqg_repro.models.settings import load_preset
    >>> QueryEncoder(load_preset("xdr-mini")).encode("Mikä on Suomen pääkaupunki?").dtype
    dtype('float32')
    """

    def __init__(self, config: EncoderConfig, device: str | None = None) -> None:
        self._encoder = TextEncoder(side_config(config, Side.QUERY), device)

    def encode(self, query: str) -> np.ndarray:
        """Embed one question; float32, shape (dimension,)."""
        return self._encoder.encode_queries([query])[0]

    def encode_batch(self, queries: Sequence[str]) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), dimension)."""
        return self._encoder.encode_queries(queries)


class DocumentEncoder:
    """Passages → vectors, with the signature of Pyserini's document encoders."""

    def __init__(self, config: EncoderConfig, device: str | None = None) -> None:
        self._encoder = TextEncoder(side_config(config, Side.PASSAGE), device)

    def encode(self, texts: Sequence[str], titles: Sequence[str] | None = None, **_: object) -> np.ndarray:
        """Embed passages, with or without titles; float32, shape (len(texts), dimension).

        Pyserini's ``fp16``, ``max_length`` and ``add_sep`` are accepted but ignored; the configuration determines them.
        """
        return self._encoder.encode_passages([None] * len(texts) if titles is None else titles, texts)
