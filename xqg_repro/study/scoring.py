"""Ranks of the questions' own paragraphs for every α and aggregate of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xqg_repro.representation.settings import Aggregate
from xqg_repro.study.settings import Method, Study
from xqg_repro.study.sources import Added

TIE = 1e-6
"""A paragraph whose score is this close to the right one's, or closer, counts as ranked before it."""

MEASURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "R@1": lambda ranks: (ranks == 1).astype(np.float64),
    "R@5": lambda ranks: (ranks <= 5).astype(np.float64),
    "RR": lambda ranks: 1.0 / ranks,
}
"""Measures of a question by the rank, among all paragraphs, of its own. There is one relevant paragraph a question."""


class Setting(NamedTuple):
    """One way to add vectors."""

    aggregate: Aggregate
    alpha: float


def settings_of(study: Study, method: Method) -> list[Setting]:
    """What a method chooses from, the smallest α first, and for equal α the study's first aggregate."""
    if not method.sources:
        return [Setting(study.aggregates[0], 0.0)]
    return [Setting(how, alpha) for alpha in sorted(study.alphas) for how in study.aggregates_of(method)]


def aggregated(sources: Sequence[tuple[np.ndarray, np.ndarray]], aggregate: Aggregate) -> tuple[np.ndarray, np.ndarray]:
    """What is added: the mean over the sources of each one's sum or mean; a source without vectors is passed over.

    Args:
        sources: sums, float (n, dimension), and numbers of vectors, integer (n,), of each source.
        aggregate: sum or mean.

    Returns:
        float64 (n, dimension), and how many sources had vectors, integer (n,).

    >>> one, other = (np.array([[4.0]]), np.array([2])), (np.array([[5.0]]), np.array([1]))
    >>> aggregated([one, other], Aggregate.MEAN)
    (array([[3.5]]), array([2]))
    """
    parts = [sums / np.maximum(counts, 1)[:, None] if aggregate is Aggregate.MEAN else sums for sums, counts in sources]
    present = np.sum([counts > 0 for _, counts in sources], axis=0)
    return np.sum(parts, axis=0) / np.maximum(present, 1)[:, None], present


class Augmented:
    """Vectors ``p`` and what is added to them, ``a``: weights give ``(1-α)·p + α·a`` without putting it together.

    Args:
        p: float, shape (n, dimension).
        a: what is added, float, shape (n, dimension).
        present: whether anything is, integer or bool, shape (n,); a row of 0 stays as it is.
    """

    def __init__(self, p: np.ndarray, a: np.ndarray, present: np.ndarray) -> None:
        self.p, self.a, self.present = p.astype(np.float64), a, present > 0
        self._dots = [np.einsum("ij,ij->i", one, other) for one, other in ((self.p, self.p), (self.p, a), (a, a))]

    def weights(self, alpha: float, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
        """Those of p and of a in the augmented vector, float64, shape (n,) each.

        The norm of a sum is known from the inner products: ``|u·p + v·a|² = u²·pp + 2uv·pa + v²·aa``. As in
        :func:`~xqg_repro.representation.augment.combine`, a vector to which nothing is added is not normalised either.
        """
        changed = self.present & (alpha > 0)
        u, v = np.where(changed, 1 - alpha, 1.0), np.where(changed, alpha, 0.0)
        if normalize:
            pp, pa, aa = self._dots
            squares = np.where(changed, u * u * pp + 2 * u * v * pa + v * v * aa, 1.0)
            norms = np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))
            u, v = u / norms, v / norms
        return u, v


