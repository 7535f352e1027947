"""A language model with a linear layer after it, which gives one unit vector per token: ``normalise(W·LM(x)_t)``.

Its folder is a transformers model folder with one more file, ``projection.safetensors``, which holds W as
``linear.weight``, shape (dimension, hidden size). There is no bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from xqg_repro.core.errors import InputError
from xqg_repro.models.agreement import apply_layout
from xqg_repro.models.architectures import check_text_encoder
from xqg_repro.models.folders import TOKEN_PROJECTION
from xqg_repro.models.loading import open_model
from xqg_repro.models.projection import load_token_projection


class TokenNetwork(torch.nn.Module):
    """Token ids → unit vectors.

    Args:
        network: a transformers encoder.
        projection: W, from the hidden size to the dimension.
    """

    def __init__(self, network: Any, projection: torch.nn.Linear) -> None:
        super().__init__()
        self.network, self.projection = network, projection

    @property
    def dimension(self) -> int:
        """Number of components of a token's vector."""
        return self.projection.out_features

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The vector of each token, padding included; float32, shape (batch, tokens, dimension)."""
        states = self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        projected = self.projection(states.to(self.projection.weight.dtype))
        return torch.nn.functional.normalize(projected.float(), dim=-1)

    def get_input_embeddings(self) -> torch.nn.Module:
        """The table of word embeddings."""
        return self.network.get_input_embeddings()

    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write both into a model folder, as transformers' method of this name does for the network alone."""
        from safetensors.torch import save_file

        self.network.save_pretrained(folder)
        path = Path(folder) / TOKEN_PROJECTION
        save_file({"linear.weight": self.projection.weight.detach().contiguous()}, path)
        path.chmod(0o644)  # safetensors makes it readable by the owner only


def new_projection(hidden_size: int, dimension: int) -> torch.nn.Linear:
    """A random W, from torch's random numbers."""
    return torch.nn.Linear(hidden_size, dimension, bias=False)


def open_token_network(
    model: str, precision: str, device: str | None, longest: int, dimension: int = 0
) -> tuple[Any, TokenNetwork, str]:
    """Load a late-interaction model to compute with it.

    Args:
        model: a folder, a Hugging Face id or ``package:NAME``.
        precision: number format of the network's layers; W is float32.
        device: a torch device; ``None`` takes a GPU if available.
        longest: the longest text in tokens.
        dimension: of a random W for a folder that has none; 0 refuses such a folder.

    Returns:
        its tokenizer, the model in evaluation mode on the device, and the device.

    Raises:
        InputError: as :func:`~xqg_repro.models.loading.open_model`; the model cannot read ``longest`` tokens; its
            folder has no W and ``dimension`` is 0, or a W of another shape; or its folder has layers of another kind.
    """
    folder, tokenizer, network, device = open_model(model, precision, device)
    layout = apply_layout(folder, tokenizer)
    if layout.projection:
        problem = f"has layers after the network ({layout.projection}), which late interaction does not use"
        raise InputError(problem, path=folder, hint="copy the folder without them")
    hidden_size = check_text_encoder(tokenizer, network, longest, folder)
    if dimension and not (folder / TOKEN_PROJECTION).exists():
        projection = new_projection(hidden_size, dimension)
    else:
        projection = load_token_projection(folder, hidden_size)
    if dimension not in (0, projection.out_features):
        problem = f"has token vectors of {projection.out_features} dimensions, expected {dimension}"
        raise InputError(problem, path=folder / TOKEN_PROJECTION, hint="change the recipe's projection")
    return tokenizer, TokenNetwork(network, projection.to(device)).eval(), device
