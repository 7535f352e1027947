from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini

from train.samples import ENCODER, tevatron_items, weights, write_lines
from xqg_repro.core.errors import InputError
from xqg_repro.train.contrastive import contrastive_loss
from xqg_repro.train.distil import ScoredLists, find_own_copies, list_loss, pad_lists, vector_loss
from xqg_repro.train.encoder_recipe import Distillation, ParallelRecipe, Reduction, Scope
from xqg_repro.train.xdr import train

OWN, BATCH = Distillation(), Distillation(scope=Scope.BATCH)
PARALLEL = ParallelRecipe(name="tiny", data="pairs", model="model")


def scored(columns: list[list[int]], scores: list[list[float]]) -> ScoredLists:
    lists = pad_lists(columns, [[0.0] * len(row) for row in columns])
    teacher = lists.scores.double()
    for row, values in zip(teacher, scores, strict=True):
        row[: len(values)] = torch.tensor(values).double()
    return lists._replace(scores=teacher)


def tensor(rows: Any) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


# scores


def test_the_specifications_golden_values() -> None:
    how = Distillation(teacher_temperature=2, student_temperature=2, factor=4)
    lists = scored([[0, 1], [0, 1]], [[3, 1], [0.5, 0]])
    assert list_loss(tensor([[1, 0.5], [2, 2.5]]), lists, how).item() == pytest.approx(0.184120, abs=1e-6)

    student = tensor([[2, 1, 0, -1], [0.5, 0, 1, 3]])
    lists = scored([[0, 1], [2, 3]], [[-1, -1.2], [-0.8, -0.7]])
    for scope, expected in ((Scope.OWN, 0.074869), (Scope.BATCH, 0.193277)):
        loss = list_loss(student, lists, Distillation(teacher_temperature=0.1, scope=scope))
        assert loss.item() == pytest.approx(expected, abs=1e-6)


COLUMNS, TEACHER = [[0, 2, 3], [1, 4]], [[1.0, -0.5, 2.0], [0.3, 0.9]]


def test_a_student_that_agrees_with_its_teacher_has_no_loss_and_no_gradient() -> None:
    how = Distillation(teacher_temperature=0.5, student_temperature=2.0, factor=3.0)
    scores = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for row, columns, teacher in zip(scores, COLUMNS, TEACHER, strict=True):
        row[columns] = torch.tensor(teacher).double() / 0.5 * 2.0 + 7.0
    scores.requires_grad_()
    loss = list_loss(scores, scored(COLUMNS, TEACHER), how)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12) and scores.grad.abs().max() < 1e-12
    other = list_loss(scores, scored(COLUMNS, [[1.0, -0.5, 2.5], [0.3, 0.9]]), how)
    assert other.item() > 1e-3


@pytest.mark.parametrize("how", [OWN, BATCH])
def test_only_differences_of_scores_within_a_list_count(how: Distillation) -> None:
    student, lists = tensor([[0.1, 5, 1, 2, -3], [1, 2, 0, 4, 1]]), scored(COLUMNS, TEACHER)
    loss = list_loss(student, lists, how)
    shifted = lists._replace(scores=lists.scores + tensor([[100.0], [-3.0]]))
    moved = student + tensor([[-8.0], [2.0]])
    assert list_loss(moved, shifted, how).item() == pytest.approx(loss.item(), abs=1e-12)
    # what stands where a list is shorter is without meaning
    padded = lists._replace(scores=lists.scores.masked_fill(~lists.mask, 1e9))
    assert list_loss(student, padded, how).item() == loss.item()


def test_passages_outside_the_own_list_matter_only_in_the_batch() -> None:
    student, lists = tensor([[0.1, 5, 1, 2, -3], [1, 2, 0, 4, 1]]), scored(COLUMNS, TEACHER)
    for how, outside in ((OWN, False), (BATCH, True)):
        loss = list_loss(student, lists, how)
        (gradient,) = torch.autograd.grad(loss, student)
        assert bool(gradient[0, 1]) is bool(gradient[1, 0]) is outside and torch.isfinite(gradient).all()
        assert gradient.sum(1).abs().max() < 1e-12  # the probabilities of a row stay 1
    assert list_loss(student, lists, BATCH).item() > list_loss(student, lists, OWN).item()


