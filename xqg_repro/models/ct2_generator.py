"""A query generator in CTranslate2: faster on a CPU than torch, and sampled by CTranslate2's own random numbers.

A slice of the passages gets its queries in a language from a translator of its own, which has one thread, and a seed
made of the settings' seed, the language and the slice's docids. As many translators work side by side as there are
threads. So the same passages give the same queries on the same machine. But unlike in torch, a query depends on the
other passages of its slice, and 3 queries are not the first 3 of 5.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from xqg_repro.models.conversion import GENERATORS, check_kind, convert_seq2seq, count_workers
from xqg_repro.models.generator import Document, PassageQueries, QueryGenerator, resolve_precision
from xqg_repro.models.loading import choose_device, model_fingerprint, resolve_model
from xqg_repro.models.settings import GeneratorConfig

_SLICE = 64
"""Most passages in a slice: few, to keep all threads busy to the end, but many for each time that a model is loaded."""

_PROMPTS_PER_BATCH = 16
"""Most prompts in a batch. Slices and batches are of equal size, as a last, small batch is slow for its size."""

_seeding = threading.Lock()


class CTranslate2Generator(QueryGenerator):
    """A :class:`~xqg_repro.models.generator.QueryGenerator` that samples with CTranslate2.

    Args:
        config: everything that determines the queries.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: as the base class, :func:`~xqg_repro.models.conversion.check_kind` and
            :func:`~xqg_repro.models.conversion.convert_seq2seq`.
    """

    def __init__(self, config: GeneratorConfig, device: str | None = None) -> None:
        device = choose_device(device)
        config = resolve_precision(config, device)
        check_kind(resolve_model(config.model), GENERATORS, str(config.precision), device)
        super().__init__(config, "cpu")
        fingerprint = model_fingerprint(config.model)
        self._open = convert_seq2seq(
            self._folder, self._tokenizer, self._model, fingerprint, device, str(config.precision)
        )
        del self._model, self._sampler
        self._workers = count_workers(device)
        self._numbers = self._tokenizer.get_vocab()

    def generate(
        self, passages: Sequence[Document], report: Callable[[int, int], None] = lambda queries, tokens: None
    ) -> list[PassageQueries]:
        """Write ``config.queries`` queries for each passage in each of ``config.languages``.

        ``report`` receives the numbers of queries and tokens of each slice and language.
        """
        results = [PassageQueries(passage.doc_id, {}) for passage in passages]
        stopped = threading.Event()
        with ThreadPoolExecutor(self._workers) as pool:
            tasks = {
                pool.submit(self._write, passages[part.start : part.stop], language, stopped): (part, language)
                for language in self.config.languages
                for part in _split(len(passages), _SLICE)
            }
            try:
                for task in as_completed(tasks):
                    queries, tokens = task.result()
                    report(sum(map(len, queries)), tokens)
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for task, (part, language) in tasks.items():
            for position, texts in zip(part, task.result()[0], strict=True):
                results[position].queries[language] = texts
        return results

    def _write(
        self, passages: Sequence[Document], language: str, stopped: threading.Event
    ) -> tuple[list[tuple[str, ...]], int]:
        """The queries of a slice of passages in a language, and their number of tokens; nothing once ``stopped``."""
        prompts = [self._tokenizer.convert_ids_to_tokens(ids) for ids in self._tokenize(passages, language)]
        longest_first = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
        seed = _number(self.config.seed, language, *(passage.doc_id for passage in passages))
        translator = self._seeded(seed, prompts[0][0])
        queries: list[tuple[str, ...]] = [()] * len(passages)
        tokens = 0
        for part in _split(len(prompts), _PROMPTS_PER_BATCH):
            batch = longest_first[part.start : part.stop]
            if stopped.is_set():
                break
            for i, hypotheses in zip(batch, self._hypotheses(translator, [prompts[i] for i in batch]), strict=True):
                tokens += sum(map(len, hypotheses))
                queries[i] = self._shuffled(self._texts(hypotheses), passages[i].doc_id, language)
        return queries, tokens

    def _seeded(self, seed: int, token: str) -> Any:
        """A translator with a random generator of this seed, which has read a token."""
        import ctranslate2

        with _seeding:  # the seed is the process's; a translator's thread takes it when it samples for the first time
            ctranslate2.set_random_seed(seed)
            translator = self._open()
            self._hypotheses(translator, [[token]], steps=1)
        return translator

    def _hypotheses(self, translator: Any, prompts: list[list[str]], steps: int | None = None) -> list[list[list[str]]]:
        """The tokens of each prompt's queries, the likeliest first."""
        config = self.config
        results = translator.translate_batch(
            prompts,
            beam_size=1,
            num_hypotheses=config.queries,
            end_token=self._writer.ends,
            max_input_length=0,
            max_decoding_length=steps or config.query_max_length,
            sampling_topk=config.top_k,
            sampling_topp=config.top_p,
            sampling_temperature=config.temperature,
        )
        return [result.hypotheses for result in results]

    def _texts(self, hypotheses: Sequence[Sequence[str]]) -> list[str]:
        """The texts of some queries; tokens that only fill the model's vocabulary have none."""
        ids = [[self._numbers[token] for token in tokens if token in self._numbers] for tokens in hypotheses]
        return self._writer.decode(ids)

    def _shuffled(self, texts: list[str], docid: str, language: str) -> tuple[str, ...]:
        """The texts in random order: a query's rank must not say how likely the model finds it."""
        order = np.random.default_rng(_number(self.config.seed, docid, language)).permutation(len(texts))
        return tuple(texts[i] for i in order)


def _number(*parts: object) -> int:
    """A number of 32 bits that depends on all parts, none of which contains white space."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:4], "little")


def _split(count: int, size: int) -> list[range]:
    """The fewest ranges of at most this size that divide so many positions evenly."""
    parts = -(-count // size)
    return [range(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
