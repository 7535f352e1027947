from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from train.samples import SENTENCES
from xqg_repro.train.architecture import Family
from xqg_repro.train.mini.scratch import train_byte_fallback_tokenizer, train_tokenizer

WORDS = [f"{a}{b}{c} {c}{a}" for a in "bdkst" for b in "aeo" for c in ("n", "lo", "mi")]
SCRIPTS = ["كتاب كبير", "বাংলা ভাষা", "Äiti sanoi: ei!", "東京都は大きい", "서울의 강", "Москва — столица", "తెలుగు భాష"]


def test_the_same_texts_give_the_same_tokenizer() -> None:
    # within one process, as the trainers draw their random numbers again for each tokenizer
    for family in Family:
        assert len({train_tokenizer(WORDS * 3 + SCRIPTS, 150, family)._tokenizer.to_str() for _ in range(4)}) == 1
    assert len({train_byte_fallback_tokenizer(WORDS, 300)._tokenizer.to_str() for _ in range(4)}) == 1


# BERT's family


@pytest.fixture(scope="module")
def word_pieces() -> Any:
    return train_tokenizer(SCRIPTS * 5 + WORDS, 220, Family.BERT)


def test_berts_family_has_word_pieces_and_berts_special_tokens(word_pieces: Any) -> None:
    parts = json.loads(word_pieces._tokenizer.to_str())
    assert parts["model"]["type"] == parts["decoder"]["type"] == "WordPiece"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert word_pieces.convert_ids_to_tokens(range(5)) == special
    assert [added["content"] for added in parts["added_tokens"]] == special  # pieces of words are not among them
    vocabulary = word_pieces.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(vocabulary) <= 220
    assert word_pieces.decode(word_pieces("bandaka")["input_ids"], skip_special_tokens=True) == "bandaka"
    assert word_pieces.tokenize("ban Ж") == [*word_pieces.tokenize("ban"), "[UNK]"]


@pytest.mark.parametrize("text", [*SCRIPTS, *WORDS[:3]])
def test_the_longest_piece_is_taken_and_no_training_text_is_unknown(word_pieces: Any, text: str) -> None:
    backend, vocabulary = word_pieces._tokenizer, word_pieces.get_vocab()
    expected = ["[CLS]"]
    for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
        at = 0
        while at < len(word):
            mark = "##" if at else ""
            end = next(end for end in range(len(word), at, -1) if mark + word[at:end] in vocabulary)
            expected.append(mark + word[at:end])
            at = end
    assert word_pieces.convert_ids_to_tokens(word_pieces(text)["input_ids"]) == [*expected, "[SEP]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),  # their signs are combining marks, as accents are
        ("Äiti", ["äiti"]),
        ("東京都は大きい", ["東", "京", "都", "は", "大", "きい"]),
        ("ei!", ["ei", "!"]),
        ("ＡＢ１２", ["ab12"]),  # NFKC
    ],
)
def test_vowel_signs_and_accents_are_kept_and_ideographs_are_words(
    word_pieces: Any, text: str, expected: list[str]
) -> None:
    backend = word_pieces._tokenizer
    words = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
    assert [word for word, _ in words] == expected


# the generator's


@pytest.fixture(scope="module")
def byte_fallback() -> Any:
    return train_byte_fallback_tokenizer([*SENTENCES.values(), "What is 42?"], 500)


def decode(tokenizer: Any, text: str) -> str:
    """The text as the generator would write it: token ids and back."""
    ids = tokenizer([text])["input_ids"]
    assert ids[0][-1] == tokenizer.eos_token_id and tokenizer.unk_token_id not in ids[0]
    return tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(categories=["L", "M", "N", "P"]), min_size=1), max_size=3))
def test_text_of_any_characters_comes_back(byte_fallback: Any, words: list[str]) -> None:
    text = unicodedata.normalize("NFC", " ".join(words))
    assert decode(byte_fallback, text) == text


@pytest.mark.parametrize("text", [*SENTENCES.values(), "Ünïcödé 1,234.5 km² – ok!", "ไทย ελληνικά 👍🏽", "йод", ""])
def test_sentences_come_back_composed(byte_fallback: Any, text: str) -> None:
    assert decode(byte_fallback, unicodedata.normalize("NFD", text)) == unicodedata.normalize("NFC", text)


def test_pieces_are_learnt_from_the_texts_beside_the_bytes() -> None:
    tokenizer = train_byte_fallback_tokenizer(["kissa kissa kissat", "koira koira koirat"], 280)
    assert 256 + 15 < len(tokenizer) <= 280
    assert len(tokenizer("kissa")["input_ids"]) == 2  # one piece and the end
    assert tokenizer.tokenize("2024")[-3:] == [f"<0x{ord(digit):02X}>" for digit in "024"]  # never seen: bytes
