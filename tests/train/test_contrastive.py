from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train.samples import ENCODER
from xqg_repro.train.contrastive import contrastive_loss, embed_in_chunks, find_copies

TABLE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])


def model(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
    """A model in which a token's state is the vector of its id."""
    return SimpleNamespace(last_hidden_state=TABLE[input_ids])


def token_batch(queries: list[list[int]], passages: list[list[int]], docids: str) -> dict[str, Any]:
    def tokens(ids: list[list[int]]) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), len(ids[0]), dtype=torch.long)}

    return {"query": tokens(queries), "passage": tokens(passages), "docids": list(docids)}


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_loss_is_the_mean_negative_log_likelihood_of_the_positives(temperature: float) -> None:
    # inner products of the questions (1,0), (0,1) with the passages (2,0), (1,1), (0,1)
    scores = [[2, 1, 0], [0, 1, 1]]
    terms = [
        math.log(sum(math.exp(s / temperature) for s in row)) - row[i] / temperature for i, row in enumerate(scores)
    ]
    recipe = dataclasses.replace(ENCODER, temperature=temperature)
    loss = contrastive_loss(model, token_batch([[0], [1]], [[2], [3], [1]], "abc"), recipe)
    assert loss.item() == pytest.approx(sum(terms) / 2, abs=1e-6)


def test_copies_of_the_positive_are_left_out_of_the_sum() -> None:
    # the third passage is the first question's own
    terms = [math.log(math.exp(2) + math.exp(1)) - 2, math.log(math.exp(0) + math.exp(1) + math.exp(0)) - 1]
    loss = contrastive_loss(model, token_batch([[0], [1]], [[2], [3], [2]], "aba"), ENCODER)
    assert loss.item() == pytest.approx(sum(terms) / 2, abs=1e-6)
    marked = find_copies(range(3), ["1", "1", "3", "9", "8", "1"]).tolist()
    copies = [True, True, False, False, False, True]
    assert marked == [[False, *copies[1:]], [True, False, *copies[2:]], [False] * 6]


# chunks


def small_bert(dropout: float) -> Any:
    import transformers

    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    chances = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = transformers.BertConfig(vocab_size=50, initializer_range=0.5, **sizes, **chances)
    return transformers.BertModel(config, add_pooling_layer=False).train()


def random_batch(questions: int = 5) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(3)

    def texts(count: int, length: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(5, 50, (count, length), generator=draw)
        mask = (torch.arange(length) < torch.randint(2, length + 1, (count, 1), generator=draw)).long()
        return {"input_ids": ids * mask, "attention_mask": mask}

    docids = [str(number % (3 * questions - 1)) for number in range(3 * questions)]
    return {"query": texts(questions, 6), "passage": texts(3 * questions, 9), "docids": docids}


def gradient(bert: Any, loss: Callable[[], torch.Tensor], seed: int = 7) -> tuple[float, torch.Tensor]:
    bert.zero_grad()
    torch.manual_seed(seed)
    value = loss()
    value.backward()
    return value.item(), torch.cat([weight.grad.flatten() for weight in bert.parameters() if weight.grad is not None])


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_batch_in_chunks_has_the_same_loss_and_gradient(size: int) -> None:
    bert, inputs = small_bert(0.0), random_batch()
    chunks = dataclasses.replace(ENCODER, chunk_size=size)
    plain = gradient(bert, lambda: contrastive_loss(bert, inputs, ENCODER))
    chunked = gradient(bert, lambda: contrastive_loss(bert, inputs, chunks))
    assert plain[0] == pytest.approx(chunked[0], rel=1e-5)
    assert plain[1].abs().max() > 0.1
    torch.testing.assert_close(chunked[1], plain[1], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert not contrastive_loss(bert, inputs, chunks).requires_grad


def test_dropout_draws_the_same_in_both_passes_over_a_chunk() -> None:
    bert, texts = small_bert(0.3), random_batch()["passage"]

    def embed(texts: dict[str, torch.Tensor]) -> torch.Tensor:
        return bert(**texts).last_hidden_state[:, 0]

    def with_a_graph() -> torch.Tensor:
        parts = [{name: part[at : at + 4] for name, part in texts.items()} for at in range(0, 15, 4)]
        return torch.cat([embed(part) for part in parts])

    results = []
    for vectors in (with_a_graph, lambda: embed_in_chunks(embed, texts, 4)):
        value, own = gradient(bert, lambda vectors=vectors: vectors().pow(3).sum())
        results.append((value, own, torch.rand(3).tolist()))
    plain, chunked = results
    assert plain[0] == pytest.approx(chunked[0], rel=1e-6)
    torch.testing.assert_close(chunked[1], plain[1], rtol=1e-4, atol=1e-5)
    assert plain[2] == chunked[2]  # the second pass does not change the random numbers that follow
    assert gradient(bert, lambda: with_a_graph().pow(3).sum(), seed=8)[0] != pytest.approx(plain[0], rel=1e-3)
