"""Query generators: a sequence-to-sequence model that writes questions for a passage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.models.architectures import check_length, explain_failure
from xqg_repro.models.loading import choose_device, has_bfloat16, open_model, token_batches
from xqg_repro.models.sampling import TokenSampler
from xqg_repro.models.settings import Backend, GeneratorConfig, Precision, count_prompts, torch_precision

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


def decoder_ends(model: Any, folder: Path) -> tuple[int, list[int]]:
    """The token that starts a decoder, and those that end a text; :class:`InputError` unless the model has both."""
    config = model.config
    start = getattr(config, "decoder_start_token_id", None)
    start = config.pad_token_id if start is None else start
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    for name, token in (("decoder_start_token_id", start), *(("eos_token_id", end) for end in ends)):
        if token is None or not 0 <= token < model.get_input_embeddings().weight.shape[0]:
            problem = f"{name} is {'missing' if token is None else f'{token}, which has no embedding'}"
            raise InputError(problem, path=folder / "config.json", hint="give it the model's own number")
    return start, ends


def decode_lines(tokenizer: Any, rows: Any) -> list[str]:
    """The text of each row of token ids without special tokens, on one line."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [" ".join(text.split()) for text in texts]


class QueryGenerator:
    """A tokenizer and a sequence-to-sequence model that write queries as a :class:`GeneratorConfig` specifies.

    Args:
        config: everything that determines the queries.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size, where each query counts as its padded prompt plus its maximum
            length; affects only speed and memory.

    Raises:
        InputError: as :func:`check_generator` and :func:`~xqg_repro.models.loading.open_model`; or a maximum length is
            beyond the model's.
    """

    def __init__(
        self, config: GeneratorConfig, device: str | None = None, tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> None:
        check_generator(config)
        self.config = resolve_precision(config, device)
        self.tokens_per_batch = tokens_per_batch
        folder, self._tokenizer, self._model, self.device = open_model(
            config.model, torch_precision(self.config), device, "AutoModelForSeq2SeqLM", "a sequence-to-sequence model"
        )
        longest = max(config.prompt_max_length, config.query_max_length)
        with explain_failure(self._model, folder, "write queries"):
            check_length(None, self._model, longest, folder, hint="lower --prompt-max-length or --query-max-length")
            start, ends = decoder_ends(self._model, folder)
            self._sampler = TokenSampler(self._model, self._tokenizer, self.config, start, ends)
        self._folder = folder

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
        return self._tokenizer(
            [self.config.prompt_for(language, getattr(p, "title", None), p.text) for p in passages],
            truncation=True,
            max_length=self.config.prompt_max_length,
            return_token_type_ids=False,
            return_attention_mask=False,
        )["input_ids"]

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
        lines = decode_lines(self._tokenizer, rows)
        return [tuple(lines[i : i + count]) for i in range(0, len(lines), count)]
