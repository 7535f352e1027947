"""Training of two encoders, of a suffix that names the language, and label smoothing."""

from __future__ import annotations

import copy
import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini
from interrupts import interrupted_at

from train.processes import start, train_until_killed
from train.samples import ENCODER, GENERATOR, example, tevatron_items, weights, write_lines, write_recipe
from train.test_contrastive import random_batch, small_bert
from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import load_preset
from xqg_repro.train import encoder_start, reader, xdr, xqg
from xqg_repro.train.contrastive import contrastive_loss
from xqg_repro.train.data import Split
from xqg_repro.train.encoder_recipe import EncoderRecipe
from xqg_repro.train.loop import folder_identity
from xqg_repro.train.recipe import ReaderRecipe, Recipe, load_recipe
from xqg_repro.train.smoothing import smoothed_loss
from xqg_repro.train.untied import UntiedNetwork, split_networks
from xqg_repro.train.xdr import ContrastiveCollator, train

UNTIED = dataclasses.replace(ENCODER, tied=False)


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of each file of a folder and of its sub-folders."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def two_networks(dropout: float = 0.0) -> UntiedNetwork:
    query = small_bert(dropout)
    passage = copy.deepcopy(query)
    with torch.no_grad():
        for weight in passage.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return UntiedNetwork(query, passage)


# loss and gradient


def test_the_loss_is_infonce_of_the_vectors_of_two_encoders() -> None:
    model, inputs = two_networks(), random_batch()
    vectors = {}
    for side in ("query", "passage"):
        with torch.no_grad():
            states = getattr(model, side)(**inputs[side]).last_hidden_state
        vectors[side] = states[:, 0].double().numpy()
    scores = vectors["query"] @ vectors["passage"].T
    docids, terms = inputs["docids"], []
    for i, row in enumerate(scores):
        counted = [j for j in range(len(row)) if j == i or docids[j] != docids[i]]
        terms.append(np.log(np.exp(row[counted] - row[i]).sum()))
    loss = contrastive_loss(model, inputs, UNTIED)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    tied = contrastive_loss(model.query, inputs, ENCODER)
    assert abs(loss.item() - tied.item()) > 1e-3  # the second encoder matters


def gradients(model: UntiedNetwork, inputs: dict[str, Any], recipe: EncoderRecipe) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(7)
    contrastive_loss(model, inputs, recipe).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("size", [1, 4, 100])
def test_gradients_reach_both_encoders_and_are_the_same_in_chunks(size: int) -> None:
    model, inputs = two_networks(), random_batch()
    plain = gradients(model, inputs, UNTIED)
    chunked = gradients(model, inputs, dataclasses.replace(UNTIED, chunk_size=size))
    assert plain.keys() == chunked.keys()
    for side in ("query", "passage"):
        own = {name: part for name, part in plain.items() if name.startswith(f"{side}.")}
        assert len(own) == len(list(getattr(model, side).parameters()))
        assert max(part.abs().max() for part in own.values()) > 0.01
    for name, part in plain.items():
        torch.testing.assert_close(chunked[name], part, rtol=1e-4, atol=1e-5)


# training


def side_weights(folder: Path) -> list[dict[str, np.ndarray]]:
    return [weights(folder / side) for side in ("query", "passage")]


