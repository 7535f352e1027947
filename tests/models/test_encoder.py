from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini
from hypothesis import given
from hypothesis import strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import DocumentEncoder, QueryEncoder, TextEncoder, passage_text
from xqg_repro.models.loading import model_fingerprint, resolve_model, token_batches
from xqg_repro.models.settings import EncoderConfig, Pooling, Precision


@cache
def loaded(model: str) -> tuple[Any, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    return tokenizer, transformers.AutoModel.from_pretrained(model).eval()


def plain(config: EncoderConfig, text: str, max_length: int) -> np.ndarray:
    """One text through transformers alone: no batch, no padding."""
    import torch

    tokenizer, model = loaded(config.model)
    ids = torch.tensor([tokenizer(text, truncation=True, max_length=max_length)["input_ids"]])
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state[0].numpy()
    vector = states[0] if config.pooling is Pooling.CLS else states.mean(0)
    return vector / np.linalg.norm(vector) if config.normalize else vector


def passages_of(mini: Mini) -> tuple[list[str], list[str]]:
    return [title for _, title, _ in mini.passages[:12]], [text for _, _, text in mini.passages[:12]]


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "model")


# the vectors


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("kind", ["tiny_model", "tiny_xlmr"])
def test_vectors_equal_a_plain_forward_pass(
    mini_data: Mini, request: pytest.FixtureRequest, kind: str, pooling: Pooling, normalize: bool
) -> None:
    config = EncoderConfig(str(request.getfixturevalue(kind)), pooling, normalize)
    titles, texts = passages_of(mini_data)
    found = TextEncoder(config, "cpu").encode_passages(titles, texts)
    expected = [plain(config, f"{title} {text}", 128) for title, text in zip(titles[:8], texts[:8], strict=True)]
    np.testing.assert_allclose(found[:8], expected, atol=1e-5)


