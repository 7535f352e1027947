"""Alignment: generated queries in other languages learn the scores of their questions."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini, contents
from interrupts import interrupted_at

from train.processes import start, train_until_killed
from train.samples import ALIGNED, ALIGNMENT, ENCODER, example, tevatron_items, weights, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.train.data import Example, Split, load_split
from xqg_repro.train.encoder_recipe import Alignment, Distillation, EncoderRecipe, Scope
from xqg_repro.train.generated import load_pool
from xqg_repro.train.score import score
from xqg_repro.train.xdr import train

# generated queries


def pool_of(path: Path, *lines: tuple[str, dict[str, list[str]]]) -> Alignment:
    items = [{"docid": docid, "generated_queries": queries} for docid, queries in lines]
    return dataclasses.replace(ALIGNMENT, queries=str(write_lines(path, *items)))


def asked(*examples: Example, held_out: tuple[Example, ...] = ()) -> Split:
    return Split(examples, held_out, "", examples)


def test_only_sound_queries_of_the_training_questions_positives_are_used(tmp_path: Path) -> None:
    how = pool_of(
        tmp_path / "generated.jsonl",
        ("1", {"fi": ["Missä?", "Missä?", " ", "Где?"], "ru": ["Где?", "Missä?", "?!"], "te": []}),
        ("2", {"ru": ["Кто?"]}),
        ("3", {"ru": ["Когда?"]}),  # a negative
        ("9", {"xx": ["What?"]}),
    )
    first = example("Wo?", "1", "3", lang="de", other_positives=(example("", "2").positive,))
    pool = load_pool(how, asked(first, example("Чей?", "2", lang="ru")))
    assert pool.queries == {"1": {"fi": ["Missä?"], "ru": ["Где?"]}, "2": {"ru": ["Кто?"]}}
    assert pool.counts == {
        "generated_queries": 3,
        "generated_empty": 2,
        "generated_wrong_script": 2,
        "generated_unseen": 0,
        "without_generated": 1,
    }
    assert {pool.draw("1", "ru", random.Random(seed)) for seed in range(9)} == {("Missä?", "fi")}


def test_queries_that_repeat_a_held_out_or_dev_question_are_left_out(mini_data: Mini, tmp_path: Path) -> None:
    dev = mini_data.questions[0]["question"]
    how = pool_of(tmp_path / "generated.jsonl", ("1", {"fi": [f" {dev.upper()}!", "Missä on tämä?", "Kuka?"]}))
    how = dataclasses.replace(how, unseen=(mini_data.topics,))
    split = asked(example("Wo?", "1", lang="de"), held_out=(example("kuka", "7"),))
    pool = load_pool(how, split)
    assert pool.queries == {"1": {"fi": ["Missä on tämä?"]}} and pool.counts["generated_unseen"] == 2
    everything = load_pool(dataclasses.replace(how, unseen=()), split._replace(held_out=()))
    assert len(everything.queries["1"]["fi"]) == 3 and everything.counts["generated_unseen"] == 0


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([("7", {"ru": ["Где?"]})], "holds no query that a training question can be aligned with"),
        ([("1", {"de": ["Wann?"]})], "holds no query that a training question can be aligned with"),
        ([("1", {"xx": ["Wann?"]})], r"generated.jsonl: unknown language 'xx'"),
        ([("1", {"ru": ["Где?"]}), ("1", {"ru": ["Где?"]})], "has two lines for the passage 1"),
    ],
)
def test_bad_queries_are_refused(tmp_path: Path, lines: Any, problem: str) -> None:
    how = pool_of(tmp_path / "generated.jsonl", *lines)
    with pytest.raises(InputError, match=problem):
        load_pool(how, asked(example("Wo?", "1", lang="de")))
    with pytest.raises(InputError, match=r"unknown language of the question 'Wo\?'"):
        load_pool(how, asked(example("Wo?", "1")))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 1.5}, "at most 1"),
        ({"weight": 0.0}, "weight"),
        ({"temperature": -1.0}, "temp"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(ALIGNMENT, **settings)
    with pytest.raises(InputError, match="alignment compares a question's passages, but negatives is 0"):
        dataclasses.replace(ALIGNED, negatives=0)


# training


@pytest.fixture
def recipe(mini_data: Mini, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderRecipe:
    """Six steps on scored lists, with dropout, two epochs, and a checkpoint at each step."""
    from xqg_repro.train import curve

    monkeypatch.setattr(curve, "plot_curve", lambda points: "")
    items = [item | {"lang": "fi"} for item in tevatron_items(mini_data)]
    for number, item in enumerate(items):
        for rank, passage in enumerate(item["positive_passages"] + item["negative_passages"]):
            passage["score"] = math.cos(number + 3 * rank)
    rows = [(docid, text.split()) for docid, _, text in mini_data.passages]
    how = pool_of(
        tmp_path / "generated.jsonl",
        *((docid, {"de": [" ".join(words[:2]), words[0]], "en": [" ".join(words[1:])]}) for docid, words in rows),
    )
    return dataclasses.replace(
        ENCODER,
        data=str(write_lines(tmp_path / "train.jsonl", *items)),
        model=str(tiny_model),
        architecture=None,
        steps=6,
        negatives=2,
        chunk_size=3,
        learning_rate=1e-3,
        checkpoint_steps=1,
        distillation=Distillation(scope=Scope.BATCH),
        alignment=dataclasses.replace(how, weight=5.0),
    )


def test_the_share_of_aligned_questions_rises_from_step_to_step(
    recipe: EncoderRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xqg_repro.train import contrastive

    original, shares = contrastive.contrastive_loss, []

    def watched(model: Any, inputs: dict[str, Any], recipe: EncoderRecipe, share: float = -1.0) -> torch.Tensor:
        if "generated" in inputs:
            shares.append(share)
        else:
            assert "lists" not in inputs  # held-out questions are neither distilled nor aligned
        return original(model, inputs, recipe, share)

    monkeypatch.setattr(contrastive, "contrastive_loss", watched)
    changed = dataclasses.replace(recipe, alignment=dataclasses.replace(recipe.alignment, share=0.8), accumulation=2)
    train(dataclasses.replace(changed, steps=3, held_out=0.3, evaluation_steps=1, keep_best=False), tmp_path / "model")
    assert shares == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.8, 0.8])


def test_the_model_differs_from_its_control_and_its_folder_says_why(recipe: EncoderRecipe, tmp_path: Path) -> None:
    control = dataclasses.replace(recipe, alignment=None)
    manifests = {name: train(part, tmp_path / name) for name, part in {"a": recipe, "b": control}.items()}
    moved = [weights(tmp_path / name)["encoder.layer.0.output.dense.weight"] for name in "ab"]
    assert np.abs(moved[0] - moved[1]).max() > 1e-5
    assert manifests["a"].counts["generated_queries"] == 12 * 3 and "generated_queries" not in manifests["b"].counts
    assert "queries" in manifests["a"].inputs and "queries" not in manifests["b"].inputs
    assert "alignment" not in manifests["b"].parameters["recipe"]
    card = " ".join((tmp_path / "a" / "README.md").read_text(encoding="utf-8").split())
    assert "learnt the scores of its question: 36 queries of" in card and "held-out data, and 0 without" in card
    queries = Path(recipe.alignment.queries)  # type: ignore[union-attr]
    queries.write_text(queries.read_text(encoding="utf-8").replace('"de"', '"tr"'), encoding="utf-8")
    assert train(recipe, tmp_path / "a").inputs["queries"] != manifests["a"].inputs["queries"]


def test_an_interrupted_training_ends_as_if_it_was_not(
    recipe: EncoderRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with interrupted_at("step 4 of"):
        train(recipe, tmp_path / "stopped")
    train(recipe, tmp_path / "stopped")
    assert "train: resumes from step 3 of 6" in caplog.messages
    train(recipe, tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


@pytest.mark.integration
def test_a_killed_training_ends_as_if_it_was_not(
    recipe: EncoderRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    process = start(train_until_killed, path, tmp_path / "killed", "step 5 of", torch.get_num_threads())
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    train(recipe, tmp_path / "killed")
    assert "train: resumes from step 4 of 6" in caplog.messages
    train(recipe, tmp_path / "whole")
    files = [contents(tmp_path / name) for name in ("killed", "whole")]
    for part in files:
        part.pop("README.md")  # the killed process plots its losses
    assert files[0] == files[1]


def test_the_generator_is_not_needed_to_learn_from_it(
    recipe: EncoderRecipe, tiny_generator: Path, tmp_path: Path
) -> None:
    generator = shutil.copytree(tiny_generator, tmp_path / "generator")
    score(recipe.data, ScorerConfig(str(generator)), tmp_path / "scored.jsonl", device="cpu")
    shutil.rmtree(generator)  # so no gradient can reach it
    scored = dataclasses.replace(recipe, data=str(tmp_path / "scored.jsonl"), steps=1)
    assert all(isinstance(value, float) for item in load_split(scored).kept for value in (item.scores or {}).values())
    assert train(scored, tmp_path / "model").counts["steps"] == 1


def test_the_command_names_other_queries(recipe: EncoderRecipe, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_recipe(dataclasses.replace(recipe, steps=1), tmp_path / "recipe.yaml")
    other = tmp_path / "other.jsonl"
    shutil.copy(recipe.alignment.queries, other)  # type: ignore[union-attr]
    command = ["train", "xdr", "--recipe", str(path), "--queries", str(other), "--output", str(tmp_path / "model")]
    assert cli.main(command) == 0
    assert f"queries of `{other}`" in " ".join((tmp_path / "model" / "README.md").read_text().split())
    for plain in ("xdr-mini", "xdr-mini-parallel"):
        command[3] = plain
        assert cli.main(command) == 2
        assert f"the recipe {plain} aligns no generated queries" in capsys.readouterr().err
    same = [*command[:2], "--recipe", str(path), "--queries", str(tmp_path / "model"), "--output", command[-1]]
    assert cli.main(same) == 2 and "would be replaced by its own output" in capsys.readouterr().err


def test_an_alignment_needs_no_teacher(recipe: EncoderRecipe, mini_data: Mini, tmp_path: Path) -> None:
    plain = write_lines(tmp_path / "plain.jsonl", *[item | {"lang": "fi"} for item in tevatron_items(mini_data)])
    alone = dataclasses.replace(recipe, distillation=None, data=str(plain), steps=2)
    train(alone, tmp_path / "aligned")
    train(dataclasses.replace(alone, alignment=None), tmp_path / "plain")
    moved = [weights(tmp_path / name)["encoder.layer.0.output.dense.weight"] for name in ("aligned", "plain")]
    assert np.abs(moved[0] - moved[1]).max() > 1e-6
