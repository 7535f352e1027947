"""How many questions would decide a comparison that these questions leave open?

Questions about one article are not independent, so the unit is the article: with the variance of the articles'
differences, ``n = ((z_{1-level/2} + z_power) · s / d)²`` articles detect the difference d, the usual approximation for
a two-sided paired test. The answer is in questions, at as many per article as here.
"""

from __future__ import annotations

from math import ceil

import numpy as np

LEVEL, POWER = 0.05, 0.8


def questions_needed(
    by_article: np.ndarray, questions: int, *, level: float = LEVEL, power: float = POWER
) -> int | None:
    """The number of questions that would detect the mean difference in 80 of 100 studies.

    Args:
        by_article: difference of each article, scaled so that their mean is that of the questions, float, shape
            (articles,).
        questions: number of questions about these articles.

    Returns:
        ``None`` if the mean is zero, which no number of questions would detect, or if there is a single article.

    >>> questions_needed(np.array([0.1, -0.1, 0.2, 0.0] * 12), questions=1200)
    1002
    """
    from scipy import stats

    mean = float(by_article.mean())
    if len(by_article) < 2 or abs(mean) < 1e-12:
        return None
    quantiles = float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power))
    articles = (quantiles * float(by_article.std(ddof=1)) / mean) ** 2
    return ceil(articles * questions / len(by_article))
