"""Untied encoders, and a suffix that names the language, in the study."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.study.vectors import _StageEncoder


def test_questions_and_passages_are_encoded_by_theirs(tiny_untied: Path, tmp_path: Path) -> None:
    config = EncoderConfig(str(tiny_untied))
    encoder = _StageEncoder(config, tmp_path, "cpu", False)
    questions = encoder.encode("questions.fi", ["ban", "der"], language="fi")
    passages = encoder.encode("translations.fi", ["ban", "der"], ["Kon", "Kon"])
    alone = {
        side: TextEncoder(dataclasses.replace(config, model=str(tiny_untied / side)), "cpu")
        for side in ("query", "passage")
    }
    np.testing.assert_array_equal(questions, alone["query"].encode_queries(["ban", "der"]))
    np.testing.assert_array_equal(passages, alone["passage"].encode_passages(["Kon", "Kon"], ["ban", "der"]))
    for name, side in (("questions.fi", "query"), ("translations.fi", "passage")):
        manifest = Manifest.read(tmp_path / name)
        assert manifest.inputs["model"] == model_fingerprint(str(tiny_untied / side))
        assert {*manifest.parameters} == {"encoder", "passages"}  # as before there were suffixes


def test_questions_have_the_suffix_of_their_language(tiny_model: Path, tmp_path: Path) -> None:
    plain = EncoderConfig(str(tiny_model))
    encoder = _StageEncoder(dataclasses.replace(plain, query_suffix=" {lang}"), tmp_path, "cpu", False)
    vectors = [encoder.encode("questions", ["ban"], language=code) for code in ("fi", "ru")]
    expected = TextEncoder(plain, "cpu").encode_queries(["ban fi", "ban ru"])
    np.testing.assert_allclose(np.concatenate(vectors), expected, atol=1e-5)
