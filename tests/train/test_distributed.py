"""Two processes that train one model, with the environment in which ``torchrun`` starts them."""

from __future__ import annotations

import dataclasses
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Mini

from train.processes import start, train_as_rank, train_untied_as_rank
from train.samples import ENCODER, cosine, tevatron_items, weights, without_dropout, write_lines, write_recipe
from xqg_repro.core.errors import InputError
from xqg_repro.models.settings import Precision
from xqg_repro.train import distributed, xdr, xqg
from xqg_repro.train.encoder_recipe import Alignment
from xqg_repro.train.recipe import Recipe


def test_processes_share_numbers_evenly_and_only_rank_0_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logger = logging.getLogger("xqg_repro")
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, level in (("0", logging.INFO), ("1", logging.WARNING)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(InputError, match="systems are compared on"):  # while it reads the data
            xdr.train(dataclasses.replace(ENCODER, data="xor-mini/dev"), tmp_path / "model")
        assert logger.level == level
    assert distributed.per_process(6, "batch_size") == 3
    with pytest.raises(InputError, match="batch_size is 5, which 2 processes cannot share evenly"):
        distributed.per_process(5, "batch_size")


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
        model = without_dropout(recipe.model, tmp_path / f"{kind}-start")
        recipes[kind] = dataclasses.replace(recipe, model=str(model))
        write_recipe(recipes[kind], tmp_path / f"{kind}.yaml")

    ports = [free_port() for _ in range(3)]
    processes = [start(train_as_rank, rank, ports, tmp_path) for rank in (0, 1)]
    for process in processes:
        process.join(300)
        process.kill()
    messages = [(tmp_path / f"messages.{rank}").read_text() for rank in (0, 1)]
    assert [process.exitcode for process in processes] == [0, 0], messages
    assert messages[0].count("step 3 of 3") == 2 and "train: " not in messages[1]

    xdr.train(recipes["xdr"], tmp_path / "xdr-one")
    xqg.train(recipes["xqg"], tmp_path / "xqg-one")
    for kind in recipes:
        assert cosine(*(weights(tmp_path / f"{kind}-{name}") for name in ("one", "two", "start"))) > 0.99
        tables = [(tmp_path / f"{kind}-{name}" / "loss.csv").read_text().split("\n") for name in ("one", "two")]
        first, second = ([float(row.split(",")[2]) for row in table[1:-1]] for table in tables)
        assert first == pytest.approx(second, rel=1e-3)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.integration
@pytest.mark.usefixtures("quick")
def test_two_processes_train_two_encoders_as_one_does(
    stand_in: Callable[..., Recipe], mini_data: Mini, tmp_path: Path
) -> None:
    items = tevatron_items(mini_data)
    for number, item in enumerate(items):
        item |= {"negative_passages": item["negative_passages"][: number % 3], "lang": "fi"}
    data = str(write_lines(tmp_path / "train.jsonl", *items))
    generated = [{"docid": d, "generated_queries": {"de": [text[:20]]}} for d, _, text in mini_data.passages]
    queries = str(write_lines(tmp_path / "generated.jsonl", *generated))
    changes = {"precision": Precision.FLOAT32, "learning_rate": 1e-3, "data": data, "negatives": 2, "tied": False}
    changes["alignment"] = Alignment(queries=queries, share=1.0, weight=5.0, unseen=())
    recipe = stand_in("xdr-mbert", **changes)
    model = without_dropout(recipe.model, tmp_path / "start")
    recipes = {size: dataclasses.replace(recipe, model=str(model), chunk_size=size) for size in (0, 2)}
    for size, chunked in recipes.items():
        write_recipe(chunked, tmp_path / f"untied-{size}.yaml")
    ports = [free_port() for _ in recipes]
    processes = [start(train_untied_as_rank, rank, ports, tmp_path) for rank in (0, 1)]
    for process in processes:
        process.join(300)
        process.kill()
    messages = [(tmp_path / f"messages.{rank}").read_text() for rank in (0, 1)]
    assert [process.exitcode for process in processes] == [0, 0], messages
    xdr.train(recipes[0], tmp_path / "one")
    before = weights(tmp_path / "start")
    for size in recipes:
        for side in ("query", "passage"):
            one, two = (weights(tmp_path / name / side) for name in ("one", f"untied-{size}-two"))
            assert cosine(one, two, before) > 0.99
