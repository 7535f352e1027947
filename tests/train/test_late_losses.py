"""DR.DECR's losses, with the golden values of the specification."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st

from xqg_repro.train.late_losses import align, pairwise_loss, reorder, score_distillation, token_loss


def at(*degrees: float) -> torch.Tensor:
    """Unit vectors at these angles, float64, shape (1, n, 2)."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)[None]


def mse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean())


def vectors(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# alignment


def test_golden_alignments() -> None:
    teacher, student = at(0, 40, 100), at(95, 10, 30)
    assert align(teacher, student).tolist() == [[2, 0, 1]]
    assert mse(teacher, student) == pytest.approx(0.626370, abs=1e-6)
    assert mse(reorder(teacher, align(teacher, student)), student) == pytest.approx(0.011397, abs=1e-6)


def test_the_alignment_is_greedy_though_another_order_is_nearer() -> None:
    teacher, student = at(0, 50, 90), at(20, 60, 5)
    assert align(teacher, student).tolist() == [[2, 1, 0]]
    assert mse(reorder(teacher, align(teacher, student)), student) == pytest.approx(0.225659, abs=1e-6)
    best = min(
        mse(teacher[:, list(order)], student)
        for order in torch.cartesian_prod(*[torch.arange(3)] * 3).tolist()
        if sorted(order) == [0, 1, 2]
    )
    assert best == pytest.approx(0.090585, abs=1e-6)


def greedy(teacher: torch.Tensor, student: torch.Tensor) -> list[int]:
    """One-to-one matching by smallest cosine distance: the teacher's token of each of the student's."""
    similarity = torch.nn.functional.cosine_similarity(teacher[:, None], student[None], dim=2)
    pairs = sorted((-float(similarity[i, j]), i, j) for i in range(len(teacher)) for j in range(len(student)))
    matched: dict[int, int] = {}
    for _, i, j in pairs:
        if j not in matched and i not in matched.values():
            matched[j] = i
    return [matched[j] for j in range(len(student))]


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_the_alignment_is_a_greedy_matching_and_a_permutation_of_each_text(seed: int, tokens: int) -> None:
    teacher, student = vectors(seed, 3, tokens, 6), vectors(seed + 1, 3, tokens, 6)
    copies = teacher.clone(), student.clone()
    order = align(teacher, student)
    assert order.tolist() == [greedy(t, s) for t, s in zip(teacher, student, strict=True)]
    assert all(sorted(row) == list(range(tokens)) for row in order.tolist())
    aligned = reorder(teacher, order)
    for rows, text in zip(aligned.tolist(), teacher.tolist(), strict=True):
        assert sorted(rows) == sorted(text)
    assert torch.equal(teacher, copies[0]) and torch.equal(student, copies[1])
    assert aligned.data_ptr() != teacher.data_ptr()


def test_equal_tokens_are_still_permuted() -> None:
    teacher = torch.ones(2, 4, 3)  # as padding is
    assert [sorted(row) for row in align(teacher, torch.ones(2, 4, 3)).tolist()] == [[0, 1, 2, 3]] * 2


# stage C


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_token_loss_weighs_its_two_parts(weight: float) -> None:
    teacher, student = at(0, 40, 100), at(95, 10, 30)
    english, other = vectors(1, 1, 5, 2), vectors(2, 1, 5, 2)
    loss = float(token_loss(student, teacher, english, other, weight))
    assert loss == pytest.approx(weight * 0.011397 + (1 - weight) * mse(english, other), abs=2e-6)


def test_a_student_that_equals_its_teacher_has_no_token_loss() -> None:
    queries, passages = vectors(1, 2, 4, 3), vectors(2, 2, 6, 3)
    assert float(token_loss(queries, queries.flip(1), passages, passages, 0.5)) == 0.0


def test_the_token_loss_teaches_the_student_alone() -> None:
    tensors = [vectors(seed, 2, 4, 3).requires_grad_() for seed in range(4)]
    student, teacher, english, other = tensors
    token_loss(student, teacher, english, other, 0.5).backward()
    assert teacher.grad is None and other.grad is None
    aligned = reorder(teacher, align(teacher, student)).detach()
    torch.testing.assert_close(student.grad, (student.detach() - aligned) / student.numel())  # none through the order
    torch.testing.assert_close(english.grad, (english.detach() - other.detach()) / english.numel())


# stages A, B and D


def test_the_pairwise_loss_is_the_cross_entropy_of_the_positive() -> None:
    scores = [[3.0, 1.0], [0.5, 2.0]]
    expected = sum(-math.log(math.exp(a) / (math.exp(a) + math.exp(b))) for a, b in scores) / 2
    assert float(pairwise_loss(torch.tensor(scores))) == pytest.approx(expected, abs=1e-6)


TEACHER, STUDENT = torch.tensor([[3.0, 1.0], [0.5, 0.0]]), torch.tensor([[1.0, 0.5], [2.0, 2.5]])


def test_golden_distillation() -> None:
    assert float(score_distillation(STUDENT, TEACHER, 2.0)) == pytest.approx(0.184120, abs=1e-6)


def test_distillation_ends_where_the_scores_differ_by_a_constant() -> None:
    student = (TEACHER + torch.tensor([[5.0], [-2.0]])).requires_grad_()
    loss = score_distillation(student, TEACHER, 2.0)
    loss.backward()
    assert student.grad is not None
    assert abs(float(loss.detach())) < 1e-6 and float(student.grad.abs().max().detach()) < 1e-6
    shifted = score_distillation(STUDENT, TEACHER + 7.0, 2.0)
    torch.testing.assert_close(shifted, score_distillation(STUDENT, TEACHER, 2.0))


def test_distillation_does_not_know_the_label() -> None:
    flipped = score_distillation(STUDENT.flip(1), TEACHER.flip(1), 2.0)
    torch.testing.assert_close(flipped, score_distillation(STUDENT, TEACHER, 2.0))
    teacher = TEACHER.clone().requires_grad_()
    score_distillation(STUDENT.clone().requires_grad_(), teacher, 2.0).backward()
    assert teacher.grad is None
