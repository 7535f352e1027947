"""Shards of token vectors, the files of a late-interaction index: plain NumPy files that any engine can be fed from.

Shard ``NNNNN`` of an index is three files, which follow the order of the collection:

- ``NNNNN.npy``: the token vectors of its passages, one after another; float16 or float32, shape (tokens, dimension).
- ``NNNNN.offsets.npy``: int64, shape (passages + 1,); passage i has the tokens ``offsets[i]:offsets[i + 1]``.
- ``NNNNN.docid``: one docid per line.

Padding and masked tokens are not stored, so nothing needs a mask. Exact search of these files suits collections of up
to some hundred thousand passages. For larger ones, either rerank a dense run, or load the files into an engine such as
fast-plaid (through pylate), which takes one array of token vectors per passage. Neither can be installed beside this
package today: fast-plaid 1.7 needs torch 2.11, and pylate 1.6 transformers 5.3 at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xqg_repro.core.embeddings import Shard
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import write_array
from xqg_repro.core.ids import check_unique
from xqg_repro.core.shards import DTYPES, map_vectors, write_docids
from xqg_repro.models.late import TokenVectors

INDEX_AGAIN = "build it again with xqg-repro index --late --force"
_SHARDS = "[0-9][0-9][0-9][0-9][0-9].npy"


class Block(NamedTuple):
    """Consecutive passages of a shard.

    Attributes:
        start: position in the index of the first one, from 0.
        tokens: their token vectors.
    """

    start: int
    tokens: TokenVectors


def offsets_path(path: Path) -> Path:
    """The file of the offsets of the shard at ``path``.

    >>> offsets_path(Path("index/00007.npy")).name
    '00007.offsets.npy'
    """
    return path.with_suffix(".offsets.npy")


def write_token_shard(path: Path, docids: Sequence[str], tokens: TokenVectors) -> None:
    """Write a shard: the vectors last, because their file marks the shard as complete."""
    write_docids(path, docids)
    write_array(offsets_path(path), tokens.offsets)
    write_array(path, tokens.vectors)


def open_token_shards(folder: str | Path) -> list[Shard]:
    """Check an index, except for the numbers in its vectors, and list its shards in order.

    Raises:
        InputError: names the file. A shard is damaged; its offsets or docids do not fit its vectors; the shards differ
            in dimension; a docid is not an id, or occurs twice; or there are no passages.
    """
    shards: list[Shard] = []

    def docids() -> Iterator[str]:
        for path in sorted(Path(folder).glob(_SHARDS)):
            shard = _open_shard(path, shards)
            shards.append(shard)
            lines = 0
            for docid in shard.docids():
                lines += 1
                yield docid
            if lines != shard.passages:
                problem = f"has {lines} docids for {shard.passages} passages"
                raise InputError(problem, path=path.with_suffix(".docid"), hint=INDEX_AGAIN)

    def read_again() -> Iterator[str]:
        return chain.from_iterable(shard.docids() for shard in shards)

    def repeated(docid: str, count: int) -> InputError:
        return InputError(f"the docid {docid!r} occurs {count} times", path=folder, hint="index a corrected collection")

    if not sum(1 for _ in check_unique(docids(), str, read_again, repeated)):
        raise InputError("holds no passages", path=folder, hint=INDEX_AGAIN)
    return shards


def _open_shard(path: Path, earlier: Sequence[Shard]) -> Shard:
    vectors, offsets = map_vectors(path), read_offsets(path)
    if vectors.ndim != 2 or vectors.dtype not in map(np.dtype, DTYPES) or not vectors.flags.c_contiguous:
        problem = f"holds {vectors.dtype} of shape {vectors.shape}, expected rows of {' or '.join(DTYPES)}"
        raise InputError(problem, path=path, hint=INDEX_AGAIN)
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(vectors) or (np.diff(offsets) < 1).any():
        problem = f"does not split the {len(vectors)} vectors of {path.name} into passages"
        raise InputError(problem, path=offsets_path(path), hint=INDEX_AGAIN)
    start = earlier[-1].start + earlier[-1].passages if earlier else 0
    dimension = vectors.shape[1]
    if earlier and dimension != earlier[-1].dimension:
        problem = f"has vectors of {dimension} dimensions, but {earlier[-1].path.name} of {earlier[-1].dimension}"
        raise InputError(problem, path=path, hint=INDEX_AGAIN)
    return Shard(path, start, len(offsets) - 1, dimension)


def read_offsets(path: Path) -> np.ndarray:
    """The offsets of the shard at ``path``: int64, shape (passages + 1,)."""
    file = offsets_path(path)
    try:
        offsets = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"cannot be read as an array: {error}", path=file, hint=INDEX_AGAIN) from None
    if offsets.ndim != 1 or offsets.dtype != np.int64:
        problem = f"holds {offsets.dtype} of shape {offsets.shape}, expected one row of int64"
        raise InputError(problem, path=file, hint=INDEX_AGAIN)
    return offsets


def read_token_blocks(shard: Shard, tokens: int) -> Iterator[Block]:
    """A shard's passages in blocks of at most so many ``tokens``, or of one passage that has more.

    The vectors are read rather than mapped, so that memory holds one block. :class:`InputError` if the file ends early,
    or holds infinity or NaN.
    """
    offsets, stored = read_offsets(shard.path), map_vectors(shard.path)
    first = 0
    with open(shard.path, "rb") as file:
        file.seek(stored.offset)
        while first < shard.passages:
            end = int(np.searchsorted(offsets, offsets[first] + tokens, side="right")) - 1
            end = min(max(end, first + 1), shard.passages)
            rows = int(offsets[end] - offsets[first])
            vectors = np.fromfile(file, stored.dtype, rows * shard.dimension)
            if vectors.size < rows * shard.dimension:
                raise InputError("is cut off", path=shard.path, hint=INDEX_AGAIN)
            if not np.isfinite(vectors).all():
                raise InputError("holds vectors that are infinite or not numbers", path=shard.path, hint=INDEX_AGAIN)
            block = TokenVectors(vectors.reshape(rows, shard.dimension), offsets[first : end + 1] - offsets[first])
            yield Block(shard.start + first, block)
            first = end
