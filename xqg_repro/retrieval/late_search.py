"""Stage ``search`` by late interaction: exact MaxSim of each question with each passage of an index.

Scores are computed twice: in float32 for all passages, to find those that can be among the best, and in float64 for
these. So a run does not depend on the size of a block, the number of threads or the device. Memory holds the
questions' token vectors and one block of passages, however many passages there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro.core.embeddings import Shard
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import fingerprint
from xqg_repro.models.late import LateEncoder, TokenVectors
from xqg_repro.models.loading import choose_device, token_batches
from xqg_repro.retrieval.best import ENTRY, Ranking
from xqg_repro.retrieval.late_index import open_late_index
from xqg_repro.retrieval.runfile import Run
from xqg_repro.retrieval.stage import DEPTH, Source, check_dimension, check_search, write_search
from xqg_repro.retrieval.token_shards import Block, open_token_shards, read_token_blocks

if TYPE_CHECKING:
    import torch

TOKENS_PER_BLOCK = 1 << 17
"""Token vectors in memory at a time: 64 MiB of 128 dimensions in float32."""

_TOKENS_PER_PRODUCT = 1 << 12
_QUESTIONS_PER_PRODUCT = 64
_STEP = 1e-6  # scores that are equal in a run differ by less


def search_late(
    index: str | Path,
    topics: str,
    output: str | Path,
    *,
    tag: str = "xqg_repro",
    depth: int = DEPTH,
    model: str = "",
    device: str | None = None,
    force: bool = False,
) -> Path:
    """Retrieve passages by MaxSim for every question of a topic set and write a TREC run, or reuse one that matches.

    Args:
        index: a folder that :func:`~xqg_repro.retrieval.late_index.build_late_index` wrote.
        topics, output, tag, depth, force: as for :func:`~xqg_repro.retrieval.search.search`.
        model: another place of the encoder's model; empty for the one that the index names.
        device: torch device of the encoder and of the search; ``None`` takes a GPU if available.

    Raises:
        InputError: the index is damaged or of another model, or the topics are unknown or empty.
    """
    index, output = Path(index), Path(output)
    check_search(index, output, tag, depth)
    manifest, config = open_late_index(index, model)
    shards = open_token_shards(index)

    def retrieve(queries: dict[str, str], depth: int) -> Run:
        encoder = LateEncoder(config, device)
        check_dimension(index, shards[0].dimension, config, encoder.dimension)
        best = BestTokens(shards, encoder.encode_queries(list(queries.values())), depth, choose_device(device))
        with progress_bar(source.passages, "search", "passages") as progress:
            for count in search_token_shards(shards, best):
                progress.update(count)
        return dict(zip(queries, best.hits(), strict=True))

    settings = {"interaction": "late", "encoder": dataclasses.asdict(config)}
    source = Source("index", index, sum(shard.passages for shard in shards), shards[0].dimension, settings)
    inputs = {"index": fingerprint(index), "model": manifest.inputs["model"]}
    return write_search(source, inputs, topics, output, retrieve, tag=tag, depth=depth, force=force)


def search_token_shards(shards: Sequence[Shard], best: BestTokens) -> Iterator[int]:
    """Add all passages of some shards to the best; yield the number of passages of each block, once it is added."""
    for shard in shards:
        for block in read_token_blocks(shard, TOKENS_PER_BLOCK):
            best.add_block(block)
            yield len(block.tokens.offsets) - 1


class BestTokens(Ranking):
    """The best passages of each question among those added so far, by MaxSim.

    Args:
        shards, depth: as for :class:`~xqg_repro.retrieval.best.Ranking`.
        questions: float32, shape (questions, tokens, dimension); tokens that are not scored are 0.
        device: torch device for the scores of all passages.
    """

    def __init__(self, shards: Sequence[Shard], questions: np.ndarray, depth: int, device: str = "cpu") -> None:
        import torch

        super().__init__(shards, len(questions), depth)
        self._questions = questions
        self._queries = torch.from_numpy(questions).to(device)
        # twice the usual bound of the error of a float32 sum, per unit of the longest vector of a passage
        terms = questions.shape[1] + questions.shape[2]
        self._errors = np.linalg.norm(questions.astype(np.float64), axis=2).sum(axis=1) * terms * 2.0**-23

    def add_block(self, block: Block) -> None:
        """Take in the passages of a block."""
        tokens = block.tokens
        scores = self._score(tokens)
        count = scores.shape[1]
        errors = self._errors * float(np.linalg.norm(tokens.vectors.astype(np.float32), axis=1).max())
        floors = self._floors - errors
        if count > self._depth:
            last = np.partition(scores, count - self._depth, axis=1)[:, count - self._depth]
            floors = np.maximum(floors, last - _STEP - 2 * errors)
        passages, questions = np.nonzero(floors <= scores.T)  # in the order of the passages
        entries = np.empty(len(passages), ENTRY)
        entries["question"], entries["position"] = questions, passages + block.start
        for first, end in pairwise([*np.flatnonzero(np.diff(passages, prepend=-1)), len(passages)]):
            vectors = tokens.of(int(passages[first]))
            entries["score"][first:end] = score_passage(self._questions, questions[first:end], vectors)
        self.add(entries)

    def _score(self, tokens: TokenVectors) -> np.ndarray:
        """MaxSim of all questions with all passages of a block; float32, shape (questions, passages).

        Shorter passages of a product are padded with copies of their last token, which change no maximum.
        """
        import torch

        lengths = np.diff(tokens.offsets)
        scores = np.empty((len(self._questions), len(lengths)), np.float32)
        with torch.inference_mode():
            for batch in token_batches(lengths.tolist(), _TOKENS_PER_PRODUCT):
                places = np.minimum(np.arange(lengths[batch[0]]), lengths[batch][:, None] - 1)
                rows = tokens.vectors[(tokens.offsets[batch][:, None] + places).ravel()]
                passages = torch.from_numpy(rows.astype(np.float32)).to(self._queries.device)
                for first in range(0, len(scores), _QUESTIONS_PER_PRODUCT):
                    part = slice(first, first + _QUESTIONS_PER_PRODUCT)
                    scores[part, batch] = _sum_of_best(self._queries[part], passages, len(batch)).cpu().numpy()
        return scores


def _sum_of_best(questions: torch.Tensor, passages: torch.Tensor, count: int) -> torch.Tensor:
    """MaxSim, (questions, count), of token vectors (questions, tokens, d) and (count · tokens, d)."""
    number, length, dimension = questions.shape
    products = questions.reshape(-1, dimension) @ passages.T
    return products.view(number, length, count, -1).amax(-1).sum(1)


def score_passage(questions: np.ndarray, chosen: np.ndarray, passage: np.ndarray) -> np.ndarray:
    """MaxSim of some questions with one passage, in float64.

    Args:
        questions: token vectors, shape (questions, tokens, dimension); tokens that are not scored are 0.
        chosen: positions of the questions to score, int (n,).
        passage: token vectors, shape (tokens, dimension).

    Returns:
        float64, shape (n,).
    """
    tokens = passage.astype(np.float64).T
    scores = np.empty(len(chosen))
    for first in range(0, len(chosen), _QUESTIONS_PER_PRODUCT):
        part = slice(first, first + _QUESTIONS_PER_PRODUCT)
        scores[part] = (questions[chosen[part]].astype(np.float64) @ tokens).max(axis=2).sum(axis=1)
    return scores
