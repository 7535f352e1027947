"""What sentence-transformers and Tevatron keep beside the network is applied as the folder says, or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini
from tiny_models import SIZE, write_model

from faults.conftest import Encode, Verb, edit
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig

LABSE = ("BERT", "cls", [("Tanh", SIZE, True)], True)
LAYOUTS = {
    "mean": ("BERT", "mean", [], False),
    "cls": ("MPNet", "cls", [], False),
    "last token, Normalize": ("Qwen 3", "lasttoken", [], True),
    "LaBSE": LABSE,
    "distiluse": ("DistilBERT", "mean", [("Tanh", 8, True)], False),
    "EmbeddingGemma": ("Gemma 3 (text)", "mean", [("Identity", 64, False), ("Identity", SIZE, False)], True),
    "GTR": ("T5", "mean", [("Identity", 24, False)], True),
    "GELU": ("XLM-R", "mean", [("GELU", 12, True), ("ReLU", 6, True)], False),
}
Layout = tuple[str, str, list[tuple[str, int, bool]], bool]


def save(layout: Layout, folder: Path, **settings: Any) -> Any:
    """Write a folder with sentence-transformers, and return its model."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    kind, pooling, layers, normalize = layout
    network = Transformer(str(write_model(kind, folder.with_name(f"{folder.name}-network"))), max_seq_length=100)
    if network.tokenizer.pad_token is None:
        network.tokenizer.pad_token = network.tokenizer.eos_token
    modules, size = [network, Pooling(SIZE, pooling_mode=pooling)], SIZE
    for activation, outputs, bias in layers:
        modules.append(Dense(size, outputs, bias=bias, activation_function=getattr(torch.nn, activation)()))
        size = outputs
    model = SentenceTransformer(modules=[*modules, *([Normalize()] if normalize else [])], device="cpu", **settings)
    model.save(str(folder))
    return SentenceTransformer(str(folder), device="cpu")


def to_old_format(folder: Path) -> None:
    """As sentence-transformers 2 wrote it: flags for pooling, old module names, and weights by torch.save."""
    import torch
    from safetensors.torch import load_file

    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"
        if module["type"].endswith("Dense"):
            place = folder / module["path"]
            torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
            (place / "model.safetensors").unlink()
        if module["type"].endswith("Normalize"):
            shutil.rmtree(folder / module["path"])  # git and the hub keep no empty folder
    (folder / "modules.json").write_text(json.dumps(modules))
    mode = json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode"]
    flags = {f"pooling_mode_{name}": name.startswith(mode) for name in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": SIZE, **flags}))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 100, "do_lower_case": false}')


@pytest.mark.parametrize(
    ("name", "old"), [(name, old) for name in LAYOUTS for old in (False, True) if not (old and "last token" in name)]
)  # version 2 could not pool the last token
def test_vectors_equal_those_of_sentence_transformers(
    encode: Encode, mini_data: Mini, tmp_path: Path, name: str, old: bool
) -> None:
    model = save(LAYOUTS[name], tmp_path / "model")
    if old:
        to_old_format(tmp_path / "model")
    expected = model.encode([f"{title} {text}" for _, title, text in mini_data.passages])
    assert len(np.unique(np.round(expected, 4), axis=0)) == len(mini_data.passages)
    np.testing.assert_allclose(encode(tmp_path / "model"), expected, atol=1e-5)


@pytest.mark.parametrize("settings", [{"max_seq_length": 12}, {"do_lower_case": True}])
def test_the_transformers_own_settings_apply(
    encode: Encode, mini_data: Mini, tmp_path: Path, settings: dict[str, Any]
) -> None:
    from sentence_transformers import SentenceTransformer

    save(LAYOUTS["mean"], tmp_path / "model")
    tokenizer = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": None}))
    prefix = ("--passage-prefix", "TURKU City ")
    plain = encode(tmp_path / "model", *prefix)
    edit(tmp_path / "model" / "sentence_bert_config.json", **settings)
    texts = [f"TURKU City {title} {text}" for _, title, text in mini_data.passages]
    expected = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(texts)
    vectors = encode(tmp_path / "model", *prefix)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert not np.allclose(vectors, plain, atol=1e-3)


@pytest.mark.parametrize(("kind", "limit"), [("BERT", 10**30), ("BERT", 5_000), ("RoBERTa", 5_000)])
def test_without_a_length_of_its_own_a_text_is_cut_where_the_network_ends(
    encode: Encode, mini_data: Mini, tmp_path: Path, kind: str, limit: int
) -> None:
    model = save((kind, "mean", [], False), tmp_path / "model")
    edit(tmp_path / "model" / "tokenizer_config.json", model_max_length=limit)
    vectors = encode(tmp_path / "model", "--passage-prefix", "Turku " * 200)
    model.max_seq_length = 128 if kind == "RoBERTa" else 130
    expected = model.encode(["Turku " * 200 + f"{title} {text}" for _, title, text in mini_data.passages])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


# settings


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--pooling", "mean"), r"modules\.json: says pooling cls, but the settings say mean .*--pooling cls"),
        (("--no-normalize",), "says normalize true, but the settings say false"),
        (("--passage-max-length", 101), "of at most 100 tokens, but passage_max_length is 101"),
        (("--preset", "xdr-mini"), "says pooling cls, but the settings say mean"),
        (("--passage-prefix", "prompt:passage"), r"has no prompt 'passage' \(it has: document, query\)"),
    ],
)
def test_settings_that_differ_from_the_folders_are_refused(
    encode: Encode, tmp_path: Path, options: tuple[object, ...], problem: str
) -> None:
    save(LABSE, tmp_path / "model", prompts={"query": "der "})
    encode(tmp_path / "model", *options).refused(problem)


