"""MaxSim, the score of late interaction (Khattab and Zaharia, *ColBERT*, 2020).

A question and a passage are one vector per token. ``score(q, d) = Σ_{t∈q} max_{u∈d} <q_t, d_u>``: each of the
question's tokens meets the passage's token that is most like it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Similarity(StrEnum):
    """How two tokens compare: by inner product, which is the cosine of unit vectors, or by ``-|q_t - d_u|²``.

    For unit vectors ``l2 = 2·MaxSim - 2·|q|``, where |q| is the number of the question's tokens: the ranking is the
    same, but scores lie twice as far apart, so a temperature of 2 there is a temperature of 1 here.
    """

    COSINE = "cosine"
    L2 = "l2"


def maxsim(
    queries: torch.Tensor,
    passages: torch.Tensor,
    query_mask: torch.Tensor | None = None,
    passage_mask: torch.Tensor | None = None,
    similarity: Similarity = Similarity.COSINE,
) -> torch.Tensor:
    """Score questions against passages; leading dimensions broadcast.

    Args:
        queries: token vectors, float, shape (..., query tokens, dimension).
        passages: the same, shape (..., passage tokens, dimension).
        query_mask, passage_mask: which tokens count, boolean or 0 and 1, shapes (..., query tokens) and
            (..., passage tokens); ``None`` counts all. At least one token of each passage must count, otherwise its
            score is minus infinity.
        similarity: of two tokens.

    Returns:
        float, of the leading dimensions' shape.

    >>> import torch
    >>> question, passage = torch.eye(2), torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    >>> print(f"{maxsim(question, passage):.1f} {maxsim(question, passage, passage_mask=torch.tensor([1, 0])):.1f}")
    1.8 1.4
    """
    products = queries @ passages.transpose(-1, -2)
    if similarity is Similarity.L2:
        squares = queries.square().sum(-1)[..., :, None] + passages.square().sum(-1)[..., None, :]
        products = 2 * products - squares
    if passage_mask is not None:
        products = products.masked_fill(~passage_mask.bool()[..., None, :], float("-inf"))
    best = products.amax(-1)
    if query_mask is not None:
        best = best.masked_fill(~query_mask.bool(), 0.0)
    return best.sum(-1)
