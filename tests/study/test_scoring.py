"""Ranks for each setting, against an index that is built for each question from single vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from xqg_repro.representation.augment import combine
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.study.data import ParallelData
from xqg_repro.study.scoring import TIE, AugmentedVectors, Scorer, Setting, aggregate_sources, rank_gold, setting_grid
from xqg_repro.study.settings import Source, Study
from xqg_repro.study.sources import sum_source
from xqg_repro.study.vectors import StudyVectors

from .conftest import CODES


def added_vectors(
    data: ParallelData, vectors: StudyVectors, source: Source, asked: str, question: int, paragraph: int
) -> list[np.ndarray]:
    """The single vectors that a source adds to one English paragraph when one question is asked."""
    languages = [asked] if source.endswith("-own") else CODES
    if source.startswith("questions"):
        left = [q for q in np.flatnonzero(data.gold == paragraph) if q not in data.duplicates[question]]
        return [vectors.questions[code][q] for code in languages for q in left]
    if source.startswith("paragraphs"):
        return [vectors.paragraphs[code][paragraph] for code in languages if code != "en"]
    if source is Source.SENTENCES:
        groups = [vectors.sentences["en"]]
    elif source.startswith("translations"):
        by_language = vectors.cut if "cut" in source else vectors.translations
        groups = [by_language[code] for code in languages if code != "en"]
    else:
        by_language = vectors.filtered if source.startswith("filtered") else vectors.generated
        groups = [by_language[code] for code in languages]
    return [vector for group in groups for vector in group.vectors[group.owners == paragraph]]


def slow_rank(
    data: ParallelData,
    vectors: StudyVectors,
    question: int,
    sources: Sequence[Source],
    setting: Setting,
    asked: str,
    normalize: bool,
) -> int:
    """The rank of a question's paragraph in an index that is built for this question alone."""
    index = []
    for paragraph, p in enumerate(vectors.paragraphs["en"]):
        aggregated = []
        for source in sources:
            added = added_vectors(data, vectors, source, asked, question, paragraph)
            if added:
                aggregated.append(np.sum(added, axis=0) / (len(added) if setting.aggregate == "mean" else 1))
        if aggregated and setting.alpha:
            p = (1 - setting.alpha) * p + setting.alpha * np.mean(aggregated, axis=0)
            p = p / np.linalg.norm(p) if normalize else p
        index.append(p)
    scores = np.array(index) @ vectors.questions[asked][question]
    return int((scores >= scores[data.gold[question]] - 1e-6).sum())


@pytest.mark.parametrize(
    ("names", "normalize"),
    [
        ("questions-own", True),
        ("questions-all", True),
        ("questions-all", False),
        ("paragraphs-own", False),
        ("paragraphs-all", True),
        ("sentences", True),
        ("generated-own", True),
        ("generated-all", True),
        ("filtered-own", False),
        ("filtered-all", True),
        ("translations-cut-own", True),
        ("translations-cut-all", True),
        ("generated-own translations-own", True),
        ("translations-own", False),
        ("translations-all", True),
        ("questions-all paragraphs-all", True),
    ],
)
def test_ranks_are_those_of_an_index_built_for_each_question(
    data: ParallelData, vectors: StudyVectors, names: str, normalize: bool
) -> None:
    sources, asked = [Source(name) for name in names.split()], "ar"
    settings = [Setting(how, alpha) for how in Aggregate for alpha in (0.1, 0.6)]
    sums = [sum_source(source, "en", asked, data, vectors) for source in sources]
    scorer = Scorer(vectors.questions[asked], vectors.paragraphs["en"], data.gold, sums, normalize)
    ranks = scorer.ranks(settings)
    expected = [
        [slow_rank(data, vectors, question, sources, setting, asked, normalize) for question in range(len(data.qids))]
        for setting in settings
    ]
    assert ranks.tolist() == expected
    assert (ranks > 1).any()
    unaugmented = Scorer(vectors.questions[asked], vectors.paragraphs["en"], data.gold, [], normalize)
    without = [Setting(how, 0.0) for how in Aggregate]
    assert scorer.ranks(without).tolist() == unaugmented.ranks(without).tolist()


@pytest.mark.parametrize("how", Aggregate)
@pytest.mark.parametrize(("alpha", "normalize"), [(0.0, True), (0.3, True), (0.3, False), (1.0, True)])
def test_augmented_vectors_are_those_of_augment(
    data: ParallelData, vectors: StudyVectors, how: Aggregate, alpha: float, normalize: bool
) -> None:
    sums = sum_source(Source.QUESTIONS_ALL, "en", "ar", data, vectors)
    p, added = vectors.paragraphs["en"][data.gold], (sums.gold_sums.astype(np.float32), sums.gold_counts)
    augmented = AugmentedVectors(p, *aggregate_sources([added], how))
    u, v = augmented.weights(alpha, normalize)
    expected = combine(p, *added, Augmentation(alpha, how), normalize)
    np.testing.assert_allclose(u[:, None] * augmented.p + v[:, None] * augmented.a, expected, atol=2e-6)


def test_a_tie_counts_against_the_question() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.2, 0.1, 0.2000021]])
    assert rank_gold(scores, np.array([0, 0])).tolist() == [2, 2]
    scores[1, 0] = 0.2000041
    assert rank_gold(scores, np.array([0, 0])).tolist() == [2, 1]


def test_top_paragraphs_agree_with_the_ranks() -> None:
    draw = np.random.default_rng(2)
    questions, paragraphs = (draw.normal(size=(n, 8)).astype(np.float32) for n in (40, 12))
    paragraphs[5] = paragraphs[6]  # a tie
    gold = draw.integers(0, 12, 40)
    scorer = Scorer(questions, paragraphs, gold, [], True)
    top = scorer.top([Setting(Aggregate.MEAN, 0.0)], np.zeros(40, dtype=np.int64), 3)
    assert top.rows.shape == top.scores.shape == (40, 3)
    ranks = rank_gold(scorer.unaugmented, gold)
    assert ((top.rows == gold[:, None]).any(axis=1) == (ranks <= 3)).all() and (ranks > 3).any()
    assert np.allclose(top.scores, np.take_along_axis(scorer.unaugmented, top.rows, axis=1))
    assert (np.diff(top.scores, axis=1) <= TIE).all()


def test_settings_with_small_changes_come_first(study: Study) -> None:
    settings = setting_grid(study, study.methods["queries-all"])
    assert settings[:3] == [("mean", 0.0), ("sum", 0.0), ("mean", 0.005)]
    assert setting_grid(study, study.methods["none"]) == [("mean", 0.0)]
    sums_only = dataclasses.replace(study.methods["queries-all"], aggregates=(Aggregate.SUM,))
    assert {how for how, _ in setting_grid(study, sums_only)} == {"sum"}
