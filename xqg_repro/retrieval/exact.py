"""Exact search without an index: stored embeddings are read once, and only the best passages are kept.

The hits are those of a flat FAISS index. Memory holds a block of passages and its scores, however many passages there
are, and nothing is copied on disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xqg_repro.core.cluster import Distribution, run_tasks, start_workers
from xqg_repro.core.embeddings import Shard, open_shards
from xqg_repro.core.errors import InputError, in_file
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import fingerprint, open_stage
from xqg_repro.core.workers import Worker, check_workers
from xqg_repro.models.encoder import QueryEncoder
from xqg_repro.models.loading import choose_device
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.retrieval.best import BestPassages
from xqg_repro.retrieval.runfile import Run
from xqg_repro.retrieval.stage import DEPTH, QUERIES_PER_BATCH, Source, check_search, write_dense_search

T = TypeVar("T")

_TASKS_PER_WORKER = 4
"""Few, as each starts without knowing good scores; some, so that no worker is left waiting for long."""


def search_embeddings(
    embeddings: str | Path,
    topics: str,
    output: str | Path,
    *,
    tag: str = "xqg_repro",
    depth: int = DEPTH,
    encoder: EncoderConfig | None = None,
    device: str | None = None,
    distribute: Distribution | None = None,
    force: bool = False,
) -> Path:
    """Like :func:`~xqg_repro.retrieval.search.search` with a flat index, but from the embeddings themselves.

    The hits are those of the flat index. Passages whose scores a run prints as equal are ordered by docid, at the last
    rank too, where FAISS keeps any of them.

    Args:
        embeddings: a folder that ``encode`` or ``augment`` wrote.
        topics, output, tag, depth, force: as for an index.
        encoder: the query encoder; ``None`` takes the encoder of the embeddings.
        device: torch device of the encoder and of the search; ``None`` takes a GPU if available.
        distribute: the Ray cluster whose workers search the shards; ``None`` searches here.

    Raises:
        InputError: the embeddings are damaged, of another model, or infinite; a docid is not an id or occurs twice; or
            the topics are unknown or empty.
    """
    embeddings, output = Path(embeddings), Path(output)
    check_search(embeddings, output, tag, depth)
    open_stage(embeddings, "encode", "augment")
    shards = open_shards(embeddings)

    def retrieve(query_encoder: QueryEncoder, queries: dict[str, str], depth: int) -> Run:
        texts = list(queries.values())
        batches = [texts[start : start + QUERIES_PER_BATCH] for start in range(0, len(texts), QUERIES_PER_BATCH)]
        vectors = np.concatenate([query_encoder.encode_batch(batch) for batch in batches])
        best = BestPassages(shards, vectors, depth, choose_device(device))
        with progress_bar(source.passages, "search", "passages") as progress:
            if distribute:
                counts = _search_distributed(embeddings, shards, vectors, depth, best, distribute)
            else:
                counts = search_shards(shards, best)
            for count in counts:
                progress.update(count)
        return dict(zip(queries, best.hits(), strict=True))

    source = Source("embeddings", embeddings, sum(shard.passages for shard in shards), shards[0].dimension)
    how: dict[str, Any] = {"tag": tag, "depth": depth, "encoder": encoder, "device": device, "force": force}
    return write_dense_search(source, topics, output, retrieve, **how)


def search_shards(shards: Iterable[Shard], best: BestPassages) -> Iterator[int]:
    """Add all passages of some shards to the best.

    Shards can be searched in any order, also by several processes, which each have their own :class:`BestPassages`:
    adding the entries of one to another gives the same result.

    Args:
        shards: some of those that :func:`~xqg_repro.core.embeddings.open_shards` lists.
        best: where the passages are added.

    Yields:
        the number of passages of each block, after it was added.

    Raises:
        InputError: a shard ends early, or has vectors that are infinite or not numbers. Names the file.
    """
    import torch

    with torch.inference_mode():
        for shard, start, block in read_blocks(shards, best.rows):
            with in_file(shard.path):
                best.add_block(block, start)
            yield len(block)


class Found(NamedTuple):
    """What a worker found in some shards.

    Attributes:
        entries: the best passages, :data:`~xqg_repro.retrieval.best.ENTRY`.
        passages: the number of passages searched.
    """

    entries: np.ndarray
    passages: int


class SearchWorker(Worker):
    """An actor that searches shards, each time as if there were no others.

    Args:
        questions, depth, device: as for :class:`BestPassages`.
        threads: of the driver.
    """

    def __init__(self, questions: np.ndarray, depth: int, device: str, threads: int) -> None:
        super().__init__(threads)
        self._settings = (questions, depth, device)

    def run(self, shards: Sequence[Shard]) -> Found:
        """Search some shards, which must have the paths and positions that they have in the folder."""
        best = BestPassages(shards, *self._settings)
        passages = sum(search_shards(shards, best))
        return Found(best.entries(), passages)


def _search_distributed(
    folder: Path,
    shards: Sequence[Shard],
    questions: np.ndarray,
    depth: int,
    best: BestPassages,
    distribute: Distribution,
) -> Iterator[int]:
    """Like :func:`search_shards`, but workers search all shards of the folder; they need only read it."""
    lasting = [dataclasses.replace(shard, path=shard.path.absolute()) for shard in shards]
    with start_workers(SearchWorker, (questions, depth, distribute.device), distribute) as workers:
        check_workers(workers, None, partial(_folder_facts, folder.absolute()))
        size = -(-len(lasting) // (_TASKS_PER_WORKER * len(workers)))
        tasks = ((lasting[start : start + size],) for start in range(0, len(lasting), size))
        for found in run_tasks(workers, tasks):
            best.add(found.entries)
            yield found.passages


def _folder_facts(folder: Path) -> dict[str, str]:
    """What all workers must see alike."""
    try:
        return {f"folder {folder}": fingerprint(folder)[:16]}
    except InputError as error:
        return {f"folder {folder}": f"unusable: {error.problem}"}


def read_blocks(shards: Iterable[Shard], rows: int) -> Iterator[tuple[Shard, int, np.ndarray]]:
    """The blocks of all shards, each with its shard and the position of its first passage; one is read ahead."""
    return _read_ahead(_blocks(shards, rows))


def _blocks(shards: Iterable[Shard], rows: int) -> Iterator[tuple[Shard, int, np.ndarray]]:
    for shard in shards:
        for number, block in enumerate(shard.blocks(rows)):
            yield shard, shard.start + number * rows, block


def _read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; a thread reads the next one while the caller works on one."""
    with ThreadPoolExecutor(1) as reader:
        future = reader.submit(next, items, None)
        while (item := future.result()) is not None:
            future = reader.submit(next, items, None)
            yield item
