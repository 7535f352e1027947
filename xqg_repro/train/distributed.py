"""Training one model with several processes, one per GPU, as ``torchrun`` or ``accelerate launch`` start them::

    torchrun --nproc_per_node 2 -m xqg_repro train xdr --recipe xdr-mbert --output models/xdr-mbert

Ranks count from 0. Only rank 0 reports and writes the stage folder; all ranks train in step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest, build_stage

if TYPE_CHECKING:
    import torch


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def get_rank() -> int:
    """Rank of this process."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def per_process(number: int, name: str) -> int:
    """Each process's share of a recipe's number, which is for all processes together.

    Raises:
        InputError: the processes cannot share it evenly.
    """
    if number % world_size():
        problem = f"{name} is {number}, which {world_size()} processes cannot share evenly"
        raise InputError(problem, hint=f"start a number of processes that divides {number}, or change the recipe")
    return number // world_size()


def build_stage_together(
    output: str | Path, wanted: Manifest, build: Callable[[Path], dict[str, int]], *, force: bool
) -> Manifest:
    """:func:`~xqg_repro.core.stages.build_stage`, where all ranks run ``build`` if rank 0 finds it necessary.

    Only rank 0's counts are used. Other ranks return ``wanted`` unchanged.
    """
    if world_size() == 1:
        return build_stage(output, wanted, build, force=force)
    import accelerate
    import torch

    accelerate.PartialState(cpu=not torch.cuda.is_available())  # joins the process group
    try:
        if get_rank() == 0:
            return _lead(output, wanted, build, force)
        if partial := gather("")[0]:
            build(Path(partial))
        return wanted
    finally:
        torch.distributed.destroy_process_group()


def _lead(output: str | Path, wanted: Manifest, build: Callable[[Path], dict[str, int]], force: bool) -> Manifest:
    """Build the stage as rank 0: send the other ranks the folder to build in, or "" if there is nothing to do."""
    sent: list[Path] = []

    def build_together(partial: Path) -> dict[str, int]:
        sent.append(partial)
        gather(str(partial))
        return build(partial)

    try:
        return build_stage(output, wanted, build_together, force=force)
    finally:
        if not sent:
            gather("")


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if world_size() > 1:
        import torch

        torch.distributed.barrier()


def gather(value: Any) -> list[Any]:
    """The values of all processes, by rank. They are sent as JSON, so nothing is pickled."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    sizes = [torch.empty(1, dtype=torch.long, device=device) for _ in range(world_size())]
    torch.distributed.all_gather(sizes, torch.tensor([len(own)], device=device))

    longest = int(max(sizes))
    parts = [torch.empty(longest, dtype=torch.uint8, device=device) for _ in sizes]
    torch.distributed.all_gather(parts, torch.nn.functional.pad(own, (0, longest - len(own))))
    return [json.loads(bytes(part[:size].tolist())) for part, size in zip(parts, sizes, strict=True)]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, (N, D), stacked by rank.

    Every rank computes the full loss from them. Backward keeps the rank's own rows of the gradient, times the number of
    processes, since DistributedDataParallel averages the gradients afterwards.
    """
    import torch

    class Gathered(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
            sizes = gather(len(own))
            padded = torch.nn.functional.pad(own, (0, 0, 0, max(sizes) - len(own))).contiguous()
            parts = [torch.empty_like(padded) for _ in sizes]
            torch.distributed.all_gather(parts, padded)
            start = sum(sizes[: get_rank()])
            ctx.own = slice(start, start + len(own))
            return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient[ctx.own] * world_size()

    return Gathered.apply(rows)
