"""A query generator in CTranslate2: faster on a CPU than torch, and sampled by CTranslate2's own random numbers.

A slice of the passages gets its queries in a language from an engine of its own, which has one thread, and a seed made
of the settings' seed, the language and the slice's docids. As many engines work side by side as there are threads. So
the same passages give the same queries on the same machine. But unlike in torch, a query depends on the other passages
of its slice, and 3 queries are not the first 3 of 5.

A causal model writes a passage's queries in all languages at once: what their prompts start with, usually the passage,
is then read once. So its queries depend on the other languages, too.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.models.conversion import count_workers
from xqg_repro.models.ct2_writers import check_engine, convert
from xqg_repro.models.generator import Document, PassageQueries, QueryGenerator, resolve_precision
from xqg_repro.models.loading import choose_device
from xqg_repro.models.settings import GeneratorConfig
from xqg_repro.models.writers import Opened

_SLICE = 64
"""Most passages in a slice: few, to keep all threads busy to the end, but many for each time that a model is loaded."""

_CAUSAL_SLICE = 16
"""The same of a causal model, which takes longer for a passage."""

_PROMPTS_PER_BATCH = 16
"""Most prompts in a batch. Slices and batches are of equal size, as a last, small batch is slow for its size."""

_seeding = threading.Lock()


class CTranslate2Generator(QueryGenerator):
    """A :class:`~xqg_repro.models.generator.QueryGenerator` that samples with CTranslate2.

    Args:
        config: everything that determines the queries.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: as the base class, :func:`~xqg_repro.models.ct2_writers.check_engine` and
            :func:`~xqg_repro.models.ct2_writers.convert`; or several queries of the likeliest tokens are wanted.
    """

    def __init__(self, config: GeneratorConfig, device: str | None = None) -> None:
        device = choose_device(device)
        config = resolve_precision(config, device)
        if config.top_k == 1 and config.queries > 1:
            problem = (
                f"CTranslate2 does not write {config.queries} queries of the likeliest tokens, which are all equal"
            )
            raise InputError(problem, hint="use --queries 1, or raise --top-k")
        lengths = config.prompt_max_length, config.query_max_length
        check_engine(config.model, str(config.precision), device, *lengths)
        super().__init__(config, "cpu")
        opened = Opened(self._folder, self._tokenizer, self._model, "cpu", self._writer)
        self._engine = convert(opened, config.model, device, str(config.precision))
        del self._model, self._sampler, opened
        self._workers = count_workers(device)

    def generate(
        self, passages: Sequence[Document], report: Callable[[int, int], None] = lambda queries, tokens: None
    ) -> list[PassageQueries]:
        """Write ``config.queries`` queries for each passage in each of ``config.languages``.

        ``report`` receives the numbers of queries and tokens of each slice and language.
        """
        results = [PassageQueries(passage.doc_id, {}) for passage in passages]
        languages, stopped = self.config.languages, threading.Event()
        together = [languages] if self._engine.shares_starts else [(language,) for language in languages]
        with ThreadPoolExecutor(self._workers) as pool:
            tasks = {
                pool.submit(self._write, passages[part.start : part.stop], group, stopped): part
                for group in together
                for part in _split(len(passages), _CAUSAL_SLICE if self._engine.shares_starts else _SLICE)
            }
            try:
                for task in as_completed(tasks):
                    written, tokens = task.result()
                    report(sum(len(texts) for queries in written for texts in queries.values()), tokens)
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for task, part in tasks.items():
            for position, queries in zip(part, task.result()[0], strict=True):
                results[position].queries.update(queries)
        return results

    def _write(
        self, passages: Sequence[Document], languages: tuple[str, ...], stopped: threading.Event
    ) -> tuple[list[dict[str, tuple[str, ...]]], int]:
        """The queries of a slice of passages, and their number of tokens; nothing once ``stopped``."""
        prompts = [ids for language in languages for ids in self._tokenize(passages, language)]
        seed = _number(self.config.seed, *languages, *(passage.doc_id for passage in passages))
        opened = self._seeded(seed, prompts[0][0])
        queries: list[dict[str, tuple[str, ...]]] = [dict.fromkeys(languages, ()) for _ in passages]
        tokens = 0
        for batch in self._batches([len(ids) for ids in prompts], len(passages)):
            if stopped.is_set():
                break
            rows = self._engine.sample(opened, [prompts[i] for i in batch], self.config, self.config.query_max_length)
            for i, hypotheses in zip(batch, rows, strict=True):
                tokens += sum(map(len, hypotheses))
                language, position = languages[i // len(passages)], i % len(passages)
                texts = self._shuffled(self._writer.decode(hypotheses), passages[position].doc_id, language)
                queries[position][language] = texts
        return queries, tokens

    def _batches(self, lengths: Sequence[int], passages: int) -> list[list[int]]:
        """Positions of the prompts that are sampled together, if all those of a language are neighbours.

        For a causal model they are a passage's: of prompts of other lengths, only as many tokens as the shortest has
        would be read at once, and the others one by one for all queries, which takes twice the time or more.
        """
        if self._engine.shares_starts:
            return [list(range(position, len(lengths), passages)) for position in range(passages)]
        longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        return [longest_first[part.start : part.stop] for part in _split(len(lengths), _PROMPTS_PER_BATCH)]

    def _seeded(self, seed: int, token: int) -> Any:
        """CTranslate2's object with a random generator of this seed, which has read a token."""
        import ctranslate2

        with _seeding:  # the seed is the process's; an object's thread takes it when it samples for the first time
            ctranslate2.set_random_seed(seed)
            opened = self._engine.open()
            self._engine.sample(opened, [[token]], self.config, 1)
        return opened

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
