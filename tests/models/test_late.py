"""Token vectors of questions and passages."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini
from safetensors.torch import load_file, save_file

from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.late import LateEncoder
from xqg_repro.models.late_settings import LateConfig, load_late
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.models.token_network import open_token_network

SETTINGS: dict[str, Any] = {"query_max_length": 12, "passage_max_length": 40}
QUERIES = ["ban der", "kon", "ban ban dan. ter"]


def plain(folder: Path, text: str, max_length: int, pad_to: int = 0) -> tuple[list[str], np.ndarray]:
    """The tokens of one text and their vectors, through transformers and numpy alone."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
    mask = [1] * len(ids) + [0] * (pad_to - len(ids))
    ids += [tokenizer.pad_token_id] * (pad_to - len(ids))
    with torch.no_grad():
        states = model(torch.tensor([ids]), torch.tensor([mask])).last_hidden_state[0].numpy()
    vectors = states @ load_file(folder / "projection.safetensors")["linear.weight"].numpy().T
    return tokenizer.convert_ids_to_tokens(ids), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def folder(request: pytest.FixtureRequest, late_folder: Callable[..., Path]) -> Path:
    return late_folder(request.param, seed=3)


@pytest.mark.parametrize("tokens_per_batch", [1, 4000])
def test_queries_are_padded_and_the_padding_has_vectors(folder: Path, tokens_per_batch: int) -> None:
    config = LateConfig(str(folder), query_prefix="der ", **SETTINGS)
    vectors = LateEncoder(config, "cpu", tokens_per_batch).encode_queries(QUERIES)
    assert (vectors.shape, vectors.dtype) == ((3, 12, 8), np.float32)
    for text, rows in zip(QUERIES, vectors, strict=True):
        np.testing.assert_allclose(rows, plain(folder, f"der {text}", 12, pad_to=12)[1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=2), 1, atol=1e-5)


def test_padding_that_is_not_scored_is_zero(folder: Path) -> None:
    config = LateConfig(str(folder), pad_queries=False, **SETTINGS)
    for text, rows in zip(QUERIES, LateEncoder(config, "cpu").encode_queries(QUERIES), strict=True):
        expected = plain(folder, text, 12)[1]
        np.testing.assert_allclose(rows[: len(expected)], expected, atol=1e-5)
        assert len(expected) < 12 and not rows[len(expected) :].any()


@pytest.mark.parametrize("mask_punctuation", [True, False])
@pytest.mark.parametrize("tokens_per_batch", [1, 300])
def test_passages_have_a_vector_per_token_without_padding_and_punctuation(
    mini_data: Mini, folder: Path, tokens_per_batch: int, mask_punctuation: bool
) -> None:
    config = LateConfig(str(folder), mask_punctuation=mask_punctuation, **SETTINGS)
    _, titles, texts = zip(*mini_data.passages[:9], strict=True)
    encoded = LateEncoder(config, "cpu", tokens_per_batch).encode_passages(titles, texts)
    assert (encoded.offsets.dtype, len(encoded.offsets), encoded.vectors.dtype) == (np.int64, 10, np.float32)
    masked = 0
    for i, (title, text) in enumerate(zip(titles, texts, strict=True)):
        tokens, expected = plain(folder, f"{title} {text}", 40)
        kept = [not (mask_punctuation and token.strip("#") in (".", ",", '"')) for token in tokens]
        masked += kept.count(False)
        np.testing.assert_allclose(encoded.of(i), expected[kept], atol=1e-5)
    assert (masked >= 5) == mask_punctuation


def test_a_passage_of_punctuation_keeps_its_special_tokens_and_no_text_gives_no_vector(tiny_late: Path) -> None:
    encoder = LateEncoder(LateConfig(str(tiny_late), title_separator=None, **SETTINGS), "cpu")
    assert np.diff(encoder.encode_passages([None], ["."]).offsets).tolist() == [2]
    nothing = encoder.encode_passages([], [])
    assert nothing.vectors.shape == (0, 8) and nothing.offsets.tolist() == [0]
    assert encoder.encode_queries([]).shape == (0, 12, 8)


def test_half_precision_gives_float32_near_to_full_precision(tiny_late: Path) -> None:
    full = LateConfig(str(tiny_late), **SETTINGS)
    half = dataclasses.replace(full, precision="bfloat16")
    vectors = [LateEncoder(config, "cpu").encode_queries(QUERIES) for config in (full, half)]
    assert vectors[1].dtype == np.float32
    assert 0 < np.abs(vectors[0] - vectors[1]).max() < 0.1


def test_a_saved_model_gives_the_same_vectors(tiny_late: Path, tmp_path: Path) -> None:
    tokenizer, network, _ = open_token_network(str(tiny_late), "float32", "cpu", 32)
    network.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    before, after = (
        LateEncoder(LateConfig(str(m), **SETTINGS), "cpu").encode_queries(QUERIES)
        for m in (tiny_late, tmp_path / "model")
    )
    np.testing.assert_array_equal(before, after)


def test_a_random_projection_is_made_only_if_there_is_none(tiny_late: Path, tiny_model: Path) -> None:
    torch.manual_seed(5)
    _, network, _ = open_token_network(str(tiny_model), "float32", "cpu", 32, dimension=6)
    assert network.dimension == 6
    _, network, _ = open_token_network(str(tiny_late), "float32", "cpu", 32, dimension=8)
    stored = load_file(tiny_late / "projection.safetensors")["linear.weight"]
    assert torch.equal(network.projection.weight, stored)


def change(folder: Path, weights: dict[str, Any]) -> None:
    save_file(weights, folder / "projection.safetensors")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda m: (m / "projection.safetensors").unlink(), "not a late-interaction model"),
        (lambda m: (m / "projection.safetensors").write_bytes(b"x"), "projection.safetensors: is damaged"),
        (
            lambda m: change(m, {"linear.weight": torch.ones(8, 31)}),
            r"has a \(8, 31\) linear.weight, expected \(8, 32\)",
        ),
        (lambda m: change(m, {"other": torch.ones(8, 32)}), "has no linear.weight"),
        (lambda m: change(m, {"linear.weight": torch.ones(8, 32), "linear.bias": torch.ones(8)}), "nothing uses"),
        (lambda m: change(m, {"linear.weight": torch.full((8, 32), torch.nan)}), "vectors that are not numbers"),
    ],
)
def test_a_model_without_its_own_layer_is_refused(
    tiny_late: Path, tmp_path: Path, damage: Callable[[Path], Any], problem: str
) -> None:
    model = shutil.copytree(tiny_late, tmp_path / "model")
    damage(model)
    with pytest.raises(InputError, match=problem):
        LateEncoder(LateConfig(str(model), **SETTINGS), "cpu").encode_queries(["ban"])


def test_a_late_model_is_no_dense_encoder(tiny_late: Path) -> None:
    with pytest.raises(InputError, match=r"projection.safetensors: belongs to a late-interaction model .*index --late"):
        TextEncoder(EncoderConfig(str(tiny_late)), "cpu")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [({"precision": "int8"}, "int8"), ({"query_max_length": 2}, "3 tokens"), ({"precision": "x"}, "precision is 'x'")],
)
def test_bad_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        LateConfig("m", **settings)


def test_the_preset_has_drdecrs_lengths() -> None:
    config = load_late("decr-xlmr-base")
    assert (config.query_max_length, config.passage_max_length) == (32, 180)
    assert config.pad_queries and config.mask_punctuation
