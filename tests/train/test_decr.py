"""The stages of DR.DECR, on a tiny model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini
from interrupts import interrupted_at
from safetensors.numpy import load_file

from train.resuming import check_interrupted, check_killed
from train.samples import tevatron_items, weights, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.models.late import LateEncoder
from xqg_repro.models.maxsim import maxsim
from xqg_repro.models.token_network import open_token_network
from xqg_repro.train.data import TevatronFile
from xqg_repro.train.decr import plan, stage_loss, train
from xqg_repro.train.decr_data import LateCollator, Twins, load_stage, read_pairs
from xqg_repro.train.decr_recipe import DecrRecipe, Schedule, Stage
from xqg_repro.train.late_losses import align, reorder
from xqg_repro.train.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("quick")

SMALL: dict[str, Any] = {"projection": 8, "query_max_length": 12, "passage_max_length": 40, "precision": "float32"}
SMALL |= {"batch_size": 4, "accumulation": 1, "steps": 3, "checkpoint_steps": 1, "learning_rate": 1e-3}
Stages = Callable[..., DecrRecipe]


@pytest.fixture
def stage(mini_data: Mini, tiny_late: Path, late_folder: Callable[..., Path], tmp_path: Path) -> Stages:
    """``stage("C")``: three steps of a stage of the published recipes, on small files, with a checkpoint at each."""
    items = tevatron_items(mini_data)
    english = [{**item, "query": f"{item['query']} dan"} for item in items]
    data = write_lines(tmp_path / "train.jsonl", *items)
    twins = write_lines(tmp_path / "train.en.jsonl", *english)
    lines = [f"fi\t{mini_data.passages[i][2][:30]}\t{mini_data.passages[i + 20][2][:30]}" for i in range(12)]
    pairs = write_lines(tmp_path / "pairs.tsv", *lines)
    teacher = str(late_folder(seed=7))

    def make(name: str, **changes: Any) -> DecrRecipe:
        recipe = load_recipe(f"decr-xlmr-base-{name.lower()}", DecrRecipe)
        settings = {"model": str(tiny_late), "data": str(pairs if name == "C" else data), **SMALL}
        settings |= {"teacher": teacher} if name in "CD" else {}
        settings |= {"twins": str(twins)} if name == "D" else {}
        return dataclasses.replace(recipe, **settings | changes)

    return make


def batch_of(recipe: DecrRecipe, count: int = 3) -> tuple[Any, Any, dict[str, Any]]:
    """The student, the teacher, and the first items of a recipe, collated."""
    tokenizer, student, _ = open_token_network(recipe.model, "float32", "cpu", 40)
    teacher = open_token_network(recipe.teacher, "float32", "cpu", 40)[1] if recipe.teacher else None
    split = load_stage(recipe)
    return student, teacher, LateCollator(recipe, tokenizer)([split.kept[i] for i in range(count)])


def loss_of(recipe: DecrRecipe, count: int = 3) -> float:
    student, teacher, batch = batch_of(recipe, count)
    return float(stage_loss(student, teacher, batch, recipe).detach())


# losses


def passages_of(recipe: DecrRecipe, count: int) -> tuple[list[Any], list[list[Any]]]:
    """Questions, and each one's positive and negative, as the collator draws them."""
    examples = [TevatronFile(recipe.data)[i] for i in range(count)]
    return examples, [list(LateCollator(recipe, fake_tokenizer())._draw(example)) for example in examples]


def fake_tokenizer() -> Any:
    class Tokenizer:
        all_special_ids: tuple[int, ...] = ()

    return Tokenizer()


def scores_of(recipe: DecrRecipe, model: str, questions: list[str], triples: list[list[Any]]) -> np.ndarray:
    """MaxSim of each question with its two passages, by the encoder that serves."""
    encoder = LateEncoder(recipe.late(model), "cpu")
    rows = []
    for vectors, passages in zip(encoder.encode_queries(questions), triples, strict=True):
        tokens = encoder.encode_passages([p.title for p in passages], [p.text for p in passages])
        rows.append([float(maxsim(torch.tensor(vectors), torch.tensor(tokens.of(i)))) for i in range(2)])
    return np.array(rows)


