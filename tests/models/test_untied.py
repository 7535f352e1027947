from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.models.agreement import complete_settings, resolve_prompts
from xqg_repro.models.encoder import DocumentEncoder, QueryEncoder, TextEncoder, open_encoders
from xqg_repro.models.folders import Side
from xqg_repro.models.late import LateEncoder
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.loading import model_fingerprint, resolve_model
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.models.untied import check_side, is_untied, pair_fingerprints, resolve_encoder, side_model, untied_pair


def test_a_folder_of_two_is_known_by_its_name_and_by_those_of_the_two(
    tiny_untied: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, query, passage = (str(tiny_untied / part) for part in ("", "query", "passage"))
    assert is_untied(pair) and not any(map(is_untied, (query, passage, str(tiny_model), "", "nobody/query")))
    assert {untied_pair(name) for name in (pair, query, f"{passage}/")} == {pair}
    assert untied_pair(str(tiny_model)) is untied_pair("nobody/query") is None
    assert [side_model(pair, side) for side in Side] == [query, passage]
    assert side_model(query, Side.PASSAGE) == query and side_model("nobody/m", Side.QUERY) == "nobody/m"
    monkeypatch.chdir(tiny_untied)
    assert (untied_pair("query"), untied_pair("."), is_untied(".")) == (".", ".", True)


def test_fingerprints_are_those_of_both(tiny_untied: Path, tiny_model: Path) -> None:
    passage, query = (model_fingerprint(str(tiny_untied / side)) for side in ("passage", "query"))
    expected = {"model": passage, "query_model": query}
    assert passage != query and passage == model_fingerprint(str(tiny_model))
    for name in ("", "query", "passage"):
        assert pair_fingerprints(str(tiny_untied / name)) == expected
    assert pair_fingerprints(str(tiny_model)) == {"model": passage}


def test_the_other_encoder_is_refused_for_a_kind_of_text(tiny_untied: Path, tiny_model: Path) -> None:
    for side in Side:
        for name in (tiny_untied, tiny_untied / side, tiny_model):
            check_side(str(name), side)
    problem = r"query: is the encoder of questions, but passages are to be encoded \(name .*model or .*passage"
    with pytest.raises(InputError, match=problem):
        check_side(str(tiny_untied / "query"), Side.PASSAGE)
    with pytest.raises(InputError, match="is the encoder of passages, but questions are to be encoded"):
        check_side(str(tiny_untied / "passage"), Side.QUERY)


def test_where_one_encoder_is_needed_a_folder_of_two_is_refused(tiny_untied: Path) -> None:
    pair = str(tiny_untied)
    problem = f"model: holds two encoders, one of questions and one of passages, .* of the two: {pair}/query or {pair}/"
    for use in (resolve_model, model_fingerprint, lambda name: TextEncoder(EncoderConfig(name), "cpu")):
        with pytest.raises(InputError, match=problem):
            use(pair)
    with pytest.raises(InputError, match=problem):
        LateEncoder(LateConfig(pair), "cpu")


def test_a_folder_of_two_is_whole_or_refused(tiny_untied: Path, tmp_path: Path) -> None:
    assert resolve_encoder(str(tiny_untied)) == tiny_untied
    assert resolve_encoder(str(tiny_untied / "query")) == tiny_untied / "query"
    broken = shutil.copytree(tiny_untied, tmp_path / "broken")
    os.remove(broken / "passage" / "model.safetensors")
    with pytest.raises(InputError, match=r"broken/passage: is a model folder without weights"):
        resolve_encoder(str(broken))


def test_each_kind_of_text_is_encoded_by_its_encoder(tiny_untied: Path, tiny_model: Path) -> None:
    config = EncoderConfig(str(tiny_untied))
    alone = {side: TextEncoder(EncoderConfig(str(tiny_untied / side)), "cpu") for side in Side}
    expected = {side: encoder.encode_queries(["ban der"]) for side, encoder in alone.items()}
    assert np.abs(expected[Side.QUERY] - expected[Side.PASSAGE]).max() > 0.1
    query, passage = open_encoders(config, "cpu")
    for vectors in (query.encode_queries(["ban der"]), QueryEncoder(config, "cpu").encode_batch(["ban der"])):
        np.testing.assert_array_equal(vectors, expected[Side.QUERY])
    for vectors in (passage.encode_passages([None], ["ban der"]), DocumentEncoder(config, "cpu").encode(["ban der"])):
        np.testing.assert_array_equal(vectors, expected[Side.PASSAGE])
    one, other = open_encoders(EncoderConfig(str(tiny_model)), "cpu")
    assert one is other


def test_settings_are_completed_by_the_folders_of_two(tiny_untied: Path, tmp_path: Path) -> None:
    pair = shutil.copytree(tiny_untied, tmp_path / "pair")
    prompts = '{"prompts": {"PROMPT": "SIDE: "}, "default_prompt_name": null}'
    for side in Side:
        file = pair / side / "config_sentence_transformers.json"
        file.write_text(prompts.replace("SIDE", side).replace("PROMPT", side))
    given = complete_settings({"model": str(pair), "pooling": Pooling.MEAN})
    assert given == {"model": str(pair), "pooling": Pooling.MEAN}
    named = EncoderConfig(str(pair), query_prefix="prompt:query", passage_prefix="prompt:passage")
    resolved = resolve_prompts(named)
    assert (resolved.query_prefix, resolved.passage_prefix) == ("query: ", "passage: ")
