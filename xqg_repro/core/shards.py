"""Shards: a stage's output in numbered files, each complete once it exists under its final name.

Shard ``NNNNN`` of embeddings is ``NNNNN.npy`` (float32 or float16, shape (passages, dimension)) beside ``NNNNN.docid``
(one docid per line, in the same order). Shards follow the order of the input, so an interrupted run resumes after the
last complete shard and writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, write_array
from xqg_repro.core.text import read_text

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

T = TypeVar("T")

DTYPES = ("float32", "float16")
ENCODE_AGAIN = "run the encoding again with --force"


def check_dtype(dtype: str, what: str = "embeddings", dtypes: tuple[str, ...] = DTYPES) -> None:
    """Raise :class:`InputError` unless vectors can be stored in this number format."""
    if dtype not in dtypes:
        raise InputError(f"{what} cannot be stored as {dtype!r}", hint=f"choose from: {', '.join(dtypes)}")


def check_shard_size(size: int) -> None:
    """Raise :class:`InputError` unless a shard can hold this many passages."""
    if size < 1:
        raise InputError(f"a shard cannot hold {size} passages")


def cast_finite(array: np.ndarray, dtype: DTypeLike, what: str) -> np.ndarray:
    """The array as another float type; :class:`InputError` instead of infinities if a number is too large for it."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        raise InputError(f"{what} do not fit into {np.dtype(dtype)}", hint="store them as float32") from None


def shard_path(folder: Path, number: int, suffix: str = ".npy") -> Path:
    """The file of a shard whose existence means that the shard is complete.

    >>> shard_path(Path("embeddings"), 7).name
    '00007.npy'
    """
    return folder / f"{number:05d}{suffix}"


def split_shards(items: Iterable[T], folder: Path, size: int, suffix: str = ".npy") -> Iterator[tuple[Path, list[T]]]:
    """Split items into shards of ``size``; yield the path of each shard and its items."""
    items = iter(items)
    for number in count():
        shard = list(islice(items, size))
        if not shard:
            return
        yield shard_path(folder, number, suffix), shard


def write_docids(path: Path, docids: Iterable[str]) -> None:
    """Write the docids of the shard at ``path`` beside it."""
    with atomic_write(path.with_suffix(".docid")) as file:
        file.writelines(f"{docid}\n" for docid in docids)


def write_shard(path: Path, docids: Iterable[str], vectors: np.ndarray) -> None:
    """Write a shard of embeddings: the vectors last, because their file marks the shard as complete."""
    write_docids(path, docids)
    write_array(path, vectors)


def read_docids(path: Path) -> list[str]:
    """The docids of the shard at ``path``."""
    return read_text(path.with_suffix(".docid")).split("\n")[:-1]


def map_vectors(path: Path) -> np.memmap:
    """The vectors of the shard at ``path``, memory-mapped: float, shape (n, dimension).

    :class:`InputError` if the file is damaged, or has no docids beside it.
    """
    docids = path.with_suffix(".docid")
    if not docids.exists():
        raise InputError(f"is missing beside {path.name}", path=docids, hint=ENCODE_AGAIN)
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"cannot be read as an array: {error}", path=path, hint=ENCODE_AGAIN) from None
    return vectors


def check_length(path: Path, docids: int, vectors: np.ndarray) -> None:
    """Raise :class:`InputError` unless the shard at ``path`` has as many vectors as docids."""
    if vectors.ndim != 2 or docids != len(vectors):
        problem = f"has {docids} docids, but {path.name} has shape {vectors.shape}"
        raise InputError(problem, path=path.with_suffix(".docid"), hint=ENCODE_AGAIN)


def shard_paths(folder: str | Path) -> list[Path]:
    """The shards of a folder of embeddings, in order; :class:`InputError` if it has none."""
    paths = sorted(Path(folder).glob("*.npy"))
    if not paths:
        raise InputError("holds no embeddings", path=folder, hint="run xqg-repro encode first")
    return paths


def read_shards(folder: str | Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """The shards of a folder of embeddings, in order: docids and memory-mapped vectors (float, (n, dimension)).

    :class:`InputError` if the folder has no shard, or a shard differs in the numbers of docids and vectors.
    """
    for path in shard_paths(folder):
        vectors = map_vectors(path)
        docids = read_docids(path)
        check_length(path, len(docids), vectors)
        yield docids, vectors
