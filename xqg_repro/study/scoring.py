"""Ranks of the questions' own paragraphs for every α and aggregate of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xqg_repro.config import Aggregate
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
        :func:`~xqg_repro.augment.combine`, a vector to which nothing is added is not normalised either.
        """
        changed = self.present & (alpha > 0)
        u, v = np.where(changed, 1 - alpha, 1.0), np.where(changed, alpha, 0.0)
        if normalize:
            pp, pa, aa = self._dots
            squares = np.where(changed, u * u * pp + 2 * u * v * pa + v * v * aa, 1.0)
            norms = np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))
            u, v = u / norms, v / norms
        return u, v


def ranks(scores: np.ndarray, right: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The rank of each question's own paragraph, whose score depends on what is left out.

    Args:
        scores: of questions and paragraphs, float, shape (questions, paragraphs). Not looked at: those of a question
            and its own paragraph, which are overwritten.
        right: score of the question's own paragraph, float, shape (questions,).
        own: index of that paragraph, integer, shape (questions,).

    Returns:
        int64, shape (questions,), from 1; see :data:`TIE`.

    >>> ranks(np.array([[0.3, 0.8], [0.3, 0.5]]), np.array([0.9, 0.3]), np.array([0, 1]))
    array([1, 2])
    """
    scores[np.arange(len(own)), own] = -np.inf
    return 1 + np.count_nonzero(scores >= right[:, None] - TIE, axis=1)


def grid_of_ranks(
    settings: Sequence[Setting],
    questions: np.ndarray,
    paragraphs: np.ndarray,
    own: np.ndarray,
    sources: Sequence[Added],
    normalize: bool,
) -> np.ndarray:
    """Ranks for each setting, int64, shape (settings, questions).

    ``score(q, u·p + v·a) = u·<q, p> + v·<q, a>``, so inner products are taken once for all α. A question's own
    paragraph has another a, and other weights.

    Args:
        settings: see :func:`settings_of`.
        questions: float32, shape (questions, dimension).
        paragraphs: float32, shape (paragraphs, dimension).
        own: each question's own paragraph, integer, shape (questions,).
        sources: what is added; none leaves the paragraphs as they are.
        normalize: divide augmented vectors by their L2 norm.
    """
    questions = questions.astype(np.float64)
    alone = questions @ paragraphs.T.astype(np.float64)
    alone_right = alone[np.arange(len(own)), own]
    if not sources:
        return np.repeat(ranks(alone, alone_right, own)[None], len(settings), axis=0)
    found = np.zeros((len(settings), len(own)), dtype=np.int64)
    for how in dict.fromkeys(setting.aggregate for setting in settings):
        every = Augmented(paragraphs, *aggregated([(a.sums, a.counts) for a in sources], how))
        left = Augmented(paragraphs[own], *aggregated([(a.own_sums, a.own_counts) for a in sources], how))
        more, more_right = questions @ every.a.T, np.einsum("ij,ij->i", questions, left.a)
        for number, (_, alpha) in ((i, s) for i, s in enumerate(settings) if s.aggregate is how):
            (u, v), (own_u, own_v) = every.weights(alpha, normalize), left.weights(alpha, normalize)
            found[number] = ranks(u * alone + v * more, own_u * alone_right + own_v * more_right, own)
    return found
