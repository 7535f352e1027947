"""Two encoders that are trained as one model: that of questions and that of passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from xqg_repro.core.errors import InputError
from xqg_repro.models.folders import Side


class UntiedNetwork(torch.nn.Module):
    """Two transformers encoders of the same architecture."""

    def __init__(self, query: Any, passage: Any) -> None:
        super().__init__()
        self.query, self.passage = query, passage

    def forward(self, **texts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The token vectors, (N, T, hidden size), of tokenised texts, by :data:`~xqg_repro.train.contrastive.TEXTS`.

        All but passages are questions, generated ones included. With both, each pass uses all weights, as processes
        that train together expect.
        """
        networks = {name: self.passage if name == Side.PASSAGE else self.query for name in texts}
        return {name: networks[name](**tokens).last_hidden_state for name, tokens in texts.items()}

    def num_parameters(self) -> int:
        """Number of weights of both."""
        return sum(weight.numel() for weight in self.parameters())


def split_networks(model: Any) -> dict[str, Any]:
    """Sub-folder → network of a trained model; a tied one has its folder for itself, named ""."""
    return {side: getattr(model, side) for side in Side} if isinstance(model, UntiedNetwork) else {"": model}


def check_same_vocabulary(query: Any, passage: Any, folder: str | Path) -> None:
    """Raise :class:`InputError` unless two tokenizers have the same tokens, as training has one for both."""
    if query.get_vocab() != passage.get_vocab():
        problem = "has one vocabulary for questions and another for passages, which training does not support"
        raise InputError(problem, path=folder, hint="start from a single model")