def test_settings_that_agree_are_accepted_and_recorded(
    encode: Encode, verb: Verb, mini_data: Mini, tmp_path: Path
) -> None:
    model = save(LABSE, tmp_path / "model", prompts={"query": "der ", "document": "ban "})
    options = ("--pooling", "cls", "--normalize", "--passage-prefix", "prompt:document")
    vectors = encode(tmp_path / "model", *options, "--query-prefix", "prompt:query")
    texts = [f"{title} {text}" for _, title, text in mini_data.passages]
    np.testing.assert_allclose(vectors, model.encode(texts, prompt_name="document"), atol=1e-5)
    recorded = json.loads((tmp_path / "embeddings" / "manifest.json").read_text())["parameters"]["encoder"]
    assert (recorded["pooling"], recorded["normalize"], recorded["passage_max_length"]) == ("cls", True, 100)
    assert (recorded["query_prefix"], recorded["passage_prefix"]) == ("der ", "ban ")

    assert verb("index", "--embeddings", tmp_path / "embeddings", "--output", tmp_path / "index").status == 0
    topics = (tmp_path / "topics.tsv", tmp_path / "run.txt")
    topics[0].write_text("1\tban der kon\n")
    search = verb("search", "--index", tmp_path / "index", "--topics", topics[0], "--output", topics[1])
    assert search.status == 0 and len(topics[1].read_text().splitlines()) == len(mini_data.passages)


def test_a_default_prompt_applies_unless_another_is_given(encode: Encode, mini_data: Mini, tmp_path: Path) -> None:
    model = save(LAYOUTS["mean"], tmp_path / "model", prompts={"passage": "ban "}, default_prompt_name="passage")
    texts = [f"{title} {text}" for _, title, text in mini_data.passages]
    np.testing.assert_allclose(encode(tmp_path / "model"), model.encode(texts), atol=1e-5)
    without = encode(tmp_path / "model", "--passage-prefix", "")
    np.testing.assert_allclose(without, model.encode(texts, prompt=""), atol=1e-5)


# what is not supported, and damage


def pooling(folder: Path, **changes: Any) -> None:
    edit(folder / "1_Pooling" / "config.json", **changes)


def dense(folder: Path, **changes: Any) -> None:
    edit(folder / "2_Dense" / "config.json", **changes)


def module(folder: Path, number: int, **changes: Any) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[number] |= changes
    (folder / "modules.json").write_text(json.dumps(modules))


