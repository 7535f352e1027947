"""Cross-validation over articles: α and the aggregate of a question are chosen on questions about other articles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xqg_repro.core.errors import InputError


class FoldChoice(NamedTuple):
    """The setting that cross-validation chose for each fold.

    Attributes:
        by_fold: index of the chosen setting for each fold.
        by_question: index of the setting for each question, int64, shape (questions,).
    """

    by_fold: tuple[int, ...]
    by_question: np.ndarray


def split_articles(articles: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign each question to a fold by its article; folds differ by at most one article.

    Args:
        articles: article of each question, integer, shape (questions,).
        folds: number of folds.
        seed: of the shuffle of the articles.

    Returns:
        fold of each question, int64, shape (questions,), from 0.

    Raises:
        InputError: there are fewer articles than folds, or fewer than two folds.

    >>> split_articles(np.array([4, 4, 7, 7, 9]), 3, seed=1)
    array([0, 0, 1, 1, 2])
    """
    names, article = np.unique(articles, return_inverse=True)
    if folds < 2 or len(names) < folds:
        problem = f"{len(names)} articles cannot be split into {folds} folds"
        raise InputError(problem, hint="use at least two folds and at most one per article")
    fold_of_article = np.random.default_rng(seed).permutation(len(names)) % folds
    return fold_of_article[article].astype(np.int64)


def cross_validate(values: np.ndarray, articles: np.ndarray, fold: np.ndarray) -> FoldChoice:
    """For each fold, choose the setting with the best mean on the other folds; ties go to the first.

    Args:
        values: the deciding measure, float, shape (settings, questions), settings that change less first. Questions
            with NaN are ignored.
        articles: article of each question, shape (questions,).
        fold: fold of each question, shape (questions,).

    Raises:
        InputError: an article is in two folds.
    """
    by_fold, by_question = [], np.zeros(len(fold), dtype=np.int64)
    for number in range(int(fold.max()) + 1):
        reported = fold == number
        if common := np.intersect1d(articles[~reported], articles[reported]).tolist():
            problem = f"article {common[0]} has questions both among those that α is chosen on"
            raise InputError(f"{problem} and among those reported", hint="split the folds by article")
        means = np.nanmean(values[:, ~reported], axis=1)
        best = int(np.argmax(means.round(12)))  # differences in the last digits are rounding errors
        by_fold.append(best)
        by_question[reported] = best
    return FoldChoice(tuple(by_fold), by_question)
