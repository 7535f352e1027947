from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from xqg_repro.collection.files import data_files
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.core.stages import Manifest
from xqg_repro.models.settings import Precision, load_generator, load_preset, load_reader
from xqg_repro.train.base_recipe import Schedule
from xqg_repro.train.encoder_recipe import Alignment, Distillation, Scope
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.recipe import (
    KINDS,
    AnswererRecipe,
    EncoderRecipe,
    GeneratorRecipe,
    ReaderRecipe,
    Recipe,
    load_recipe,
    model_card,
)
from xqg_repro.train.rounds_recipe import RoundsRecipe, Start, load_rounds, trainings

FILES = sorted(resource("recipes").glob("*.yaml"))
ROUNDS = [path.stem for path in FILES if yaml.safe_load(path.read_text())["train"] == RoundsRecipe.KIND]
RECIPES = [path.stem for path in FILES if path.stem not in ROUNDS]
SHIPPED = sorted(path.parent.name for path in resource("models").glob("*/manifest.json"))
ENCODERS, GENERATORS = ("xdr-mbert", "xdr-xlmr", "zs-mbert"), ("xqg-mt5-base", "xqg-mt5-large")


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        (EncoderRecipe, {"batch_size": 0}, "batch_size is 0"),
        (EncoderRecipe, {"passage_max_length": 2}, "passage_max_length is 2 .*at least 3"),
        (EncoderRecipe, {"temperature": 0.0}, "temperature is 0.0"),
        (EncoderRecipe, {"learning_rate": float("nan")}, "learning_rate is nan"),
        (EncoderRecipe, {"held_out": 1.5}, "held_out is 1.5 .*share"),
        (EncoderRecipe, {"precision": Precision.FLOAT16}, "float16"),
        (EncoderRecipe, {"max_grad_norm": -1.0}, "max_grad_norm is -1.0"),
        (EncoderRecipe, {"schedule": "cosine"}, "schedule is 'cosine'"),
        (GeneratorRecipe, {"shortened": -0.1}, "shortened is -0.1 .*share"),
        (GeneratorRecipe, {"names_epochs": -1}, "names_epochs is -1"),
        (ReaderRecipe, {"max_length": 50}, "50 tokens leave no room"),
    ],
)
def test_invalid_settings_are_refused(kind: type[Recipe], settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        kind(name="a", data="b", **{"learning_rate": 0.1, **settings})


@pytest.mark.parametrize("name", RECIPES)
def test_packaged_recipes_are_of_the_kind_that_they_name(name: str) -> None:
    kind = KINDS[yaml.safe_load(resource("recipes", f"{name}.yaml").read_text())["train"]]
    assert load_recipe(name, kind).name == name
    other = ReaderRecipe if kind is EncoderRecipe else EncoderRecipe
    with pytest.raises(InputError, match=f"{name}.yaml: .*train {kind.KIND}, not"):
        load_recipe(name, other)


@pytest.mark.parametrize("name", ROUNDS)
def test_packaged_recipes_of_rounds_name_recipes_of_their_models(name: str) -> None:
    recipe = load_rounds(name)
    assert recipe.name == name and recipe.rounds == 3
    encoder = recipe.encoder_recipe("data.jsonl")
    assert (encoder.data, encoder.seed, encoder.held_out_data) == ("data.jsonl", recipe.seed, recipe.held_out_data)
    assert encoder.architecture is None and encoder.negatives == 1
    assert recipe.encoder_recipe("data.jsonl", "some/folder").model == "some/folder"
    kinds = [type(training) for training in trainings(name, RoundsRecipe.KIND)]
    assert kinds.count(AnswererRecipe) == (recipe.judge.kind is JudgeKind.GENERATOR) == bool(recipe.answerer)
    with pytest.raises(InputError, match=f"{name}.yaml: .*train rounds, not"):
        load_recipe(name, EncoderRecipe)
    with pytest.raises(InputError, match=r"xdr-mini.yaml: .*train xdr, not of train rounds"):
        load_rounds("xdr-mini")


def test_full_size_rounds_have_the_published_values() -> None:
    recipe = load_rounds("cora-mbert")
    encoder, answerer = recipe.encoder_recipe(""), recipe.answerer_recipe("")
    assert (encoder.learning_rate, encoder.epochs, encoder.batch_size * encoder.accumulation) == (2e-5, 40, 128)
    assert (encoder.warmup_steps, encoder.max_grad_norm, encoder.seed, encoder.weight_decay) == (300, 2.0, 12345, 0)
    assert (encoder.query_max_length, encoder.passage_max_length, encoder.negatives) == (256, 256, 1)
    assert (encoder.model, encoder.tied, encoder.query_suffix) == ("bert-base-multilingual-uncased", False, " [{lang}]")
    assert (answerer.passages, answerer.holders, answerer.batch_size * answerer.accumulation) == (10, 3, 32)
    assert (answerer.label_smoothing, answerer.max_grad_norm, answerer.learning_rate) == (0.1, 0.1, 3e-5)
    assert (recipe.judge.kind, recipe.judge.depth, recipe.start) == (JudgeKind.GENERATOR, 100, Start.FRESH)


@pytest.mark.parametrize("name", [*ENCODERS, *GENERATORS])
def test_recipes_have_the_references_settings_and_published_data(name: str) -> None:
    recipe = load_recipe(name, GeneratorRecipe if name in GENERATORS else EncoderRecipe)
    assert recipe.batch_size * recipe.accumulation == 128 and recipe.warmup_steps == 0
    assert recipe.checkpoint_steps and recipe.precision is Precision.BFLOAT16
    assert recipe.data in data_files("training")
    if isinstance(recipe, EncoderRecipe):
        assert (recipe.learning_rate, recipe.epochs, recipe.negatives, recipe.temperature) == (1e-5, 40, 7, 1)
        assert not (recipe.normalize or recipe.keep_best)
        assert (recipe.held_out, recipe.evaluation_steps) == (0.01, 200)  # to measure the loss; the last step is kept
    else:
        assert isinstance(recipe, GeneratorRecipe)
        assert (recipe.learning_rate, recipe.steps, recipe.evaluation_steps) == (1e-4, 2000, 100)
        assert recipe.held_out > 0 and recipe.prompt_max_length == recipe.query_max_length == 128


@pytest.mark.parametrize("name", [name for name in RECIPES if name in (*SHIPPED, "xdr-xlmr", "zs-mbert")])
def test_presets_use_a_model_as_its_recipe_trains_it(name: str) -> None:
    kind = KINDS[yaml.safe_load(resource("recipes", f"{name}.yaml").read_text())["train"]]
    recipe, model = load_recipe(name, kind), f"package:{name}" if name in SHIPPED else f"./models/{name}"
    if isinstance(recipe, EncoderRecipe):
        assert load_preset(name) == recipe.encoder(model)
    elif isinstance(recipe, ReaderRecipe):
        assert load_reader(name) == recipe.reader(model)
    else:
        preset = load_generator(name)
        assert (preset.model, preset.prompt) == (model, recipe.prompt)
        assert preset.prompt_max_length == recipe.prompt_max_length


def test_the_recipe_for_e5_uses_it_as_the_preset_does() -> None:
    recipe, preset = load_recipe("xdr-e5-xquad", EncoderRecipe), load_preset("e5-small")
    assert recipe.encoder(recipe.model) == dataclasses.replace(preset, query_max_length=64)
    assert recipe.frozen_embeddings and not recipe.keep_best and recipe.evaluation_steps > 0


def test_overrides_replace_settings(tmp_path: Path) -> None:
    own = {"model": "some/folder", "data": "a.json", "held_out_data": "b.json", "steps": 7, "seed": 1}
    recipe = load_recipe("xdr-e5-xquad", EncoderRecipe, **own, batch_size=None)
    assert dataclasses.replace(load_recipe("xdr-e5-xquad", EncoderRecipe), **own) == recipe
    (tmp_path / "recipe.yaml").write_text("name: a\ndata: b\n")  # names no model
    assert load_recipe(str(tmp_path / "recipe.yaml"), EncoderRecipe, model="some/folder").model == "some/folder"


def test_newer_settings_are_recorded_only_where_they_differ_from_their_defaults() -> None:
    recipe = EncoderRecipe(name="a", data="b")
    nested = {"distillation": Distillation(), "alignment": Alignment(queries="c")}
    newer = {"schedule": Schedule.CONSTANT, "max_grad_norm": 2.0, **nested}
    assert not {*newer} & {*recipe.settings()}
    changed = dataclasses.replace(recipe, **newer).settings()
    expected = newer | {name: dataclasses.asdict(value) for name, value in nested.items()}
    assert {name: changed.pop(name) for name in newer} == expected
    assert changed == recipe.settings() and changed["weight_decay"] == 0
    generator = GeneratorRecipe(name="a", data="b")
    assert "unseen_names" not in generator.settings()
    assert dataclasses.replace(generator, unseen_names=False).settings()["unseen_names"] is False


def test_distillation_is_read_from_a_recipes_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\ndata: b.jsonl\nmodel: c\ndistillation: {teacher_temperature: 0.1, scope: batch}\n")
    how = load_recipe(str(path), EncoderRecipe).distillation
    assert how == Distillation(teacher_temperature=0.1, scope=Scope.BATCH)
    path.write_text("name: a\ndata: b.jsonl\nmodel: c\ndistillation: {temperature: 0.1}\n")
    with pytest.raises(InputError, match=r"recipe.yaml: .*no key 'temperature'"):
        load_recipe(str(path), EncoderRecipe)


def test_the_control_of_quick_mini_lacks_only_the_teacher_and_the_generated_queries() -> None:
    quick, control = (load_recipe(name, EncoderRecipe) for name in ("quick-mini", "quick-mini-control"))
    assert quick.distillation and quick.alignment
    assert {"xor-mini/held-out", "xor-mini/dev"} == {*quick.alignment.unseen}
    assert dataclasses.replace(quick, name=control.name, distillation=None, alignment=None) == control


def test_the_generator_with_training_names_differs_from_xqg_mini_in_its_names_alone() -> None:
    whole, train = (load_recipe(name, GeneratorRecipe) for name in ("xqg-mini", "xqg-mini-train-names"))
    assert whole.unseen_names and not train.unseen_names
    assert dataclasses.replace(whole, name=train.name, unseen_names=False) == train


def test_unknown_and_incomplete_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'nothing' .*xdr-mini"):
        load_recipe("nothing", EncoderRecipe)
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\ndata: b\n")
    with pytest.raises(InputError, match=r"recipe.yaml: .* a model to start from or an architecture"):
        load_recipe(str(path), EncoderRecipe)
    path.write_text("name: a\ndata: b\nmodle: c\n")
    with pytest.raises(InputError, match=r"recipe.yaml: .*modle"):
        load_recipe(str(path), EncoderRecipe)


@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_cards_are_what_the_template_makes_of_their_manifests(model: str) -> None:
    folder = resource("models", model)
    card, manifest = (folder / "README.md").read_text(encoding="utf-8"), Manifest.read(folder)
    kind = manifest.stage.removeprefix("train-")
    template, measures = {
        "xdr": ("encoder_card.md", ("rank their own passage first",)),
        "xqg": ("generator_card.md", ("in the requested language", "naming the passage's entity")),
        "reader": ("reader_card.md", ("EM", "F1")),
    }[kind]
    measured = [float(share) / 100 for share in re.findall(r"(\d+\.\d)%", card)]
    (commit,) = re.findall(r"\| commit \| `(\w+)` \|", card)
    names = re.search(r"\(from CLDR\): ([\d,]+)", card)
    facts = {"names": int(names[1].replace(",", ""))} if names else {}
    recipe = load_recipe(model, KINDS[kind])
    quality = dict(zip(measures, measured, strict=True))
    assert json.loads(json.dumps(recipe.settings())) == manifest.parameters["recipe"]
    settings = {"inputs": manifest.inputs, "counts": manifest.counts, "commit": commit, "quality": quality}
    assert model_card(template, recipe, **settings, **facts) == card
