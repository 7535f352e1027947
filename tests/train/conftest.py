"""Fixtures of the tests of training: stand-ins for the paper's models, and trainings without their slow ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from train.samples import squad, tevatron_items, write_lines
from xqg_repro.train import curve, xqg
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, Recipe, load_recipe


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plot and the measurement of a generator, which take longer than a tiny training."""
    monkeypatch.setattr(curve, "plot_curve", lambda points: "")
    monkeypatch.setattr(xqg, "measure_queries", lambda *args: {})


@pytest.fixture(scope="session")
def stand_in(
    mini_data: Mini,
    model_folder: Callable[..., Path],
    generator_folder: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Recipe]:
    """``stand_in(name)``: three steps of one of the paper's recipes, with a tiny model of the same architecture and a
    small file of the same format, and a checkpoint at each step.
    """
    folder = tmp_path_factory.mktemp("data")
    lines = write_lines(folder / "train.jsonl", *tevatron_items(mini_data))
    gold: dict[str, Any] = {}
    for docid, title, text in mini_data.passages[:12]:
        question = {"id": docid, "question": " ".join(text.split()[:4]), "lang": "fi", "answers": []}
        gold.setdefault(title, []).append((text, [question]))
    (folder / "train.json").write_text(json.dumps(squad(gold)), encoding="utf-8")
    models: dict[str, Path] = {}

    def make(name: str, **changes: Any) -> Recipe:
        kind = {"xdr-xlmr": "xlmr", "xqg-mt5-base": "mt5", "xqg-mt5-large": "mt5"}.get(name, "bert")
        if kind not in models:
            models[kind] = generator_folder(kind, untied=True) if kind == "mt5" else model_folder(kind)
        small: dict[str, Any] = {"model": str(models[kind]), "checkpoint_steps": 1, "steps": 3}
        if kind == "mt5":
            small |= {"data": str(folder / "train.json"), "batch_size": 2, "accumulation": 2}
            small |= {"evaluation_steps": 1, "held_out": 0.4}
        else:
            small |= {"data": str(lines), "batch_size": 4, "negatives": 1, "chunk_size": 5}
        recipe = load_recipe(name, GeneratorRecipe if kind == "mt5" else EncoderRecipe)
        return dataclasses.replace(recipe, **small | changes)

    return make
