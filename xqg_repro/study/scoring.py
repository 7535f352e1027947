"""Ranks of the questions' own paragraphs for every α and aggregate of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xqg_repro.representation.settings import Aggregate
from xqg_repro.study.settings import Method, Study
from xqg_repro.study.sources import SourceSums

TIE = 1e-6
"""A paragraph whose score is at most this far below the gold paragraph's is ranked before it."""

MEASURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "R@1": lambda ranks: (ranks == 1).astype(np.float64),
    "R@5": lambda ranks: (ranks <= 5).astype(np.float64),
    "RR": lambda ranks: 1.0 / ranks,
}
"""Measures of questions by the rank of their gold paragraph, the only relevant one, among all paragraphs."""


class Setting(NamedTuple):
    """One way to mix added vectors into a paragraph's vector."""

    aggregate: Aggregate
    alpha: float

    def __str__(self) -> str:
        return f"{self.aggregate.value} {self.alpha:g}"


class TopParagraphs(NamedTuple):
    """Retrieved paragraphs, best first.

    Attributes:
        rows: indexes of paragraphs, int64, shape (questions, depth).
        scores: float64, same shape.
    """

    rows: np.ndarray
    scores: np.ndarray


def setting_grid(study: Study, method: Method) -> list[Setting]:
    """The settings that a method chooses from: smallest α first, and for equal α the study's first aggregate."""
    if not method.sources:
        return [Setting(study.aggregates[0], 0.0)]
    return [Setting(aggregate, alpha) for alpha in sorted(study.alphas) for aggregate in study.aggregates_of(method)]


def aggregate_sources(
    sources: Sequence[tuple[np.ndarray, np.ndarray]], aggregate: Aggregate
) -> tuple[np.ndarray, np.ndarray]:
    """Aggregate each source, then take the mean over the sources that have vectors.

    Args:
        sources: for each source, sums, float (n, dimension), and numbers of vectors, integer (n,).
        aggregate: sum or mean.

    Returns:
        the means, float64 (n, dimension), and the number of sources with vectors, integer (n,).

    >>> questions, passages = (np.array([[4.0]]), np.array([2])), (np.array([[5.0]]), np.array([1]))
    >>> aggregate_sources([questions, passages], Aggregate.MEAN)
    (array([[3.5]]), array([2]))
    """
    parts = [sums for sums, _ in sources]
    if aggregate is Aggregate.MEAN:
        parts = [sums / np.maximum(counts, 1)[:, None] for sums, counts in sources]
    present = np.sum([counts > 0 for _, counts in sources], axis=0)
    return np.sum(parts, axis=0) / np.maximum(present, 1)[:, None], present


class AugmentedVectors:
    """The vectors ``(1-α)·p + α·a`` for any α, without computing them: only the weights of p and a.

    Args:
        p: paragraph vectors, float, shape (n, dimension).
        a: added vectors, float, shape (n, dimension).
        present: whether anything is added, integer or bool, shape (n,); rows with 0 stay unchanged.
    """

    def __init__(self, p: np.ndarray, a: np.ndarray, present: np.ndarray) -> None:
        self.p, self.a, self.present = p.astype(np.float64), a, present > 0
        self._pp = np.einsum("ij,ij->i", self.p, self.p)
        self._pa = np.einsum("ij,ij->i", self.p, a)
        self._aa = np.einsum("ij,ij->i", a, a)

    def weights(self, alpha: float, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
        """Weights of p and of a in the augmented vectors, float64, shape (n,) each.

        The norm follows from inner products: ``|u·p + v·a|² = u²·pp + 2uv·pa + v²·aa``. As in
        :func:`~xqg_repro.representation.augment.combine`, an unchanged vector is not normalised.
        """
        changed = self.present & (alpha > 0)
        u, v = np.where(changed, 1 - alpha, 1.0), np.where(changed, alpha, 0.0)
        if normalize:
            squares = np.where(changed, u * u * self._pp + 2 * u * v * self._pa + v * v * self._aa, 1.0)
            norms = np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))
            u, v = u / norms, v / norms
        return u, v


