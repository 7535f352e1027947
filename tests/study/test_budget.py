"""The cost of machine-made texts in tokens, and translations cut to the cost of queries."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from model_fixtures import small_tokenizer

from xqg_repro.core.errors import InputError
from xqg_repro.study.budget import count_tokens, cut_translations, sum_counted, text_costs
from xqg_repro.study.made import MadeTexts

from .made import DOCIDS, write_generated

MADE = MadeTexts(
    generated={"ar": [("a b", "c"), (), ("a b c d e",)], "en": [("a",), ("a", "b"), ()]},
    translations={"ar": ["d  c b a e", "a b", "c d"]},
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = small_tokenizer(["a b c d e"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer) if not callable(tokenizer) else tokenizer


def test_a_translation_ends_where_the_queries_do(tokenizer: Any) -> None:
    assert count_tokens(["a b", "c", ""], tokenizer) == [2, 1, 0]
    made = cut_translations(MADE, tokenizer)
    # three tokens; nothing for a paragraph without queries; all of a translation that costs less than the queries
    assert made.cut == {"ar": ["d  c b", "", "c d"]}
    assert (made.generated, made.translations) == (MADE.generated, MADE.translations)
    with pytest.raises(InputError, match="needs a fast tokenizer"):
        cut_translations(MADE, SimpleNamespace(is_fast=False))


def test_costs_are_means_over_paragraphs(tokenizer: Any) -> None:
    arabic, english = text_costs(cut_translations(MADE, tokenizer), tokenizer)
    assert (arabic.language, arabic.queries, arabic.query_tokens) == ("ar", 1.0, 8 / 3)
    assert (arabic.translation_tokens, arabic.cut_tokens) == (9 / 3, 5 / 3)
    assert (english.queries, english.query_tokens, english.translation_tokens) == (1.0, 1.0, 0.0)


def test_a_writers_own_counts_are_summed_if_all_folders_have_them(tmp_path: Path) -> None:
    folders = [write_generated(tmp_path / str(n), DOCIDS[n : n + 1], tokens=10 + n) for n in range(2)]
    assert sum_counted(folders) == {"tokens": 21, "seconds": 42}
    assert sum_counted([*folders, write_generated(tmp_path / "2")]) == {}
    assert sum_counted([]) == {}
