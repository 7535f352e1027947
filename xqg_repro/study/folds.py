"""Cross-validation by article: α and the aggregate of a question are chosen without its article."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xqg_repro.core.errors import InputError


class Chosen(NamedTuple):
    """What cross-validation chose, and where it leads.

    Attributes:
        settings: position of the setting chosen for each fold.
        by_question: position of the setting for each question, int64, shape (questions,).
    """

    settings: tuple[int, ...]
    by_question: np.ndarray


def split(articles: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each question: articles are shuffled and dealt out, so that folds differ by one article at most.

    Args:
        articles: article of each question, integer, shape (questions,).
        folds: number of folds.
        seed: of the shuffling.

    Returns:
        int64, shape (questions,), from 0.

    Raises:
        InputError: there are fewer articles than folds, or fewer than two folds.

    >>> split(np.array([4, 4, 7, 7, 9]), 3, seed=1)
    array([0, 0, 1, 1, 2])
    """
    names, article = np.unique(articles, return_inverse=True)
    if folds < 2 or len(names) < folds:
        raise InputError(
            f"{len(names)} articles cannot be split into {folds} folds", hint="it takes 2 to so many folds"
        )
    dealt = np.random.default_rng(seed).permutation(len(names)) % folds
    return dealt[article].astype(np.int64)


def check_apart(articles: np.ndarray, training: np.ndarray, reported: np.ndarray) -> None:
    """Raise :class:`InputError` where an article has questions among those chosen on and among those reported.

    Args:
        articles: article of each question, shape (questions,).
        training, reported: which questions they are, bool, shape (questions,).
    """
    if common := {*articles[training].tolist()} & {*articles[reported].tolist()}:
        raise InputError(
            f"article {min(common)} has questions among those that α is chosen on and among those that are reported",
            hint="folds must be split by article",
        )


def cross_validate(values: np.ndarray, articles: np.ndarray, fold: np.ndarray) -> Chosen:
    """For each fold the setting with the best mean on the other folds; the first of equals.

    Args:
        values: of the measure that decides, float, shape (settings, questions); settings that change less stand first.
            A question of NaN takes no part.
        articles: article of each question, shape (questions,).
        fold: fold of each question, shape (questions,).

    Raises:
        InputError: an article is in two folds.
    """
    settings, by_question = [], np.zeros(len(fold), dtype=np.int64)
    for number in range(int(fold.max()) + 1):
        reported = fold == number
        check_apart(articles, ~reported, reported)
        # means that differ in the last digits only are equal
        best = int(np.argmax(np.nanmean(values[:, ~reported], axis=1).round(12)))
        settings.append(best)
        by_question[reported] = best
    return Chosen(tuple(settings), by_question)