def rank_gold(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """The rank of each question's gold paragraph.

    Args:
        scores: float, shape (questions, paragraphs).
        gold: index of each question's gold paragraph, integer, shape (questions,).

    Returns:
        int64, shape (questions,), from 1; for ties see :data:`TIE`.

    >>> rank_gold(np.array([[0.9, 0.8], [0.3, 0.3]]), np.array([0, 1]))
    array([1, 2])
    """
    gold_scores = scores[np.arange(len(gold)), gold]
    return np.count_nonzero(scores >= gold_scores[:, None] - TIE, axis=1)  # this counts the gold paragraph, too


class _Products(NamedTuple):
    """Vectors of one aggregate, and their inner products with the questions.

    Attributes:
        every: all paragraphs, augmented.
        gold: each question's gold paragraph, augmented without the question.
        added: inner products with what is added to all paragraphs, float64, shape (questions, paragraphs).
        gold_added: inner products with what is added to the gold paragraphs, float64, shape (questions,).
    """

    every: AugmentedVectors
    gold: AugmentedVectors
    added: np.ndarray
    gold_added: np.ndarray


class Scorer:
    """Scores of all questions and paragraphs for any setting of a method.

    As ``score(q, u·p + v·a) = u·<q, p> + v·<q, a>``, the inner products are computed once for all α. A question's gold
    paragraph has another a and other weights, because the question is left out of it.

    Args:
        questions: float32, shape (questions, dimension).
        paragraphs: float32, shape (paragraphs, dimension).
        gold: index of each question's gold paragraph, integer, shape (questions,).
        sources: what is added; an empty list leaves the paragraphs unchanged.
        normalize: divide augmented vectors by their L2 norm.
    """

    def __init__(
        self,
        questions: np.ndarray,
        paragraphs: np.ndarray,
        gold: np.ndarray,
        sources: Sequence[SourceSums],
        normalize: bool,
    ) -> None:
        self.questions, self.paragraphs, self.gold = questions.astype(np.float64), paragraphs, gold
        self.sources, self.normalize = sources, normalize
        self.unaugmented = self.questions @ paragraphs.T.astype(np.float64)
        self._products: dict[Aggregate, _Products] = {}

    def scores(self, setting: Setting) -> np.ndarray:
        """Scores, float64, shape (questions, paragraphs); a gold paragraph's vector does not contain its question."""
        if not self.sources:
            return self.unaugmented.copy()
        if setting.aggregate not in self._products:
            self._products[setting.aggregate] = self._multiply(setting.aggregate)
        products = self._products[setting.aggregate]

        u, v = products.every.weights(setting.alpha, self.normalize)
        scores = u * self.unaugmented + v * products.added
        rows = np.arange(len(self.gold))
        u, v = products.gold.weights(setting.alpha, self.normalize)
        scores[rows, self.gold] = u * self.unaugmented[rows, self.gold] + v * products.gold_added
        return scores

    def _multiply(self, aggregate: Aggregate) -> _Products:
        added = aggregate_sources([(source.sums, source.counts) for source in self.sources], aggregate)
        every = AugmentedVectors(self.paragraphs, *added)
        gold_added = aggregate_sources([(source.gold_sums, source.gold_counts) for source in self.sources], aggregate)
        gold = AugmentedVectors(self.paragraphs[self.gold], *gold_added)
        return _Products(every, gold, self.questions @ every.a.T, np.einsum("ij,ij->i", self.questions, gold.a))

    def ranks(self, settings: Sequence[Setting]) -> np.ndarray:
        """The rank of each question's gold paragraph for each setting, int64, shape (settings, questions)."""
        return np.stack([rank_gold(self.scores(setting), self.gold) for setting in settings])

    def top(self, settings: Sequence[Setting], by_question: np.ndarray, depth: int) -> TopParagraphs:
        """The top paragraphs of each question; ``by_question`` has the index of its setting, shape (questions,)."""
        depth = min(depth, len(self.paragraphs))
        top = np.zeros((len(self.gold), depth), dtype=np.int64)
        top_scores = np.zeros(top.shape)
        for number in np.unique(by_question):
            rows = np.flatnonzero(by_question == number)
            scores = self.scores(settings[number])[rows]
            keys = scores.copy()
            keys[np.arange(len(rows)), self.gold[rows]] -= TIE  # ties are resolved as in rank_gold
            top[rows] = np.argsort(-keys, axis=1, kind="stable")[:, :depth]
            top_scores[rows] = np.take_along_axis(scores, top[rows], axis=1)
        return TopParagraphs(top, top_scores)