def test_copies_of_own_passages_are_left_out_of_the_batch() -> None:
    student, lists = tensor([[0.1, 5, 1, 2, -3], [1, 2, 0, 4, 1]]), scored(COLUMNS, TEACHER)
    copies = find_own_copies(COLUMNS, ["a", "b", "c", "d", "c"])
    assert copies.tolist() == [[False] * 4 + [True], [False, False, True, False, False]]
    loss = list_loss(student, lists, BATCH, copies)
    without = tensor([[0.1, 5, 1, 2, -1e9], [1, 2, -1e9, 4, 1]])
    assert loss.item() == pytest.approx(list_loss(without, lists, BATCH).item(), abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient[0, 4] == gradient[1, 2] == 0
    assert list_loss(student, lists, OWN, copies).item() == list_loss(student, lists, OWN).item()


@pytest.mark.parametrize(
    "settings", [{"weight": 0.0}, {"teacher_temperature": 0.0}, {"factor": -1.0}, {"contrastive_weight": -0.1}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))} is"):
        Distillation(**settings)
    with pytest.raises(InputError, match="negatives is 0"):
        dataclasses.replace(ENCODER, distillation=OWN, negatives=0)
    with pytest.raises(InputError, match="scope is 'all'"):
        Distillation(scope="all")  # type: ignore[arg-type]


# in batches

VECTORS = torch.tensor([[1.0, 0.2], [0.1, 1.0], [2.0, 0.0], [1.0, 1.0], [-0.5, 0.5]])


def token_batch(table: torch.nn.Embedding, order: tuple[int, ...] = (0, 1)) -> tuple[Any, dict[str, Any]]:
    """A model whose vectors are a table's rows, and two questions, each with a positive and a negative."""

    def tokens(ids: list[int]) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(ids)[:, None], "attention_mask": torch.ones(len(ids), 1).long()}

    def model(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=table(input_ids))

    own = [[2, 3], [4, 2]]  # passages by question, of which the second's negative is the first's positive
    scores = {2: 1.5, 3: 0.5, 4: -0.5}
    rows = [[own[q][i] for i in order] for q in range(2)]
    passages = [rows[0][0], rows[1][0], rows[0][1], rows[1][1]]
    inputs = {"query": tokens([0, 1]), "passage": tokens(passages), "docids": [str(p) for p in passages]}
    inputs |= {"lists": [[0, 2], [1, 3]], "teacher_scores": [[scores[p] for p in row] for row in rows]}
    return model, inputs


def gradient(how: Distillation | None, chunk_size: int = 0, order: tuple[int, ...] = (0, 1)) -> tuple[float, Any]:
    table = torch.nn.Embedding(5, 2, _weight=VECTORS.clone())
    model, inputs = token_batch(table, order)
    loss = contrastive_loss(model, inputs, dataclasses.replace(ENCODER, distillation=how, chunk_size=chunk_size))
    loss.backward()
    return loss.item(), table.weight.grad


def test_the_losses_are_weighted_and_added() -> None:
    contrastive, distilled = gradient(None)[0], gradient(BATCH)[0]
    own = gradient(OWN)[0]
    both = gradient(dataclasses.replace(BATCH, weight=0.5, contrastive_weight=2.0))[0]
    assert both == pytest.approx(0.5 * distilled + 2 * contrastive, rel=1e-6)
    scores = VECTORS[:2] @ VECTORS.T
    expected = 0.0
    for question, columns, teacher in ((0, [2, 3], [1.5, 0.5]), (1, [4, 2], [-0.5, 1.5])):
        t = torch.tensor(teacher).softmax(0)
        expected += float((t * (t.log() - scores[question, columns].log_softmax(0))).sum()) / 2
    assert own == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("how", [OWN, BATCH, dataclasses.replace(BATCH, contrastive_weight=0.3)])
def test_a_batch_in_chunks_has_the_same_loss_and_gradient(how: Distillation) -> None:
    (whole, expected), (chunked, found) = gradient(how), gradient(how, chunk_size=1)
    assert chunked == pytest.approx(whole, rel=1e-6) and expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("how", [OWN, BATCH])
def test_the_loss_does_not_read_which_passage_is_the_positive(how: Distillation) -> None:
    (loss, expected), (exchanged, found) = gradient(how), gradient(how, order=(1, 0))
    assert exchanged == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(found, expected)
    assert gradient(None, order=(1, 0))[0] != pytest.approx(gradient(None)[0], rel=1e-3)


def scored_items(mini_data: Mini) -> list[dict[str, Any]]:
    items = tevatron_items(mini_data)
    for number, item in enumerate(items):
        for rank, passage in enumerate(item["positive_passages"] + item["negative_passages"]):
            passage["score"] = math.cos(number + 3 * rank)
    return items


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from xqg_repro.train import curve

    monkeypatch.setattr(curve, "plot_curve", lambda points: "")


