"""Several processes that train one model, one a GPU, as started by ``torchrun`` or ``accelerate launch``::

    torchrun --nproc_per_node 2 -m xqg_repro train xdr --recipe xdr-mbert --output models/xdr-mbert

Each has a rank from 0 on. The process of rank 0 alone writes the stage folder; the others train in step with it.
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
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def get_rank() -> int:
    """Which of them this one is."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def per_process(number: int, what: str) -> int:
    """A process's part of a number, for which all of them stand together in the recipe.

    Raises:
        InputError: they cannot share it evenly.
    """
    if number % world_size():
        raise InputError(
            f"{what} is {number}, which {world_size()} processes cannot share evenly",
            hint=f"start as many processes as divide {number}, or change the recipe",
        )
    return number // world_size()


def build_stage_together(
    output: str | Path, wanted: Manifest, build: Callable[[Path], dict[str, int]], *, force: bool
) -> Manifest:
    """:func:`~xqg_repro.core.stages.produce` in which all processes run ``build``, if rank 0 finds that it has to.

    What ``build`` of another rank returns does not count, and those ranks return ``wanted`` as it is.
    """
    if world_size() == 1:
        return build_stage(output, wanted, build, force=force)
    import accelerate
    import torch

    accelerate.PartialState(cpu=not torch.cuda.is_available())  # joins the processes
    try:
        if get_rank():
            if partial := gather("")[0]:
                build(Path(partial))
            return wanted
        return _lead(output, wanted, build, force)
    finally:
        torch.distributed.destroy_process_group()


def _lead(output: str | Path, wanted: Manifest, build: Callable[[Path], dict[str, int]], force: bool) -> Manifest:
    told = False

    def build_together(partial: Path) -> dict[str, int]:
        nonlocal told
        told = True
        gather(str(partial))
        return build(partial)

    try:
        return build_stage(output, wanted, build_together, force=force)
    finally:
        if not told:
            gather("")  # the others wait for it


def barrier() -> None:
    """Wait until all processes are here."""
    if world_size() > 1:
        import torch

        torch.distributed.barrier()


def gather(value: Any) -> list[Any]:
    """The value of each process, by rank; it goes its way as JSON, nothing is pickled."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    sizes = [torch.empty(1, dtype=torch.long, device=device) for _ in range(world_size())]
    torch.distributed.all_gather(sizes, torch.tensor([len(own)], device=device))
    found = [torch.empty(int(max(sizes)), dtype=torch.uint8, device=device) for _ in sizes]
    torch.distributed.all_gather(found, torch.nn.functional.pad(own, (0, int(max(sizes)) - len(own))))
    return [json.loads(bytes(part[:size].tolist())) for part, size in zip(found, sizes, strict=True)]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, one rank's below the other's; as many columns everywhere.

    Every process computes the same from them, so each takes from the gradient what belongs to its own rows, as often as
    there are processes: their gradients are averaged later on.
    """
    import torch

    class Gathered(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
            sizes = gather(len(own))
            longest = max(sizes)
            padded = torch.nn.functional.pad(own, (0, 0, 0, longest - len(own))).contiguous()
            found = [torch.empty_like(padded) for _ in sizes]
            torch.distributed.all_gather(found, padded)
            ctx.own = slice(sum(sizes[: get_rank()]), sum(sizes[: get_rank() + 1]))
            return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient[ctx.own] * world_size()

    return Gathered.apply(rows)
