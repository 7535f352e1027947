from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini
from hypothesis import given, settings, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.folders import UNUSED
from xqg_repro.models.generator import QueryGenerator
from xqg_repro.models.loading import find_model, lasting_name, model_fingerprint, resolve_model, token_batches
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.settings import EncoderConfig, GeneratorConfig, Precision, ReaderConfig, TranslatorConfig
from xqg_repro.models.translator import Translator


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "model")


@settings(max_examples=50)
@given(st.lists(st.integers(1, 200), max_size=50), st.integers(1, 2000))
def test_batches_cover_each_position_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget for b in batches)


# folders


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("model.safetensors", None, "without weights"),
        ("config.json", None, r"no config\.json"),
        ("model.safetensors", b"\x08\0\0\0", "cannot be loaded as an encoder"),
        ("config.json", b'{"model_type":\n', "json:2: is not JSON"),
        ("config.json", b"{}", "cannot be loaded"),
        ("config.json", b'{"model_type": "bert", "hidden_size": "x"}', "'hidden_size': TypeError: .* got str"),
        (
            "config.json",
            b'{"model_type": "newmodelx"}',
            "cannot be loaded as an encoder: .* has model type `newmodelx`",
        ),
        ("tokenizer.json", b"{", "tokenizer cannot be loaded"),
        ("tokenizer.json", b"{}", "tokenizer cannot be loaded"),
        ("tokenizer_config.json", b"[]", "tokenizer cannot be loaded"),
        ("modules.json", b"{}", "modules is {}, expected a list"),
        ("modules.json", b'[{"path": "../other", "type": ""}]', "outside the model's: '../other'"),
        ("adapter_config.json", b"{}", "adapter, which is not applied"),
    ],
)
def test_incomplete_or_damaged_model_folder_is_refused(
    copied: Path, file: str, content: bytes | None, problem: str
) -> None:
    (copied / file).unlink() if content is None else (copied / file).write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        TextEncoder(EncoderConfig(str(copied)), "cpu")
    assert Path(str(caught.value.path)) in (copied, copied / file)


@pytest.mark.parametrize("damage", ["a layer", "another shape"])
def test_weights_of_another_architecture_are_refused(copied: Path, damage: str) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    if damage == "a layer":
        weights, problem = {name: w for name, w in weights.items() if ".layer.1." not in name}, "lacks 16 of the"
    else:
        weights["embeddings.word_embeddings.weight"], problem = (
            np.zeros((10, 48), np.float32),
            r"is \(10, 48\), where config.json says",
        )
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=problem):
        TextEncoder(EncoderConfig(str(copied)), "cpu")


@pytest.mark.parametrize("model", ["", "./nothing", "/nothing/here", "a/b/c", "~/nothing", "~no-such-user/x"])
def test_missing_model_folder_is_refused_without_asking_the_hub(model: str) -> None:
    with pytest.raises(InputError, match=r"no such model folder|is empty"):
        resolve_model(model)


def test_a_home_folder_is_expanded(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(copied.parent))
    assert resolve_model("~/model") == copied
    assert lasting_name("~/model") == str(copied)


def test_a_language_model_in_a_subfolder_is_found(copied: Path, tmp_path: Path) -> None:
    """The layout of old versions of sentence-transformers."""
    outer = tmp_path / "outer"
    shutil.copytree(copied, outer / "0_Transformer")
    module = {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}
    (outer / "modules.json").write_text(json.dumps([module]))
    vectors = [TextEncoder(EncoderConfig(str(folder)), "cpu").encode_queries(["ban der"]) for folder in (copied, outer)]
    np.testing.assert_array_equal(*vectors)


def test_name_of_the_model_folder_changes_nothing(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    renamed = shutil.copytree(tiny_model, tmp_path / "dpr-question_encoder e5 (1)")
    texts = [text for _, _, text in mini_data.passages[:8]]
    vectors = [TextEncoder(EncoderConfig(str(folder)), "cpu").encode_queries(texts) for folder in (tiny_model, renamed)]
    np.testing.assert_array_equal(*vectors)
    assert model_fingerprint(str(renamed)) == model_fingerprint(str(tiny_model))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_fingerprint_follows_the_files_that_determine_the_vectors(copied: Path, file: str) -> None:
    before = model_fingerprint(str(copied))
    (copied / "notes.txt").write_text("irrelevant")
    assert model_fingerprint(str(copied)) == before
    (copied / file).write_bytes((copied / file).read_bytes() + b" ")
    assert model_fingerprint(str(copied)) != before


@pytest.mark.parametrize("file", ["1_Pooling/config.json", "2_Dense/model.safetensors", "modules.json", "spm.model"])
def test_fingerprint_covers_modules_and_unknown_files(copied: Path, file: str) -> None:
    types = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in types.items()]
    (copied / "modules.json").write_text(json.dumps(modules))
    for name in ("1_Pooling", "2_Dense", "onnx"):
        (copied / name).mkdir()
    (copied / "onnx" / "model.safetensors").write_bytes(b"ignored")
    before = model_fingerprint(str(copied))
    (copied / "onnx" / "model.safetensors").write_bytes(b"also ignored")
    assert model_fingerprint(str(copied)) == before
    (copied / file).write_text(f"{json.dumps(modules)} ")
    assert model_fingerprint(str(copied)) != before