@pytest.mark.parametrize("tokens_per_batch", [1, 64, 100_000])
@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("kind", ["tiny_model", "tiny_xlmr"])
def test_vectors_do_not_depend_on_batch_or_order(
    mini_data: Mini, request: pytest.FixtureRequest, kind: str, pooling: Pooling, tokens_per_batch: int
) -> None:
    config = EncoderConfig(str(request.getfixturevalue(kind)), pooling)
    titles, texts = passages_of(mini_data)
    expected = TextEncoder(config, "cpu").encode_passages(titles, texts)
    backwards = TextEncoder(config, "cpu", tokens_per_batch).encode_passages(titles[::-1], texts[::-1])
    np.testing.assert_allclose(backwards[::-1], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", Pooling)
def test_vectors_do_not_depend_on_the_side_on_which_the_tokenizer_pads(
    mini_data: Mini, copied: Path, pooling: Pooling
) -> None:
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    (copied / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": "left"}))
    encoder = TextEncoder(EncoderConfig(str(copied), pooling), "cpu")
    texts = passages_of(mini_data)[1][:8]
    alone = np.concatenate([encoder.encode_queries([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_queries(texts), alone, atol=1e-5)


def test_different_texts_get_different_vectors(mini_data: Mini, tiny_model: Path) -> None:
    titles, texts = passages_of(mini_data)
    vectors = TextEncoder(EncoderConfig(str(tiny_model)), "cpu").encode_passages(titles, texts)
    assert len(np.unique(vectors.round(3), axis=0)) == len(texts)


@pytest.mark.parametrize("encode", ["encode_queries", "encode_passages"])
def test_no_text_gives_no_vector(tiny_model: Path, encode: str) -> None:
    encoder = TextEncoder(EncoderConfig(str(tiny_model)), "cpu")
    vectors = encoder.encode_queries([]) if encode == "encode_queries" else encoder.encode_passages([], [])
    assert (vectors.shape, vectors.dtype) == ((0, 32), np.float32)


def test_normalised_vectors_have_length_one(mini_data: Mini, tiny_model: Path) -> None:
    encoder = TextEncoder(EncoderConfig(str(tiny_model), normalize=True), "cpu")
    lengths = np.linalg.norm(encoder.encode_passages(*passages_of(mini_data)), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [(Precision.BFLOAT16, 0.06), (Precision.FLOAT16, 0.01)])
@pytest.mark.parametrize("normalize", [False, True])
def test_half_precision_gives_float32_near_to_full_precision(
    mini_data: Mini, tiny_model: Path, precision: Precision, tolerance: float, normalize: bool
) -> None:
    full = EncoderConfig(str(tiny_model), Pooling.MEAN, normalize)
    expected = TextEncoder(full, "cpu").encode_passages(*passages_of(mini_data))
    found = TextEncoder(dataclasses.replace(full, precision=precision), "cpu").encode_passages(*passages_of(mini_data))
    assert found.dtype == np.float32
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0 < error.max() < tolerance


# the texts


@pytest.mark.parametrize("length", [3, 8])
def test_text_is_cut_at_the_maximum_length_with_special_tokens(tiny_model: Path, length: int) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    config = EncoderConfig(str(tiny_model), query_max_length=length, title_separator=None, passage_max_length=length)
    text = "ban der kon tis " * 20
    kept = [*tokenizer(text)["input_ids"][: length - 1], tokenizer.sep_token_id]
    assert tokenizer(text, truncation=True, max_length=length)["input_ids"] == kept
    expected = plain(config, text, length)
    encoder = TextEncoder(config, "cpu")
    np.testing.assert_allclose(encoder.encode_queries([text])[0], expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages([""], [text])[0], expected, atol=1e-5)
    assert not np.allclose(expected, plain(config, text, length + 1), atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "Title text"),
        ({"title_separator": " | "}, "Title | text"),
        ({"title_separator": ""}, "Titletext"),
        ({"title_separator": None}, "text"),
        ({"passage_prefix": "passage: ", "query_prefix": "query: "}, "passage: Title text"),
        ({"passage_prefix": "p:", "title_separator": None}, "p:text"),
    ],
)
def test_passage_text_is_put_together(settings: dict, expected: str) -> None:
    assert passage_text("Title", "text", EncoderConfig("m", **settings)) == expected


def test_prefixes_are_put_before_queries_and_passages(tiny_model: Path) -> None:
    config = EncoderConfig(str(tiny_model), query_prefix="ban ", passage_prefix="dol ", title_separator=None)
    encoder = TextEncoder(config, "cpu")
    np.testing.assert_allclose(encoder.encode_queries(["tis"])[0], plain(config, "ban tis", 32), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(["x"], ["tis"])[0], plain(config, "dol tis", 128), atol=1e-5)


def test_titles_and_texts_of_different_number_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        TextEncoder(EncoderConfig(str(tiny_model)), "cpu").encode_passages(["a"], ["b", "c"])


# Pyserini's plug-ins


def test_query_encoder_gives_one_vector_or_many(tiny_model: Path) -> None:
    encoder = QueryEncoder(EncoderConfig(str(tiny_model)), "cpu")
    many = encoder.encode_batch(["ban", "der kon"])
    assert (encoder.encode("ban").shape, many.shape) == ((32,), (2, 32))
    np.testing.assert_allclose(encoder.encode("der kon"), many[1], atol=1e-5)


def test_document_encoder_reads_titles_only_when_given(tiny_model: Path) -> None:
    config = EncoderConfig(str(tiny_model), passage_prefix="p ")
    encoder = DocumentEncoder(config, "cpu")
    np.testing.assert_allclose(encoder.encode(["ban"], fp16=True)[0], plain(config, "p ban", 128), atol=1e-5)
    np.testing.assert_allclose(encoder.encode(["ban"], ["kon"])[0], plain(config, "p kon ban", 128), atol=1e-5)


# batches


@given(st.lists(st.integers(1, 200), max_size=50), st.integers(1, 2000))
def test_batches_cover_each_position_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget for b in batches)


def test_batches_are_filled() -> None:
    assert [len(batch) for batch in token_batches([10] * 25, 100)] == [10, 10, 5]


# model folders


@pytest.mark.parametrize(
    ("file", "problem"), [("model.safetensors", "without weights"), ("config.json", r"no config\.json")]
)
def test_incomplete_model_folder_is_refused(copied: Path, file: str, problem: str) -> None:
    (copied / file).unlink()
    with pytest.raises(InputError, match=problem) as caught:
        TextEncoder(EncoderConfig(str(copied)), "cpu")
    assert Path(caught.value.path) == copied


def change_weights(folder: Path, change: Callable[[dict], None]) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_miss_a_layer_are_refused(copied: Path) -> None:
    def drop(weights: dict) -> None:
        for name in [name for name in weights if ".layer.1." in name]:
            del weights[name]

    change_weights(copied, drop)
    with pytest.raises(InputError, match=r"lacks 16 of the model's weights, such as encoder\.layer\.1\."):
        TextEncoder(EncoderConfig(str(copied)), "cpu")


def test_weights_of_another_shape_are_refused(copied: Path) -> None:
    def widen(weights: dict) -> None:
        weights["embeddings.word_embeddings.weight"] = np.zeros((10, 48), np.float32)

    change_weights(copied, widen)
    with pytest.raises(InputError, match="cannot be loaded as an encoder"):
        TextEncoder(EncoderConfig(str(copied)), "cpu")


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", b"\x08\0\0\0"), ("config.json", b"{"), ("config.json", b"{}"), ("tokenizer.json", b"{")],
)
def test_damaged_model_folder_is_refused(copied: Path, file: str, content: bytes) -> None:
    (copied / file).write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded"):
        TextEncoder(EncoderConfig(str(copied)), "cpu")


@pytest.mark.parametrize("model", ["./nothing", "/nothing/here", "a/b/c"])
def test_missing_model_folder_is_refused_without_asking_the_hub(model: str) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        resolve_model(model)


@pytest.mark.parametrize("name", ["dpr-question_encoder", "e5-base", "tct_colbert-sentence-mean", "bge (1)"])
def test_name_of_the_model_folder_changes_nothing(mini_data: Mini, tiny_model: Path, tmp_path: Path, name: str) -> None:
    renamed = shutil.copytree(tiny_model, tmp_path / name)
    vectors = [
        TextEncoder(EncoderConfig(str(folder)), "cpu").encode_passages(*passages_of(mini_data))
        for folder in (tiny_model, renamed)
    ]
    np.testing.assert_array_equal(*vectors)
    assert model_fingerprint(str(renamed)) == model_fingerprint(str(tiny_model))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_fingerprint_follows_the_files_that_decide_the_vectors(copied: Path, file: str) -> None:
    before = model_fingerprint(str(copied))
    (copied / "notes.txt").write_text("nothing of weight")
    assert model_fingerprint(str(copied)) == before
    (copied / file).write_bytes((copied / file).read_bytes() + b" ")
    assert model_fingerprint(str(copied)) != before


def test_loading_leaves_transformers_settings_alone(tiny_model: Path) -> None:
    from transformers import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    TextEncoder(EncoderConfig(str(tiny_model)), "cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_maximum_length_that_the_model_cannot_read_is_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match=r"reads at most .* tokens, but a maximum length is 100000"):
        TextEncoder(EncoderConfig(str(tiny_model), passage_max_length=100_000))
