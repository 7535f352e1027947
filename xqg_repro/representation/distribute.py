"""Shards written by workers on a Ray cluster.

The driver reads the collection or the queries, and sends each worker a shard at a time, so that workers need no copy of
them. Workers write into the working folder of the driver, which must be on a file system that all of them share.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro.core.cluster import Distribution, run_tasks, start_workers
from xqg_repro.core.errors import InputError
from xqg_repro.core.workers import Worker, check_workers
from xqg_repro.models.loading import lasting_name, model_fingerprint
from xqg_repro.representation.shards import ShardWork, WriteShard

T = TypeVar("T")

SECONDS_TO_APPEAR = 120.0
"""How long a file of another machine may stay invisible; NFS caches a folder's content for a minute."""


class ShardWorker(Worker):
    """An actor that writes shards; it loads the model for its first one, and keeps it.

    Args:
        work: what to do with each shard.
        device: a torch device.
        threads: of the driver.
    """

    def __init__(self, work: ShardWork[Any], device: str, threads: int) -> None:
        super().__init__(threads)
        self._work, self._device = work, device
        self._write: WriteShard[Any] | None = None

    def run(self, path: Path, shard: list[Any]) -> tuple[Counter[str], int]:
        """Write a shard, unless a worker did so before it died; return its counts and its number of items."""
        from tqdm import tqdm

        if path.exists():
            return self._work.count(path, shard), len(shard)
        self._write = self._write or self._work.open(self._device, tqdm(disable=True))
        return self._write(path, shard), len(shard)


def write_distributed(
    work: ShardWork[T],
    shards: Iterator[tuple[Path, list[T]]],
    distribute: Distribution,
    done: Callable[[Counter[str], int], None],
) -> None:
    """Let workers write shards, in any order.

    Args:
        work, shards: as for :func:`~xqg_repro.representation.shards.write_shards`; nothing is started if there are no
            shards.
        distribute: the cluster and its workers.
        done: receives the counts and the number of items of each shard.

    Raises:
        InputError: as the work, :func:`~xqg_repro.core.cluster.start_workers` and
            :func:`~xqg_repro.core.workers.check_workers`.
    """
    first = next(shards, None)
    if first is None:
        return
    folder, written = first[0].parent.absolute(), set()
    # absolute paths, as workers have other working directories
    config = dataclasses.replace(work.config, model=lasting_name(work.config.model))
    work = dataclasses.replace(work, config=config)  # type: ignore[type-var]

    def tasks() -> Iterator[tuple[Path, list[T]]]:
        for path, shard in chain([first], shards):
            written.add(path.name)
            yield folder / path.name, shard

    with start_workers(ShardWorker, (work, distribute.device), distribute) as workers:
        check_workers(workers, folder, partial(model_facts, config.model))
        for counts, items in run_tasks(workers, tasks()):
            done(counts, items)
    _wait_for(folder, written)


def model_facts(model: str) -> dict[str, str]:
    """What :func:`~xqg_repro.core.workers.check_workers` compares of a model."""
    try:
        return {f"model {model}": model_fingerprint(model)[:16]}
    except InputError as error:
        return {f"model {model}": f"unusable: {error.problem}"}


def _wait_for(folder: Path, names: set[str]) -> None:
    """Wait until this machine sees the files that workers wrote on others."""
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while missing := names.difference(os.listdir(folder)):
        if time.monotonic() > deadline:
            problem = f"lacks {min(missing)}, which a worker has written"
            raise InputError(problem, path=folder, hint="check the shared file system, then rerun to resume")
        time.sleep(1)
