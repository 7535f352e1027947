"""The round trip of a generated query: how well an encoder finds the passage that the query was written for.

``score(q, p) = <q, p>`` is computed for all passages p of a collection, in float64. The *rank* of a query is that of
its own passage: 1 + the number of passages that score higher. Its *margin* is the score of its own passage minus the
best score of another one. Scores count as equal if they differ by at most a millionth, the last digit of a run, so a
passage does not lose to its own duplicate.

This takes queries × passages × dimension multiplications. Memory holds the queries and one block of passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xqg_repro.core.embeddings import Shard
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import ENCODE_AGAIN, map_vectors
from xqg_repro.retrieval.exact import read_blocks

PASSAGES_PER_BLOCK = QUERIES_PER_BLOCK = 1 << 11
"""Their scores take 32 MiB, about a processor's cache."""

_EQUAL = 1e-6


class RoundTrip(NamedTuple):
    """The round trip of one query.

    Attributes:
        rank: of its own passage, from 1.
        margin: score of its own passage minus the best score of another one; positive only if the rank is 1, and
            infinite if there is no other passage.
    """

    rank: int
    margin: float


def round_trips(shards: Sequence[Shard], queries: np.ndarray, own: np.ndarray, device: str = "cpu") -> list[RoundTrip]:
    """Score queries against all passages.

    Args:
        shards: the folder of embeddings, from :func:`~xqg_repro.core.embeddings.open_shards`.
        queries: float32, shape (queries, dimension).
        own: the position in the folder of each query's own passage, int64, shape (queries,).
        device: torch device for the scores.

    Raises:
        InputError: a shard ends early, or has vectors that are infinite or not numbers. Names the file.
    """
    import torch

    scores_of_own = np.einsum("ij,ij->i", queries, _take(shards, own), dtype=np.float64)
    with torch.inference_mode():
        vectors = torch.from_numpy(queries).to(device).double()
        floors = torch.from_numpy(scores_of_own + _EQUAL).to(device)
        higher = torch.zeros(len(queries), dtype=torch.int64, device=device)
        best_other = torch.full_like(floors, -torch.inf)
        for shard, start, block in read_blocks(shards, PASSAGES_PER_BLOCK):
            passages = torch.from_numpy(block).to(device).double()
            if not passages.isfinite().all():
                problem = "holds vectors that are infinite or not numbers"
                raise InputError(problem, path=shard.path, hint=ENCODE_AGAIN)
            places = own - start
            for first in range(0, len(queries), QUERIES_PER_BLOCK):
                part = slice(first, first + QUERIES_PER_BLOCK)
                scores = vectors[part] @ passages.T
                inside = np.flatnonzero((places[part] >= 0) & (places[part] < len(block)))
                scores[inside, places[part][inside]] = -torch.inf
                higher[part] += (scores > floors[part, None]).sum(dim=1)
                best_other[part] = best_other[part].maximum(scores.amax(dim=1))
    margins = scores_of_own - best_other.cpu().numpy()
    return list(map(RoundTrip, (1 + higher).tolist(), margins.tolist()))


def _take(shards: Sequence[Shard], positions: np.ndarray) -> np.ndarray:
    """The vectors at these positions of a folder, in any order: float32, shape (n, dimension)."""
    taken = np.empty((len(positions), shards[0].dimension), np.float32)
    for shard in shards:
        chosen = np.flatnonzero((positions >= shard.start) & (positions < shard.start + shard.passages))
        if len(chosen):
            taken[chosen] = map_vectors(shard.path)[positions[chosen] - shard.start]
    return taken
