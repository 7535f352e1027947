from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import small_tokenizer

from xqg_repro.core.errors import InputError
from xqg_repro.models.tokenizers import SAMPLES, check_tokenizer


@pytest.mark.parametrize("script", SAMPLES)
def test_a_tokenizer_of_one_script_is_accepted(script: str, tmp_path: Path) -> None:
    check_tokenizer(small_tokenizer([SAMPLES[script]]), tmp_path)


def _per_word(known: Callable[[str], list[int]]) -> Any:
    """A tokenizer that maps each word by itself."""

    def tokenize(words: Sequence[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        return {"input_ids": [known(word) for word in words]}

    return tokenize


def _fails(word: str) -> list[int]:
    raise ValueError("WordPiece error: Missing [UNK] token from the vocabulary")


@pytest.mark.parametrize(
    "known",
    [
        lambda word: [],  # bytes without a vocabulary
        lambda word: [3] * len(word),  # one unknown token per letter
        lambda word: [7, 3],  # after a token for the space
        lambda word: [5] if word in {"the", "a"} else [3],
        _fails,
    ],
)
def test_a_tokenizer_that_knows_no_words_is_refused(known: Callable[[str], list[int]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no vocabulary") as caught:
        check_tokenizer(_per_word(known), tmp_path)
    assert caught.value.path == tmp_path


def test_a_tokenizer_of_bytes_is_accepted(tmp_path: Path) -> None:
    check_tokenizer(_per_word(lambda word: list(word.encode())), tmp_path)
