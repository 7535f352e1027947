"""Does the gain depend on a language's resources? Gains by language against classes and the generator's losses.

Files of losses are JSON, written by the training of a generator: task → language → ``loss`` (mean per token on held-out
texts) and ``tokens`` (their number). Those of several generators are averaged by tokens.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse
from xqg_repro.core.text import Record, read_json
from xqg_repro.evaluation.significance import SAMPLES, SEED
from xqg_repro.study.results import Results
from xqg_repro.study.settings import Study
from xqg_repro.study.summary import GainTrend

Losses = Mapping[str, Mapping[str, float]]
"""Task → language → held-out loss per token."""

FEWEST = 4
"""Languages without which there is no trend to speak of."""


@dataclass(frozen=True)
class HeldOutLoss:
    """A generator's mean loss per token on held-out texts in a language, and the number of these tokens."""

    loss: float
    tokens: int


def read_losses(files: Sequence[str | Path]) -> dict[str, dict[str, float]]:
    """The losses of all files, averaged by tokens; :class:`InputError` if one is malformed or has no tokens."""
    hint = 'expected {"question": {"ar": {"loss": 1.2, "tokens": 100}, …}, …}'
    parts: dict[str, dict[str, list[HeldOutLoss]]] = {}
    for path in map(Path, files):
        content = Record(read_json(path, "file of losses", hint), path, hint=hint)
        for task in content.value:
            for code, item in content.mapping(task, dict).items():
                loss = parse(HeldOutLoss, {key: item[key] for key in ("loss", "tokens") if key in item}, path)
                if loss.tokens <= 0:
                    raise content.error(f"{task}.{code} has {loss.tokens} tokens, expected at least one")
                parts.setdefault(task, {}).setdefault(code, []).append(loss)
    return {task: {code: _mean_loss(losses) for code, losses in by.items()} for task, by in parts.items()}


def _mean_loss(losses: Sequence[HeldOutLoss]) -> float:
    return sum(part.loss * part.tokens for part in losses) / sum(part.tokens for part in losses)


def find_trends(results: Results, study: Study, losses: Losses) -> list[GainTrend]:
    """Each trend of the study, in each measure: against the grouping, and against the loss if it is known."""
    first = study.passages[0]
    languages = [code for code in study.languages if code != first]
    trends = []
    for measure in results.scores:
        for trend in study.trends:
            groups = study.groups[trend.grouping].languages
            axes: dict[str, Mapping[str, float]] = {trend.grouping: {code: _number(groups[code]) for code in groups}}
            if trend.loss in losses:
                axes[f"{trend.loss} loss"] = losses[trend.loss]
            pairs = [(first, code) for code in languages]
            differences = results.differences(measure, trend.method, trend.other, pairs)
            by_article = _by_article(differences, results.articles)
            for against, values in axes.items():
                known = [row for row, code in enumerate(languages) if code in values]
                x = np.array([values[languages[row]] for row in known])
                if found := correlate(x, by_article[0][known], by_article[1]):
                    points = {
                        languages[row]: (float(values[languages[row]]), float(np.nanmean(differences[row])))
                        for row in known
                    }
                    trends.append(GainTrend(measure, trend.method, trend.other, against, points, *found))
    return trends


def correlate(
    x: np.ndarray, sums: np.ndarray, counts: np.ndarray, *, samples: int = SAMPLES, seed: int = SEED
) -> tuple[float, float, float, float] | None:
    """Spearman's correlation between a value of each language and its mean gain.

    The interval is from a bootstrap that draws languages, and articles within it: both are samples, of languages and of
    texts. The p-value is from permutations of the languages, two-sided.

    Args:
        x: value of each language, float, shape (languages,).
        sums: sum of the gains of an article's questions, float, shape (languages, articles).
        counts: number of these questions, integer, shape (articles,).

    Returns:
        correlation, lower and upper limit of its 95 % interval, p; ``None`` for too few languages, or if all have the
        same value or the same gain.
    """
    gains = sums.sum(axis=1) / counts.sum()
    if len(x) < FEWEST:
        return None
    rho = float(_spearman(x[None], gains[None])[0])
    if np.isnan(rho):
        return None
    draw, (languages, articles) = np.random.default_rng(seed), sums.shape
    weights = draw.multinomial(articles, np.full(articles, 1 / articles), size=samples)
    drawn_gains = weights @ sums.T / (weights @ counts)[:, None]
    drawn = draw.integers(languages, size=(samples, languages))
    rhos = _spearman(x[drawn], np.take_along_axis(drawn_gains, drawn, axis=1))
    low, high = np.nanquantile(rhos, [0.025, 0.975])
    return rho, float(low), float(high), _permutation(x, gains, rho, samples, draw)


def _permutation(x: np.ndarray, gains: np.ndarray, rho: float, samples: int, draw: np.random.Generator) -> float:
    if factorial(len(x)) <= samples:
        orders = np.array(list(itertools.permutations(range(len(x)))))
    else:
        orders = draw.permuted(np.tile(np.arange(len(x)), (samples, 1)), axis=1)
    beyond = int(np.count_nonzero(np.abs(_spearman(x[orders], np.tile(gains, (len(orders), 1)))) >= abs(rho) - 1e-12))
    return beyond / len(orders) if factorial(len(x)) <= samples else (beyond + 1) / (samples + 1)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row, float64, shape (rows,); NaN if a row is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(values.round(12), axis=1) for values in (x, y))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / norms


def _by_article(differences: np.ndarray, articles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the differences, (pairs, articles), and numbers of questions, (articles,), of those that have a score."""
    scored = ~np.isnan(differences).any(axis=0)
    _, article = np.unique(articles[scored], return_inverse=True)
    sums = np.stack([np.bincount(article, weights=row[scored]) for row in differences])
    return sums, np.bincount(article)


def _number(group: str) -> float:
    """The number at the end of a group's name.

    >>> _number("class 3")
    3.0
    """
    match = re.search(r"\d+$", group)
    if not match:
        raise InputError(f"the group {group!r} does not end in a number, so it has no trend")
    return float(match[0])
