"""Processes that the tests start: verbs and trainings that a signal ends, and the ranks of one training.

They are forked from a server that has imported the large libraries once.
"""

from __future__ import annotations

import dataclasses
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


def run_verb(*words: str) -> None:
    """Run a verb as ``python -m xqg_repro`` does, and exit with its status."""
    from xqg_repro import cli

    sys.exit(cli.main(words))


def train_until_killed(recipe: Path, output: Path, message: str, threads: int, kind: str = "xdr") -> None:
    """Train a model of a kind of recipe; die by a signal that cannot be caught when a message is logged."""
    import torch

    from xqg_repro.train import causal, decr, parallel, xdr
    from xqg_repro.train.recipe import KINDS, load_recipe

    class Killer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if message in record.getMessage():
                os.kill(os.getpid(), signal.SIGKILL)

    logging.getLogger("xqg_repro").addHandler(Killer())
    logging.getLogger("xqg_repro").setLevel(logging.INFO)
    torch.set_num_threads(threads)
    trains: dict[str, Callable[..., Any]] = {
        "xdr": xdr.train,
        "xdr-parallel": parallel.train,
        "xqg-causal": causal.train,
        "decr": decr.train,
    }
    trains[kind](load_recipe(str(recipe), KINDS[kind]), output)


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


def train_untied_as_rank(rank: int, ports: list[str], folder: Path) -> None:
    """Be one of two processes that train each recipe ``untied-N.yaml``, with chunks of N texts."""
    import torch
    from accelerate.state import AcceleratorState

    from xqg_repro import cli
    from xqg_repro.train import curve

    torch.set_num_threads(1)
    curve.plot_curve = lambda points: ""
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost"}
    os.environ |= {name: str(value) for name, value in environment.items()}
    with open(folder / f"messages.{rank}", "w") as sys.stderr:
        for size, port in zip((0, 2), ports, strict=True):
            os.environ["MASTER_PORT"] = port
            recipe, output = folder / f"untied-{size}.yaml", folder / f"untied-{size}-two"
            assert cli.main(["train", "xdr", "--recipe", str(recipe), "--output", str(output)]) == 0
            AcceleratorState._reset_state(reset_partial_state=True)


def gradients(rank: int, port: str) -> tuple[Any, Any]:
    """Gradient of a batch computed by one process, and by two."""
    import torch
    import torch.distributed as dist

    from xqg_repro.models.settings import Pooling
    from xqg_repro.train.contrastive import contrastive_loss
    from xqg_repro.train.encoder_recipe import Alignment, Distillation, EncoderRecipe, Scope

    how = Distillation(scope=Scope.BATCH, contrastive_weight=0.5)
    alignment = Alignment(queries="c", weight=30.0)
    recipe = EncoderRecipe(name="a", data="b", pooling=Pooling.MEAN, distillation=how, alignment=alignment)
    table = torch.nn.Embedding(20, 4, _weight=torch.arange(80.0).reshape(20, 4).sin())

    def model(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=table(input_ids))

    def gradient(queries: list[int], passages: list[int], lists: list[list[int]]) -> torch.Tensor:
        query, passage, generated = (
            {"input_ids": torch.tensor(ids)[:, None], "attention_mask": torch.ones(len(ids), 1).long()}
            for ids in (queries, passages, [token + 3 for token in queries])
        )
        docids = [str(token) for token in passages]
        table.zero_grad()
        inputs = {"query": query, "passage": passage, "docids": docids, "lists": lists}
        inputs["teacher_scores"] = [[passages[position] / 10 for position in own] for own in lists]
        # one process has two drawn queries of two, the other none of one
        aligned = inputs | {"generated": generated, "draws": [token / 10 for token in queries]}
        gradients = []
        for batch in (inputs, aligned):
            contrastive_loss(model, batch, recipe, 0.25).backward()
            gradients.append(table.weight.grad.clone())
            table.zero_grad()
        contrastive_loss(model, inputs, dataclasses.replace(recipe, distillation=None)).backward()
        return torch.stack([*gradients, table.weight.grad])

    # the positives 10 11 12, the negatives 13 14 of one rank and 15 of the other; 10 is a copy
    whole = gradient([1, 2, 3], [10, 11, 12, 13, 14, 15, 10], [[0, 3], [1, 4], [2, 5, 6]])
    assert whole[0].abs().max() > 0.01
    assert all((whole[a] - whole[b]).abs().max() > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in environment.items()}
    dist.init_process_group("gloo")
    shared = gradient(*(([1, 2], [10, 11, 13, 14], [[0, 2], [1, 3]]), ([3], [12, 15, 10], [[0, 1, 2]]))[rank])
    dist.all_reduce(shared)
    dist.destroy_process_group()
    return whole, shared / 2  # as DistributedDataParallel averages
