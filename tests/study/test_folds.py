"""Cross-validation over articles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.study import rank as rank_module
from xqg_repro.study.data import ParallelData
from xqg_repro.study.folds import cross_validate, split_articles
from xqg_repro.study.run import score_methods
from xqg_repro.study.settings import Study
from xqg_repro.study.sources import cached_sums
from xqg_repro.study.vectors import StudyVectors


def test_folds_have_whole_articles_and_even_sizes() -> None:
    articles = np.repeat(np.arange(48), np.arange(48) % 7 + 1)
    fold = split_articles(articles, 5, seed=42)
    assert all(len(set(fold[articles == article])) == 1 for article in range(48))
    sizes = [len(set(articles[fold == number])) for number in range(5)]
    assert sorted(sizes) == [9, 9, 10, 10, 10]
    again, other = (split_articles(articles, 5, seed=seed) for seed in (42, 43))
    assert fold.tolist() == again.tolist() != other.tolist()


def test_too_few_articles_are_refused() -> None:
    with pytest.raises(InputError, match="2 articles cannot be split into 3 folds"):
        split_articles(np.array([1, 2]), 3, seed=1)


def test_the_study_refuses_folds_by_question(
    study: Study, data: ParallelData, vectors: StudyVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_module, "split_articles", lambda articles, folds, seed: np.arange(len(articles)) % folds)
    with pytest.raises(InputError, match="split the folds by article"):
        score_methods(study, data, vectors, True, cached_sums(data, vectors))


def test_a_setting_is_chosen_on_the_other_folds_alone() -> None:
    articles = np.array([0, 0, 1, 1])
    values = np.array([[1.0, 1.0, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    choice = cross_validate(values, articles, articles)
    assert choice.by_fold == (1, 0)  # the best setting of the other fold, and of equal ones the first
    assert choice.by_question.tolist() == [1, 1, 0, 0]


def test_reported_questions_do_not_influence_their_own_setting(
    study: Study, data: ParallelData, vectors: StudyVectors
) -> None:
    fold = split_articles(data.articles, study.folds, study.seed)
    changed = vectors.questions["ar"].copy()
    changed[fold == 0] *= -1
    methods = {"passages-all": study.methods["passages-all"]}  # this one adds no questions
    study = dataclasses.replace(study, methods=methods, languages=("ar",))
    before, after = (
        score_methods(study, data, v, True, cached_sums(data, v)).chosen["en", "ar"]["passages-all"]
        for v in (vectors, dataclasses.replace(vectors, questions={"ar": changed}))
    )
    assert before[0] == after[0]
    assert before != after
