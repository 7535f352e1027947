"""The study on the real XQuAD, without an encoder: what its data are like, and what leaks unless it is looked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import split_sentences
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.folds import check_apart, split
from xqg_repro.study.settings import Source, load_study
from xqg_repro.study.sources import added
from xqg_repro.study.vectors import Vectors

pytestmark = pytest.mark.integration

LANGUAGES = ("en", "ar", "de", "es", "ru", "th", "vi")


@pytest.fixture
def data(shared_data: Path) -> ParallelData:
    return load_data(LANGUAGES)


def test_all_languages_have_the_same_paragraphs_and_questions(data: ParallelData) -> None:
    assert (len(data.docids), len(data.qids), len(set(data.articles.tolist()))) == (240, 1190, 48)
    assert {len(texts) for texts in data.questions.values()} == {1190}
    assert np.bincount(data.own).min() == 1  # a paragraph with a single question
    assert (np.bincount(data.own) == 1).sum() == 3


def test_some_questions_are_asked_twice_on_a_paragraph(data: ParallelData) -> None:
    twice = [rows for rows in data.same if len(rows) > 1]
    assert len(twice) == 26
    assert all(data.own[i] == data.own[rows[0]] for rows in twice for i in rows)


def test_no_article_is_on_both_sides(data: ParallelData) -> None:
    study = load_study(LANGUAGES)
    fold = split(data.articles, study.folds, study.seed)
    for number in range(study.folds):
        check_apart(data.articles, fold != number, fold == number)
    shifted = np.roll(fold, 1)
    with pytest.raises(InputError, match="split by article"):
        check_apart(data.articles, shifted != 0, shifted == 0)


def test_nothing_of_a_question_reaches_its_own_paragraph(data: ParallelData) -> None:
    draw = np.random.default_rng(1)
    held = {code: draw.normal(size=(1190, 3)).astype(np.float32) for code in LANGUAGES}
    source = partial(added, Source.QUESTIONS_ALL, "en", "ar", data)
    before = source(Vectors({}, held, {}))
    for i in range(0, 1190, 97):
        changed = {code: vectors.copy() for code, vectors in held.items()}
        for vectors in changed.values():
            vectors[list(data.same[i])] = 99.0
        after = source(Vectors({}, changed, {}))
        np.testing.assert_allclose(after.own_sums[i], before.own_sums[i], atol=1e-4)


def test_every_paragraph_has_sentences(data: ParallelData) -> None:
    for code in LANGUAGES:
        for doc in data.paragraphs[code]:
            found = split_sentences(doc.text, code)
            assert found
            assert "".join("".join(found).split()) == "".join(doc.text.split())
