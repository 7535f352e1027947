"""Models of any architecture, in every verb: what their own library computes, or a message whose advice works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini
from tiny_models import KINDS, POSITIONS, TEXTS, write_model

from faults.conftest import UNLIMITED, Encode, Verb, edit, two_step_recipe
from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig

READABLE = [kind for kind in KINDS if kind not in ("FNet", "ViT") and not kind.startswith(("sentence", "Tevatron"))]
OFTEN = (
    "XLM-R",
    "MPNet",
    "T5",
    "BART",
    "DPR question encoder",
    "DPR context encoder",
    "GPT-2",
    "Qwen 3",
    "Gemma 3 (text)",
)


def states_alone(kind: str, folder: Path, texts: list[str]) -> list[np.ndarray]:
    """Each text through transformers' own class of an encoder, without a batch: vectors of its tokens."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if kind in UNLIMITED:
        model = getattr(transformers, f"{kind.upper()}EncoderModel").from_pretrained(folder)
    elif KINDS[kind].model != "AutoModel":
        model = getattr(transformers, KINDS[kind].model).from_pretrained(folder)
    else:
        model = transformers.AutoModel.from_pretrained(folder)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    states = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(text, truncation=True, max_length=POSITIONS - 2)["input_ids"]])
            output = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
            states.append((output.pooler_output[None] if "DPR" in kind else output.last_hidden_state)[0].numpy())
    return states


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in OFTEN else pytest.mark.integration) for k in READABLE]
)
def test_vectors_are_those_of_the_kinds_own_encoder(encode: Encode, mini_data: Mini, tmp_path: Path, kind: str) -> None:
    folder = write_model(kind, tmp_path / "model")
    pooling = "cls" if "DPR" in kind else "last" if KINDS[kind].tokenizer == "eos" else "mean"
    states = states_alone(kind, folder, [f"{title} {text}" for _, title, text in mini_data.passages])
    one = {"cls": lambda s: s[0], "last": lambda s: s[-1], "mean": lambda s: s.mean(0)}[pooling]
    vectors = encode(folder, *([] if "DPR" in kind else ["--pooling", pooling]), "--passage-max-length", POSITIONS - 2)
    np.testing.assert_allclose(vectors, [one(s) for s in states], atol=2e-5)
    assert len(np.unique(np.round(vectors, 4), axis=0)) > 50


@pytest.mark.parametrize("kind", ["T5", "BART", "Marian", "M2M100, NLLB"])
def test_a_whole_model_encodes_with_its_encoder(encode: Encode, mini_data: Mini, tmp_path: Path, kind: str) -> None:
    import torch
    import transformers

    folder = write_model(kind, tmp_path / "model", "AutoModelForSeq2SeqLM")
    whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = " ".join(mini_data.passages[0][1:])
    with torch.no_grad():
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=128)["input_ids"]])
        state = whole.get_encoder()(input_ids=ids).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(encode(folder, "--pooling", "cls")[0], state, atol=2e-5)


def test_a_dpr_encoders_projection_is_applied(tmp_path: Path) -> None:
    import torch
    import transformers

    folder = write_model("DPR context encoder", tmp_path / "model")
    config = transformers.DPRConfig.from_pretrained(folder, projection_dim=6)
    transformers.DPRContextEncoder(config).save_pretrained(folder)
    ids = torch.tensor([transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        expected = transformers.DPRContextEncoder.from_pretrained(folder)(ids).pooler_output.numpy()
    vectors = TextEncoder(EncoderConfig(str(folder)), "cpu").encode_passages([None], [TEXTS[0]])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("ViT", ("--pooling", "cls"), "cannot encode texts with ViTModel"),
        ("FNet", ("--pooling", "mean"), "cannot encode texts in batches with FNetModel, which does not leave out pad"),
        ("DPR question encoder", ("--pooling", "mean"), "says pooling cls, but the settings say mean"),
    ],
)
def test_what_cannot_encode_is_refused(
    encode: Encode, tmp_path: Path, kind: str, options: tuple[str, ...], problem: str
) -> None:
    encode(write_model(kind, tmp_path / "model"), *options).refused(problem)