@pytest.mark.parametrize(
    ("model", "fingerprint"),
    [
        ("reader-mini", "a1d909d4fd593b576d214eb671a3b1aef1866b9f21deff6bb5ee6cab06cfdd6a"),
        ("xdr-mini", "86bef7de82b8de3545fd2aadb1a755d4a34caa49c1264d570cc41bb49a4cb291"),
        ("xqg-mini", "229d37055d2450978d21d799a17f0f70f17da5cbb69697924029869e04c85c18"),
    ],
)
def test_packaged_models_keep_their_fingerprints(model: str, fingerprint: str) -> None:
    """Published stage folders record them."""
    assert model_fingerprint(f"package:{model}") == fingerprint


def test_a_folder_that_is_gone_is_replaced_by_its_packaged_equal() -> None:
    fingerprint = model_fingerprint("package:xdr-mini")
    assert find_model("/nothing/here", fingerprint) == "package:xdr-mini"
    assert find_model("/nothing/here", "0" * 64) == "/nothing/here"


def test_no_vocabulary_file_of_a_known_tokenizer_is_left_out() -> None:
    import transformers

    names: set[str] = set()
    for path in Path(str(transformers.__file__)).parent.glob("models/*/tokenization_*.py"):
        for part in re.findall(r"VOCAB_FILES_NAMES = \{(.*?)\}", path.read_text(encoding="utf-8"), re.DOTALL):
            names |= set(re.findall(r': "([^"]+)"', part))
    assert {"spm.model", "bpe.codes", "vocab.txt"} <= names
    assert [name for name in names for pattern in UNUSED if fnmatch(name, pattern)] == []


# models


@pytest.mark.parametrize(
    ("kind", "untied", "safetensors"), [("t5", False, False), ("mt5", True, False), ("t5", True, True)]
)
def test_weights_are_those_of_the_folder(
    generator_folder: Callable[..., Path], kind: str, untied: bool, safetensors: bool
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = generator_folder(kind, untied)
    weights = load_file(folder / "model.safetensors")
    assert ("lm_head.weight" in weights) == untied
    if not safetensors:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    config = GeneratorConfig(str(folder), precision=Precision.FLOAT32)
    state = QueryGenerator(config, "cpu")._model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in weights.items())
    assert torch.equal(state["lm_head.weight"], weights["lm_head.weight" if untied else "shared.weight"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "truncated"), (b"PK", "truncated"), (None, "lacks 1 of the")],
)
def test_damaged_pytorch_weights_are_refused(
    tiny_generator: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    import torch
    from safetensors.torch import load_file

    copy = shutil.copytree(tiny_generator, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    if content is None:
        del weights["decoder.final_layer_norm.weight"]
        torch.save(weights, copy / "pytorch_model.bin")
    else:
        (copy / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        QueryGenerator(GeneratorConfig(str(copy)), "cpu")
    assert caught.value.path == copy


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        (lambda model: QueryGenerator(GeneratorConfig(model), "cpu"), "as a sequence-to-sequence model: .*none .*bert"),
        (lambda model: Translator(TranslatorConfig(model), ("ru",), "cpu"), "as a sequence-to-sequence model"),
        (lambda model: SpanReader(ReaderConfig(model, 150, 32), "cpu"), "lacks 2 of the model's weights"),
    ],
)
def test_an_encoder_is_refused_as_another_kind_of_model(
    tiny_model: Path, load: Callable[[str], Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        load(str(tiny_model))
    assert caught.value.path == tiny_model


def test_loading_leaves_transformers_settings_alone(tiny_model: Path) -> None:
    from transformers import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    TextEncoder(EncoderConfig(str(tiny_model)), "cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_maximum_length_beyond_the_models_and_an_unknown_device_are_refused(config: EncoderConfig) -> None:
    with pytest.raises(InputError, match="reads at most 160 tokens, but the maximum length is 100000"):
        TextEncoder(EncoderConfig(config.model, passage_max_length=100_000), "cpu")
    with pytest.raises(InputError, match="the device 'abacus' cannot be used"):
        TextEncoder(config, "abacus")
