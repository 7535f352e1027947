"""How a stage writes its shards: one after another on this machine, or by the workers of a Ray cluster.

A shard is a pure function of the stage's settings and of the shard's items, so both ways write the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from xqg_repro.core.cluster import Distribution
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.shards import shard_path

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

WriteShard = Callable[[Path, list[T]], Counter[str]]
"""Writes the shard of some items, at a path, and returns what the manifest counts."""


class ShardWork(Protocol[T]):
    """What a stage does with each shard; frozen and picklable, so that it can be sent to workers."""

    @property
    def config(self) -> Any:
        """The settings of the model, a dataclass; its field ``model`` names the model."""

    @property
    def per_item(self) -> int:
        """How far one item advances the progress bar."""

    def open(self, device: str | None, progress: tqdm) -> WriteShard[T]:
        """Load the model; the function that is returned advances the bar itself."""

    def count(self, path: Path, shard: list[T]) -> Counter[str]:
        """What the manifest counts in a complete shard."""


def write_shards(
    work: ShardWork[T],
    shards: Iterable[tuple[Path, list[T]]],
    name: str,
    unit: str,
    *,
    total: int | None,
    device: str | None,
    distribute: Distribution | None,
) -> Counter[str]:
    """Write the missing shards and return the counts over all of them.

    Args:
        work: what to do with each shard. The model is loaded for the first missing shard.
        shards: the path of each shard, and its items.
        name, unit: of the progress bar.
        total: number of items, if known.
        device: a torch device of this process; ``None`` takes a GPU if available.
        distribute: the Ray cluster whose workers write the shards, on their own devices; ``None`` writes them here.
    """
    counts: Counter[str] = Counter()
    with progress_bar(total * work.per_item if total else None, name, unit) as progress:

        def add(more: Counter[str], items: int) -> None:
            counts.update(more)
            progress.update(items * work.per_item)

        def missing() -> Iterator[tuple[Path, list[T]]]:
            for path, shard in shards:
                if path.exists():
                    add(work.count(path, shard), len(shard))
                else:
                    yield path, shard

        if distribute:
            from xqg_repro.representation.distribute import write_distributed

            write_distributed(work, missing(), distribute, add)
        else:
            write = None
            for path, shard in missing():
                write = write or work.open(device, progress)
                counts.update(write(path, shard))
    return counts


def vector_size(folder: Path) -> int:
    """The dimension of the vectors in a folder's shards."""
    return int(np.load(shard_path(folder, 0), mmap_mode="r", allow_pickle=False).shape[-1])