def test_a_dpr_reader_is_no_encoder(encode: Encode, tmp_path: Path) -> None:
    folder = write_model("DPR question encoder", tmp_path / "model")
    edit(folder / "config.json", architectures=["DPRReader"])
    encode(folder).refused("is a DPRReader, not an encoder of questions or passages")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("sentence_transformers_with_dense", "--pooling mean", 16),
        ("sentence_transformers_with_dense", "", 16),
        ("sentence_transformers_with_dense", "--pooling cls", "says pooling mean, but the settings say cls"),
        ("tevatron_with_pooler", "--pooling mean", 16),
        ("tevatron_with_pooler", "", 16),
        ("dpr_question_encoder", "--pooling cls", 32),
        ("dpr_question_encoder", "--pooling mean", "says pooling cls, but the settings say mean"),
        ("no_pad_token", "--pooling mean", 128),
        (
            "embeddings_smaller_than_vocabulary",
            "--pooling mean",
            "has 10000 tokens, but its table of embeddings has 9500",
        ),
        ("xlmr_no_model_max_length", "--pooling mean --passage-max-length 1000", "reads at most 128 tokens"),
        ("xlmr_no_model_max_length", "--pooling mean --passage-max-length 130", "reads at most 128 tokens"),
        ("xlmr_no_model_max_length", "--pooling mean --passage-max-length 128", 128),
        ("package:xqg-mini", "--pooling mean --passage-max-length 700", 192),
    ],
)
def test_folders_that_failed_once(encode: Encode, faulty_models: Path, name: str, options: str, expected: Any) -> None:
    result = encode(name if ":" in name else faulty_models / name, *options.split())
    result.refused(expected) if isinstance(expected, str) else np.testing.assert_equal(result.shape[1], expected)


# tokenizers


@pytest.mark.parametrize(("kind", "pooling"), [("BERT", "mean"), ("XLM-R", "cls"), ("GPT-2", "last"), ("T5", "mean")])
def test_a_tokenizer_without_a_padding_token_changes_nothing(
    encode: Encode, tmp_path: Path, kind: str, pooling: str
) -> None:
    folder = write_model(kind, tmp_path / "model")
    edit(
        folder / "tokenizer_config.json", pad_token="[UNK]" if kind == "GPT-2" else "<s>" if kind != "BERT" else "[PAD]"
    )
    expected = encode(folder, "--pooling", pooling)
    edit(folder / "tokenizer_config.json", pad_token=None)
    edit(folder / "tokenizer.json", padding=None)
    edit(folder / "config.json", pad_token_id=None)
    np.testing.assert_allclose(encode(folder, "--pooling", pooling), expected, atol=1e-5)


def shrink(folder: Path, by: int) -> int:
    """Cut the last rows off a table of embeddings, and return how many are left."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder)
    size = model.get_input_embeddings().weight.shape[0] - by
    model.resize_token_embeddings(size)
    model.save_pretrained(folder)
    return size


@pytest.mark.parametrize("kind", ["BERT", "XLM-R", "GPT-2"])
def test_a_vocabulary_larger_than_the_table_is_refused(encode: Encode, tmp_path: Path, kind: str) -> None:
    folder = write_model(kind, tmp_path / "model")
    size = shrink(folder, 40)
    problem = f"tokenizer has {size + 40} tokens, but its table of embeddings has {size}: .* is number {size} "
    encode(folder, "--pooling", "mean").refused(problem)


def test_an_added_token_without_an_embedding_matters_only_in_a_text(encode: Encode, verb: Verb, tmp_path: Path) -> None:
    """As Gemma 3's token for images."""
    import transformers

    folder = write_model("BERT", tmp_path / "model")
    expected = encode(folder, "--pooling", "mean")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"], "pad_token": "<fill>"})
    tokenizer.save_pretrained(folder)
    np.testing.assert_allclose(encode(folder, "--pooling", "mean"), expected, atol=1e-5)
    encode(folder, "--pooling", "mean", "--passage-prefix", "<image> ").refused("'<image>' is number")


@pytest.mark.parametrize("texts", [["ban", ""], ["\u200b"]])
def test_a_text_without_tokens_is_named(tmp_path: Path, texts: list[str]) -> None:
    encoder = TextEncoder(EncoderConfig(str(write_model("GPT-2", tmp_path / "model")), "last"), "cpu")
    with pytest.raises(InputError, match="reads no token in the text"):
        encoder.encode_queries(texts)


# training


@pytest.mark.parametrize("kind", ["T5", "BART", "M2M100, NLLB", "DPR context encoder", "GPT-2", "ELECTRA"])
def test_a_trained_encoder_is_of_the_kind_that_it_started_from(
    verb: Verb, encode: Encode, mini_data: Mini, tmp_path: Path, kind: str
) -> None:
    folder = write_model(kind, tmp_path / "model")
    options = [] if "DPR" in kind else ["--pooling", "cls"]
    before = encode(folder, *options)
    path = two_step_recipe("xdr", folder, mini_data, learning_rate=1e-3, held_out=0.5)
    outcome = verb("train", "xdr", "--recipe", path, "--output", tmp_path / "trained")
    assert outcome.status == 0, outcome
    after = encode(tmp_path / "trained", *options)
    assert 1e-4 < np.abs(after - before).max() < 1


def test_a_projection_is_not_lost_in_training(verb: Verb, mini_data: Mini, tmp_path: Path) -> None:
    for kind, named in (("sentence-transformers, Dense", "2_Dense"), ("Tevatron, pooler", "pooler.pt")):
        folder = write_model(kind, tmp_path / named)
        outcome = verb(
            "train", "xdr", "--recipe", two_step_recipe("xdr", folder, mini_data), "--output", tmp_path / "trained"
        )
        outcome.refused(rf"has layers after the network \({named}\), which training leaves out")