@pytest.mark.parametrize("pad_queries", [True, False])
@pytest.mark.parametrize("name", ["A", "D"])
def test_losses_are_of_the_scores_that_a_search_would_give(stage: Stages, name: str, pad_queries: bool) -> None:
    recipe = stage(name, pad_queries=pad_queries)
    examples, triples = passages_of(recipe, 3)
    mine = scores_of(recipe, recipe.model, [example.query for example in examples], triples)
    if name == "A":
        expected = -np.log(np.exp(mine[:, 0]) / np.exp(mine).sum(1)).mean()
    else:
        theirs = scores_of(recipe, recipe.teacher, [f"{example.query} dan" for example in examples], triples)
        p, q = (np.exp(s / 2) / np.exp(s / 2).sum(1, keepdims=True) for s in (theirs, mine))
        expected = 4 * (p * np.log(p / q)).sum(1).mean()
    assert loss_of(recipe) == pytest.approx(expected, rel=1e-3, abs=1e-5) and expected > 1e-4


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_stage_c_compares_the_text_with_its_translation_and_english_with_itself(stage: Stages, weight: float) -> None:
    recipe = stage("C", query_weight=weight)
    pairs = read_pairs(recipe.data)[:1]  # one, so that there is no padding of passages
    student, teacher = (
        LateEncoder(dataclasses.replace(recipe.late(m), mask_punctuation=False, title_separator=None))
        for m in (recipe.model, recipe.teacher)
    )
    asked = torch.tensor(student.encode_queries([pairs[0].text]))
    english = torch.tensor(teacher.encode_queries([pairs[0].english]))
    across = float((asked - reorder(english, align(english, asked))).square().mean())
    mine, theirs = (encoder.encode_passages([None], [pairs[0].english]).vectors for encoder in (student, teacher))
    expected = weight * across + (1 - weight) * float(np.square(mine - theirs).mean())
    assert loss_of(recipe, 1) == pytest.approx(expected, rel=1e-4) and expected > 1e-3


def test_a_teacher_has_nothing_to_teach_itself(stage: Stages, tmp_path: Path) -> None:
    recipe = stage("D")
    assert loss_of(dataclasses.replace(recipe, teacher=recipe.model, twins=recipe.data)) == pytest.approx(0, abs=1e-6)
    pairs = write_lines(tmp_path / "same.tsv", "en\tban der kon\tban der kon")
    same = stage("C", data=str(pairs))
    assert loss_of(dataclasses.replace(same, teacher=same.model), 1) == pytest.approx(0, abs=1e-6)


def test_stage_d_does_not_know_the_label(stage: Stages) -> None:
    recipe = stage("D")
    student, teacher, batch = batch_of(recipe)
    before = stage_loss(student, teacher, batch, recipe)
    swapped = {name: torch.cat(tensor.chunk(2)[::-1]) for name, tensor in batch["passage"].items()}
    torch.testing.assert_close(stage_loss(student, teacher, batch | {"passage": swapped}, recipe), before)


# training


@pytest.mark.parametrize("name", ["A", "B", "C", "D"])
def test_three_steps_of_each_stage_change_the_student_alone(stage: Stages, name: str, tmp_path: Path) -> None:
    recipe = stage(name)
    before = {path: file_digest(path) for path in Path(recipe.teacher or recipe.model).iterdir()}
    manifest = train(recipe, tmp_path / "model")
    assert (manifest.stage, manifest.counts["steps"]) == ("train-decr", 3)
    assert set(manifest.inputs) == {"data", "model", *(["teacher"] if name in "CD" else [])}
    assert {path: file_digest(path) for path in before} == before
    start, end = (load_file(Path(folder) / "projection.safetensors") for folder in (recipe.model, tmp_path / "model"))
    assert 0 < np.abs(start["linear.weight"] - end["linear.weight"]).max() < 0.1
    changed = weights(tmp_path / "model")
    assert any(np.abs(changed[key] - value).max() > 0 for key, value in weights(Path(recipe.model)).items())
    assert (tmp_path / "model" / "projection.safetensors").stat().st_mode & 0o777 == 0o644
    vectors = LateEncoder(recipe.late(str(tmp_path / "model")), "cpu").encode_queries(["ban der"])
    assert vectors.shape == (1, 12, 8)
    assert f"stage {name} of" in (tmp_path / "model" / "README.md").read_text()


