"""Alignment: generated queries in other languages learn the scores of their questions."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini, contents
from interrupts import interrupted_at

from train.processes import start, train_until_killed
from train.samples import ENCODER, example, tevatron_items, weights, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.train.contrastive import contrastive_loss
from xqg_repro.train.data import Example, Split, load_split
from xqg_repro.train.distil import alignment_loss, pad_lists
from xqg_repro.train.encoder_recipe import Alignment, Distillation, EncoderRecipe, Scope
from xqg_repro.train.generated import QueryPool, load_pool
from xqg_repro.train.mini.scratch import train_tokenizer
from xqg_repro.train.score import score
from xqg_repro.train.xdr import ContrastiveCollator, train

# the loss


def tensor(rows: Any) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def test_the_loss_is_the_divergence_of_the_query_from_its_question() -> None:
    # the third of CLASS's terms in the specification
    lists = pad_lists([[0, 1, 2]], [[0.0] * 3])
    loss = alignment_loss(tensor([[1, 0, 0]]), tensor([[0, 0, 0.5]]), lists, torch.tensor([True]), 1.0)
    assert loss.item() == pytest.approx(0.213078, abs=1e-6)
    halved = alignment_loss(tensor([[0.5, 0, 0]]), tensor([[0, 0, 0.25]]), lists, torch.tensor([True]), 0.5)
    assert halved.item() == pytest.approx(loss.item(), abs=1e-9)


COLUMNS = [[0, 3, 4], [1, 5], [2, 6, 7]]


def test_questions_get_no_gradient_and_queries_only_within_the_list_of_those_drawn() -> None:
    draw = torch.Generator().manual_seed(1)
    scores, generated = (torch.randn(3, 8, dtype=torch.float64, generator=draw).requires_grad_() for _ in range(2))
    lists, drawn = pad_lists(COLUMNS, [[0.0] * len(own) for own in COLUMNS]), torch.tensor([True, True, False])
    loss = alignment_loss(scores, generated, lists, drawn, 0.7)
    loss.backward()
    assert scores.grad is None and loss.item() > 0
    own = torch.zeros(3, 8, dtype=torch.bool)
    for row in (0, 1):
        own[row, COLUMNS[row]] = True
    assert generated.grad[own].abs().min() > 1e-6 and not generated.grad[~own].any()
    expected = 0.0
    for row in (0, 1):
        t, p = (part.detach()[row, COLUMNS[row]].div(0.7).log_softmax(0) for part in (scores, generated))
        expected += float((t.exp() * (t - p)).sum()) / 3
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_a_query_that_is_scored_as_its_question_has_no_loss_and_no_gradient() -> None:
    scores = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    generated = (scores + tensor([[3.0], [0.0], [-50.0]])).detach().requires_grad_()
    lists = pad_lists(COLUMNS, [[9.0] * len(own) for own in COLUMNS])
    loss = alignment_loss(scores, generated, lists, torch.ones(3, dtype=torch.bool), 0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12) and generated.grad.abs().max() < 1e-12


# batches

HOW = Alignment(queries="generated.jsonl", share=1.0, weight=0.5, temperature=2.0, unseen=())
ALIGNED = dataclasses.replace(ENCODER, alignment=HOW, distillation=None)


def table_loss(recipe: EncoderRecipe, share: float, generated: bool = True) -> tuple[float, torch.Tensor]:
    """Loss and gradient of two questions, each with a positive and a negative; vectors are the rows of a table."""
    vectors = torch.randn(8, 3, generator=torch.Generator().manual_seed(4))
    table = torch.nn.Embedding(8, 3, _weight=vectors)

    def tokens(*ids: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(ids)[:, None], "attention_mask": torch.ones(len(ids), 1).long()}

    def model(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=table(input_ids))

    inputs: dict[str, Any] = {"query": tokens(0, 1), "passage": tokens(2, 3, 4, 5), "docids": list("abcd")}
    inputs |= {"lists": [[0, 2], [1, 3]], "teacher_scores": [[0.5, 0.1], [-0.2, 0.4]]}
    if generated:
        inputs |= {"generated": tokens(6, 7), "draws": [0.2, 0.6]}
    loss = contrastive_loss(model, inputs, recipe, share)
    loss.backward()
    return loss.item(), table.weight.grad


@pytest.mark.parametrize("how", [None, Distillation(), Distillation(scope=Scope.BATCH, contrastive_weight=0.3)])
@pytest.mark.parametrize("chunk_size", [0, 1, 3])
def test_the_loss_is_added_to_the_others_also_in_chunks(how: Distillation | None, chunk_size: int) -> None:
    recipe = dataclasses.replace(ALIGNED, distillation=how, chunk_size=chunk_size)
    alone, without = table_loss(dataclasses.replace(recipe, alignment=None, chunk_size=0), 0.0, generated=False)
    losses = []
    for share, rows in ((0.0, []), (0.4, [6]), (1.0, [6, 7])):
        loss, gradient = table_loss(recipe, share)
        whole, expected = table_loss(dataclasses.replace(recipe, chunk_size=0), share)
        assert loss == pytest.approx(whole, rel=1e-6)
        torch.testing.assert_close(gradient, expected)
        assert [row for row in (6, 7) if gradient[row].any()] == rows
        torch.testing.assert_close(gradient[:2], without[:2])  # the questions are targets
        losses.append(loss - alone)
    assert losses[0] == pytest.approx(0, abs=1e-7) and 0 < losses[1] < losses[2]
    double = dataclasses.replace(recipe, alignment=dataclasses.replace(HOW, weight=1.0))
    assert table_loss(double, 1.0)[0] - alone == pytest.approx(2 * losses[2], rel=1e-4)


POOL = QueryPool({"1": {"fi": ["missä"], "de": ["wo", "was"], "ru": ["где"]}, "2": {"fi": ["kuka"]}}, {})


def collate(*examples: Example, epoch: int = 0, **changes: Any) -> dict[str, Any]:
    tokenizer = train_tokenizer(["missä kuka wo was где title ban der kon query 1 2 3 4 q:"] * 9, 200, "bert")
    collator = ContrastiveCollator(dataclasses.replace(ALIGNED, **changes), tokenizer, POOL)
    collator.epoch = lambda: epoch
    batch = collator(examples)
    batch["texts"] = tokenizer.batch_decode(batch["generated"]["input_ids"], skip_special_tokens=True)
    return batch


def test_a_query_of_the_positive_in_another_language_joins_each_question() -> None:
    examples = [example(f"query {i}", "1", "3", lang="fi") for i in range(40)]
    batch = collate(*examples)
    assert {*batch["texts"]} == {"wo", "was", "где"}
    assert 10 < batch["texts"].count("где") < 30  # languages are drawn before queries
    assert all(0 <= draw < 1 for draw in batch["draws"]) and 10 < sum(draw < 0.5 for draw in batch["draws"]) < 30
    again, later, other = collate(*examples), collate(*examples, epoch=1), collate(*examples, seed=6)
    for key in ("texts", "draws"):
        assert again[key] == batch[key] and later[key] != batch[key] != other[key]
    # batches and negatives are those of the same recipe without an alignment
    plain = ContrastiveCollator(ENCODER, train_tokenizer(["ban"], 100, "bert"))(examples)
    assert plain["docids"] == batch["docids"] and not {"generated", "draws", "lists"} & {*plain}


def test_a_question_without_a_query_in_another_language_is_never_drawn() -> None:
    examples = [example("query 1", "2", "3", lang="fi"), example("query 2", "4", "3", lang="fi")]
    batch = collate(*examples, query_prefix="q: ")
    assert batch["draws"] == [1.0, 1.0] and batch["texts"] == ["q: query 1", "q: query 2"]
    batch = collate(example("query 1", "2", "3", lang="de"), query_prefix="q: ")
    assert batch["texts"] == ["q: kuka"] and batch["draws"][0] < 1
    several = example("query", "2", "3", lang="fi", other_positives=(example("", "1").positive,))
    epochs = [collate(several, epoch=epoch) for epoch in range(4)]
    assert [batch["draws"] == [1.0] for batch in epochs] == [batch["docids"][0] == "2" for batch in epochs]
    assert {batch["docids"][0] for batch in epochs} == {"1", "2"}


# generated queries


def pool_of(path: Path, *lines: tuple[str, dict[str, list[str]]]) -> Alignment:
    items = [{"docid": docid, "generated_queries": queries} for docid, queries in lines]
    return dataclasses.replace(HOW, queries=str(write_lines(path, *items)))


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
        dataclasses.replace(HOW, **settings)
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
