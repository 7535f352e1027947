"""The contrastive loss of a query generator: which of several passages was a question asked about?

``loss = mean_i -log( exp(ℓ(q_i, p_i)/τ) / Σ_{k ∈ C_i} exp(ℓ(q_i, p_k)/τ) )``, where ``ℓ`` is the log-likelihood of a
question under a passage's prompt (see :mod:`xqg_repro.models.scorer`), and ``C_i`` are the question's own passages, its
positive ``p_i`` among them.
"""

from __future__ import annotations

from typing import Any

import torch

from xqg_repro.models.likelihood import sequence_log_likelihoods
from xqg_repro.train.recipe import ContrastiveRecipe


def list_loss(likelihoods: torch.Tensor, temperature: float) -> torch.Tensor:
    """The mean loss of some questions.

    Args:
        likelihoods: ``ℓ`` of each question under its passages, float, shape (questions, passages): the positive first,
            and minus infinity where a question has fewer passages.
        temperature: τ.

    >>> import torch
    >>> round(list_loss(torch.tensor([[-0.5, -0.9, -1.4]]), 1.0).item(), 4)
    0.7309
    """
    first = torch.zeros(len(likelihoods), dtype=torch.long, device=likelihoods.device)
    return torch.nn.functional.cross_entropy(likelihoods / temperature, first)


def generator_loss(model: Any, inputs: dict[str, Any], recipe: ContrastiveRecipe) -> torch.Tensor:
    """The loss of a collated batch.

    Args:
        inputs: ``input_ids`` and ``attention_mask`` of the prompts, (prompts, tokens); ``decoder_input_ids`` and
            ``labels`` of the questions, (questions, tokens); ``owners``: the question of each prompt; ``lists``: the
            prompts of each question, the positive first and -1 for none, (questions, 1 + negatives).
    """
    owners, lists = inputs["owners"], inputs["lists"]
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        decoder_input_ids=inputs["decoder_input_ids"][owners],
    ).logits
    likelihoods = sequence_log_likelihoods(logits, inputs["labels"][owners], recipe.normalise)
    own = likelihoods[lists.clamp(min=0)].masked_fill(lists < 0, float("-inf"))
    return list_loss(own, recipe.temperature)
