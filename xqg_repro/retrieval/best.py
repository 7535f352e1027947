"""The best passages of each question, from passages that come in parts.

``score(q, p) = <q, p>`` is computed twice: in bfloat16 or float32 for all passages, to find those that can be among the
best, and in float64 for these. So scores do not depend on the size of a part, the number of threads or the device,
whose products differ in the last digits.

Passages are ranked as in a run: by score, rounded to six decimals, and equal scores by docid. No two passages are equal
in this order, so the result depends neither on how the passages are split nor on which part comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro.core.embeddings import Shard, find_docids
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import ENCODE_AGAIN
from xqg_repro.models.loading import has_bfloat16
from xqg_repro.retrieval.runfile import Hit

if TYPE_CHECKING:
    import torch

ENTRY = np.dtype([("question", np.int32), ("position", np.int64), ("score", np.float64)])
"""A candidate: the number of a question, a passage's position in the folder of embeddings, and their score."""

SCORES_PER_BLOCK = 1 << 23
"""Scores in memory at a time: 32 MiB, about a processor's cache."""

_GROUP = 64
_LEAST_ROWS, _MOST_ROWS = 4 * _GROUP, 1 << 14
_PAIRS = 256
_STEP = 1e-6  # scores that are equal in a run differ by less


class Ranking:
    """The best of the passages that were added, for each question, whatever their scores are.

    Memory holds them and about as many candidates, however many passages are added.

    Args:
        shards: the folder of embeddings, where docids are looked up.
        questions: their number.
        depth: passages to keep for each.
    """

    def __init__(self, shards: Sequence[Shard], questions: int, depth: int) -> None:
        self._shards, self._depth = shards, depth
        self._parts = [np.empty(0, ENTRY)]
        self._floors = np.full(questions, float(np.finfo(np.float32).min))  # lower scores are not among the best

    def add(self, entries: np.ndarray) -> None:
        """Take in candidates, :data:`ENTRY`, such as the :meth:`entries` of other passages."""
        self._parts.append(entries)
        if sum(map(len, self._parts)) > 2 * len(self._floors) * self._depth:
            self.entries()

    def entries(self) -> np.ndarray:
        """The best passages, :data:`ENTRY`, by question; of each question by score, but equal scores in any order."""
        if len(self._parts) > 1:
            self._parts = [self._select(np.concatenate(self._parts))]
        return self._parts[0]

    def hits(self) -> list[list[Hit]]:
        """The best passages of each question."""
        entries = self.entries()
        positions, places = np.unique(entries["position"], return_inverse=True)
        docids = find_docids(self._shards, positions)
        hits: list[list[Hit]] = [[] for _ in self._floors]
        columns = (entries["question"].tolist(), places.tolist(), entries["score"].tolist())
        for question, place, score in zip(*columns, strict=True):
            hits[question].append(Hit(docids[place], score))
        return hits

    def _select(self, entries: np.ndarray) -> np.ndarray:
        """The best of the entries; raises the floors."""
        rounded = entries["score"].round(6)
        order = np.lexsort((-rounded, entries["question"]))
        entries, rounded = entries[order], rounded[order]
        bounds = np.searchsorted(entries["question"], np.arange(len(self._floors) + 1))
        kept = np.arange(len(entries)) - bounds[entries["question"]] < self._depth
        full = np.flatnonzero(np.diff(bounds) >= self._depth)
        last = bounds[full] + self._depth - 1  # the last one kept of each question that has enough
        self._floors[full] = rounded[last] - _STEP
        more = last + 1 < bounds[full + 1]
        tied = rounded[last[more]] == rounded[last[more] + 1]
        groups = []
        for question, end in zip(full[more][tied], last[more][tied], strict=True):
            question_scores = rounded[bounds[question] : bounds[question + 1]]
            groups.append(bounds[question] + np.flatnonzero(question_scores == rounded[end]))
        if groups:
            self._keep_first_docids(entries["position"], groups, kept)
        return entries[kept]

    def _keep_first_docids(self, positions: np.ndarray, groups: Sequence[np.ndarray], kept: np.ndarray) -> None:
        """Of each group of equal scores, keep as many entries as before, but those with the first docids."""
        members = np.concatenate(groups)
        sought, places = np.unique(positions[members], return_inverse=True)
        docids = find_docids(self._shards, sought)
        docid_of = {member: docids[place] for member, place in zip(members.tolist(), places.tolist(), strict=True)}
        for group in groups:
            count = int(kept[group].sum())
            kept[group] = False
            kept[sorted(group.tolist(), key=docid_of.__getitem__)[:count]] = True


