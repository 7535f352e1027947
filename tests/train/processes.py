"""Processes that the tests start, and end with a signal or as ranks of one training.

They are forked from a server that has imported the large libraries once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LIBRARIES = [
    "accelerate",
    "xqg_repro.cli.training",
    "xqg_repro.train.trainer",
    "xqg_repro.train.xdr",
    "xqg_repro.train.xqg",
]


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=target, args=args)
    process.start()
    return process


def train_until_killed(recipe: Path, output: Path, message: str, threads: int, kind: str = "xdr") -> None:
    """Train an encoder, a causal model or a stage of DR.DECR; die by SIGKILL when a message is logged."""
    import torch

    from xqg_repro.train import causal, decr, xdr
    from xqg_repro.train.decr_recipe import DecrRecipe
    from xqg_repro.train.recipe import CausalRecipe, EncoderRecipe, load_recipe

    class Killer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if message in record.getMessage():
                os.kill(os.getpid(), signal.SIGKILL)

    logging.getLogger("xqg_repro").addHandler(Killer())
    logging.getLogger("xqg_repro").setLevel(logging.INFO)
    torch.set_num_threads(threads)
    if kind == "causal":
        causal.train(load_recipe(str(recipe), CausalRecipe), output)
    elif kind == "decr":
        decr.train(load_recipe(str(recipe), DecrRecipe), output)
    else:
        xdr.train(load_recipe(str(recipe), EncoderRecipe), output)


def train_as_rank(rank: int, ports: list[str], folder: Path) -> None:
    """Be one of two processes: compare the gradient of a batch, then train ``xdr.yaml`` and ``xqg.yaml``."""
    import torch
    from accelerate.state import AcceleratorState

    from xqg_repro import cli
    from xqg_repro.train import curve

    torch.set_num_threads(1)
    curve.plot_curve = lambda points: ""
    with open(folder / f"messages.{rank}", "w") as sys.stderr:
        torch.testing.assert_close(*gradients(rank, ports[0]))
        for kind, port in zip(("xdr", "xqg"), ports[1:], strict=True):
            os.environ["MASTER_PORT"] = port
            command = ["train", kind, "--recipe", f"{folder}/{kind}.yaml", "--output", f"{folder}/{kind}-two"]
            assert cli.main(command) == 0
            AcceleratorState._reset_state(reset_partial_state=True)


def gradients(rank: int, port: str) -> tuple[Any, Any]:
    """Gradient of a batch computed by one process, and by two."""
    import torch
    import torch.distributed as dist

    from xqg_repro.models.settings import Pooling
    from xqg_repro.train.contrastive import contrastive_loss
    from xqg_repro.train.recipe import EncoderRecipe

    recipe = EncoderRecipe(name="a", data="b", pooling=Pooling.MEAN)
    table = torch.nn.Embedding(20, 4, _weight=torch.arange(80.0).reshape(20, 4).sin())

    def model(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=table(input_ids))

    def gradient(queries: list[int], passages: list[int]) -> torch.Tensor:
        query, passage = (
            {"input_ids": torch.tensor(ids)[:, None], "attention_mask": torch.ones(len(ids), 1).long()}
            for ids in (queries, passages)
        )
        docids = [str(token) for token in passages]
        table.zero_grad()
        contrastive_loss(model, {"query": query, "passage": passage, "docids": docids}, recipe).backward()
        return table.weight.grad.clone()

    # the positives 10 11 12, the negatives 13 14 of one rank and 15 of the other; 10 is a copy
    whole = gradient([1, 2, 3], [10, 11, 12, 13, 14, 15, 10])
    assert whole.abs().max() > 0.01
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in environment.items()}
    dist.init_process_group("gloo")
    shared = gradient(*(([1, 2], [10, 11, 13, 14]), ([3], [12, 15, 10]))[rank])
    dist.all_reduce(shared)
    dist.destroy_process_group()
    return whole, shared / 2  # as DistributedDataParallel averages