def test_the_stages_follow_each_other_from_a_plain_encoder(stage: Stages, tiny_model: Path, tmp_path: Path) -> None:
    a, b, c, d = (str(tmp_path / name) for name in "abcd")
    train(stage("A", model=str(tiny_model), steps=1), a)
    train(stage("B", model=a, steps=1), b)
    train(stage("C", model=b, teacher=a, steps=1), c)
    manifest = train(stage("D", model=c, teacher=a, steps=1), d)
    assert manifest.counts["steps"] == 1 and LateEncoder(stage("D").late(d), "cpu").dimension == 8


@pytest.mark.parametrize("name", ["B", "D"])
def test_an_interrupted_stage_ends_as_if_it_was_not(
    stage: Stages, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = stage(name)
    check_interrupted(train, recipe, tmp_path, caplog)


@pytest.mark.integration
def test_a_killed_stage_ends_as_if_it_was_not(stage: Stages, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = stage("C")
    check_killed(train, recipe, tmp_path, caplog)


def test_held_out_questions_are_measured(stage: Stages, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(stage("A", held_out=0.4, evaluation_steps=1, keep_best=False, steps=1), tmp_path / "a")
    assert any("held-out loss" in message for message in caplog.messages)
    shown = next(m for m in caplog.messages if m.startswith("train: held-out questions: rank their own passage first"))
    assert 0 <= float(shown.rpartition(" ")[2]) <= 1
    other = write_lines(tmp_path / "other.tsv", "fi\tkon\tban")
    recipe = stage("C", held_out_data=str(other), evaluation_steps=1, keep_best=False, steps=1)
    assert train(recipe, tmp_path / "c").counts["held_out"] == 1


def test_the_schedule_is_constant_unless_the_recipe_says_so(stage: Stages, tmp_path: Path) -> None:
    def states(schedule: Schedule) -> list[float]:
        folder = tmp_path / schedule
        with interrupted_at("step 3 of"):
            train(stage("A", schedule=schedule, warmup_steps=0), folder)
        state = f"{folder}.partial/.trainer/questions/checkpoint-2/trainer_state.json"
        return [
            entry["learning_rate"] for entry in json.loads(Path(state).read_text())["log_history"] if "loss" in entry
        ]

    assert states(Schedule.CONSTANT) == [1e-3, 1e-3]
    assert states(Schedule.LINEAR)[1] < 1e-3


# recipes and data


def test_the_published_recipes_have_the_published_values() -> None:
    recipes = {stage: load_recipe(f"decr-xlmr-base-{stage.lower()}", DecrRecipe) for stage in Stage}
    assert {s: (r.learning_rate, r.steps) for s, r in recipes.items()} == {
        "A": (1.5e-6, 91287),
        "B": (6e-6, 74704),
        "C": (4.8e-5, 84897),
        "D": (6e-6, 87618),
    }
    for recipe in recipes.values():
        assert recipe.batch_size * recipe.accumulation == 192 and (recipe.max_grad_norm, recipe.seed) == (2.0, 12345)
        assert (recipe.schedule, recipe.warmup_steps, recipe.weight_decay) == ("constant", 0, 0)
        assert (recipe.projection, recipe.query_max_length, recipe.passage_max_length) == (128, 32, 180)
    assert recipes[Stage.C].query_weight == 0.5 and recipes[Stage.D].temperature == 2.0
    chain = [recipes[stage].model for stage in Stage]
    assert chain == ["xlm-roberta-base", *(f"./models/decr-xlmr-base-{name}" for name in "abc")]
    assert {recipes[stage].teacher for stage in (Stage.C, Stage.D)} == {"./models/decr-xlmr-base-a"}


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("A", {"teacher": "m"}, "stage A has no teacher"),
        ("C", {"teacher": ""}, "stage C needs teacher"),
        ("D", {"twins": ""}, "stage D needs twins"),
        ("B", {"twins": "f"}, "stage B has no twins"),
        ("D", {"held_out": 0.1}, "stage D holds out no share"),
        ("C", {"query_weight": 1.5}, "query_weight is 1.5 .*share"),
        ("D", {"temperature": 0.0}, "temperature is 0.0"),
        ("A", {"stage": "E"}, "stage is 'E' .*A, B, C, D"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(
    stage: Stages, name: str, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        stage(name, **changes)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fi\tkon", "pairs.tsv:2: is not language<TAB>text<TAB>English text"),
        ("fi\t \tban", "pairs.tsv:2: is not language"),
        ("xx\tkon\tban", "pairs.tsv:2: has the unknown language 'xx'"),
    ],
)
def test_a_bad_line_of_parallel_texts_is_named(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_pairs(write_lines(tmp_path / "pairs.tsv", "fi\ta\tb", line))


def test_held_out_texts_that_are_trained_on_are_refused(stage: Stages, tmp_path: Path) -> None:
    recipe = stage("C")
    last = Path(recipe.data).read_text(encoding="utf-8").splitlines()[-1]
    held_out = write_lines(tmp_path / "held-out.tsv", "fi\tkon\tban", last)
    with pytest.raises(InputError, match=r"held-out\.tsv: has the text .*, which is trained on"):
        plan(dataclasses.replace(recipe, held_out_data=str(held_out)))


@pytest.mark.parametrize("key", ["positive_passages", "negative_passages"])
def test_twins_with_other_passages_are_refused_with_their_line(stage: Stages, tmp_path: Path, key: str) -> None:
    recipe = stage("D")
    items = [json.loads(line) for line in Path(recipe.twins).read_text(encoding="utf-8").splitlines()]
    items[4][key][0]["text"] += " kon"
    twins = write_lines(tmp_path / "twins.jsonl", *items)
    with pytest.raises(InputError, match=r"twins.jsonl:5: has other passages than line 5 of .*train.jsonl"):
        train(dataclasses.replace(recipe, twins=str(twins)), tmp_path / "model")
    short = write_lines(tmp_path / "short.jsonl", *items[:4])
    with pytest.raises(InputError, match=r"short\.jsonl: has 4 lines, but .*train\.jsonl has 12"):
        plan(dataclasses.replace(recipe, twins=str(short)))


def test_twins_are_the_same_question_in_english(stage: Stages) -> None:
    recipe = stage("D")
    twins = load_stage(recipe).kept
    assert isinstance(twins, Twins) and len(twins) == 12
    assert [twin.english for twin in twins] == [f"{twin.example.query} dan" for twin in twins]


def test_a_question_without_a_negative_is_named(stage: Stages, mini_data: Mini, tmp_path: Path) -> None:
    items = [{**item, "negative_passages": []} for item in tevatron_items(mini_data)]
    data = write_lines(tmp_path / "none.jsonl", *items)
    with pytest.raises(InputError, match=r"none.jsonl: the question .* has no negative passage .*train mine"):
        train(stage("B", data=str(data)), tmp_path / "model")


def test_a_teacher_of_another_kind_is_refused(stage: Stages, late_folder: Callable[..., Path], tmp_path: Path) -> None:
    wide = late_folder(dimension=9)
    with pytest.raises(InputError, match="has token vectors of 9 dimensions, but the student of 8"):
        train(stage("C", teacher=str(wide)), tmp_path / "model")
    with pytest.raises(InputError, match=r"projection.safetensors: has token vectors of 9 dimensions, expected 8"):
        train(stage("C", model=str(wide)), tmp_path / "model")
    with pytest.raises(InputError, match="names no model to start from"):
        plan(stage("A", model=""))


def test_the_command_trains_a_stage(stage: Stages, tmp_path: Path) -> None:
    recipe = stage("D", steps=1)
    plain = dataclasses.replace(recipe, teacher="x", twins="y")
    path = write_recipe(plain, tmp_path / "recipe.yaml")
    line = f"train decr --recipe {path} --teacher {recipe.teacher} --twins {recipe.twins} --output {tmp_path}/model"
    assert cli.main(line.split()) == 0
    train(recipe, tmp_path / "direct")
    assert weights(tmp_path / "model").keys() == weights(tmp_path / "direct").keys()
    assert (tmp_path / "model/model.safetensors").read_bytes() == (tmp_path / "direct/model.safetensors").read_bytes()
