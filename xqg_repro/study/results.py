"""The results: a score of each question for each pair of languages, method and measure.

All measures are alike: those of retrieval come from ranks, and others, such as EM and F1 of answers, can be added as
long as there is a score for each question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xqg_repro.study.scoring import TopParagraphs

Pair = tuple[str, str]
"""Language of the paragraphs, language of the questions."""

Curve = dict[str, tuple[float, ...]]
"""Aggregate → mean score for each α of the grid."""


@dataclass
class Results:
    """Everything that the study measures.

    Attributes:
        pairs: in the order of the tables.
        methods: names, in the order of the tables.
        qids: question ids.
        articles: article of each question.
        scores: measure → pair → method → score of each question, float64, shape (questions,); NaN if every reader has
            seen the question's article.
        top: pair → method → the top paragraphs of each question, for methods whose paragraphs are read.
        ranks: pair → method → rank of each question's own paragraph, int64, shape (questions,).
        chosen: pair → method → for each fold, the setting in words.
        read: pair → method → for each fold, how answers are chosen in words.
        gold: answer measure → pair → mean score of the reader on the gold paragraphs.
        curves: measure → method → pair → :data:`Curve`, over all questions; no choice is based on these.
    """

    pairs: Sequence[Pair]
    methods: Sequence[str]
    qids: Sequence[str]
    articles: np.ndarray
    scores: dict[str, dict[Pair, dict[str, np.ndarray]]] = field(default_factory=dict)
    top: dict[Pair, dict[str, TopParagraphs]] = field(default_factory=dict)
    ranks: dict[Pair, dict[str, np.ndarray]] = field(default_factory=dict)
    chosen: dict[Pair, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    read: dict[Pair, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    gold: dict[str, dict[Pair, float]] = field(default_factory=dict)
    curves: dict[str, dict[str, dict[Pair, Curve]]] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """The number of questions that a reader answered: those with an EM."""
        methods = self.scores.get("EM", {}).get(self.pairs[0], {})
        return int(sum(~np.isnan(next(iter(methods.values()))))) if methods else 0

    def add(self, measure: str, pair: Pair, method: str, scores: np.ndarray) -> None:
        """Add the scores of all questions, float, shape (questions,)."""
        self.scores.setdefault(measure, {}).setdefault(pair, {})[method] = np.asarray(scores, dtype=np.float64)

    def means(self, measure: str, pair: Pair) -> dict[str, float]:
        """Method → mean over the questions that have a score."""
        return {method: float(np.nanmean(values)) for method, values in self.scores[measure][pair].items()}

    def differences(self, measure: str, method: str, other: str, pairs: Sequence[Pair]) -> np.ndarray:
        """Scores of a method minus those of another, float64, shape (pairs, questions)."""
        by_pair = self.scores[measure]
        return np.stack([by_pair[pair][method] - by_pair[pair][other] for pair in pairs])
