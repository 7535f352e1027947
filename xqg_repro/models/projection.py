"""Layers that a model folder has besides its network, applied to pooled vectors; see :mod:`xqg_repro.models.layout`.

Each is ``v ↦ f(W·v + b)``: in sentence-transformers' ``Dense`` with an activation function f, in Tevatron's pooler and
DPR's encoders without. Tevatron may have weights for questions and others for passages. All are computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch

from xqg_repro.core.errors import InputError
from xqg_repro.core.text import Record
from xqg_repro.models.folders import CONFIG, TOKEN_PROJECTION, read_config
from xqg_repro.models.layout import POOLER, POOLER_CONFIG, Dense, Layout, read_size

_AGAIN = "copy or download the model again"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Projection(NamedTuple):
    """Layers for pooled questions and passages, from (batch, hidden size) to (batch, dimension)."""

    query: torch.nn.Module
    passage: torch.nn.Module

    @property
    def dimension(self) -> int:
        """Number of components of a projected vector."""
        return [layer.out_features for layer in self.passage.modules() if isinstance(layer, torch.nn.Linear)][-1]


def load_projection(layout: Layout, network: Any, hidden_size: int, device: str) -> Projection | None:
    """The layers of a folder, on the device; ``None`` if there are none.

    :class:`InputError` if weights are missing, superfluous or of another shape than they should be.
    """
    if layout.pooler is not None:
        layers = _load_tevatron(layout.pooler, hidden_size)
    elif layout.steps:
        sizes = [hidden_size, *(step.outputs for step in layout.steps if isinstance(step, Dense))]
        steps: list[torch.nn.Module] = []
        for step in layout.steps:
            steps += _load_dense(step, sizes.pop(0)) if isinstance(step, Dense) else [_Normalize()]
        layers = Projection(*[torch.nn.Sequential(*steps)] * 2)
    elif own := _own_layer(network):
        layers = Projection(own, own)
    else:
        return None
    return Projection(*(layer.float().eval().requires_grad_(False).to(device) for layer in layers))


def refuse_projection(layout: Layout, network: Any, folder: Path) -> None:
    """Raise :class:`InputError` if a folder has such layers, for training, which would neither train nor save them."""
    names = layout.projection or ("encode_proj" if _own_layer(network) else "")
    names = names or (TOKEN_PROJECTION if (folder / TOKEN_PROJECTION).exists() else "")
    if names:
        problem = f"has layers after the network ({names}), which training leaves out"
        raise InputError(problem, path=folder, hint="to train the network alone, copy the folder without them")


def load_token_projection(folder: Path, hidden_size: int) -> torch.nn.Linear:
    """The layer of a late-interaction model; :class:`InputError` if it is missing, damaged or of another shape."""
    path = folder / TOKEN_PROJECTION
    if not path.exists():
        hint = "train one with xqg-repro train decr"
        raise InputError(f"is not a late-interaction model: it has no {TOKEN_PROJECTION}", path=folder, hint=hint)
    weights = _read_weights(path)
    if "linear.weight" not in weights:
        raise InputError("has no linear.weight", path=path, hint=_AGAIN)
    layer = _linear(weights, "linear.", hidden_size, len(weights["linear.weight"]), path, bias=False)
    _refuse_rest(weights, path)
    return layer


def _own_layer(network: Any) -> Any | None:
    """The layer with which some DPR encoders project the first token's vector."""
    if network.config.model_type != "dpr":
        return None
    return getattr(getattr(network, network.base_model_prefix), "encode_proj", None)


class _Normalize(torch.nn.Module):
    """A ``Normalize`` that is not the last module."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1)


def _load_dense(step: Dense, inputs: int) -> list[torch.nn.Module]:
    """The linear layer and the activation function of a ``Dense``."""
    if step.inputs != inputs:
        problem = f"takes vectors of {step.inputs} dimensions, but gets {inputs}"
        raise InputError(problem, path=step.folder / CONFIG, hint=_AGAIN)
    path = next((p for name in _WEIGHTS if (p := step.folder / name).exists()), None)
    if path is None:
        raise InputError("has no weights", path=step.folder, hint=f"expected {' or '.join(_WEIGHTS)}")
    weights = _read_weights(path)
    linear = _linear(weights, "linear.", step.inputs, step.outputs, path, bias=step.bias)
    _refuse_rest(weights, path)
    return [linear, getattr(torch.nn, step.activation)()]


def _load_tevatron(folder: Path, hidden_size: int) -> Projection:
    """Tevatron's linear layers: ``linear_q`` for questions and ``linear_p`` for passages, the same one if tied."""
    config, path = Record(read_config(folder / POOLER_CONFIG), folder / POOLER_CONFIG), folder / POOLER
    inputs, outputs = (read_size(config, name) for name in ("input_dim", "output_dim"))
    if inputs != hidden_size:
        raise config.error(f"input_dim is {inputs}, but the model's vectors have {hidden_size} dimensions")
    weights = _read_weights(path)
    # a layer saved on its own has no name
    one = next((name for name in ("linear.", "") if f"{name}weight" in weights), "linear_q.")
    other = (
        one if one != "linear_q." or (config.get("tied", True) and "linear_p.weight" not in weights) else "linear_p."
    )
    query = _linear(weights, one, inputs, outputs, path)
    passage = query if one == other else _linear(weights, other, inputs, outputs, path)
    pairs = zip_longest(query.parameters(), passage.parameters(), fillvalue=torch.empty(0))
    if config.get("tied", True) and not all(torch.equal(q, p) for q, p in pairs):
        raise config.error(f"tied is true, but {POOLER} has one layer for questions and another for passages")
    if not config.get("tied", True) and one == other:
        raise config.error(f"tied is false, but {POOLER} has a single layer")
    _refuse_rest(weights, path)
    return Projection(query, passage)


def _linear(
    weights: dict[str, torch.Tensor], name: str, inputs: int, outputs: int, path: Path, *, bias: bool | None = None
) -> torch.nn.Linear:
    """A linear layer of weights that it takes out; without ``bias``, whether it has one is what the weights say."""
    has_bias = f"{name}bias" in weights if bias is None else bias
    layer = torch.nn.Linear(inputs, outputs, bias=has_bias)
    for key, parameter in layer.named_parameters():
        tensor = weights.pop(f"{name}{key}", None)
        if tensor is None or tensor.shape != parameter.shape:
            what = "no" if tensor is None else f"a {tuple(tensor.shape)}"
            raise InputError(f"has {what} {name}{key}, expected {tuple(parameter.shape)}", path=path, hint=_AGAIN)
        parameter.data = tensor.float()
    return layer


def _refuse_rest(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    if weights:
        raise InputError(f"has weights that nothing uses, such as {next(iter(weights))}", path=path, hint=_AGAIN)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a file; :class:`InputError` if it is damaged or holds anything else."""
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage comes as any of a dozen types
        problem = "is damaged, or does not hold weights only"
        raise InputError(problem, path=path, hint=_AGAIN) from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise InputError("does not hold named tensors", path=path, hint=_AGAIN)
    return weights
