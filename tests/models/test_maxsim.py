"""MaxSim, with the golden values of the specification."""

from __future__ import annotations

import math

import pytest
import torch

from xqg_repro.models.maxsim import Similarity, maxsim


def at(*degrees: float) -> torch.Tensor:
    """Unit vectors at these angles, float64, shape (n, 2)."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


QUESTION, PASSAGE = at(0, 90), at(10, 45, 200)


def test_golden_values() -> None:
    assert float(maxsim(QUESTION, PASSAGE)) == pytest.approx(1.691915, abs=1e-6)
    masked = maxsim(QUESTION, PASSAGE, passage_mask=torch.tensor([1, 0, 1]))
    assert float(masked) == pytest.approx(1.158456, abs=1e-6)
    squared = float(maxsim(QUESTION, PASSAGE, similarity=Similarity.L2))
    assert squared == pytest.approx(-0.616171, abs=1e-6)
    assert squared == pytest.approx(2 * float(maxsim(QUESTION, PASSAGE)) - 2 * len(QUESTION), abs=1e-12)


def test_squared_distances_are_of_vectors_of_any_length() -> None:
    question, passage = 3 * at(0, 50), 0.5 * at(70, 10, 200)
    direct = -sum(min(float((q - u).square().sum()) for u in passage) for q in question)
    assert float(maxsim(question, passage, similarity=Similarity.L2)) == pytest.approx(direct, abs=1e-12)


def test_masked_tokens_change_nothing_whatever_they_are() -> None:
    junk = 100 * at(33, 80)
    score = maxsim(
        torch.cat([QUESTION, junk]),
        torch.cat([PASSAGE, junk]),
        torch.tensor([1, 1, 0, 0]),
        torch.tensor([True, True, True, False, False]),
    )
    assert torch.equal(score, maxsim(QUESTION, PASSAGE))


def test_leading_dimensions_broadcast_to_all_pairs() -> None:
    draw = torch.Generator().manual_seed(1)
    questions = torch.randn(3, 4, 5, generator=draw)
    passages, kept = torch.randn(2, 6, 5, generator=draw), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    scores = maxsim(questions[:, None], passages, passage_mask=kept)
    assert scores.shape == (3, 2)
    for q in range(3):
        for p in range(2):
            tokens = passages[p, : int(kept[p].sum())]
            expected = sum(max(float(t @ u) for u in tokens) for t in questions[q])
            assert float(scores[q, p]) == pytest.approx(expected, abs=1e-5)


def test_the_gradient_reaches_the_best_token_alone() -> None:
    passage = PASSAGE.clone().requires_grad_()
    maxsim(QUESTION, passage).backward()
    assert passage.grad is not None
    assert torch.equal(passage.grad, torch.stack([QUESTION[0], QUESTION[1], torch.zeros(2, dtype=torch.float64)]))