@pytest.mark.usefixtures("quick")
def test_an_encoder_learns_scores(mini_data: Mini, tiny_model: Any, tmp_path: Any) -> None:
    data = str(write_lines(tmp_path / "train.jsonl", *scored_items(mini_data)))
    plain = dataclasses.replace(
        ENCODER, data=data, model=str(tiny_model), architecture=None, steps=2, held_out=0.3, evaluation_steps=1
    )
    distilled = dataclasses.replace(plain, distillation=Distillation(scope=Scope.BATCH), learning_rate=1e-3)
    manifest = train(distilled, tmp_path / "model")
    assert manifest.parameters["recipe"]["distillation"] == dataclasses.asdict(distilled.distillation)
    control = train(dataclasses.replace(plain, learning_rate=1e-3), tmp_path / "plain")
    assert "distillation" not in control.parameters["recipe"]
    first = [(tmp_path / name / "loss.csv").read_text().splitlines()[1].split(",") for name in ("model", "plain")]
    assert first[0][2] != first[1][2]  # the held-out loss is the contrastive one of both
    other = dataclasses.replace(distilled, distillation=Distillation(scope=Scope.BATCH, teacher_temperature=0.1))
    train(other, tmp_path / "other")
    after = [weights(tmp_path / name)["encoder.layer.0.output.dense.weight"] for name in ("model", "plain", "other")]
    assert all(np.abs(after[0] - weight).max() > 1e-5 for weight in after[1:])
    assert "'teacher_temperature': 1.0" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(("score", "problem"), [(None, "is None"), ("0.5", "is '0.5'"), (math.nan, "is nan")])
def test_a_recipe_that_needs_scores_refuses_lines_without_them(
    mini_data: Mini, tiny_model: Any, tmp_path: Any, score: Any, problem: str
) -> None:
    items = scored_items(mini_data)
    items[4]["negative_passages"][2]["score"] = score
    data = write_lines(tmp_path / "train.jsonl", *items)
    recipe = dataclasses.replace(
        ENCODER, data=str(data), model=str(tiny_model), architecture=None, steps=1, distillation=OWN
    )
    message = rf"train.jsonl:5: negative_passages\[2\].score {problem}, expected a finite number"
    with pytest.raises(InputError, match=message):
        train(recipe, tmp_path / "model")
    with pytest.raises(InputError, match=r"xor-mini/train has no scores of a teacher, .*\.jsonl file"):
        train(dataclasses.replace(recipe, data="xor-mini/train"), tmp_path / "model")
    assert not (tmp_path / "model").exists()


# vectors


def test_distances_to_the_teachers_vectors_are_added() -> None:
    questions, english, teacher = tensor([[1.0, 0.0], [0.0, 2.0]]), tensor([[1.0, 1.0], [0.0, 1.0]]), VECTORS[2:4]
    # squared distances of the questions (1, 2) and of their translations (2, 1) to the teacher's (2,0), (1,1)
    recipe = dataclasses.replace(PARALLEL, reduction=Reduction.SUM, weight=2.0, english_weight=0.5)
    assert vector_loss(questions, english, teacher, recipe).item() == pytest.approx(2 * 1.5 + 0.5 * 1.5, abs=1e-6)
    mean = dataclasses.replace(recipe, reduction=Reduction.MEAN)
    assert vector_loss(questions, english, teacher, mean).item() == pytest.approx(1.875, abs=1e-6)
    mse = torch.nn.functional.mse_loss
    expected = mse(questions, teacher.double()) + mse(english, teacher.double())
    assert vector_loss(questions, english, teacher, PARALLEL).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_vectors_cross_entropy_leaves_out_the_same_translations() -> None:
    questions, teacher = tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), tensor([[2.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    recipe = dataclasses.replace(PARALLEL, contrastive_weight=0.2, temperature=0.5)
    alone = vector_loss(questions, questions, teacher, dataclasses.replace(recipe, contrastive_weight=0.0)).item()
    copies = torch.tensor([[False, False, True], [False] * 3, [True, False, False]])
    one = math.log(math.exp(4) + math.exp(2)) - 4
    two = math.log(math.exp(0) + math.exp(2) + math.exp(0)) - 2
    loss = vector_loss(questions, questions, teacher, recipe, copies).item()
    assert loss == pytest.approx(alone + 0.2 * (2 * one + two) / 3, abs=1e-9)
    assert vector_loss(questions, questions, teacher, recipe).item() > loss + 0.01


def test_a_student_at_its_teachers_place_has_no_distance_and_no_gradient() -> None:
    questions, english, teacher = tensor([[1.0, 0.3]]), tensor([[1.0, 0.3]]), tensor([[1.0, 0.3]]).detach()
    loss = vector_loss(questions, english, teacher, PARALLEL)
    loss.backward()
    assert loss.item() == 0 and not questions.grad.any() and not english.grad.any()
