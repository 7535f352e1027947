"""The losses of DR.DECR (Li et al., NAACL 2022), over token vectors and MaxSim scores.

- Stages A and B, from judged passages: ``CE([s(q, p+), s(q, p-)], 0)`` (:func:`pairwise_loss`).
- Stage C, from parallel questions: ``w·MSE(Q_S, align(Q_T)) + (1 - w)·MSE(D_S, D_T)`` (:func:`token_loss`). The student
  S reads a text in some language, the teacher T its English translation; D is the English text for both, which holds
  the student's English still.
- Stage D, from scores: ``τ²·KL(softmax(s_T/τ) ‖ softmax(s_S/τ))`` over the passages of a question
  (:func:`score_distillation`).

Logarithms are natural, and each loss is a mean over the batch.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def align(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """The order of the teacher's tokens in which each meets a token of the student that is like it.

    Greedy, after DR.DECR's code: of the cosine distances between the teacher's token i and the student's token j, take
    the smallest (the first in row-major order, if several are equal), swap the teacher's rows i and j, and leave row j
    and column j out from then on. That is a one-to-one matching by smallest distance, which need not have the smallest
    sum of distances.

    Args:
        teacher, student: token vectors, float, shape (batch, tokens, dimension); neither is changed, and no gradient
            flows.

    Returns:
        int64, shape (batch, tokens): a permutation of each row; position j has the teacher's token for the student's
        token j.

    >>> align(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[0.1, 0.9], [0.9, 0.1]]])).tolist()
    [[1, 0]]
    """
    with torch.no_grad():
        teacher, student = (functional.normalize(vectors.detach().float(), dim=-1) for vectors in (teacher, student))
        distances = 1 - teacher @ student.transpose(1, 2)
        batch, tokens, _ = distances.shape
        rows = torch.arange(batch, device=distances.device)
        order = torch.arange(tokens, device=distances.device).repeat(batch, 1)
        for _ in range(tokens):
            smallest = distances.flatten(1).argmin(dim=1)
            i, j = smallest // tokens, smallest % tokens
            for table in (distances, order):
                table[rows, i], table[rows, j] = table[rows, j].clone(), table[rows, i].clone()
            distances[rows, j] = torch.inf
            distances[rows, :, j] = torch.inf
        return order


def reorder(vectors: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The token vectors, (batch, tokens, dimension), in an order of :func:`align`; a new tensor."""
    return vectors.gather(1, order[..., None].expand_as(vectors))


def token_loss(
    student_queries: torch.Tensor,
    teacher_queries: torch.Tensor,
    student_passages: torch.Tensor,
    teacher_passages: torch.Tensor,
    weight: float,
) -> torch.Tensor:
    """The loss of stage C; the teacher's tensors get no gradient.

    Args:
        student_queries, teacher_queries: token vectors of texts and of their English translations, all padded to one
            length, shape (batch, tokens, dimension).
        student_passages, teacher_passages: those of the same English texts, shape (batch, tokens, dimension).
        weight: w, of the first part. The means are over texts, positions (padding included) and dimensions.
    """
    aligned = reorder(teacher_queries.detach(), align(teacher_queries, student_queries))
    across = functional.mse_loss(student_queries, aligned)
    within = functional.mse_loss(student_passages, teacher_passages.detach())
    return weight * across + (1 - weight) * within


def pairwise_loss(scores: torch.Tensor) -> torch.Tensor:
    """The loss of stages A and B, of scores of shape (batch, passages), where the positive is the first passage."""
    return functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64, device=scores.device))


def score_distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """The loss of stage D, of scores of shape (batch, passages); it does not know which passage is the positive."""
    log_student = functional.log_softmax(student / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
