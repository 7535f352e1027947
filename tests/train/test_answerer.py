"""Answer generators: what they are trained on, and what they write."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Mini, contents
from interrupts import interrupted_at

from train.samples import GENERATOR, example, passage, tevatron_item, tevatron_items, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest, verify
from xqg_repro.models.answerer import Answerer, AskedPassages
from xqg_repro.models.answerer_settings import AnswererConfig
from xqg_repro.retrieval.runfile import Hit, write_run
from xqg_repro.train.answerer import AnswerCollator, answer_pair, draw_passages, train
from xqg_repro.train.data import Example, load_examples
from xqg_repro.train.pairs import Item
from xqg_repro.train.recipe import AnswererRecipe, GeneratorRecipe, load_recipe, trained_recipe


@pytest.fixture
def recipe(mini_data: Mini, tiny_generator: Path, tmp_path: Path) -> AnswererRecipe:
    """Three steps on twelve questions, a quarter of which are held out."""
    items = tevatron_items(mini_data)
    files = [
        str(write_lines(tmp_path / f"{name}.jsonl", *part)) for name, part in {"a": items[:9], "b": items[9:]}.items()
    ]
    return AnswererRecipe(
        name="tiny",
        data=files[0],
        held_out_data=files[1],
        model=str(tiny_generator),
        passages=2,
        holders=1,
        prompt_max_length=60,
        answer_max_length=4,
        steps=3,
        batch_size=4,
        learning_rate=1e-3,
        label_smoothing=0.1,
        seed=5,
        keep_best=False,
        checkpoint_steps=1,
        evaluation_steps=1,
    )


# examples

ASKED = example(
    "ban?",
    "1",
    *(str(number) for number in range(10, 20)),
    answers=("12", "kon 13"),
    other_positives=tuple(map(passage, ("2", "3", "4", "1"))),
    qid="q1",
)


def docids(recipe: AnswererRecipe, epoch: int | None, asked: Example = ASKED) -> list[str]:
    return [passage.doc_id for passage in draw_passages(asked, recipe, epoch)]


@pytest.mark.parametrize(("count", "holders"), [(2, 1), (6, 3), (10, 3), (30, 30)])
def test_some_holders_and_the_best_others_are_read_in_random_order(
    recipe: AnswererRecipe, count: int, holders: int
) -> None:
    recipe = dataclasses.replace(recipe, passages=count, holders=holders)
    epochs = [docids(recipe, epoch) for epoch in range(40)]
    number = min(holders, 4)
    others = [str(docid) for docid in range(10, 20) if docid != 12][: count - number]  # 12 holds an answer
    for own in epochs:
        assert len({*own}) == len(own) and sum(len(docid) == 1 for docid in own) == number
        assert {docid for docid in own if len(docid) == 2} == {*others}
    assert {docid for own in epochs for docid in own if len(docid) == 1} == {*"1234"}
    assert len({tuple(own) for own in epochs}) > 3
    assert len({own.index(others[0]) for own in epochs}) > 1  # a holder is not always the first
    assert [docids(recipe, epoch) for epoch in range(40)] == epochs
    assert [docids(dataclasses.replace(recipe, seed=6), epoch) for epoch in range(40)] != epochs
    assert docids(recipe, None) == docids(recipe, None)


def test_a_question_with_few_passages_is_answered_from_these(recipe: AnswererRecipe) -> None:
    recipe = dataclasses.replace(recipe, passages=10, holders=3)
    assert docids(recipe, 0, ASKED._replace(other_positives=(), negatives=())) == ["1"]


def test_a_pair_is_the_prompt_and_the_first_answer(recipe: AnswererRecipe) -> None:
    asked, two = ASKED._replace(query="Где?"), [passage("7"), passage("1")]
    prompt = "<Q>: Где? [en] <P>: <0: Title 7> ban der 7 kon <1: Title 1> ban der 1 kon"
    assert answer_pair(asked, two, recipe) == (prompt, "12", "")
    own = dataclasses.replace(recipe, language="")
    assert answer_pair(asked, two, own).source == prompt.replace("[en]", "[ru]")
    assert answer_pair(asked._replace(lang="fi"), two, own).source == prompt.replace("[en]", "[fi]")
    with pytest.raises(InputError, match="unknown language"):
        answer_pair(ASKED, two, own)


# training


def held_out_losses(folder: Path) -> list[float]:
    with open(folder / "loss.csv", encoding="utf-8") as file:
        return [float(row["held_out_loss"]) for row in csv.DictReader(file)]


def logits_and_labels(recipe: AnswererRecipe, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the held-out questions, by a saved model: (tokens, vocabulary) and (tokens,)."""
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    examples = list(load_examples(recipe.held_out_data)[0])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = AnswerCollator(recipe, tokenizer, examples, 0)([[Item(i, None) for i in range(len(examples))]])
    del batch["questions"]
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits
    return logits[labels >= 0], labels[labels >= 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_held_out_loss_is_cross_entropy_with_smoothed_labels(
    recipe: AnswererRecipe, quick: None, tmp_path: Path, smoothing: float
) -> None:
    recipe = dataclasses.replace(recipe, label_smoothing=smoothing)
    train(recipe, tmp_path / "model")
    logits, labels = logits_and_labels(recipe, tmp_path / "model")
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    losses = held_out_losses(tmp_path / "model")
    assert losses[-1] == pytest.approx(expected.item(), rel=1e-4) and losses[-1] < losses[0]


def test_an_interrupted_training_ends_as_if_it_was_not(
    recipe: AnswererRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(recipe, accumulation=2)
    with interrupted_at("step 3 of"):
        train(recipe, tmp_path / "stopped")
    train(recipe, tmp_path / "stopped")
    assert "train: resumes from step 2 of 3" in caplog.messages
    train(recipe, tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    counts = verify(tmp_path / "whole").counts
    assert (counts["questions"], counts["held_out"], counts["steps"]) == (9, 3, 3)
    card = (tmp_path / "whole" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"it reaches \d+\.\d% EM and \d+\.\d% F1", card)
    assert "`<Q>: question [en] <P>: <0: title> text" in card and "after 60 tokens; the code is the language of" in card
    assert trained_recipe(tmp_path / "whole", AnswererRecipe) == recipe
    with pytest.raises(InputError, match="is the output of train-answerer, not of train-xqg"):
        trained_recipe(tmp_path / "whole", GeneratorRecipe)


def test_a_model_from_scratch_learns_the_answer(mini_data: Mini, recipe: AnswererRecipe, tmp_path: Path) -> None:
    letters = "ab" * 6
    items = [item | {"answers": [letter]} for item, letter in zip(tevatron_items(mini_data), letters, strict=True)]
    items.append(tevatron_item("Missä?"))
    data = str(write_lines(tmp_path / "letters.jsonl", *items))
    changes = {"data": data, "model": "", "architecture": GENERATOR.architecture, "steps": 60, "learning_rate": 2e-2}
    recipe = dataclasses.replace(recipe, **changes, held_out_data="", evaluation_steps=0, checkpoint_steps=0)
    counts = train(recipe, tmp_path / "model").counts
    assert (counts["questions"], counts["without_answers"]) == (12, 1)
    asked = [AskedPassages(e.query, "", (e.positive,)) for e in load_examples(data)[0][:12]]
    answers = Answerer(recipe.answerer(str(tmp_path / "model")), "cpu").answer(asked)
    assert sum(map(str.__eq__, answers, letters)) >= 9


# answers


def test_answers_do_not_depend_on_the_batch(mini_data: Mini, tiny_generator: Path) -> None:
    asked = [
        AskedPassages(" ".join(text.split()[:3]), "fi", (passage(docid),)) for docid, _, text in mini_data.passages[:9]
    ]
    config = AnswererConfig(str(tiny_generator), prompt_max_length=30, answer_max_length=6)
    reports: list[int] = []
    answers = Answerer(config, "cpu").answer(asked, reports.append)
    assert len({*answers}) > 1 and all(len(answer) <= 60 and "<" not in answer for answer in answers)
    assert sum(reports) == 9 and Answerer(config, "cpu").answer([]) == []
    assert Answerer(config, "cpu", tokens_per_batch=1).answer(asked[::-1]) == answers[::-1]
    long = AskedPassages("ban", "fi", tuple(map(passage, map(str, range(20)))))
    cut = long._replace(passages=long.passages[:12])
    assert Answerer(config, "cpu").answer([long]) == Answerer(config, "cpu").answer([cut])


# the command


def test_the_command_trains_and_its_model_judges(mini_data: Mini, recipe: AnswererRecipe, tmp_path: Path) -> None:
    path = write_recipe(dataclasses.replace(recipe, steps=1), tmp_path / "recipe.yaml")
    path.write_text(f"train: answerer\n{path.read_text()}")
    model = tmp_path / "model"
    assert cli.main(["train", "answerer", "--recipe", str(path), "--seed", "6", "--output", str(model)]) == 0
    assert trained_recipe(model, AnswererRecipe).seed == 6

    run = {qid: [Hit(docid, 1.0), Hit("60", 0.5)] for qid, docid in mini_data.qrels}
    write_run(run, tmp_path / "run.txt", "gold")
    words = ["train", "label", "--data", mini_data.topics, "--run", str(tmp_path / "run.txt"), "--judge", "generator"]
    output = tmp_path / "label.jsonl"
    assert cli.main([*words, "--answerer", str(model), "--device", "cpu", "--output", str(output)]) == 0
    note = Manifest.read_as(tmp_path / "label.jsonl.json")
    assert note.parameters["judge"]["prompt_max_length"] == 60 and note.inputs["model"]
    counts = note.counts
    assert counts["labelled"] + counts["fallback"] + counts["left_out"] == 14
    assert counts["fallback"] >= 10  # the gold passage holds the answer, which this model does not write
    before = output.read_bytes()
    assert cli.main([*words, "--answerer", str(model), "--device", "cpu", "--force", "--output", str(output)]) == 0
    assert output.read_bytes() == before
    lines = [json.loads(line) for line in before.decode().splitlines()]
    assert all(item["positive_passages"] for item in lines)


# recipes


def test_the_recipe_for_mt5_has_the_published_values() -> None:
    recipe = load_recipe("answerer-mt5-base", AnswererRecipe)
    assert recipe.batch_size * recipe.accumulation == 32 and recipe.model == "google/mt5-base"
    values: dict[str, Any] = {"learning_rate": 3e-5, "warmup_steps": 500, "weight_decay": 1e-3, "max_grad_norm": 0.1}
    values |= {"label_smoothing": 0.1, "epochs": 50, "passages": 10, "holders": 3}
    values |= {"prompt_max_length": 1000, "answer_max_length": 20, "adafactor": False, "language": "en"}
    assert {name: getattr(recipe, name) for name in values} == values


def test_the_small_recipe_has_the_architecture_of_the_small_query_generator() -> None:
    recipe, generator = load_recipe("answerer-mini", AnswererRecipe), load_recipe("xqg-mini", GeneratorRecipe)
    assert recipe.architecture == generator.architecture and recipe.epochs == generator.epochs == 12
    assert (recipe.passages, recipe.holders, recipe.prompt_max_length) == (2, 1, 256)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"holders": 3}, "2 passages cannot include 3"),
        ({"holders": 0}, "holders is 0"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ({"language": "xx"}, "'xx'"),
        ({"answer_max_length": 0}, "at least one token"),
    ],
)
def test_settings_out_of_range_are_refused(recipe: AnswererRecipe, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(recipe, **changes)


def test_what_cannot_be_trained_is_refused(recipe: AnswererRecipe, tiny_model: Path, tmp_path: Path) -> None:
    silent = str(write_lines(tmp_path / "silent.jsonl", tevatron_item("Missä?")))
    for changes, problem in (
        ({"data": silent}, "no question of .*silent.jsonl has an answer"),
        ({"model": str(tiny_model)}, "cannot be loaded as a sequence-to-sequence model"),
        ({"data": "xor-mini/dev"}, "systems are compared on xor-mini/dev"),
    ):
        with pytest.raises(InputError, match=problem):
            train(dataclasses.replace(recipe, **changes), tmp_path / "model")
