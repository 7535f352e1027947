"""What is added to paragraphs: a question never reaches its own paragraph, in whatever language."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.representation.settings import Aggregate
from xqg_repro.study import sources as sources_module
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.run import score_methods
from xqg_repro.study.scoring import MEASURES, Scorer, Setting
from xqg_repro.study.settings import Source, Study
from xqg_repro.study.sources import SourceSums, cached_sums, check_leaks, sum_source
from xqg_repro.study.vectors import StudyVectors

from .conftest import CODES


def with_leak(sums: SourceSums, data: ParallelData) -> SourceSums:
    """The sums with each question left in."""
    return dataclasses.replace(sums, gold_sums=sums.sums[data.gold], gold_counts=sums.counts[data.gold])


def check_independence(rows: list[int], sources: list[Source], data: ParallelData, vectors: StudyVectors) -> None:
    """Other vectors for some questions, each about another paragraph, must not change what these paragraphs get."""
    changed = {code: by_question.copy() for code, by_question in vectors.questions.items()}
    for by_question in changed.values():
        by_question[[duplicate for row in rows for duplicate in data.duplicates[row]]] = 7.0
    other_vectors = dataclasses.replace(vectors, questions=changed)
    for source in sources:
        before, after = (sum_source(source, "en", "ar", data, v) for v in (vectors, other_vectors))
        np.testing.assert_allclose(before.gold_sums[rows], after.gold_sums[rows], atol=1e-4)
        gold = data.gold[rows]
        assert (np.abs(before.sums[gold] - after.sums[gold]).max(axis=1) > 1e-3).all()


def test_nothing_of_a_question_reaches_its_own_paragraph(data: ParallelData, vectors: StudyVectors) -> None:
    rows = [0, 5, len(data.qids) - 1]
    check_independence(rows, [Source.QUESTIONS_OWN, Source.QUESTIONS_ALL], data, vectors)


@pytest.mark.integration
def test_nothing_of_a_real_question_reaches_its_own_paragraph(shared_data: Path) -> None:
    data, draw = load_data(CODES), np.random.default_rng(1)
    questions = {code: draw.normal(size=(len(data.qids), 3)).astype(np.float32) for code in CODES}
    first_of_paragraph = np.unique(data.gold, return_index=True)[1].tolist()
    check_independence(first_of_paragraph, [Source.QUESTIONS_ALL], data, StudyVectors({}, questions, {}))


@pytest.mark.parametrize("leak", ["own translation", "all", "same words"])
def test_a_planted_leak_is_found(data: ParallelData, vectors: StudyVectors, leak: str) -> None:
    sums = sum_source(Source.QUESTIONS_ALL, "en", "ar", data, vectors)
    gold_sums, counts = sums.gold_sums.copy(), sums.gold_counts.copy()
    if leak == "own translation":  # left out in some of the languages only
        gold_sums += vectors.questions["th"]
        counts += 1
    elif leak == "all":
        gold_sums, counts = sums.sums[data.gold], sums.counts[data.gold]
    else:  # left out by id only
        gold_sums[0] += sum(vectors.questions[code][2] for code in CODES)
        counts[0] += len(CODES)
    leaking = dataclasses.replace(sums, gold_sums=gold_sums, gold_counts=counts)
    with pytest.raises(InputError, match="leave the question and its translations out"):
        check_leaks(leaking, data, vectors, CODES)


def test_the_study_refuses_a_leak(
    study: Study, data: ParallelData, vectors: StudyVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sources_module._sum_questions
    monkeypatch.setattr(sources_module, "_sum_questions", lambda *args: with_leak(honest(*args), data))
    with pytest.raises(InputError, match="question q0: its paragraph is augmented"):
        score_methods(study, data, vectors, True, cached_sums(data, vectors))


def test_a_leak_would_raise_the_scores(data: ParallelData, vectors: StudyVectors) -> None:
    honest = sum_source(Source.QUESTIONS_ALL, "en", "ar", data, vectors)
    scores = []
    for sums in (honest, with_leak(honest, data)):
        scorer = Scorer(vectors.questions["ar"], vectors.paragraphs["en"], data.gold, [sums], True)
        scores.append(MEASURES["RR"](scorer.ranks([Setting(Aggregate.MEAN, 0.5)])).mean())
    assert scores[0] + 0.05 < scores[1]


def test_a_paragraph_is_not_augmented_with_itself(data: ParallelData, vectors: StudyVectors) -> None:
    assert sum_source(Source.PARAGRAPHS_OWN, "en", "en", data, vectors).counts.tolist() == [0] * 12
    assert sum_source(Source.PARAGRAPHS_ALL, "en", "en", data, vectors).counts.tolist() == [2] * 12


@pytest.mark.parametrize("source", [source for source in Source if source.needs])
def test_a_source_without_vectors_is_refused(data: ParallelData, vectors: StudyVectors, source: Source) -> None:
    ar = {name: {"ar": getattr(vectors, name)["ar"]} for name in ("generated", "filtered", "translations", "cut")}
    few = dataclasses.replace(vectors, **ar)
    with pytest.raises(InputError, match=f"no {source} vectors for paragraphs in en"):
        sum_source(source, "en", "th", data, few)
