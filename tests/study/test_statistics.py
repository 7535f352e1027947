"""Tests of significance over pairs of languages, and the costs of methods."""

from __future__ import annotations

import numpy as np
import pytest

from xqg_repro.evaluation.significance import randomisation
from xqg_repro.study.data import ParallelData
from xqg_repro.study.results import Results
from xqg_repro.study.run import score_methods
from xqg_repro.study.settings import Study
from xqg_repro.study.sources import cached_sums
from xqg_repro.study.statistics import compare_each_pair, compare_over_pairs
from xqg_repro.study.summarise import method_costs
from xqg_repro.study.vectors import StudyVectors

from .conftest import DIMENSION, FEW


@pytest.fixture
def results(study: Study, data: ParallelData, vectors: StudyVectors) -> Results:
    return score_methods(study, data, vectors, True, cached_sums(data, vectors))


def test_the_pooled_test_swaps_a_question_in_all_its_pairs(results: Results) -> None:
    pairs = [("en", "ar"), ("en", "th")]
    test = compare_over_pairs(results, "RR", "queries-all", "none", "en", pairs)
    rows = [results.scores["RR"][pair]["queries-all"] - results.scores["RR"][pair]["none"] for pair in pairs]
    assert test.difference == pytest.approx(np.mean(rows))
    assert test.low <= test.difference <= test.high
    assert test.p == randomisation({"": np.mean(rows, axis=0)}, samples=FEW)
    # two pairs with the same scores are no more evidence than one
    for pair in pairs:
        results.scores["RR"][pair] = results.scores["RR"]["en", "ar"]
    twice, once = (compare_over_pairs(results, "RR", "queries-all", "none", "en", p) for p in (pairs, pairs[:1]))
    assert (twice.p, twice.low, twice.high) == (once.p, once.low, once.high)


def test_holm_counts_the_pairs_of_a_comparison(results: Results) -> None:
    tests = [test for test in compare_each_pair(results, [("sentences", "none")]) if test.measure == "RR"]
    assert len(tests) == 3
    assert min(test.corrected for test in tests) == pytest.approx(min(1, 3 * min(test.p for test in tests)))


def test_costs_count_what_is_encoded_and_stored(study: Study, data: ParallelData, vectors: StudyVectors) -> None:
    costs = {cost.method: cost for cost in method_costs(study, vectors, cached_sums(data, vectors))}
    questions, size = 3 * len(data.qids), 12 * DIMENSION * 4
    expected = {
        "none": (0, 1, size),
        "queries-all": (questions, 1, size),
        "queries-own": (questions, 3, 3 * size),
        "passages-all": (2 * 12, 1, size),
        "sentences": (23, 1, size),
        "both-all": (questions + 2 * 12, 1, size),
        "translations-own": (2 * 12, 3, 3 * size),
        "translations-all": (2 * 12, 1, size),
    }
    assert {name: (costs[name].vectors, costs[name].indexes, costs[name].bytes) for name in expected} == expected
    assert costs["translations-all"].characters == 2 * 70
