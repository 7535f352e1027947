"""The contrastive stage of a generator's training."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Mini

from train.resuming import check_interrupted
from train.samples import example, tevatron_item, tevatron_items, weights, without_dropout, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import verify
from xqg_repro.models.scorer import AskedPassage, QuestionScorer
from xqg_repro.models.scorer_settings import Normalise
from xqg_repro.train.data import Example, load_examples
from xqg_repro.train.generator_contrast import generator_loss, list_loss
from xqg_repro.train.recipe import CausalRecipe, ContrastiveRecipe, GeneratorRecipe, generator_kind, load_recipe
from xqg_repro.train.xqg_contrastive import Item, ListCollator, draw_batches, draw_list, held_out_accuracy, train


@pytest.fixture
def recipe(mini_data: Mini, tiny_generator: Path, tmp_path: Path) -> ContrastiveRecipe:
    """Three steps on twelve questions, a quarter of which are held out."""
    items = [item | {"lang": "fi"} for item in tevatron_items(mini_data)]
    files = [
        str(write_lines(tmp_path / f"{name}.jsonl", *part)) for name, part in {"a": items[:9], "b": items[9:]}.items()
    ]
    return ContrastiveRecipe(
        name="tiny",
        data=files[0],
        held_out_data=files[1],
        model=str(tiny_generator),
        steps=3,
        batch_size=4,
        negatives=2,
        learning_rate=1e-3,
        seed=5,
        keep_best=False,
        checkpoint_steps=1,
    )


def collate(recipe: ContrastiveRecipe, examples: list[Example], epoch: int = 0) -> dict[str, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe.model)
    collator = ListCollator(recipe, tokenizer, examples, 0)
    return collator([[Item(position, epoch) for position in range(len(examples))]])


# the loss


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.730871), (0.1, 0.018271)])
def test_the_golden_value_with_and_without_missing_passages(temperature: float, expected: float) -> None:
    likelihoods = torch.tensor([[-0.5, -0.9, -1.4]], requires_grad=True)
    assert list_loss(likelihoods, temperature).item() == pytest.approx(expected, abs=1e-6)
    longer = torch.tensor([[-0.5, -0.9, -1.4, -math.inf], [-2.0, -math.inf, -math.inf, -math.inf]], requires_grad=True)
    loss = list_loss(longer, temperature)
    assert loss.item() == pytest.approx(expected / 2, abs=1e-6)
    loss.backward()
    assert longer.grad is not None and torch.isfinite(longer.grad).all()
    assert longer.grad[0, 3] == 0 and not longer.grad[1].any()


@pytest.mark.parametrize("normalise", [*Normalise])
def test_the_loss_of_a_batch_is_that_of_the_scorers_likelihoods(
    recipe: ContrastiveRecipe, normalise: Normalise
) -> None:
    import transformers

    recipe = dataclasses.replace(recipe, negatives=4, temperature=0.5, normalise=normalise)
    examples: list[Example] = list(load_examples(recipe.data)[0])[:3]
    examples[1] = examples[1]._replace(negatives=examples[1].negatives[:2])  # fewer than the recipe's
    scorer = QuestionScorer(recipe.scorer(recipe.model), "cpu")
    losses = []
    for item in examples:
        passages = draw_list(item, recipe, 1)
        asked = [AskedPassage("fi", passage.title, passage.text, (item.query,)) for passage in passages]
        likelihoods = torch.tensor([own[0] for own in scorer.score(asked).scores])
        losses.append(-torch.log_softmax(likelihoods / 0.5, 0)[0].item())
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(recipe.model).eval()
    inputs = collate(recipe, examples, epoch=1)
    assert inputs.pop("questions") == [item.label for item in examples]
    loss = generator_loss(model, inputs, recipe)
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-5)
    loss.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


# lists


def test_a_list_has_a_positive_first_and_new_negatives_in_each_epoch(recipe: ContrastiveRecipe) -> None:
    recipe = dataclasses.replace(recipe, negatives=3)
    asked = example("ban?", "1", *map(str, range(10, 20)), other_positives=(example("", "2").positive,))
    drawn = [draw_list(asked, recipe, epoch) for epoch in range(8)]
    assert [passages[0].doc_id for passages in drawn] == ["1", "2"] * 4
    negatives = [tuple(passage.doc_id for passage in passages[1:]) for passages in drawn]
    assert len({*negatives}) > 5 and all(len({*docids}) == 3 and not {*docids} & {"1", "2"} for docids in negatives)
    assert draw_list(asked, recipe, 3) == drawn[3] != draw_list(asked, dataclasses.replace(recipe, seed=6), 3)
    short = asked._replace(negatives=asked.negatives[:2])
    assert {passage.doc_id for passage in draw_list(short, recipe, 0)} == {"1", "10", "11"}


def test_an_epoch_has_each_question_once(recipe: ContrastiveRecipe) -> None:
    batches = [list(batch) for batch in islice(draw_batches(10, recipe), 9)]
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    assert Counter(item for batch in batches for item in batch) == Counter(
        Item(position, epoch) for position in range(10) for epoch in range(3)
    )
    orders = [[item.position for batch in batches[at : at + 3] for item in batch] for at in (0, 3, 6)]
    assert orders[0] != orders[1] != orders[2]


# training


def test_training_ranks_the_own_passage_first_and_leaves_out_questions_without_negatives(
    recipe: ContrastiveRecipe, tmp_path: Path
) -> None:
    items = [json.loads(line) for line in Path(recipe.data).read_text(encoding="utf-8").splitlines()[:4]]
    items = [item | {"negative_passages": item["negative_passages"][:2]} for item in items]
    data = write_lines(tmp_path / "few.jsonl", *items, tevatron_item("Missä?", lang="fi"))
    start = without_dropout(recipe.model, tmp_path / "start")
    recipe = dataclasses.replace(recipe, data=str(data), model=str(start), steps=40, held_out_data="")
    counts = train(recipe, tmp_path / "model").counts
    assert (counts["questions"], counts["without_negatives"], counts["steps"], counts["held_out"]) == (4, 1, 40, 0)
    examples = load_examples(recipe.data)[0][:4]
    before, after = (held_out_accuracy(recipe, model, examples) for model in (start, tmp_path / "model"))
    assert before < 0.75 < after
    card = " ".join((tmp_path / "model" / "README.md").read_text(encoding="utf-8").split())
    assert "1 further questions have no negatives" in card


def test_an_interrupted_training_ends_as_if_it_was_not(
    recipe: ContrastiveRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(recipe, accumulation=2, evaluation_steps=1)
    check_interrupted(train, recipe, tmp_path, caplog)
    counts = verify(tmp_path / "stopped").counts
    assert (counts["steps"], counts["held_out"]) == (3, 3)
    card = (tmp_path / "whole" / "README.md").read_text(encoding="utf-8")
    assert "| rank their own passage first |" in card
    moved, start = weights(tmp_path / "whole"), weights(Path(recipe.model))
    assert any((moved[name] != start[name]).any() for name in start)


# recipes


def test_the_command_trains_what_the_recipe_names(recipe: ContrastiveRecipe, tmp_path: Path) -> None:
    path = write_recipe(dataclasses.replace(recipe, steps=1), tmp_path / "recipe.yaml")
    path.write_text(f"train: xqg-contrastive\n{path.read_text()}")
    assert generator_kind(str(path)) is ContrastiveRecipe
    assert load_recipe(str(path), ContrastiveRecipe) == dataclasses.replace(recipe, steps=1)
    for other in (GeneratorRecipe, CausalRecipe):
        with pytest.raises(InputError, match="is a recipe of train xqg-contrastive, not of train xqg"):
            load_recipe(str(path), other)
    assert cli.main(["train", "xqg", "--recipe", str(path), "--seed", "6", "--output", str(tmp_path / "model")]) == 0
    manifest = verify(tmp_path / "model")
    assert (manifest.stage, manifest.parameters["recipe"]["seed"]) == ("train-xqg-contrastive", 6)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"negatives": 0}, "negatives is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"normalise": "max"}, "normalise is 'max'"),
    ],
)
def test_settings_out_of_range_are_refused(recipe: ContrastiveRecipe, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(recipe, **changes)


def test_what_cannot_be_trained_is_refused(recipe: ContrastiveRecipe, tiny_model: Path, tmp_path: Path) -> None:
    alone = str(write_lines(tmp_path / "alone.jsonl", tevatron_item("Missä?", lang="fi")))
    for changes, problem in (
        ({"model": ""}, "names no generator to start from"),
        ({"model": str(tiny_model)}, "cannot be loaded as a sequence-to-sequence model"),
        ({"data": alone}, "no question of .*alone.jsonl has negatives"),
    ):
        with pytest.raises(InputError, match=problem):
            train(dataclasses.replace(recipe, **changes), tmp_path / "model")
