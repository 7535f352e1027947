"""Shards: ``NNNNN.npy`` beside ``NNNNN.docid``, in a collection's order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import read_text

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


DTYPES = ("float32", "float16")


def check_dtype(dtype: str) -> None:
    """Raise :class:`InputError` unless embeddings can be stored in this number format."""
    if dtype not in DTYPES:
        raise InputError(f"embeddings cannot be stored as {dtype!r}", hint=f"choose from: {', '.join(DTYPES)}")


def cast_finite(array: np.ndarray, dtype: DTypeLike, what: str) -> np.ndarray:
    """The array in another float type; :class:`InputError` instead of infinities where numbers are too large for it."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        raise InputError(f"{what} do not fit into {np.dtype(dtype)}", hint="store them as float32") from None


def read_shards(folder: str | Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """The shards of a folder of embeddings, in order: docids and memory-mapped vectors (float, (n, dimension)).

    Raises:
        InputError: there is no shard, or docids and vectors of a shard differ in number; the files are named.
    """
    paths = sorted(Path(folder).glob("*.npy"))
    if not paths:
        raise InputError("holds no embeddings", path=folder, hint="run xqg-repro encode first")
    for path in paths:
        ids_path = path.with_suffix(".docid")
        if not ids_path.exists():
            raise InputError("is missing beside its vectors", path=ids_path, hint="run the encoding again with --force")
        docids = read_text(ids_path).split("\n")[:-1]
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"cannot be read as an array: {error}", path=path, hint="run the encoding again with --force"
            ) from None
        if vectors.ndim != 2 or len(docids) != len(vectors):
            raise InputError(
                f"has {len(docids)} docids for an array of shape {vectors.shape} in {path.name}",
                path=ids_path,
                hint="run the encoding again with --force",
            )
        yield docids, vectors
