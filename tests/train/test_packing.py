"""Packed targets of a text give the losses and gradients of separate sequences."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from xqg_repro.core.errors import InputError
from xqg_repro.train.packing import Block, PackedText, pack
from xqg_repro.train.target_loss import CHUNK, learn_packed, target_loss

VOCABULARY = 100
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gemma3, two kinds of layers": (
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "gemma3, capped logits": (
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        {"final_logit_softcapping": 2.0},
    ),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {}),
    "qwen3, one layer with a window": (
        transformers.Qwen3Config,
        transformers.Qwen3ForCausalLM,
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    ),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {"sliding_window": 5}),
}


def tiny(name: str) -> Any:
    config_class, model_class, settings = MODELS[name]
    return random_model(config_class, model_class, **settings)


def random_model(config_class: Any, model_class: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
    model = model_class(config_class(**{**sizes, **heads, **ids, "initializer_range": 0.1, **settings}))
    return model.float()


@pytest.fixture(scope="module")
def texts() -> list[PackedText]:
    draw = random.Random(1)

    def ids(most: int) -> list[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(1, most))]

    many = [PackedText(ids(12), [Block(ids(4), [*ids(6), 1]) for _ in range(5)]) for _ in range(3)]
    return [*many, PackedText([2, 9], [Block([], [5, 1])])]  # a block without the end of a prompt


def separate_loss(model: Any, texts: list[PackedText]) -> torch.Tensor:
    """transformers' own loss of each target, as a sequence of its own, weighted by its tokens."""
    losses, counts = [], []
    for head, blocks in texts:
        for tail, target in blocks:
            ids = torch.tensor([[*head, *tail, *target]])
            labels = ids.clone()
            labels[:, : -len(target)] = -100
            losses.append(model(input_ids=ids, labels=labels).loss * len(target))
            counts.append(len(target))
    return torch.stack(losses).sum() / sum(counts)


@pytest.mark.parametrize("name", MODELS)
def test_packed_targets_have_the_loss_and_gradients_of_separate_sequences(name: str, texts: list[PackedText]) -> None:
    model = tiny(name)
    expected = separate_loss(model, texts)
    expected.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()

    undo = learn_packed(model, Path("model"))
    outputs = model(**pack(texts))
    outputs["loss"].backward()
    assert outputs["loss"].item() == pytest.approx(expected.item(), abs=1e-5)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], atol=1e-5, rtol=1e-3)
    assert len(outputs["losses"]) == sum(len(target) for text in texts for _, target in text.blocks)
    undo()
    assert separate_loss(model, texts).item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_row_holds_each_text_once(texts: list[PackedText]) -> None:
    batch = pack([PackedText([2, 10, 11], [Block([20], [30, 1]), Block([21, 22], [31, 1])]), PackedText([2], [])])
    assert batch["input_ids"].tolist() == [[2, 10, 11, 20, 30, 1, 21, 22, 31, 1, 2]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 0]]
    assert batch["predictors"].tolist() == [3, 4, 7, 8] and batch["labels"].tolist() == [30, 1, 31, 1]
    assert batch["lengths"] == [[3, 3, 4], [1]]
    separate = sum(len(head) + len(tail) + len(target) for head, blocks in texts for tail, target in blocks)
    assert pack(texts)["input_ids"].numel() < separate * 0.7


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_the_loss_of_several_chunks_is_the_mean_cross_entropy(softcap: float | None) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2 * CHUNK + 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(50, (len(hidden),))
    logits = hidden @ weight.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    torch.nn.functional.cross_entropy(logits, labels).mul(2.0).backward()
    expected = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    mean, losses = target_loss(hidden, weight, labels, softcap)
    mean.mul(2.0).backward()
    assert mean.item() == pytest.approx(losses.mean().item()) and not losses.requires_grad
    torch.testing.assert_close((hidden.grad, weight.grad), expected, atol=1e-6, rtol=1e-4)


def test_a_table_that_is_frozen_gets_no_gradient() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(5, 4)
    target_loss(hidden, weight, torch.tensor([0, 1, 2]))[0].backward()
    assert hidden.grad is not None and weight.grad is None


def test_architectures_that_compute_something_else_are_refused() -> None:
    gemma2 = random_model(transformers.Gemma2Config, transformers.Gemma2ForCausalLM)
    with pytest.raises(
        InputError, match=r"model: cannot learn several targets of a text at once with Gemma2ForCausalLM"
    ):
        learn_packed(gemma2, Path("model"))
    bloom = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)
    with pytest.raises(InputError, match="BloomForCausalLM: its attention cannot be exchanged"):
        learn_packed(transformers.BloomForCausalLM(bloom), Path("model"))
