from __future__ import annotations

import dataclasses
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini

from xqg_repro.core.errors import InputError
from xqg_repro.models import encoder as module
from xqg_repro.models.encoder import DocumentEncoder, QueryEncoder, TextEncoder, passage_text
from xqg_repro.models.settings import EncoderConfig, Pooling, Precision


@cache
def load(model: str) -> tuple[Any, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    return tokenizer, transformers.AutoModel.from_pretrained(model).eval()


def plain(config: EncoderConfig, text: str, max_length: int) -> np.ndarray:
    """One text through transformers alone: no batch, no padding."""
    import torch

    tokenizer, model = load(config.model)
    ids = torch.tensor([tokenizer(text, truncation=True, max_length=max_length)["input_ids"]])
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state[0].numpy()
    vector = {Pooling.CLS: states[0], Pooling.LAST: states[-1], Pooling.MEAN: states.mean(0)}[config.pooling]
    return vector / np.linalg.norm(vector) if config.normalize else vector


def passages_of(mini: Mini) -> tuple[list[str], list[str]]:
    return [title for _, title, _ in mini.passages[:12]], [text for _, _, text in mini.passages[:12]]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("kind", ["tiny_model", "tiny_xlmr"])
def test_vectors_equal_a_plain_forward_pass_in_any_batch_and_order(
    mini_data: Mini, request: pytest.FixtureRequest, kind: str, pooling: Pooling, normalize: bool
) -> None:
    config = EncoderConfig(str(request.getfixturevalue(kind)), pooling, normalize)
    titles, texts = passages_of(mini_data)
    expected = [plain(config, f"{title} {text}", 128) for title, text in zip(titles, texts, strict=True)]
    assert len(np.unique(np.round(expected, 3), axis=0)) == len(texts)
    for tokens_per_batch in (1, 200):
        vectors = TextEncoder(config, "cpu", tokens_per_batch).encode_passages(titles[::-1], texts[::-1])
        np.testing.assert_allclose(vectors[::-1], expected, atol=1e-5)


def test_the_side_on_which_the_tokenizer_pads_does_not_matter(
    mini_data: Mini, tiny_model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "model")
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": "left"}))
    encoder = TextEncoder(EncoderConfig(str(copy)), "cpu")
    texts = passages_of(mini_data)[1][:8]
    alone = np.concatenate([encoder.encode_queries([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_queries(texts), alone, atol=1e-5)


def test_no_text_gives_no_vector(tiny_model: Path) -> None:
    encoder = TextEncoder(EncoderConfig(str(tiny_model)), "cpu")
    for vectors in (encoder.encode_queries([]), encoder.encode_passages([], [])):
        assert (vectors.shape, vectors.dtype) == ((0, 32), np.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [(Precision.BFLOAT16, 0.06), (Precision.FLOAT16, 0.01)])
def test_half_precision_gives_float32_near_to_full_precision(
    mini_data: Mini, tiny_model: Path, precision: Precision, tolerance: float
) -> None:
    full = EncoderConfig(str(tiny_model), Pooling.MEAN)
    expected = TextEncoder(full, "cpu").encode_passages(*passages_of(mini_data))
    half = TextEncoder(dataclasses.replace(full, precision=precision), "cpu").encode_passages(*passages_of(mini_data))
    assert half.dtype == np.float32
    error = np.linalg.norm(half - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0 < error.max() < tolerance


@pytest.mark.parametrize("length", [3, 8])
def test_text_is_truncated_at_the_maximum_length_with_special_tokens(tiny_model: Path, length: int) -> None:
    config = EncoderConfig(str(tiny_model), query_max_length=length, title_separator=None, passage_max_length=length)
    tokenizer, text = load(str(tiny_model))[0], "ban der kon tis " * 20
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
        ({"title_separator": ""}, "Titletext"),
        ({"passage_prefix": "passage: ", "query_prefix": "query: "}, "passage: Title text"),
        ({"passage_prefix": "p:", "title_separator": None}, "p:text"),
    ],
)
def test_passage_text_is_put_together(settings: dict[str, Any], expected: str) -> None:
    assert passage_text("Title", "text", EncoderConfig("m", **settings)) == expected
    assert passage_text(None, "text", EncoderConfig("m", **settings)) == settings.get("passage_prefix", "") + "text"


def test_prefixes_are_put_before_queries_and_passages(tiny_model: Path) -> None:
    config = EncoderConfig(str(tiny_model), query_prefix="ban ", passage_prefix="dol ", title_separator=None)
    encoder = TextEncoder(config, "cpu")
    np.testing.assert_allclose(encoder.encode_queries(["tis"])[0], plain(config, "ban tis", 32), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(["x"], ["tis"])[0], plain(config, "dol tis", 128), atol=1e-5)


def test_pyserinis_encoders_embed_one_text_or_many(tiny_model: Path) -> None:
    config = EncoderConfig(str(tiny_model), passage_prefix="p ")
    queries, documents = QueryEncoder(config, "cpu"), DocumentEncoder(config, "cpu")
    many = queries.encode_batch(["ban", "der kon"])
    assert (queries.encode("ban").shape, many.shape) == ((32,), (2, 32))
    np.testing.assert_allclose(queries.encode("der kon"), many[1], atol=1e-5)
    np.testing.assert_allclose(documents.encode(["ban"], fp16=True)[0], plain(config, "p ban", 128), atol=1e-5)
    np.testing.assert_allclose(documents.encode(["ban"], ["kon"])[0], plain(config, "p kon ban", 128), atol=1e-5)


def test_an_embedding_that_is_not_a_number_names_the_text(
    config: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = module.pool

    def spoil_the_longest(states: Any, mask: Any, *more: Any) -> Any:
        vectors = pool(states, mask, *more)
        vectors[int(mask.sum(1).argmax())] = float("nan")
        return vectors

    monkeypatch.setattr(module, "pool", spoil_the_longest)
    with pytest.raises(InputError, match=r"gives 'der kon ban' an embedding that is infinite or not a number"):
        TextEncoder(config, "cpu").encode_queries(["ban", "der kon ban", "tis"])