def test_two_encoders_start_alike_and_differ_after_a_step(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(UNTIED, model=str(tiny_model), architecture=None, steps=1, held_out=0.4)
    _, model = encoder_start.open_start(recipe, [])
    start_of = weights(tiny_model)
    for network in split_networks(model).values():
        assert all(np.array_equal(network.state_dict()[name].numpy(), weight) for name, weight in start_of.items())
    manifest = train(recipe, tmp_path / "model")
    assert manifest.counts["parameters"] == 2 * model.query.num_parameters() == model.num_parameters()
    assert manifest.parameters["recipe"]["tied"] is False and "config.json" not in manifest.files
    query, passage = side_weights(tmp_path / "model")
    name = "encoder.layer.1.output.dense.weight"
    for one, other in ((query, passage), (query, start_of), (passage, start_of)):
        assert not np.array_equal(one[name], other[name])
    for side in ("query", "passage"):
        assert TextEncoder(recipe.encoder(str(tmp_path / "model" / side)), "cpu").dimension == 32
    card = " ".join((tmp_path / "model" / "README.md").read_text().split())
    assert "There are two encoders, one of questions in `query/` and one of passages in `passage/`." in card


def test_two_encoders_from_scratch_and_with_names(
    mini_data: Mini, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(xdr, "load_names", lambda: [example(f"имя {i}", str(i), lang="ru") for i in range(9)])
    train(dataclasses.replace(UNTIED, names_steps=1, steps=1), tmp_path / "model")
    query, passage = side_weights(tmp_path / "model")
    assert query.keys() == passage.keys() and any(not np.array_equal(query[name], passage[name]) for name in query)


def test_word_embeddings_of_both_can_be_frozen(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(UNTIED, model=str(tiny_model), architecture=None, steps=1, frozen_embeddings=True)
    train(recipe, tmp_path / "model")
    name, before = "embeddings.word_embeddings.weight", weights(tiny_model)
    assert all(np.array_equal(side[name], before[name]) for side in side_weights(tmp_path / "model"))


def test_a_training_starts_from_two_encoders(mini_data: Mini, tiny_untied: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(UNTIED, model=str(tiny_untied), architecture=None, steps=1, learning_rate=1e-12)
    manifest = train(recipe, tmp_path / "model")
    for after, before in zip(side_weights(tmp_path / "model"), side_weights(tiny_untied), strict=True):
        for name, weight in before.items():
            np.testing.assert_allclose(after[name], weight, atol=1e-6)
    versions = [model_fingerprint(str(tiny_untied / side)) for side in ("passage", "query")]
    assert [manifest.inputs[name] for name in ("model", "query_model")] == versions


def test_trainings_of_one_encoder_refuse_a_folder_of_two(mini_data: Mini, tiny_untied: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"model": str(tiny_untied), "architecture": None}
    with pytest.raises(InputError, match=r"holds two encoders.* but a single .tied. one is needed here"):
        train(dataclasses.replace(ENCODER, **changes), tmp_path / "model")
    with pytest.raises(InputError, match=r"holds two encoders.* but a single .tied. one is needed here"):
        reader.train(ReaderRecipe(name="r", data="test-mini/dev", model=str(tiny_untied)), tmp_path / "model")


# resuming


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("changes", [{}, {"held_out": 0.4, "evaluation_steps": 1}])
def test_an_interrupted_training_ends_as_if_it_was_not(
    stand_in: Callable[..., Recipe], tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    recipe = stand_in("xdr-mbert", tied=False, **changes)
    with interrupted_at("step 3 of"):
        train(recipe, tmp_path / "stopped")
    train(recipe, tmp_path / "stopped")
    assert "train: resumes from step 2 of 3" in caplog.messages
    train(recipe, tmp_path / "whole")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    assert {"query/model.safetensors", "passage/model.safetensors"} <= {*files(tmp_path / "whole")}


@pytest.mark.integration
def test_a_killed_training_ends_as_if_it_was_not(
    stand_in: Callable[..., Recipe], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = stand_in("xdr-mbert", tied=False)
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    process = start(train_until_killed, path, tmp_path / "killed", "step 3 of", torch.get_num_threads())
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    train(recipe, tmp_path / "killed")
    assert "train: resumes from step 2 of 3" in caplog.messages
    train(recipe, tmp_path / "whole")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


# recipes


def test_identities_of_older_recipes_stay() -> None:
    settings = ENCODER.settings()
    assert not {"tied", "query_suffix", "distillation"} & {*settings} and "label_smoothing" not in GENERATOR.settings()
    split = Split([], [], "v", [])
    before = folder_identity(ENCODER, split, names="")
    assert before.inputs == {"data": "v", "model": "", "names": ""}
    for changes, names in (({"tied": False}, ["recipe"]), ({"query_suffix": " [{lang}]"}, ["recipe"])):
        after = folder_identity(dataclasses.replace(ENCODER, **changes), split, names="")
        assert before.differences(after) == names


def test_the_recipe_of_mdpr_has_coras_values() -> None:
    recipe = load_recipe("mdpr-mbert", EncoderRecipe)
    assert (recipe.tied, recipe.query_suffix, recipe.seed) == (False, " [{lang}]", 12345)
    used = recipe.encoder("./models/mdpr-mbert")
    assert used == load_preset("mdpr-mbert")
    assert (recipe.learning_rate, recipe.warmup_steps, recipe.max_grad_norm, recipe.batch_size) == (2e-5, 300, 2, 128)


# the suffix


def test_questions_are_trained_and_measured_with_the_suffix_of_their_language(
    mini_data: Mini, tiny_model: Path, tmp_path: Path
) -> None:
    import transformers

    recipe = dataclasses.replace(ENCODER, query_prefix="ban: ", query_suffix=" der {lang}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    batch = ContrastiveCollator(recipe, tokenizer)([example("ban", "1", lang="fi"), example("der", "2", lang="ru")])
    texts = tokenizer(["ban: ban der fi", "ban: der der ru"], padding=True)["input_ids"]
    assert batch["query"]["input_ids"].tolist() == texts
    manifest = train(dataclasses.replace(recipe, steps=1, held_out=0.4, tied=False), tmp_path / "model")
    assert manifest.counts["held_out"] > 0
    card = " ".join((tmp_path / "model" / "README.md").read_text().split())
    assert "Questions end with `' der {lang}'`, in which `{lang}` is the question's language." in card


def test_training_data_without_languages_are_refused(mini_data: Mini, tmp_path: Path) -> None:
    items = [{**item, "lang": "fi"} for item in tevatron_items(mini_data)]
    data = str(write_lines(tmp_path / "train.jsonl", *items))
    recipe = dataclasses.replace(ENCODER, data=data, query_suffix=" [{lang}]", steps=1)
    train(recipe, tmp_path / "model")
    del items[5]["lang"]
    write_lines(tmp_path / "train.jsonl", *items)
    problem = r"train.jsonl does not say the language of the question 5 .* \(query_suffix names it: give each question"
    with pytest.raises(InputError, match=problem):
        train(recipe, tmp_path / "other")
    assert not list(tmp_path.glob("other*"))


# label smoothing


def test_smoothed_loss_is_that_of_numpy(tiny_generator: Path) -> None:
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tiny_generator, dropout_rate=0.0).train()
    inputs = {
        "input_ids": torch.tensor([[5, 6, 7], [8, 9, 2]]),
        "attention_mask": torch.ones(2, 3, dtype=torch.long),
        "decoder_input_ids": torch.tensor([[0, 5, 6], [0, 7, 2]]),
        "labels": torch.tensor([[5, 6, 2], [7, 2, -100]]),
    }
    with torch.no_grad():
        logits = model(**inputs).logits.double().numpy()
        losses = {share: smoothed_loss(model, inputs, share).item() for share in (0.0, 0.1)}
        plain = model(**inputs).loss.item()
        held_out = smoothed_loss(model.eval(), inputs, 0.1).item()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    labels = inputs["labels"].numpy()
    own = [log_p[place][labels[place]] for place in zip(*np.nonzero(labels >= 0), strict=True)]
    spread = [log_p[place].mean() for place in zip(*np.nonzero(labels >= 0), strict=True)]
    expected = -0.9 * np.mean(own) - 0.1 * np.mean(spread)
    assert losses[0.1] == pytest.approx(expected, rel=1e-5) and losses[0.0] == pytest.approx(plain, rel=1e-5)
    assert abs(losses[0.1] - plain) > 1e-3 and held_out == pytest.approx(plain, rel=1e-5)


@pytest.mark.usefixtures("quick")
def test_a_generator_is_trained_with_smoothed_labels(mini_data: Mini, tmp_path: Path) -> None:
    recipes = {share: dataclasses.replace(GENERATOR, label_smoothing=share, steps=2) for share in (0.0, 0.2)}
    manifests = {share: xqg.train(recipe, tmp_path / str(share)) for share, recipe in recipes.items()}
    assert json.loads(json.dumps(manifests[0.2].parameters))["recipe"]["label_smoothing"] == 0.2
    assert manifests[0.0].differences(manifests[0.2]) == ["recipe"]
    first, second = (weights(tmp_path / str(share)) for share in recipes)
    assert any(not np.array_equal(first[name], second[name]) for name in first)
    with pytest.raises(InputError, match=r"label_smoothing is 1\.5"):
        dataclasses.replace(GENERATOR, label_smoothing=1.5)
