"""Ranks of all methods, with each question's α and aggregate chosen on questions about other articles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xqg_repro.study.data import ParallelData
from xqg_repro.study.folds import cross_validate, split_articles
from xqg_repro.study.results import Curve, Pair, Results
from xqg_repro.study.scoring import MEASURES, Scorer, Setting, TopParagraphs, setting_grid
from xqg_repro.study.settings import Method, Study
from xqg_repro.study.sources import SumsOf
from xqg_repro.study.vectors import StudyVectors


@dataclass(frozen=True)
class EncoderView:
    """The vectors of one encoder, and the questions that are measured with them.

    Attributes:
        vectors: of all questions and paragraphs.
        sums_of: what is added to these paragraphs.
        rows: rows of the questions, int64.
    """

    vectors: StudyVectors
    sums_of: SumsOf
    rows: np.ndarray


def score_methods(study: Study, data: ParallelData, vectors: StudyVectors, normalize: bool, sums_of: SumsOf) -> Results:
    """Rank with every pair, method and setting; choose each question's setting on the folds without its article.

    A method's own setting of ``normalize`` takes precedence over the argument, which is the encoder's.
    """
    return score_views(study, data, [EncoderView(vectors, sums_of, np.arange(len(data.qids)))], normalize)


def score_views(study: Study, data: ParallelData, views: Sequence[EncoderView], normalize: bool) -> Results:
    """As :func:`score_methods`, with several encoders, each for its own questions; together for all of them."""
    fold = split_articles(data.articles, study.folds, study.seed)
    questions = np.arange(len(data.qids))
    results = Results(study.pairs, list(study.methods), data.qids, data.articles)
    for pair in study.pairs:
        for name, method in study.methods.items():
            scorers = [_open_scorer(view, pair, method, data, normalize) for view in views]
            settings = setting_grid(study, method)
            grid = np.zeros((len(settings), len(questions)), dtype=np.int64)
            for view, scorer in zip(views, scorers, strict=True):
                grid[:, view.rows] = scorer.ranks(settings)[:, view.rows]
            choice = cross_validate(MEASURES[study.chosen_by](grid), data.articles, fold)
            ranks = grid[choice.by_question, questions]

            results.chosen.setdefault(pair, {})[name] = tuple(str(settings[index]) for index in choice.by_fold)
            results.ranks.setdefault(pair, {})[name] = ranks
            if method.read:
                tops = [scorer.top(settings, choice.by_question, max(study.reading.depths)) for scorer in scorers]
                results.top.setdefault(pair, {})[name] = _join(tops, views)
            for measure in study.measures:
                results.add(measure, pair, name, MEASURES[measure](ranks))
                curve = _curve(study, method, settings, MEASURES[measure](grid).mean(axis=1))
                results.curves.setdefault(measure, {}).setdefault(name, {})[pair] = curve
    return results


def _open_scorer(view: EncoderView, pair: Pair, method: Method, data: ParallelData, normalize: bool) -> Scorer:
    passages, language = pair
    return Scorer(
        view.vectors.questions[language],
        view.vectors.paragraphs[passages],
        data.gold,
        [view.sums_of(source, passages, language) for source in method.sources],
        normalize if method.normalize is None else method.normalize,
    )


def _join(tops: Sequence[TopParagraphs], views: Sequence[EncoderView]) -> TopParagraphs:
    """The top paragraphs of each question, from the view that measures it."""
    rows, scores = tops[0].rows.copy(), tops[0].scores.copy()
    for top, view in zip(tops, views, strict=True):
        rows[view.rows], scores[view.rows] = top.rows[view.rows], top.scores[view.rows]
    return TopParagraphs(rows, scores)


def _curve(study: Study, method: Method, settings: Sequence[Setting], means: np.ndarray) -> Curve:
    """Means by aggregate and α; without sources, they are the same for all of these."""
    if not method.sources:
        return {aggregate.value: (float(means[0]),) * len(study.alphas) for aggregate in study.aggregates}
    aggregates = np.array([setting.aggregate.value for setting in settings])
    return {name: tuple(means[aggregates == name].tolist()) for name in dict.fromkeys(aggregates.tolist())}