def ranks(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The rank of each question's own paragraph.

    Args:
        scores: of questions and paragraphs, float, shape (questions, paragraphs).
        own: index of the question's own paragraph, integer, shape (questions,).

    Returns:
        int64, shape (questions,), from 1; see :data:`TIE`.

    >>> ranks(np.array([[0.9, 0.8], [0.3, 0.3]]), np.array([0, 1]))
    array([1, 2])
    """
    right = scores[np.arange(len(own)), own]
    return np.count_nonzero(scores >= right[:, None] - TIE, axis=1)  # itself is one of them


class Scorer:
    """Scores of all questions and paragraphs for any setting of a method.

    ``score(q, u·p + v·a) = u·<q, p> + v·<q, a>``, so inner products are taken once for all α. A question's own
    paragraph has another a, and other weights.

    Args:
        questions: float32, shape (questions, dimension).
        paragraphs: float32, shape (paragraphs, dimension).
        own: each question's own paragraph, integer, shape (questions,).
        sources: what is added; none leaves the paragraphs as they are.
        normalize: divide augmented vectors by their L2 norm.
    """

    def __init__(
        self,
        questions: np.ndarray,
        paragraphs: np.ndarray,
        own: np.ndarray,
        sources: Sequence[Added],
        normalize: bool,
    ) -> None:
        self.questions, self.paragraphs, self.own = questions.astype(np.float64), paragraphs, own
        self.sources, self.normalize = sources, normalize
        self.alone = self.questions @ paragraphs.T.astype(np.float64)
        self._parts: dict[Aggregate, tuple[Augmented, Augmented, np.ndarray, np.ndarray]] = {}

    def scores(self, setting: Setting) -> np.ndarray:
        """float64, shape (questions, paragraphs); that of a question's own paragraph lacks what must be left out."""
        if not self.sources:
            return self.alone.copy()
        if setting.aggregate not in self._parts:
            self._parts[setting.aggregate] = self._prepare(setting.aggregate)
        every, left, more, more_right = self._parts[setting.aggregate]
        (u, v), (own_u, own_v) = (held.weights(setting.alpha, self.normalize) for held in (every, left))
        rows = np.arange(len(self.own))
        found = u * self.alone + v * more
        found[rows, self.own] = own_u * self.alone[rows, self.own] + own_v * more_right
        return found

    def _prepare(self, how: Aggregate) -> tuple[Augmented, Augmented, np.ndarray, np.ndarray]:
        every = Augmented(self.paragraphs, *aggregated([(a.sums, a.counts) for a in self.sources], how))
        own_sums = [(a.own_sums, a.own_counts) for a in self.sources]
        left = Augmented(self.paragraphs[self.own], *aggregated(own_sums, how))
        return every, left, self.questions @ every.a.T, np.einsum("ij,ij->i", self.questions, left.a)

    def ranks(self, settings: Sequence[Setting]) -> np.ndarray:
        """The rank of each question's own paragraph for each setting, int64, shape (settings, questions)."""
        if not self.sources:  # then all settings are the same
            return np.repeat(ranks(self.alone, self.own)[None], len(settings), axis=0)
        return np.stack([ranks(self.scores(setting), self.own) for setting in settings])

    def first(self, settings: Sequence[Setting], by_question: np.ndarray, depth: int) -> Found:
        """The first paragraphs of each question under a setting of its own.

        Args:
            settings: to choose from.
            by_question: which of them, integer, shape (questions,).
            depth: paragraphs a question.
        """
        docs = np.zeros((len(self.own), min(depth, len(self.paragraphs))), dtype=np.int64)
        held = np.zeros(docs.shape)
        for number in np.unique(by_question):
            rows = np.flatnonzero(by_question == number)
            some = self.scores(settings[number])[rows]
            order = some.copy()
            order[np.arange(len(rows)), self.own[rows]] -= TIE  # as the ranks have it
            docs[rows] = np.argsort(-order, axis=1, kind="stable")[:, : docs.shape[1]]
            held[rows] = np.take_along_axis(some, docs[rows], axis=1)
        return Found(docs, held)


class Found(NamedTuple):
    """Paragraphs retrieved, the best first.

    Attributes:
        docs: indexes of paragraphs, int64, shape (questions, depth).
        scores: float64, of the same shape.
    """

    docs: np.ndarray
    scores: np.ndarray
