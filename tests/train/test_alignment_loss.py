"""The loss of alignment, and the batches that it is computed on."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train.samples import ALIGNED, ALIGNMENT, ENCODER, example
from xqg_repro.train.contrastive import contrastive_loss
from xqg_repro.train.data import Example
from xqg_repro.train.distil import alignment_loss, pad_lists
from xqg_repro.train.encoder_recipe import Distillation, EncoderRecipe, Scope
from xqg_repro.train.generated import QueryPool
from xqg_repro.train.mini.scratch import train_tokenizer
from xqg_repro.train.xdr import ContrastiveCollator

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
    double = dataclasses.replace(recipe, alignment=dataclasses.replace(ALIGNMENT, weight=1.0))
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
