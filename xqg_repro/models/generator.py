"""Query generators: a sequence-to-sequence or causal language model that writes questions for a passage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.models.architectures import check_length, explain_failure
from xqg_repro.models.loading import choose_device, has_bfloat16, token_batches
from xqg_repro.models.settings import Backend, GeneratorConfig, Precision, count_prompts, torch_precision
from xqg_repro.models.writers import open_writer

TOKENS_PER_BATCH = 65_536


class Document(Protocol):
    """What a model reads: an ir-datasets document; it may also have a ``title``."""

    @property
    def doc_id(self) -> str: ...  # noqa: D102

    @property
    def text(self) -> str: ...  # noqa: D102


class PassageQueries(NamedTuple):
    """The queries of a passage: language → queries in rank order."""

    docid: str
    queries: dict[str, tuple[str, ...]]

    def line(self) -> str:
        """The JSON line, without its end; see :mod:`xqg_repro.representation.queries`."""
        return json.dumps({"docid": self.docid, "generated_queries": self.queries}, ensure_ascii=False)


def check_generator(config: GeneratorConfig) -> None:
    """Raise :class:`InputError` if the prompt has an unknown placeholder, or is the same in two languages."""
    filled = (config.prompt_for(language, "", "") for language in config.languages)
    if count_prompts(config.prompt, filled, "{language}, {title} and {text}") < len(config.languages):
        raise InputError(
            f"the prompt {config.prompt!r} is the same in two languages",
            hint="put {language} into it, and name each language once",
        )


def resolve_precision(config: GeneratorConfig, device: str | None = None) -> GeneratorConfig:
    """The settings with a precision that suits the backend and the device, if they name none."""
    if config.precision is not None:
        return config
    if config.backend is Backend.CTRANSLATE2:
        return dataclasses.replace(config, precision=Precision.FLOAT32)
    precision = Precision.BFLOAT16 if has_bfloat16(choose_device(device)) else Precision.FLOAT32
    return dataclasses.replace(config, precision=precision)


class QueryGenerator:
    """A tokenizer and a model that write queries as a :class:`GeneratorConfig` specifies.

    Args:
        config: everything that determines the queries.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size, where each query counts as its padded prompt plus its maximum
            length; affects only speed and memory.

    Raises:
        InputError: as :func:`check_generator` and :func:`~xqg_repro.models.writers.open_writer`; or a maximum length is
            beyond the model's.
    """

    def __init__(
        self, config: GeneratorConfig, device: str | None = None, tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> None:
        check_generator(config)
        self.config = resolve_precision(config, device)
        self.tokens_per_batch = tokens_per_batch
        self._folder, self._tokenizer, self._model, self.device, self._writer = open_writer(
            config.model, torch_precision(self.config), device, config.chat
        )
        longest = self._writer.longest(config.prompt_max_length, config.query_max_length)
        with explain_failure(self._model, self._folder, "write queries"):
            hint = "lower --prompt-max-length or --query-max-length"
            check_length(None, self._model, longest, self._folder, hint=hint)
            self._sampler = self._writer.sampler(self._model, self.config)

    def generate(
        self, passages: Sequence[Document], report: Callable[[int, int], None] = lambda queries, tokens: None
    ) -> list[PassageQueries]:
        """Write ``config.queries`` queries for each passage in each of ``config.languages``.

        ``report`` receives the numbers of queries and tokens of each batch.
        """
        languages = self.config.languages if passages else ()
        results = [PassageQueries(passage.doc_id, dict.fromkeys(languages, ())) for passage in passages]
        tasks = [(position, language) for language in languages for position in range(len(passages))]
        prompts = [prompt for language in languages for prompt in self._tokenize(passages, language)]
        sizes = [(len(ids) + self.config.query_max_length) * self.config.queries for ids in prompts]
        for batch in token_batches(sizes, self.tokens_per_batch):
            chosen = [tasks[i] for i in batch]
            draws = np.concatenate([self._draws(passages[i].doc_id, language) for i, language in chosen])
            with explain_failure(self._model, self._folder, "write queries"):
                queries = self._sample([prompts[i] for i in batch], draws, report)
            for (position, language), texts in zip(chosen, queries, strict=True):
                results[position].queries[language] = texts
        return results

    def _tokenize(self, passages: Sequence[Document], language: str) -> list[list[int]]:
        """The tokens of each passage's prompt, truncated at the maximum length."""
        fills = [partial(self.config.prompt_for, language, getattr(p, "title", None)) for p in passages]
        prompts = [(fill, passage.text) for fill, passage in zip(fills, passages, strict=True)]
        return self._writer.encode(prompts, self.config.prompt_max_length)

    def _draws(self, docid: str, language: str) -> np.ndarray:
        """Numbers in (0, 1] that pick the tokens of a passage's queries: float32, shape (queries, steps)."""
        ranks, steps = range(self.config.queries), self.config.query_max_length
        keys = [f"{self.config.seed}|{docid}|{language}|{rank}".encode() for rank in ranks]
        bits = b"".join(hashlib.shake_256(key).digest(4 * steps) for key in keys)
        return ((np.frombuffer(bits, "<u4").reshape(-1, steps) + 1.0) / 2**32).astype(np.float32)

    def _sample(
        self, prompts: list[list[int]], draws: np.ndarray, report: Callable[[int, int], None]
    ) -> list[tuple[str, ...]]:
        """The queries of a batch of prompts; ``draws`` stacks what :meth:`_draws` returns for each prompt."""
        count = self.config.queries
        rows = self._sampler.sample(prompts, draws)
        report(len(rows), sum(map(len, rows)))
        lines = self._writer.decode(rows)
        return [tuple(lines[i : i + count]) for i in range(0, len(lines), count)]
