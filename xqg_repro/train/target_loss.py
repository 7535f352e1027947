"""The loss of a causal language model on target tokens alone, and logits for these alone.

A multilingual vocabulary has a quarter of a million tokens, so its logits cost more than all layers of a small model.
Only tokens that predict a target's get them, and a few hundred at a time: their gradient is computed with them, so
that they need not be kept.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from xqg_repro.core.errors import InputError
from xqg_repro.models.folders import reason
from xqg_repro.train.packing import Block, PackedText, attend_by_text, pack, use_lengths

CHUNK = 64
"""Tokens whose logits are in memory at a time."""

_ROUNDING = 1e-3
"""How much the losses of packed and of separate sequences may differ, in nats per token."""


class _TargetLoss(torch.autograd.Function):
    """Mean cross-entropy, whose gradient is computed together with it; and each token's own, without a gradient."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, softcap: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        hidden_needed, weight_needed, *_ = ctx.needs_input_grad
        table = weight.to(dtype)
        losses = torch.empty(len(labels), device=hidden.device)
        hidden_gradient = torch.empty_like(hidden) if hidden_needed else None
        weight_gradient = torch.zeros_like(weight) if weight_needed else None
        with torch.autocast(device, enabled=False):
            for start in range(0, len(labels), CHUNK):
                rows = slice(start, start + CHUNK)
                states, targets = hidden[rows].to(dtype), labels[rows, None]
                logits, slope, target_slope = _cap((states @ table.T).float(), targets, softcap)
                target_logits, most = logits.gather(1, targets), logits.amax(dim=1, keepdim=True)
                weights = logits.sub_(most).exp_()  # in place, as each pass over them takes as long as it is wide
                total = weights.sum(dim=1, keepdim=True)
                losses[rows] = (total.log() + most - target_logits)[:, 0]
                if hidden_gradient is None:
                    continue
                if slope is not None:
                    weights *= slope
                expected = (weights.to(dtype) @ table).float() / total
                hidden_gradient[rows] = expected - target_slope * table[targets[:, 0]].float()
                if weight_gradient is not None:
                    weight_gradient += (weights / total).to(dtype).T @ states
                    weight_gradient.index_add_(0, targets[:, 0], (-target_slope * states).to(weight.dtype))
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.count = len(labels)
        ctx.mark_non_differentiable(losses)
        return losses.mean(), losses

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scale = gradient / ctx.count
        of_hidden, of_weight = (None if part is None else part * scale for part in ctx.saved_tensors)
        return of_hidden, of_weight, None, None


def _cap(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | float]:
    """Capped logits, in the place of the others, and the slope of the cap at all of them and at the targets'."""
    if not softcap:
        return logits, None, 1.0
    share = logits.div_(softcap).tanh_()
    slope = 1 - share.square()
    return share.mul_(softcap), slope, slope.gather(1, targets)


def target_loss(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, softcap: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of tokens, in nats.

    Args:
        hidden: vectors that predict the tokens, shape (tokens, size).
        weight: the output layer's table, shape (vocabulary, size).
        labels: the tokens, int64, shape (tokens,).
        softcap: c, if logits are c · tanh(logits / c).

    Returns:
        the mean, which has a gradient, and the loss of each token, float32, shape (tokens,), which has none.
    """
    mean, losses = _TargetLoss.apply(hidden, weight, labels, softcap)
    return mean, losses


def learn_packed(model: Any, folder: Path) -> Any:
    """Let a call of the model read a batch of :func:`~xqg_repro.train.packing.pack`; return what undoes it.

    The call returns ``loss``, the mean over the targets' tokens, and ``losses``, those of the tokens.

    Raises:
        InputError: the architecture computes another loss from a packed batch than from separate sequences.
    """
    texts = [
        PackedText([1, 2, 3, 4, 5], [Block([6, 7], [8, 9, 1]), Block([5], [4, 2]), Block([7, 6, 5], [3])]),
        PackedText([3, 1], [Block([2, 6], [7, 1])]),
    ]
    forward, former = model.forward, None
    was_training = model.training
    try:
        with torch.no_grad():
            separate = _separate_losses(model.eval(), texts)
            former = attend_by_text(model)
            batch = {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in pack(texts).items()}
            difference = float((_forward(model, **batch)["losses"] - separate).abs().max())
    except Exception as error:  # each architecture has errors of its own
        problem = f"cannot learn several targets of a text at once with {type(model).__name__}: {reason(error)}"
        raise InputError(problem, path=folder, hint="choose another model") from error
    if not difference < _ROUNDING:
        problem = f"{type(model).__name__} does not compute the same from several targets at once: its loss is off by"
        raise InputError(f"{problem} {difference:.2g}", path=folder, hint="choose another model")
    model.train(was_training)
    model.forward = partial(_forward, model)

    def undo() -> None:
        model.forward = forward
        model.set_attn_implementation(former)

    return undo


def _forward(
    model: Any,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    predictors: torch.Tensor,
    labels: torch.Tensor,
    lengths: list[list[int]],
) -> dict[str, torch.Tensor]:
    """The losses of a packed batch."""
    vectors = model.get_input_embeddings()(input_ids).float()  # those of a frozen table may be bfloat16
    with use_lengths(lengths, input_ids.device):
        states = model.base_model(inputs_embeds=vectors, position_ids=position_ids, use_cache=False).last_hidden_state
    weight, softcap = model.get_output_embeddings().weight, getattr(model.config, "final_logit_softcapping", None)
    loss, losses = target_loss(states[0, predictors], weight, labels, softcap)
    return {"loss": loss, "losses": losses}


def _separate_losses(model: Any, texts: list[PackedText]) -> torch.Tensor:
    """The loss of each token of the targets, from one sequence per target and the model's own logits."""
    losses = []
    for head, blocks in texts:
        for tail, target in blocks:
            ids = torch.tensor([[*head, *tail, *target]], device=model.device)
            logits = model(input_ids=ids).logits[0, -len(target) - 1 : -1].float()
            losses.append(torch.nn.functional.cross_entropy(logits, ids[0, -len(target) :], reduction="none"))
    return torch.cat(losses)
