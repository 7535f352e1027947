"""Two processes that train one model, started as ``torchrun`` starts them."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Mini

from train.samples import tevatron_items, weights, write_lines, write_recipe
from xqg_repro.core.errors import InputError
from xqg_repro.models.settings import Precision
from xqg_repro.train import distributed, xdr, xqg
from xqg_repro.train.recipe import Recipe


def test_processes_share_numbers_evenly_and_only_the_first_one_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("xqg_repro")
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    distributed.silence_other_ranks()
    assert logger.level == logging.INFO
    monkeypatch.setenv("RANK", "1")
    distributed.silence_other_ranks()
    assert logger.level == logging.WARNING
    assert distributed.per_process(6, "batch_size") == 3
    with pytest.raises(InputError, match="batch_size is 5, which 2 processes cannot share evenly"):
        distributed.per_process(5, "batch_size")


PROGRAM = """
import os, sys, torch
import torch.distributed as dist
from types import SimpleNamespace
from accelerate.state import AcceleratorState
from xqg_repro import cli
from xqg_repro.models.settings import Pooling
from xqg_repro.train import contrastive, curve
from xqg_repro.train.recipe import EncoderRecipe

# first the gradient of one batch

recipe = EncoderRecipe(name="a", data="b", pooling=Pooling.MEAN)
table = torch.nn.Embedding(20, 4, _weight=torch.arange(80.0).reshape(20, 4).sin())
model = lambda input_ids, attention_mask: SimpleNamespace(last_hidden_state=table(input_ids))
texts = lambda ids: {"input_ids": torch.tensor(ids)[:, None], "attention_mask": torch.ones(len(ids), 1).long()}

def gradient(queries, passages):  # a passage's docid is its token
    docids = [str(passage) for passage in passages]
    inputs = {"query": texts(queries), "passage": texts(passages), "docids": docids}
    loss = contrastive.contrastive_loss(model, inputs, recipe)
    loss.backward()
    found, table.weight.grad = table.weight.grad, None
    return loss.item(), found

# the positives 10 11 12, the negatives 13 14 of one rank and 15 of the other; 10 is a copy
wanted = [([1, 2, 3], [10, 11, 12, 13, 14, 15, 10]), ([1, 2], [10, 11, 13, 14]), ([3], [12, 15, 10])]
size = os.environ.pop("WORLD_SIZE")
whole_loss, whole = gradient(*wanted[0])
os.environ["WORLD_SIZE"] = size
ports = iter(sys.argv[2:])
os.environ["MASTER_PORT"] = next(ports)
dist.init_process_group("gloo")
loss, own = gradient(*wanted[1 + dist.get_rank()])
dist.all_reduce(own)
assert abs(loss - whole_loss) < 1e-5, (loss, whole_loss)
torch.testing.assert_close(own / 2, whole)  # as DistributedDataParallel averages
assert whole.abs().max() > 0.01
dist.destroy_process_group()

# then two trainings

curve.plot_curve = lambda points: ""
for kind in ("xdr", "xqg"):
    os.environ["MASTER_PORT"] = next(ports)
    command = ["train", kind, "--recipe", f"{sys.argv[1]}/{kind}.yaml", "--output", f"{sys.argv[1]}/{kind}-two"]
    assert cli.main(command) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
"""


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


@pytest.mark.integration
@pytest.mark.usefixtures("quick")
def test_two_processes_train_as_one_does(stand_in: Callable[..., Recipe], mini_data: Mini, tmp_path: Path) -> None:
    items = tevatron_items(mini_data)
    for number, item in enumerate(items):  # the processes have different numbers of passages
        item["negative_passages"] = item["negative_passages"][: number % 3]
    data = str(write_lines(tmp_path / "train.jsonl", *items))
    changes = {"precision": Precision.FLOAT32, "learning_rate": 1e-3, "checkpoint_steps": 2}
    recipes = {
        "xdr": stand_in("xdr-xlmr", chunk_size=2, data=data, negatives=2, **changes),
        "xqg": stand_in("xqg-mt5-base", evaluation_steps=0, held_out=0.0, **changes),
    }
    for kind, recipe in recipes.items():
        start = shutil.copytree(recipe.model, tmp_path / f"{kind}-start")
        config = json.loads((start / "config.json").read_text())
        without_dropout = {key: 0.0 if "dropout" in key and value else value for key, value in config.items()}
        (start / "config.json").write_text(json.dumps(without_dropout))
        recipes[kind] = dataclasses.replace(recipe, model=str(start))
        write_recipe(recipes[kind], tmp_path / f"{kind}.yaml")

    command = [sys.executable, "-c", PROGRAM, str(tmp_path), *(free_port() for _ in range(3))]
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    try:
        messages = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], messages
    assert messages[0].count("step 3 of 3") == 2 and "train: " not in messages[1]

    xdr.train(recipes["xdr"], tmp_path / "xdr-one")
    xqg.train(recipes["xqg"], tmp_path / "xqg-one")
    for kind in recipes:
        before, one, two = (weights(tmp_path / f"{kind}-{name}") for name in ("start", "one", "two"))
        a, b = (np.concatenate([(after[key] - before[key]).ravel() for key in sorted(before)]) for after in (one, two))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99
        tables = [(tmp_path / f"{kind}-{name}" / "loss.csv").read_text().split("\n") for name in ("one", "two")]
        first, second = ([float(row.split(",")[2]) for row in table[1:-1]] for table in tables)
        assert first == pytest.approx(second, rel=1e-3)
    assert not list(tmp_path.glob("*.partial"))