def dense_weights(folder: Path, content: Any) -> None:
    import torch

    (folder / "2_Dense" / "model.safetensors").unlink()
    if content is not None:
        torch.save(content, folder / "2_Dense" / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            lambda m: module(m, 2, type="sentence_transformers.models.LayerNorm"),
            "module sentence_transformers.models.L",
        ),
        (
            lambda m: module(m, 1, type="sentence_transformers.models.Dense"),
            "has the modules Transformer, Dense, Dense, Normalize in this order",
        ),
        (lambda m: module(m, 0, type="custom_st.Transformer"), "custom_st.Transformer"),
        (lambda m: module(m, 2, path="../elsewhere"), "outside"),
        (lambda m: (m / "modules.json").write_text("{}"), r"modules\.json.* is \{\}, expected a list"),
        (
            lambda m: (m / "modules.json").write_text(
                json.dumps([{"path": "x" * 256, "type": "sentence_transformers.A"}])
            ),
            r"modules\.json: .*names a folder that cannot exist: 'xxx",
        ),
        (lambda m: (m / "modules.json").write_text("[{}]"), r"modules\.json.*lacks the field .*type"),
        (lambda m: pooling(m, pooling_mode="max"), "1_Pooling/config.json: pools by max, which is not supported"),
        (lambda m: pooling(m, pooling_mode=["cls", "mean"]), "pools by cls and mean"),
        (lambda m: pooling(m, include_prompt=False), "include_prompt"),
        (lambda m: (m / "1_Pooling" / "config.json").unlink(), "1_Pooling/config.json: no such"),
        (lambda m: dense(m, activation_function="os.system"), "has the activation function os.system"),
        (lambda m: dense(m, activation_function="torch.nn.modules.activation.Softmax"), "Softmax"),
        (lambda m: dense(m, in_features=99), "2_Dense/config.json: takes vectors of 99 dimensions, but gets 16"),
        (lambda m: dense(m, out_features="8"), "out_features is '8'"),
        (lambda m: dense(m, out_features=7), r"has a \(16, 16\) linear.weight, expected \(7, 16\)"),
        (lambda m: dense(m, bias=False), "weights that nothing uses, such as linear.bias"),
        (lambda m: dense(m, use_residual=True), "use_residual"),
        (lambda m: dense(m, module_input_name="token_embeddings"), "module_input_name"),
        (lambda m: dense_weights(m, None), "2_Dense: has no weights"),
        (lambda m: dense_weights(m, {"linear.weight": print}), "damaged, or does not hold weights only"),
        (lambda m: dense_weights(m, [1]), "does not hold named tensors"),
        (lambda m: (m / "2_Dense" / "model.safetensors").write_bytes(b"x"), "model.safetensors: is damaged"),
        (lambda m: edit(m / "sentence_bert_config.json", transformer_task="fill-mask"), "transformer_task"),
        (lambda m: edit(m / "sentence_bert_config.json", max_seq_length="x"), "max_seq_length is 'x'"),
        (lambda m: edit(m / "sentence_bert_config.json", config_args={"num_hidden_layers": 1}), "num_hidden_layers"),
        (lambda m: edit(m / "config_sentence_transformers.json", prompts={"query": 1}), "prompts.query is 1"),
        (
            lambda m: edit(m / "config_sentence_transformers.json", default_prompt_name="z"),
            "default_prompt_name is 'z'",
        ),
        (lambda m: (m / "pooler.pt").write_bytes(b""), "both modules.json and Tevatron's pooler.pt"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name(
    encode: Encode, tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    save(LABSE, tmp_path / "model")
    damage(tmp_path / "model")
    encode(tmp_path / "model").refused(problem)


# Tevatron's pooler


def write_pooler(folder: Path, weights: dict[str, Any], **config: Any) -> Path:
    import torch

    write_model("BERT", folder)
    torch.save(weights, folder / "pooler.pt")
    (folder / "pooler_config.json").write_text(json.dumps({"input_dim": SIZE, "output_dim": 5, "tied": True} | config))
    return folder


def layer(name: str, seed: int = 1) -> dict[str, Any]:
    import torch

    torch.manual_seed(seed)
    return {f"{name}{key}": value for key, value in torch.nn.Linear(SIZE, 5).state_dict().items()}


@pytest.mark.parametrize(
    ("weights", "tied"),
    [
        (layer("linear_q.") | layer("linear_p."), True),
        (layer("linear_q."), True),
        (layer(""), True),
        (layer("linear_q.", 2) | layer("linear_p."), False),
    ],
)
def test_tevatrons_pooler_is_applied_after_the_first_token(
    encode: Encode, mini_data: Mini, tmp_path: Path, weights: dict[str, Any], tied: bool
) -> None:
    folder = write_pooler(tmp_path / "model", weights, tied=tied)
    plain = write_model("BERT", tmp_path / "plain")
    vectors, states = encode(folder), encode(plain, "--pooling", "cls")

    def project(vectors: np.ndarray, seed: int) -> np.ndarray:
        weight, bias = (tensor.numpy() for tensor in layer("", seed).values())
        return vectors @ weight.T + bias

    np.testing.assert_allclose(vectors, project(states, 1), atol=1e-5)
    questions = ["ban der", "kon"]
    first = TextEncoder(EncoderConfig(str(plain)), "cpu").encode_queries(questions)
    second = TextEncoder(EncoderConfig(str(folder)), "cpu").encode_queries(questions)
    np.testing.assert_allclose(second, project(first, 1 if tied else 2), atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "config", "problem"),
    [
        (layer("linear_q.", 2) | layer("linear_p."), {}, "tied is true, but pooler.pt has one layer for questions"),
        (layer("linear_q."), {"tied": False}, "has no linear_p.weight"),
        (layer(""), {"tied": False}, "tied is false, but pooler.pt has a single layer"),
        (layer("linear_q."), {"input_dim": 99}, "input_dim is 99, but the model's vectors have 16 dimensions"),
        (layer("linear_q."), {"output_dim": 9}, r"has a \(5, 16\) linear_q.weight, expected \(9, 16\)"),
        (layer("linear_q."), {"activation": "tanh"}, "sets activation, which is not supported"),
        (layer("linear_q.") | layer("mlp."), {}, "weights that nothing uses, such as mlp.weight"),
        ({"linear_q": print}, {}, "damaged, or does not hold weights only"),
        (layer("linear_q."), None, "has no pooler_config.json"),
    ],
)
def test_a_pooler_that_cannot_be_applied_is_refused(
    encode: Encode, tmp_path: Path, weights: dict[str, Any], config: dict[str, Any] | None, problem: str
) -> None:
    folder = write_pooler(tmp_path / "model", weights, **(config or {}))
    if config is None:
        (folder / "pooler_config.json").unlink()
    encode(folder).refused(problem)
