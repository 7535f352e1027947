"""Label smoothing of a sequence-to-sequence model's loss."""

from __future__ import annotations

from typing import Any

import torch


def smoothed_loss(model: Any, inputs: dict[str, torch.Tensor], smoothing: float) -> torch.Tensor:
    """The mean over the counted tokens of ``-(1-ε)·log p(y) - ε·mean_v log p(v)``, over all tokens v of the vocabulary.

    Outside training, ε is 0.

    Args:
        inputs: ``labels``, (N, T), which are -100 where a token does not count, and the model's other arguments.
        smoothing: ε.
    """
    labels = inputs["labels"]
    logits = model(**{name: value for name, value in inputs.items() if name != "labels"}).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), label_smoothing=smoothing if model.training else 0.0
    )
