"""The study's data: the same paragraphs and questions in all languages; and what the real XQuAD is like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.study.data import ParallelData, load_data

from .conftest import CODES

REAL = ("en", "ar", "de", "es", "ru", "th", "vi")


def test_duplicates_have_the_same_words_in_some_language(data: ParallelData) -> None:
    assert data.duplicates[0] == data.duplicates[2] == (0, 2)
    assert data.duplicates[1] == (1,)


def test_languages_are_aligned_by_id(changed_xquad: Callable[..., None]) -> None:
    changed_xquad(lambda parsed: [p["qas"].reverse() for p in parsed["th"]["data"][2]["paragraphs"]])
    data = load_data(CODES)
    assert len(data.docids) == 12
    assert data.gold.tolist() == sorted(data.gold.tolist())
    assert [text[8:] for text in data.questions["th"]] == [text[8:] for text in data.questions["en"]]
    assert data.articles.tolist() == [int(qid[0]) for qid in data.qids]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda paragraph: paragraph.update(context=" \n"), "paragraph 1-0 of xquad/th is empty"),
        (lambda paragraph: paragraph["qas"][0].update(question=""), r"qas\[0\].question is blank"),
        (lambda paragraph: paragraph["qas"][0].update(id="x"), "xquad/th and xquad/en have different ids"),
    ],
)
def test_damaged_data_are_refused(changed_xquad: Callable[..., None], change: Any, problem: str) -> None:
    changed_xquad(lambda parsed: change(parsed["th"]["data"][1]["paragraphs"][0]))
    with pytest.raises(InputError, match=problem):
        load_data(CODES)


@pytest.mark.integration
def test_the_real_languages_have_the_same_paragraphs_and_questions(shared_data: Path) -> None:
    data = load_data(REAL)
    assert (len(data.docids), len(data.qids), len(set(data.articles.tolist()))) == (240, 1190, 48)
    assert {len(texts) for texts in data.questions.values()} == {1190}
    questions_of_paragraph = np.bincount(data.gold)
    assert (questions_of_paragraph.min(), (questions_of_paragraph == 1).sum()) == (1, 3)
    duplicates = [rows for rows in data.duplicates if len(rows) > 1]
    assert len(duplicates) == 26
    assert all(data.gold[row] == data.gold[rows[0]] for rows in duplicates for row in rows)
