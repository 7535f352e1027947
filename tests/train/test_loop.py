from __future__ import annotations

import dataclasses
import importlib.util
from itertools import count
from pathlib import Path

import pytest
from conftest import Mini, contents

from train.samples import ENCODER
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.core.stages import Manifest, verify
from xqg_repro.train import reader, xdr, xqg
from xqg_repro.train.loop import in_parts, take_batches
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, ReaderRecipe, load_recipe

PLANS = {
    "train-xdr": (EncoderRecipe, xdr.plan),
    "train-xqg": (GeneratorRecipe, xqg.plan),
    "train-reader": (ReaderRecipe, reader.plan),
}


@pytest.mark.parametrize("model", sorted(path.parent.name for path in resource("models").glob("*/manifest.json")))
def test_shipped_models_are_what_their_recipes_make_of_todays_data(model: str) -> None:
    shipped = verify(resource("models", model), checksums=True)
    kind, plan = PLANS[shipped.stage]
    split, wanted = plan(load_recipe(model, kind))
    assert shipped.identity == wanted.identity, f"changed: {shipped.differences(wanted)}; run make models"
    assert (shipped.counts["questions"], shipped.counts["held_out"]) == (len(split.kept), len(split.held_out))


@pytest.fixture(scope="module")
def trained(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    xdr.train(ENCODER, folder)
    return folder


def test_a_model_folder_has_no_pickle_and_no_leftover(trained: Path) -> None:
    files = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(contents(trained)) == files | {"README.md", "manifest.json", "loss.csv", "loss.svg"}
    assert [path.name for path in trained.parent.iterdir()] == ["model"]


def test_the_same_recipe_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    xdr.train(ENCODER, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(trained)


def test_a_folder_is_reused_until_the_recipe_changes(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    xdr.train(ENCODER, trained)
    assert caplog.messages == [f"train-xdr: {trained} is up to date"]
    _, wanted = xdr.plan(dataclasses.replace(ENCODER, steps=4))
    assert Manifest.read(trained).differences(wanted) == ["recipe"]


def test_training_without_accelerate_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package accelerate .pip install 'xqg_repro\[train\]'"):
        xdr.train(ENCODER, tmp_path / "model")


def test_epochs_are_counted_in_steps_of_accumulated_batches() -> None:
    recipe = dataclasses.replace(ENCODER, steps=0, epochs=2.0, accumulation=3)
    assert take_batches(recipe, count(), per_epoch=4) == list(range(9))
    assert take_batches(dataclasses.replace(recipe, steps=1), count(), per_epoch=4) == [0, 1, 2]
    assert in_parts([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]] and in_parts([], 2) == []