class BestPassages(Ranking):
    """The best passages of each question among those added so far, by the inner product.

    Args:
        shards, depth: as for :class:`Ranking`.
        questions: float32, shape (questions, dimension).
        device: torch device for the scores.
    """

    def __init__(self, shards: Sequence[Shard], questions: np.ndarray, depth: int, device: str = "cpu") -> None:
        import torch

        super().__init__(shards, len(questions), depth)
        self._questions = np.ascontiguousarray(questions, dtype=np.float32)
        self._queries = torch.from_numpy(self._questions).to(device)
        # a GPU searches faster than passages are read
        self._rounded = self._queries.bfloat16() if device.startswith("cpu") and has_bfloat16(device) else None
        self._norms = _norms(self._queries.double())
        self._lost = _norms(self._queries.bfloat16().double() - self._queries.double())
        size = SCORES_PER_BLOCK // max(1, len(questions)) // _GROUP * _GROUP
        self.rows = max(_LEAST_ROWS, min(size, _MOST_ROWS))
        self._vectors = self._queries.new_empty(self.rows, questions.shape[1])
        self._scores = self._queries.new_empty(len(questions) * self.rows)

    def add_block(self, vectors: np.ndarray, start: int) -> None:
        """Take in at most :attr:`rows` passages at positions ``start``, ``start + 1``, …; float, shape (n, dimension).

        :class:`InputError` if a vector has NaN or infinity.
        """
        import torch

        count = len(vectors)
        padded = -(-count // _GROUP) * _GROUP  # to whole groups
        passages = self._vectors[:padded]
        passages[:count].copy_(torch.from_numpy(vectors))
        passages[count:] = 0
        norm = float(_norms(passages).max())
        if not np.isfinite(norm):
            raise InputError("holds vectors that are infinite or not numbers", hint=ENCODE_AGAIN)
        questions, columns = self._find(passages, count, norm)
        entries = np.empty(len(questions), ENTRY)
        entries["question"], entries["position"] = questions.cpu(), columns.cpu() + start
        members, chosen = passages.cpu().numpy(), columns.cpu().numpy()
        for first in range(0, len(entries), _PAIRS):
            pairs = slice(first, first + _PAIRS)
            left, right = self._questions[entries["question"][pairs]], members[chosen[pairs]]
            entries["score"][pairs] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
        self.add(entries)

    def _find(self, passages: torch.Tensor, count: int, norm: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Questions and passages, int64, whose scores can be among the best, and few others.

        The error of a product is at most ``|q'||p' - p| + |q' - q||p|`` where ``q'`` and ``p'`` are rounded, and that
        of a float32 sum, of which twice the usual bound is taken.

        Args:
            passages: float32, shape (n, dimension), of which the first ``count`` are not padding.
            norm: the largest of their norms.
        """
        summing = self._norms * norm * passages.shape[1] * 2.0**-23
        if self._rounded is not None:
            rounded = passages.bfloat16()
            errors = (self._norms + self._lost) * _norms(rounded - passages).max() + self._lost * norm + summing
            groups, floors = self._multiply(self._rounded, rounded, count, errors)
            found = groups.amax(dim=2) >= floors
            if int(found.sum()) < found.numel() // 4:  # else float32, with fewer candidates, takes less time
                return _places(groups, found, floors)
        groups, floors = self._multiply(self._queries, passages, count, summing)
        highest = groups.amax(dim=2)  # most groups have no candidate, and need no second look
        if count > self._depth and int((highest >= floors).sum()) > highest.numel() // 2:
            last = groups.flatten(1).topk(self._depth, dim=1).values[:, -1].cpu().double().numpy()
            floors = floors.maximum(groups.new_tensor(last - _STEP - 2 * summing)[:, None])
        return _places(groups, highest >= floors, floors)

    def _multiply(
        self, queries: torch.Tensor, passages: torch.Tensor, count: int, errors: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores in groups, shape (questions, groups, 64), padded with minus infinity, and the least of candidates.

        Rounding scores and floors to the same format keeps their order.
        """
        import torch

        n = len(passages)
        scores = self._scores.view(queries.dtype)[: len(queries) * n].view(-1, n)
        torch.mm(queries, passages.T, out=scores)
        scores[:, count:] = -torch.inf
        floors = scores.new_tensor(self._floors - errors).clamp(min=torch.finfo(scores.dtype).min)
        return scores.view(len(scores), -1, _GROUP), floors[:, None]


def _norms(vectors: torch.Tensor) -> np.ndarray:
    """The norm of each row, float64."""
    return vectors.norm(dim=1).cpu().double().numpy()


def _places(groups: torch.Tensor, found: torch.Tensor, floors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the scores that reach their row's floor, int64; ``found`` says in which groups to look."""
    rows, columns = found.nonzero(as_tuple=True)
    chosen, places = (groups[rows, columns] >= floors[rows]).nonzero(as_tuple=True)
    return rows[chosen], columns[chosen] * _GROUP + places
