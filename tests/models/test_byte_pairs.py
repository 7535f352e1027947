from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from xqg_repro.core.errors import InputError
from xqg_repro.models.byte_pairs import BYTES, BytePairs, template_tokens

FOLDER = Path("model")


def byte_fallback(merges: list[tuple[str, str]], characters: str = "abcdeя", **settings: Any) -> Tokenizer:
    """A tokenizer with these merges, in this order; ids are those of the bytes, the merges, and the characters."""
    pieces = ["<unk>", *BYTES, *(a + b for a, b in merges), *characters]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    settings = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True} | settings
    return Tokenizer(models.BPE(vocabulary, merges, **settings))


def test_a_token_is_closed_under_the_merges_that_the_encoder_applies() -> None:
    # abcd can be made of ab and cd, or of abc and d; the encoder goes through bc first, then abc
    merges = [("b", "c"), ("a", "b"), ("c", "d"), ("ab", "cd"), ("a", "bc"), ("abc", "d"), ("d", "e")]
    pairs = BytePairs(byte_fallback(merges), FOLDER)
    assert pairs.close(["abcd"]) == {"a", "b", "c", "d", "bc", "abc", "abcd"}
    assert pairs.close(["<0x41>"]) == {"<0x41>"}
    content, rows = pairs.restrict([*BYTES, "<unk>", *pairs.close(["abcd"])])
    small = Tokenizer.from_str(content)
    assert small.encode("abcd").tokens == ["abcd"]
    assert small.encode("ab").tokens == ["a", "b"]  # ab is not on the way
    assert [pairs.backend.id_to_token(row) for row in rows] == [small.id_to_token(i) for i in range(len(rows))]
    assert rows == sorted(rows)


def test_of_equal_merges_the_leftmost_applies_first() -> None:
    pairs = BytePairs(byte_fallback([("a", "a"), ("aa", "a")]), FOLDER)
    assert pairs.backend.encode("aaa").tokens == ["aaa"]
    assert pairs.close(["aaa"]) == {"a", "aa", "aaa"}


def test_the_first_tokens_are_those_of_the_merges_and_the_characters() -> None:
    merges = [("я", "я"), ("1", "1"), ("a", "b"), ("яя", "a"), ("c", "d"), ("d", "e"), ("яя", "я")]
    pairs = BytePairs(byte_fallback(merges, "1abcdeя"), FOLDER)
    assert pairs.first_tokens(2) == ["яя", "11", "1", "a"]
    assert pairs.first_tokens(1, ["en"]) == ["11", "ab", "1", "a"]
    assert pairs.first_tokens(1, ["en", "ru", "es"]) == ["яя", "11", "ab", "1", "a", "я"]
    assert pairs.first_tokens(0, ["en"]) == []


def test_bytes_are_decoded_to_find_a_tokens_script() -> None:
    backend = Tokenizer(models.BPE(*byte_level_merges(["яя", "ab"])))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    pairs = BytePairs(backend, FOLDER)
    texts = [backend.decoder.decode([token]) for token in pairs.first_tokens(9, ["ru"]) if len(token) > 1]
    assert "яя" in texts and "ab" not in texts


def byte_level_merges(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges that make each of the words from left to right."""
    vocabulary = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in words:
        ((letters, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)
        for end in range(2, len(letters) + 1):
            vocabulary[letters[:end]] = len(vocabulary)
            merges.append((letters[: end - 1], letters[end - 1]))
    return vocabulary, merges


def test_a_post_processor_gets_the_new_numbers() -> None:
    backend = byte_fallback([("a", "b"), ("d", "e")])
    backend.add_special_tokens(["<s>", "<reserved>", "</s>"])
    ends = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.Sequence(
        [
            processors.TemplateProcessing(single="<s> $A", special_tokens=ends[:1]),
            processors.BertProcessing(*ends[::-1]),
        ]
    )
    pairs = BytePairs(backend, FOLDER)
    assert template_tokens(pairs.parts["post_processor"]) == {"<s>", "</s>"}
    small = Tokenizer.from_str(pairs.restrict([*BYTES, "<unk>", "<s>", "</s>", "a", "b", "ab"])[0])
    for text in ("ab", "ade"):
        encoding = small.encode(text)
        assert encoding.tokens == [small.id_to_token(number) for number in encoding.ids]
        assert encoding.tokens[0] == "<s>" and encoding.tokens[-1] == "</s>"


@pytest.mark.parametrize(
    ("backend", "shown"),
    [
        (Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")), "WordPiece"),
        (Tokenizer(models.Unigram([("<unk>", 0.0)], unk_id=0)), "Unigram"),
        (byte_fallback([], dropout=0.1), "dropout"),
        (byte_fallback([], end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (byte_fallback([], byte_fallback=False), "every byte"),
    ],
)
def test_other_tokenizers_are_refused(backend: Tokenizer, shown: str) -> None:
    with pytest.raises(InputError, match=shown) as caught:
        BytePairs(backend, FOLDER)
    assert caught.value.hint


def test_a_missing_byte_is_refused() -> None:
    backend = byte_fallback([])
    parts = json.loads(backend.to_str())
    del parts["model"]["vocab"]["<0x7F>"]
    with pytest.raises(InputError, match="every byte"):
        BytePairs(Tokenizer.from_str(json.dumps(parts)), FOLDER)
