"""Training of a causal model on questions and translations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_fixtures import small_tokenizer

from train.resuming import check_interrupted, check_killed
from train.samples import GENERATOR, squad, weights, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.models.seen import SEEN_TEXTS, check_unseen
from xqg_repro.models.settings import Precision
from xqg_repro.study.trends import read_losses
from xqg_repro.train import causal
from xqg_repro.train.causal import LOSSES, train
from xqg_repro.train.recipe import CausalRecipe, GeneratorRecipe, generator_kind, load_recipe

CODES = ("ar", "de", "ru")
SETTINGS: dict[str, Any] = {
    "steps": 4,
    "batch_size": 2,
    "targets": 3,
    "learning_rate": 1e-2,
    "prompt_max_length": 80,
    "target_max_length": 40,
    "evaluation_steps": 2,
    "keep_best": False,
    "checkpoint_steps": 1,
    "frozen_embeddings": True,
    "held_out_texts": 2,
}


def article(name: str) -> dict[str, Any]:
    """A paragraph with a question in three languages."""
    questions = [
        {"id": f"{name}.{code}", "lang": code, "question": f"{name} {code} ban?", "answers": []} for code in CODES
    ]
    return {name: [(f"the {name} is a wide river of words", questions)]}


def translations(name: str) -> dict[str, Any]:
    return {"text": f"the {name} is a wide river", "translations": {code: f"{code} ker {name}" for code in CODES}}


def articles(*names: str) -> str:
    return json.dumps(squad({key: value for name in names for key, value in article(name).items()}))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> CausalRecipe:
    """Three rivers to learn and two to measure on, from a tiny random Gemma 3."""
    folder = tmp_path_factory.mktemp("rivers")
    paths = {name: folder / name for name in ("train.json", "held-out.json", "train.jsonl", "held-out.jsonl")}
    for part, names in (("train", ("don", "ob", "lena")), ("held-out", ("ural", "oka"))):
        paths[f"{part}.json"].write_text(articles(*names), encoding="utf-8")
        write_lines(paths[f"{part}.jsonl"], *map(translations, names))
    tokenizer = small_tokenizer(
        ["the is a wide river of words ban ker ar de ru don ob lena ural oka ? : Question in In"]
    )
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    torch.manual_seed(1)
    config = transformers.Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=8,
        max_position_embeddings=160,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.Gemma3ForCausalLM(config).save_pretrained(folder / "gemma")
    tokenizer.save_pretrained(folder / "gemma")
    return CausalRecipe(
        name="tiny",
        data=str(paths["train.json"]),
        held_out_data=str(paths["held-out.json"]),
        translations=str(paths["train.jsonl"]),
        held_out_translations=str(paths["held-out.jsonl"]),
        model=str(folder / "gemma"),
        **SETTINGS,
    )


@pytest.fixture(scope="module")
def trained(recipe: CausalRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(recipe, folder)
    return folder


def test_a_model_folder_has_weights_losses_and_what_was_seen(trained: Path, recipe: CausalRecipe) -> None:
    before, after = weights(Path(recipe.model)), weights(trained)
    assert {name for name in before if (before[name] == after[name]).all()} == {"model.embed_tokens.weight"}
    assert (trained / "questions.txt").read_text().split() == sorted(
        f"{n}.{c}" for n in ("don", "ob", "lena") for c in CODES
    )
    losses = json.loads((trained / LOSSES).read_text())
    assert [*losses] == ["question", "translation"] and all(tuple(part) == CODES for part in losses.values())
    read = read_losses([trained / LOSSES])  # as the study does
    assert read["question"]["ar"] == losses["question"]["ar"]["loss"] > 0 < losses["translation"]["ru"]["tokens"]
    card = (trained / "README.md").read_text()
    assert "| question | " in card and "Gemma Terms of Use" in card and "3 passages" in card


def test_held_out_losses_are_transformers_own(trained: Path, recipe: CausalRecipe) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained)
    model = transformers.AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32)
    names, sums, count = {"ar": "Arabic", "de": "German", "ru": "Russian"}, 0.0, 0
    for river in ("ural", "oka"):
        for code in CODES:
            text = f"{river}\nthe {river} is a wide river of words"
            ids = [1, *tokenizer(text, add_special_tokens=False)["input_ids"]]
            ids += tokenizer(f"\nQuestion in {names[code]}:\n", add_special_tokens=False)["input_ids"]
            target = [*tokenizer(f"{river} {code} ban?", add_special_tokens=False)["input_ids"], 2]
            labels = torch.tensor([[-100] * len(ids) + target])
            sums += model(input_ids=torch.tensor([[*ids, *target]]), labels=labels).loss.item() * len(target)
            count += len(target)
    by_language = json.loads((trained / LOSSES).read_text())["question"].values()
    assert sum(part["tokens"] for part in by_language) == count
    assert sum(part["loss"] * part["tokens"] for part in by_language) == pytest.approx(sums, abs=1e-4 * count)


def test_the_model_learns_its_targets(recipe: CausalRecipe, tmp_path: Path) -> None:
    longer = dataclasses.replace(
        recipe, steps=60, learning_rate=3e-2, evaluation_steps=0, checkpoint_steps=20, frozen_embeddings=False
    )
    train(longer, tmp_path / "model")
    rows = (tmp_path / "model" / "loss.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 2


def test_questions_alone_are_learnt_without_held_out_data(recipe: CausalRecipe, tmp_path: Path) -> None:
    alone = dataclasses.replace(recipe, translations="", held_out_translations="", held_out_data="", steps=0)
    counts = train(alone, tmp_path / "model").counts
    assert (counts["steps"], counts["passages"], counts["sentences"], counts["held_out"]) == (2, 3, 0, 0)
    assert not (tmp_path / "model" / LOSSES).exists()


# resuming


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_an_interrupted_training_ends_as_if_it_was_not(
    recipe: CausalRecipe, precision: Precision, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(recipe, precision=precision)
    check_interrupted(train, recipe, tmp_path, caplog)


@pytest.mark.integration
def test_a_killed_training_ends_as_if_it_was_not(
    recipe: CausalRecipe, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_killed(train, recipe, tmp_path, caplog, trained)


def test_a_frozen_table_is_kept_in_the_precision_of_the_training(recipe: CausalRecipe, trained: Path) -> None:
    _, model, _ = causal._start(recipe)
    causal._freeze(model, dataclasses.replace(recipe, precision=Precision.BFLOAT16))
    kinds = {name: (weight.dtype, weight.requires_grad) for name, weight in model.named_parameters()}
    assert kinds.pop("model.embed_tokens.weight") == (torch.bfloat16, False)
    assert set(kinds.values()) == {(torch.float32, True)}


# what was seen, and leaks


def test_a_passage_that_was_seen_is_refused(trained: Path) -> None:
    unseen = Passage("9", "Other", "the ural is a wide river of words")
    check_unseen(str(trained), [unseen])
    for text in ("the don is a wide river  of words", "Some other one here. the don is a wide river"):
        with pytest.raises(InputError, match="the passage 7 is among the texts that"):
            check_unseen(str(trained), [unseen, Passage("7", "Don", text)])
    assert len((trained / SEEN_TEXTS).read_text().split()) == 6


@pytest.mark.parametrize(("field", "planted"), [("data", "oka"), ("translations", "ural")])
def test_planted_texts_in_the_wrong_half_are_refused(
    recipe: CausalRecipe, field: str, planted: str, tmp_path: Path
) -> None:
    if field == "data":
        path = tmp_path / "train.json"
        path.write_text(articles("don", planted), encoding="utf-8")
    else:
        path = write_lines(tmp_path / "train.jsonl", translations("don"), translations(planted))
    with pytest.raises(InputError, match="both in the training and in the held-out data"):
        train(dataclasses.replace(recipe, **{field: str(path)}), tmp_path / "model")
    assert not (tmp_path / "model").exists()


# recipes and options


def test_a_folder_is_made_anew_for_other_translations(recipe: CausalRecipe, tmp_path: Path) -> None:
    _, wanted = causal.plan(recipe)
    assert wanted.stage == "train-xqg-causal"
    other = write_lines(tmp_path / "other.jsonl", translations("don"))
    changed = causal.plan(dataclasses.replace(recipe, translations=str(other)))[1]
    assert "translations" in wanted.differences(changed)
    for missing, message in (
        ({"translations": "none.jsonl"}, "none.jsonl: no such file of translations"),
        ({"translations": ""}, "has held-out translations, but none to learn"),
        ({"model": ""}, "names no language model to start from"),
    ):
        with pytest.raises(InputError, match=message):
            causal.plan(dataclasses.replace(recipe, **missing))


@pytest.mark.parametrize(
    "change",
    [{"targets": 0}, {"translation_share": 1.5}, {"target_max_length": 1}, {"held_out_texts": 0}],
)
def test_settings_out_of_range_are_refused(recipe: CausalRecipe, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} is"):
        dataclasses.replace(recipe, **change)


def test_the_recipes_kind_decides_what_train_xqg_trains(
    recipe: CausalRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator_kind("xqg-gemma3-270m-xquad") is CausalRecipe and generator_kind("xqg-mini") is GeneratorRecipe
    real = load_recipe("xqg-gemma3-270m-xquad", CausalRecipe)
    assert (real.steps, real.batch_size, real.targets, real.frozen_embeddings) == (450, 4, 12, True)
    seen: list[CausalRecipe] = []
    monkeypatch.setattr(causal, "train", lambda recipe, output, **settings: seen.append(recipe))
    files = ["--translations", recipe.translations, "--held-out-translations", recipe.held_out_translations]
    command = ["train", "xqg", *files, "--output", str(tmp_path / "model")]
    assert cli.main([*command, "--recipe", "xqg-gemma3-270m-xquad", "--precision", "float32"]) == 0
    assert (seen[0].translations, seen[0].precision) == (recipe.translations, Precision.FLOAT32)
    assert cli.main([*command, "--recipe", str(write_recipe(GENERATOR, tmp_path / "t5.yaml"))]) == 2
    assert "learns no translations, which only causal models do" in capsys.readouterr().err


def test_other_models_and_too_long_prompts_are_refused(
    recipe: CausalRecipe, tiny_generator: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="reads at most 160 tokens, but the maximum length is 200"):
        train(dataclasses.replace(recipe, prompt_max_length=160), tmp_path / "model")
    with pytest.raises(InputError, match="cannot be loaded as a causal language model"):
        train(dataclasses.replace(recipe, model=str(tiny_generator)), tmp_path / "model")
