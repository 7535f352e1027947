"""Training on parallel questions: their loss, the teacher, checkpoints and recipes."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini

from train.resuming import check_interrupted, check_killed
from train.samples import weights, write_pairs
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import Pooling, Precision, load_preset
from xqg_repro.train import curve, encoder_start, parallel
from xqg_repro.train.encoder_recipe import EncoderRecipe, ParallelRecipe, Reduction
from xqg_repro.train.parallel import ParallelCollator, TeacherVectors, draw_batches, plan, rank_translations, train
from xqg_repro.train.parallel_data import load_pairs, question_keys
from xqg_repro.train.recipe import encoder_kind, load_recipe


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "plot_curve", lambda points: "")


@pytest.fixture(scope="module")
def recipe(mini_data: Mini, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ParallelRecipe:
    """Questions of three words, of whose translations two are unseen; three steps with checkpoints."""
    words = sorted({word for _, _, text in mini_data.passages for word in text.split() if len(word) == 3})

    def pairs(shift: int) -> list[tuple[str, str]]:
        return [
            (" ".join(words[(i + shift + j) % len(words)] for j in range(3)), f"{words[i]} {words[i + 1]}")
            for i in range(len(words) - 1)
        ]

    folder = write_pairs(tmp_path_factory.mktemp("parallel") / "pairs", fi=pairs(5), ru=pairs(9))
    with open(folder / "fi-en" / "fi.txt", "a") as questions, open(folder / "fi-en" / "en.txt", "a") as english:
        questions.write(f"{mini_data.questions[0]['question']}\n")
        english.write("der ban kon\n")
    return ParallelRecipe(
        name="tiny",
        data=str(folder),
        unseen=("test-mini/dev",),
        model=str(tiny_model),
        pooling=Pooling.MEAN,
        normalize=True,
        query_prefix="ban: ",
        reduction=Reduction.SUM,
        contrastive_weight=0.2,
        steps=3,
        batch_size=4,
        learning_rate=1e-3,
        held_out=0.3,
        evaluation_steps=1,
        keep_best=False,
        checkpoint_steps=1,
        frozen_embeddings=True,
        seed=5,
    )


@pytest.fixture(scope="module")
def trained(recipe: ParallelRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(recipe, folder)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "loss.csv") as file:
        return list(csv.DictReader(file))


def test_a_model_folder_has_losses_by_language_and_a_card(trained: Path, recipe: ParallelRecipe) -> None:
    manifest = Manifest.read(trained)
    assert manifest.stage == "train-xdr-parallel" and manifest.inputs["teacher"] == manifest.inputs["model"]
    assert (manifest.counts["left_out"], manifest.counts["left_out.fi"], manifest.counts["steps"]) == (1, 1, 3)
    split, _ = plan(recipe)
    assert (manifest.counts["questions"], manifest.counts["held_out"]) == (len(split.kept), len(split.held_out))
    numbers = {code: sum(pair.lang == code for pair in split.held_out) for code in ("fi", "ru")}
    for row in rows(trained):
        mean = sum(float(row[f"held_out_loss.{code}"]) * number for code, number in numbers.items())
        assert mean / len(split.held_out) == pytest.approx(float(row["held_out_loss"]), rel=1e-4)
    assert len(rows(trained)) == 3 and "held-out loss (pairs)" in (trained / "loss.svg").read_text()

    before, after = weights(Path(recipe.model)), weights(trained)
    unchanged = {name for name, weight in before.items() if np.array_equal(weight, after[name])}
    assert "embeddings.word_embeddings.weight" in unchanged and "encoder.layer.0.output.dense.weight" not in unchanged
    card = " ".join((trained / "README.md").read_text().split())
    shares = rank_translations(recipe.encoder(str(trained)), split.held_out)
    for code in ("all", "fi", "ru"):
        assert f"| {code} | " in card and f"| {shares[code]:.1%} |" in card.partition(f"| {code} | ")[2][:25]
    assert "1 pairs have a question of test-mini/dev, or its translation, and were left out." in card
    assert "The teacher is the encoder that it started from" in card and "in fi, ru." in card


def test_the_teacher_is_not_trained(trained: Path, recipe: ParallelRecipe) -> None:
    assert model_fingerprint(recipe.model) == Manifest.read(trained).inputs["teacher"]
    split, _ = plan(recipe)
    batch = list(split.kept[:3])
    teacher = TeacherVectors(recipe, split.kept)
    vectors = teacher.take(batch)
    assert vectors.dtype == torch.float32 and not vectors.requires_grad
    expected = TextEncoder(recipe.encoder(recipe.model)).encode_queries([pair.positive.text for pair in batch])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_student_that_is_its_teacher_has_only_the_distance_of_the_questions(recipe: ParallelRecipe) -> None:
    from xqg_repro.train.parallel_trainer import parallel_loss

    split, _ = plan(recipe)
    tokenizer, model = encoder_start.load_start(recipe)
    inputs = ParallelCollator(recipe, tokenizer, TeacherVectors(recipe, split.kept))([split.kept[:4]])

    def loss(**changes: Any) -> float:
        with torch.no_grad():
            return parallel_loss(model.eval(), inputs, dataclasses.replace(recipe, **changes)).item()

    encoder = TextEncoder(recipe.encoder(recipe.model))
    questions = encoder.encode_queries([pair.query for pair in split.kept[:4]])
    distance = float(np.square(questions - inputs["teacher"].numpy()).sum(1).mean())
    assert loss(contrastive_weight=0.0) == pytest.approx(distance, rel=1e-4) and distance > 0.01
    assert loss(contrastive_weight=0.0, weight=1e-9) == pytest.approx(0, abs=1e-6)
    assert loss(chunk_size=3) == pytest.approx(loss(), rel=1e-5) and loss() > distance


@pytest.mark.usefixtures("quick")
def test_the_student_comes_closer_to_its_teacher(
    recipe: ParallelRecipe, model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    other = model_folder("bert", seed=2)
    longer = dataclasses.replace(recipe, teacher=str(other), steps=30, evaluation_steps=10, checkpoint_steps=0)
    manifest = train(longer, tmp_path / "model")
    losses = [float(row["held_out_loss"]) for row in rows(tmp_path / "model")]
    assert losses[0] > losses[1] > losses[2]
    assert manifest.inputs["teacher"] == model_fingerprint(str(other)) != manifest.inputs["model"]
    assert f"The teacher is `{other}`" in " ".join((tmp_path / "model" / "README.md").read_text().split())


@pytest.mark.usefixtures("quick")
def test_pairs_are_learnt_without_held_out_ones_for_a_number_of_epochs(recipe: ParallelRecipe, tmp_path: Path) -> None:
    alone = dataclasses.replace(recipe, steps=0, epochs=2.0, held_out=0.0, accumulation=2, languages=("ru",))
    counts = train(alone, tmp_path / "model").counts
    assert counts["steps"] == counts["questions"] // 4 and counts["held_out"] == 0
    assert [*rows(tmp_path / "model")[0]] == ["step", "stage", "loss", "held_out_loss"]


def test_each_epoch_has_each_pair_once_in_another_order(recipe: ParallelRecipe) -> None:
    examples, batches = list(plan(recipe)[0].kept), iter(draw_batches(plan(recipe)[0].kept, recipe))
    per_epoch = len(examples) // 4

    def epoch() -> list[str]:
        return [f"{pair.lang} {pair.query}" for _ in range(per_epoch) for pair in next(batches)]

    first, second = epoch(), epoch()
    assert len(set(first)) == len(first) == 4 * per_epoch == len(set(second)) and first != second
    few = draw_batches(examples[:2], recipe)
    assert [len(next(few)) for _ in range(3)] == [2, 2, 2]


# resuming


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_an_interrupted_training_ends_as_if_it_was_not(
    recipe: ParallelRecipe, precision: Precision, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(recipe, precision=precision)
    check_interrupted(train, recipe, tmp_path, caplog)


@pytest.mark.integration
def test_a_killed_training_ends_as_if_it_was_not(
    recipe: ParallelRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(recipe, unseen=("xor-mini/dev",))  # which the other process knows as well
    check_killed(train, recipe, tmp_path, caplog)


# recipes and options


def test_a_folder_is_made_anew_for_another_teacher_or_other_unseen_questions(
    recipe: ParallelRecipe, model_folder: Callable[..., Path]
) -> None:
    _, wanted = plan(recipe)
    other = dataclasses.replace(recipe, teacher=str(model_folder("bert", seed=2)))
    assert wanted.differences(plan(other)[1]) == ["recipe", "teacher"]
    assert "data" in wanted.differences(plan(dataclasses.replace(recipe, unseen=()))[1])
    with pytest.raises(InputError, match="names no encoder to start from"):
        plan(dataclasses.replace(recipe, model=""))


def test_a_teacher_of_another_size_is_refused(recipe: ParallelRecipe, tmp_path: Path) -> None:
    other = dataclasses.replace(recipe, teacher="package:xdr-mini")
    with pytest.raises(InputError, match="xdr-mini: has vectors of 128 dimensions, but those of the student have 32"):
        train(other, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="contains the input"):
        train(dataclasses.replace(recipe, teacher=str(Path(recipe.model) / "x")), Path(recipe.model).parent)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weight": 0.0}, "weight is 0.0"),
        ({"english_weight": -1.0}, "english_weight is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"languages": ("xx",)}, "unknown language 'xx'"),
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"held_out_data": "other"}, "parallel questions have no held_out_data"),
        ({"held_out": 1.5}, "held_out is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(recipe: ParallelRecipe, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(recipe, **change)


def test_the_recipe_for_e5_uses_it_as_the_preset_does() -> None:
    recipe, preset = load_recipe("xdr-e5-parallel", ParallelRecipe), load_preset("e5-small")
    assert recipe.encoder(recipe.model) == dataclasses.replace(preset, query_max_length=64)
    assert recipe.frozen_embeddings and recipe.languages == XOR_LANGUAGES and recipe.checkpoint_steps


def test_the_recipe_for_the_embedded_encoder_uses_student_and_teacher_as_their_presets_do() -> None:
    recipe = load_recipe("xdr-mini-parallel", ParallelRecipe)
    student, teacher = load_preset("xdr-mini"), load_preset("zs-mini")
    assert (recipe.encoder(recipe.model), recipe.encoder(recipe.teacher)) == (student, teacher)
    split, _ = plan(recipe)
    assert {pair.lang for pair in split.kept} == {pair.lang for pair in split.held_out} == {*XOR_LANGUAGES}
    pairs = load_pairs(recipe.data, recipe.languages, question_keys(recipe.unseen)[0])
    assert len(pairs.examples) == len(split.examples) > 12_000 and not pairs.left_out
    assert 0.08 < len(split.held_out) / len(pairs.examples) < 0.12


def test_the_recipes_kind_decides_what_train_xdr_trains(
    recipe: ParallelRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encoder_kind("xdr-e5-parallel") is ParallelRecipe and encoder_kind("xdr-mini") is EncoderRecipe
    seen: list[ParallelRecipe] = []
    monkeypatch.setattr(parallel, "train", lambda recipe, output, **settings: seen.append(recipe))
    command = ["train", "xdr", "--output", str(tmp_path / "model"), "--teacher", recipe.model]
    options = ["--data", recipe.data, "--model", "package:xdr-mini", "--steps", "7"]
    assert cli.main([*command, *options, "--recipe", "xdr-e5-parallel"]) == 0
    expected = {"teacher": recipe.model, "data": recipe.data, "model": "package:xdr-mini", "steps": 7}
    assert seen == [load_recipe("xdr-e5-parallel", ParallelRecipe, **expected)]
    assert cli.main([*command, "--recipe", "xdr-mini"]) == 2
    assert "has no teacher, which only recipes of parallel questions have" in capsys.readouterr().err
