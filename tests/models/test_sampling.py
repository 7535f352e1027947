from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import write_model

from xqg_repro.core.errors import InputError
from xqg_repro.models.sampling import TokenSampler, _Rows, sample_tokens
from xqg_repro.models.settings import GeneratorConfig

CONFIG = GeneratorConfig(temperature=3.0)
START, ENDS, COUNT, STEPS = 3, [5, 8, 11, 14, 17], 4, 12
KINDS = ("T5", "mT5", "UMT5", "BART", "mBART", "M2M100, NLLB", "Marian", "Pegasus")


def load(folder: Path, attention: str | None) -> tuple[Any, Any]:
    """A model with an implementation of attention, by default transformers' choice, and its tokenizer."""
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation=attention).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Prompts of different lengths, one of a single token."""
    random = np.random.default_rng(0)
    return [random.integers(6, 30, length).tolist() for length in (9, 1, 30, 4, 30, 17)]


@pytest.fixture(scope="module")
def draws(prompts: list[list[int]]) -> np.ndarray:
    shape = (len(prompts) * COUNT, STEPS)
    return 1 - np.random.default_rng(1).random(shape, dtype=np.float32)


# rows of tokens


@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_the_whole_model_without_a_cache(
    tmp_path: Path, kind: str, attention: str | None, prompts: list[list[int]], draws: np.ndarray
) -> None:
    import torch

    folder = write_model(kind, tmp_path / "model", "AutoModelForSeq2SeqLM")
    model, tokenizer = load(folder, attention)
    rows = TokenSampler(model, tokenizer, CONFIG, START, ENDS).sample(prompts, draws)
    whole, _ = load(folder, "eager")
    for number, row in enumerate(rows):
        assert len(row) == STEPS or row[-1] in ENDS
        assert not set(ENDS) & set(row[:-1])
        with torch.no_grad():
            scores = whole(
                input_ids=torch.tensor([prompts[number // COUNT]]), decoder_input_ids=torch.tensor([[START, *row[:-1]]])
            ).logits[0]
        assert row == sample_tokens(scores, torch.from_numpy(draws[number, : len(row)]), CONFIG).tolist()
    assert len({len(row) for row in rows}) > 3


@pytest.mark.parametrize(("attention", "per_prompt"), [("sdpa", 1), ("eager", COUNT)])
@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_a_prompt_are_held_once(tmp_path: Path, kind: str, attention: str, per_prompt: int) -> None:
    import torch

    model, tokenizer = load(write_model(kind, tmp_path / "model", "AutoModelForSeq2SeqLM"), attention)
    TokenSampler(model, tokenizer, CONFIG, START, ENDS)
    size = model.config.get_text_config().hidden_size
    with torch.inference_mode():
        rows = _Rows(model, torch.randn(3, 6, size), torch.ones(3, 6, dtype=torch.long), START, COUNT)
        rows.append(torch.full((3 * COUNT,), 9))
        assert len(rows._cache.cross_attention_cache.layers[0].keys) == 3 * per_prompt
        rows.keep(torch.tensor([0, 2, 3, 8]))  # of the first prompt and the third
        rows.append(torch.full((4,), 9))
        assert len(rows._cache.cross_attention_cache.layers[0].keys) == (2 if per_prompt == 1 else 4)
    assert rows.scores.shape[0] == 4


# tokens


@pytest.mark.parametrize(
    ("top_k", "top_p", "temperature"),
    [(0, 1.0, 0.5), (5, 1.0, 2.0), (0, 0.7, 1.0), (0, 0.05, 1.0), (6, 0.8, 1.5), (1, 1.0, 1.0), (99, 0.9, 1.0)],
)
def test_tokens_are_drawn_as_transformers_would(top_k: int, top_p: float, temperature: float) -> None:
    import torch
    from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(3))
    expected = TemperatureLogitsWarper(temperature)(None, scores)
    expected = TopKLogitsWarper(top_k)(None, expected) if top_k else expected
    expected = TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected
    shares = expected.softmax(-1)[0].numpy()
    draws = (torch.arange(20_000, dtype=torch.float64) + 0.5).div(20_000).float()  # cover (0, 1] evenly
    config = GeneratorConfig(top_k=top_k, top_p=top_p, temperature=temperature)
    tokens = sample_tokens(scores.expand(20_000, -1), draws, config)
    frequencies = np.bincount(tokens.numpy(), minlength=30) / 20_000
    np.testing.assert_allclose(frequencies, shares, atol=1e-4)
    assert not frequencies[shares == 0].any()


def test_draws_at_both_ends_pick_a_possible_token() -> None:
    import torch

    scores = torch.full((2, 1000), -torch.inf)
    scores[:, 400:600] = torch.randn(200, generator=torch.Generator().manual_seed(3))
    for top_k, top_p in ((0, 1.0), (300, 1.0), (0, 0.999), (300, 0.999)):
        config = GeneratorConfig(top_k=top_k, top_p=top_p)
        low, high = sample_tokens(scores, torch.tensor([2.0**-32, 1.0]), config).tolist()
        assert 400 <= low < 420 and 580 < high < 600


def test_near_equal_tokens_do_not_change_places_and_nan_is_refused() -> None:
    import torch

    scores = torch.tensor([[0.0, 1.0, 1.000001, -9.0], [0.0, 1.000001, 1.0, -9.0]])
    for top_k in (0, 2, 3):
        assert sample_tokens(scores, torch.tensor([0.3, 0.3]), GeneratorConfig(top_k=top_k)).tolist() == [1, 1]
    scores[1, 1] = torch.nan
    with pytest.raises(InputError, match="not numbers"):
        sample_tokens(scores, torch.tensor([0.5, 0.5]), GeneratorConfig())
