"""Losses of a student that learns a teacher's scores or vectors, as functions of tensors.

Scores: question i has its own list ``C_i`` of passages, its positive and its drawn negatives, each with a teacher's
score. With the temperatures ``τ_T`` and ``τ_S``, and the student's inner products ``s``,

    ``t_i = softmax over C_i of (teacher_ik / τ_T)``, ``p_i = softmax over S_i of (s_ik / τ_S)``,
    ``loss = c · mean_i Σ_{k in C_i} t_ik (log t_ik - log p_ik)``,

in natural logarithms. ``S_i`` is ``C_i`` (scope ``own``), or all passages of the batch (scope ``batch``), of which the
copies of the question's own passages are left out. DR.DECR has one temperature on both sides and ``c = τ²``.

Alignment: a generated query ``q~`` of the positive, in another language, learns the scores of its question ``q``, which
stay as they are (no gradient flows into the target):

    ``loss = (1/B) Σ_i KL( softmax over C_i of (s(q_i, k) / τ) || softmax over C_i of (s(q~_i, k) / τ) )``,

where only questions that have a generated query in this step count in the sum.

Vectors: the distance of a question's vector to the teacher's vector of its English translation. It is what DR.DECR's
distillation of token vectors becomes where a text has a single vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from xqg_repro.train.encoder_recipe import Distillation, ParallelRecipe, Reduction, Scope


class ScoredLists(NamedTuple):
    """The own lists of B questions, of up to n passages.

    Attributes:
        columns: the passages, as columns of the student's scores; int64, (B, n).
        scores: the teacher's; (B, n).
        mask: False where a list is shorter than n, and the other two have no meaning; bool, (B, n).
    """

    columns: torch.Tensor
    scores: torch.Tensor
    mask: torch.Tensor


def pad_lists(columns: Sequence[Sequence[int]], scores: Sequence[Sequence[float]]) -> ScoredLists:
    """Lists of different lengths as tensors, with float32 scores.

    >>> pad_lists([[0, 2], [1]], [[0.5, -1.0], [2.0]]).mask.tolist()
    [[True, True], [True, False]]
    """
    longest = max(map(len, columns))
    return ScoredLists(
        torch.tensor([[*row, *[0] * (longest - len(row))] for row in columns]),
        torch.tensor([[*row, *[0.0] * (longest - len(row))] for row in scores]),
        torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in columns]),
    )


def find_own_copies(columns: Sequence[Sequence[int]], docids: Sequence[str]) -> torch.Tensor:
    """Which passages are copies of one in a question's own list: bool, (questions, passages).

    >>> find_own_copies([[0, 2], [1, 3]], ["a", "b", "b", "c"]).tolist()
    [[False, True, False, False], [False, False, True, False]]
    """
    copies = torch.zeros(len(columns), len(docids), dtype=torch.bool)
    places: dict[str, list[int]] = {}
    for column, docid in enumerate(docids):
        places.setdefault(docid, []).append(column)
    for question, own in enumerate(columns):
        copies[question, [place for column in own for place in places[docids[column]]]] = True
        copies[question, list(own)] = False
    return copies


def list_loss(
    scores: torch.Tensor, lists: ScoredLists, how: Distillation, copies: torch.Tensor | None = None
) -> torch.Tensor:
    """The mean of :func:`divergences`: the loss of a student that learns a teacher's scores."""
    return divergences(scores, lists, how, copies).mean()


def divergences(
    scores: torch.Tensor, lists: ScoredLists, how: Distillation, copies: torch.Tensor | None = None
) -> torch.Tensor:
    """The divergence of the student's probabilities from the teacher's for each question, times ``c``; (B,).

    Args:
        scores: the student's scores of the questions with all passages of the batch; (B, P).
        copies: passages to leave out in scope ``batch``, as :func:`find_own_copies` finds them; bool, (B, P).
    """
    teacher = (lists.scores / how.teacher_temperature).masked_fill(~lists.mask, float("-inf")).log_softmax(1)
    student = scores / how.student_temperature
    if how.scope is Scope.OWN:
        student = student.gather(1, lists.columns).masked_fill(~lists.mask, float("-inf")).log_softmax(1)
    else:
        if copies is not None:
            student = student.masked_fill(copies, float("-inf"))
        student = student.log_softmax(1).gather(1, lists.columns)
    terms = teacher.exp() * (teacher - student)
    return how.factor * terms.masked_fill(~lists.mask, 0).sum(1)


def alignment_loss(
    scores: torch.Tensor, generated: torch.Tensor, lists: ScoredLists, drawn: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The loss of generated queries, as the module describes it.

    Args:
        scores, generated: of the questions, and of one generated query for each, with all passages of the batch; both
            (B, P). The former get no gradient.
        lists: the questions' own passages; their scores are not read.
        drawn: which questions have a generated query in this step; bool, (B,).
        temperature: τ.
    """
    targets = lists._replace(scores=scores.detach().gather(1, lists.columns))
    how = Distillation(teacher_temperature=temperature, student_temperature=temperature)
    return divergences(generated, targets, how).masked_fill(~drawn, 0).mean()


def vector_loss(
    questions: torch.Tensor,
    english: torch.Tensor,
    teacher: torch.Tensor,
    recipe: ParallelRecipe,
    copies: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of a student's vectors of parallel questions, in the teacher's ``t_i``.

    ``weight · d(q_i, t_i) + english_weight · d(e_i, t_i) + contrastive_weight · CE_i``, averaged over the pairs, where
    ``d`` is the sum or the mean of the squared differences, and ``CE_i = -log( exp(<q_i, t_i>/τ) / Σ_j exp(<q_i,
    t_j>/τ) )``.

    Args:
        questions, english, teacher: the student's vectors of the questions and of their English translations, and the
            teacher's of the latter; (B, D).
        copies: translations j to leave out of the sum of pair i, since they are the same text; bool, (B, B).
    """
    loss = recipe.weight * _distance(questions, teacher, recipe.reduction)
    if recipe.english_weight:
        loss = loss + recipe.english_weight * _distance(english, teacher, recipe.reduction)
    if recipe.contrastive_weight:
        scores = questions @ teacher.T / recipe.temperature
        if copies is not None:
            scores = scores.masked_fill(copies, float("-inf"))
        own = torch.arange(len(scores), device=scores.device)
        loss = loss + recipe.contrastive_weight * torch.nn.functional.cross_entropy(scores, own)
    return loss


def _distance(vectors: torch.Tensor, teacher: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    squares = (vectors - teacher).square()
    return (squares.sum(1) if reduction is Reduction.SUM else squares.mean(1)).mean()
