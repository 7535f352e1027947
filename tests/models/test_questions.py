from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import QueryEncoder, TextEncoder
from xqg_repro.models.questions import add_suffix, question_texts
from xqg_repro.models.settings import EncoderConfig, encoder_settings

CORA = EncoderConfig("m", query_prefix="q: ", query_suffix=" [{lang}]")


def test_a_suffix_names_the_language_of_each_question() -> None:
    assert [*question_texts(["a", "b"], ["fi", "ru"], CORA)] == ["q: a [fi]", "q: b [ru]"]
    only = dataclasses.replace(CORA, query_suffix=" [fi]")
    assert [*question_texts(["a", "b"], None, only)] == ["q: a [fi]", "q: b [fi]"]
    assert [*question_texts(["a"], None, dataclasses.replace(CORA, query_suffix=""))] == ["q: a"]
    assert (CORA.needs_language, only.needs_language) == (True, False)


def test_unknown_languages_and_placeholders_are_refused() -> None:
    with pytest.raises(InputError, match=r"the language of the question 'a' is unknown.*give the question a \"lang\""):
        add_suffix("a", "", CORA)
    with pytest.raises(InputError, match=r"the suffix ' \[\{lang\}\]' needs the language of each question"):
        question_texts(["a"], None, CORA)
    with pytest.raises(InputError, match=r"query_suffix has the placeholder \{language\} \(the only one is \{lang\}"):
        EncoderConfig("m", query_suffix=" [{language}]")


def test_an_encoder_puts_the_suffix_behind_each_question(tiny_model: Path) -> None:
    config = EncoderConfig(str(tiny_model))
    encoder = TextEncoder(dataclasses.replace(config, query_suffix=" {lang}"), "cpu")
    vectors = encoder.encode_queries(["ban", "der"], ["fi", "ru"])
    expected = TextEncoder(config, "cpu").encode_queries(["ban fi", "der ru"])
    np.testing.assert_array_equal(vectors, expected)
    batches = [*encoder.query_batches(iter(["ban", "der"]), iter(["fi", "ru"]))]
    assert sorted(position for positions, _ in batches for position in positions) == [0, 1]
    np.testing.assert_array_equal(encoder.encode_passages([None], ["ban fi"])[0], expected[0])
    with pytest.raises(InputError, match="needs the language of each question"):
        QueryEncoder(encoder.config, "cpu").encode("ban")


def test_settings_without_a_suffix_are_recorded_as_before_there_was_one() -> None:
    assert encoder_settings(CORA)["query_suffix"] == " [{lang}]"
    assert "query_suffix" not in encoder_settings(EncoderConfig("m"))
    assert {**encoder_settings(EncoderConfig("m")), "query_suffix": ""} == dataclasses.asdict(EncoderConfig("m"))
