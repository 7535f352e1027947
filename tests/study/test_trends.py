"""Gains against resources, and the number of questions that would decide."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from xqg_repro.core.errors import InputError
from xqg_repro.study.power import questions_needed
from xqg_repro.study.results import Results
from xqg_repro.study.settings import Study, Trend, load_study
from xqg_repro.study.trends import correlate, find_trends, read_losses


def test_losses_are_averaged_by_tokens(tmp_path: Path) -> None:
    parts = [{"question": {"ar": {"loss": 1.0, "tokens": 300, "texts": 9}, "th": {"loss": 2, "tokens": 5}}}]
    parts += [{"question": {"ar": {"loss": 2.0, "tokens": 100}}, "translation": {"ar": {"loss": 0.5, "tokens": 1}}}]
    files = [tmp_path / f"{number}.json" for number in range(2)]
    for path, part in zip(files, parts, strict=True):
        path.write_text(json.dumps(part))
    assert read_losses(files) == {"question": {"ar": 1.25, "th": 2.0}, "translation": {"ar": 0.5}}
    for bad, problem in (
        ({"question": {"ar": 1.2}}, "question.ar is 1.2, expected dict"),
        ({"question": {"ar": {"loss": 1.2}}}, "lacks the key 'tokens'"),
        ({"question": {"ar": {"loss": "low", "tokens": 1}}}, "loss is 'low'"),
        ({"question": {"ar": {"loss": 1.0, "tokens": 0}}}, "question.ar has 0 tokens"),
    ):
        files[0].write_text(json.dumps(bad))
        with pytest.raises(InputError, match=problem):
            read_losses(files)


def sums_of(gains: list[float], noise: float) -> np.ndarray:
    draw = np.random.default_rng(0)
    return 10 * (np.array(gains)[:, None] + noise * draw.normal(size=(len(gains), 20)))


def test_correlation_is_spearmans_with_an_interval_that_knows_both_samples() -> None:
    x, counts = np.array([1.0, 2, 2, 3, 4, 6]), np.full(20, 10)
    sums = sums_of([5, 4, 4.5, 1, 2, 0], noise=0.01)
    found = correlate(x, sums, counts, samples=499)
    assert found is not None
    expected = stats.spearmanr(x, sums.sum(axis=1))
    assert found[0] == pytest.approx(expected.statistic)
    assert found[1] <= found[0] <= found[2] < 0 and found[3] < 0.05
    noisy = correlate(x, sums_of([5, 4, 4.5, 1, 2, 0], noise=20), counts, samples=499)
    assert noisy is not None and noisy[2] - noisy[1] > found[2] - found[1]
    assert correlate(x[:3], sums[:3], counts) is None  # too few languages
    assert correlate(np.ones(6), sums, counts) is None and correlate(x, np.ones((6, 20)), counts) is None


def test_few_languages_are_permuted_exactly() -> None:
    found = correlate(np.arange(4.0), sums_of([0, 1, 2, 3], noise=0), np.full(20, 10), samples=99)
    assert found is not None and found[0] == pytest.approx(1)
    assert found[3] == pytest.approx(2 / 24)


def test_trends_are_against_the_grouping_and_known_losses() -> None:
    codes = ("en", "ar", "de", "el", "hi", "th")
    trend = Trend("queries-own", "none", "resources", "question")
    study: Study = dataclasses.replace(load_study(codes), trends=(trend,))
    draw = np.random.default_rng(1)
    scores = {("en", c): {"none": draw.random(30), "queries-own": draw.random(30)} for c in codes}
    scores["en", "th"]["none"][:5] = np.nan  # not read
    results = Results(study.pairs, ["none", "queries-own"], [""] * 30, np.repeat(np.arange(6), 5), {"F1": scores})
    losses = {"question": {"ar": 1.0, "de": 0.5, "hi": 2.0, "th": 2.5}, "translation": {"ar": 1.0}}
    by_class, by_loss = find_trends(results, study, losses)
    assert (by_class.against, by_loss.against) == ("resources", "question loss")
    assert {code: point[0] for code, point in by_class.points.items()} == {"ar": 5, "de": 5, "el": 3, "hi": 4, "th": 3}
    assert set(by_loss.points) == {"ar", "de", "hi", "th"}
    by_method = scores["en", "th"]
    gain = np.nanmean(by_method["queries-own"][5:] - by_method["none"][5:])
    assert by_loss.points["th"] == (2.5, pytest.approx(gain))
    assert [found.against for found in find_trends(results, study, {})] == ["resources"]


def test_power_is_that_of_as_many_articles() -> None:
    draw = np.random.default_rng(2)
    by_article = draw.normal(0.02, 0.1, size=48)
    needed = questions_needed(by_article, questions=480)
    assert needed is not None
    articles, deviation = needed / 10, by_article.std(ddof=1)
    # the power of a z-test with that many articles
    z = by_article.mean() / (deviation / np.sqrt(articles)) - stats.norm.ppf(0.975)
    assert stats.norm.cdf(z) == pytest.approx(0.8, abs=0.01)
    assert questions_needed(2 * by_article, 480) == needed
    assert questions_needed(by_article - by_article.mean(), 480) is None and questions_needed(by_article[:1], 9) is None
