"""The table of results: for each pair of languages, method and measure a score for each question.

Measures are columns like any other: those of retrieval come from ranks, and others, such as an answer's EM and F1, can
stand beside them, as long as there is a score for each question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xqg_repro.study.scoring import Found, Setting

Pair = tuple[str, str]
"""Language of the paragraphs, language of the questions."""

Curve = dict[str, list[float]]
"""Aggregate → mean score for each α of the grid."""


@dataclass
class Results:
    """What the study found.

    Attributes:
        pairs: in the order of tables.
        methods: names, in the order of tables.
        qids: question ids.
        articles: article of each question.
        scores: measure → pair → method → score of each question, float64, shape (questions,); NaN for a question that
            has none, as every reader has seen its article.
        found: pair → method → the first paragraphs of each question; methods without answers are not in it.
        ranks: pair → method → rank of each question's own paragraph, int64, shape (questions,).
        chosen: pair → method → the setting of each fold.
        read: pair → method → for each fold, of how many paragraphs the answer is chosen, and how.
        gold: measure of answers → pair → mean where the reader is given the right paragraph.
        curves: measure → method → pair → :data:`Curve`, over all questions, which no choice was made by.
    """

    pairs: Sequence[Pair]
    methods: Sequence[str]
    qids: Sequence[str]
    articles: np.ndarray
    scores: dict[str, dict[Pair, dict[str, np.ndarray]]] = field(default_factory=dict)
    found: dict[Pair, dict[str, Found]] = field(default_factory=dict)
    ranks: dict[Pair, dict[str, np.ndarray]] = field(default_factory=dict)
    chosen: dict[Pair, dict[str, list[Setting]]] = field(default_factory=dict)
    read: dict[Pair, dict[str, list[str]]] = field(default_factory=dict)
    gold: dict[str, dict[Pair, float]] = field(default_factory=dict)
    curves: dict[str, dict[str, dict[Pair, Curve]]] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """How many questions a reader answered: those with an EM."""
        methods = self.scores.get("EM", {}).get(self.pairs[0], {})
        return int(sum(~np.isnan(next(iter(methods.values()))))) if methods else 0

    def add(self, measure: str, pair: Pair, method: str, scores: np.ndarray) -> None:
        """Enter the scores of all questions, float, shape (questions,)."""
        self.scores.setdefault(measure, {}).setdefault(pair, {})[method] = np.asarray(scores, dtype=np.float64)

    def means(self, measure: str, pair: Pair) -> Mapping[str, float]:
        """Mean over the questions that have a score, by method."""
        return {method: float(np.nanmean(values)) for method, values in self.scores[measure][pair].items()}

    def differences(self, measure: str, method: str, other: str, pairs: Sequence[Pair]) -> np.ndarray:
        """Score of a method minus that of the other, by question; float64, shape (pairs, questions)."""
        held = self.scores[measure]
        return np.stack([held[pair][method] - held[pair][other] for pair in pairs])
