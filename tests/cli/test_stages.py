"""What the verbs hand on beyond the options of tasks, which tests/reproduction/test_execute.py checks."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from reproduction.toy import Calls

from xqg_repro import cli
from xqg_repro.models.settings import EncoderConfig, load_generator, load_translator
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, ReaderRecipe, load_recipe

ENCODER = EncoderConfig("m", pooling="mean")  # type: ignore[arg-type]
HOW = Augmentation(0.2, Aggregate.MEAN, ("te", "ru"), 3, False)
AUGMENT = "--aggregate mean --languages te ru --no-normalize --allow-missing"
ABLATE = f"--embeddings e --sums s --topics t --output o {AUGMENT} --measures R@5 RR --hits 7 --device cpu --force"
ABLATED = {"output": "o", "measures": ("R@5", "RR"), "depth": 7, "allow_missing": True, "device": "cpu", "force": True}
TRAIN = "--model m --data a.json --held-out-data b.json --steps 7 --seed 1 --output o --force"
NO_COUNTS: dict[str, int] = defaultdict(int)
TRAINED = {"model": "m", "data": "a.json", "held_out_data": "b.json", "steps": 7, "seed": 1}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "generate --collection c --output o --generator m --queries 1 --shard-size 7 --device cpu": (
        "representation.generate.generate",
        {"config": dataclasses.replace(load_generator("xqg-mt5-base"), model="m", queries=1), "shard_size": 7},
    ),
    "translate --collection c --languages ar de --output o --preset m2m100-418m --shard-size 7 --force": (
        "representation.translate.translate",
        {"languages": ("ar", "de"), "config": load_translator("m2m100-418m"), "shard_size": 7, "force": True},
    ),
    "encode --collection c --output o --encoder m --pooling mean --shard-size 7 --dtype float16 --device cpu": (
        "representation.encode.encode",
        {"config": ENCODER, "shard_size": 7, "dtype": "float16", "device": "cpu", "force": False},
    ),
    "sum --generated g --output o --encoder m --pooling mean --languages te ru --queries 3 --last-rank --dtype int8 "
    "--allow-missing --shard-size 7": (
        "representation.sums.sum_queries",
        {"config": ENCODER, "languages": ("te", "ru"), "count": 3, "every_rank": False, "dtype": "int8"}
        | {"allow_missing": True, "shard_size": 7},
    ),
    "filter --queries q --embeddings e --output o --encoder m --pooling mean --keep 2 --of 8 --languages te ru "
    "--allow-missing --shard-size 7 --device cpu --force": (
        "retrieval.filter.filter_queries",
        {"queries": "q", "embeddings": "e", "output": "o", "keep": 2, "of": 8, "encoder": ENCODER, "force": True}
        | {"languages": ("te", "ru"), "allow_missing": True, "shard_size": 7, "device": "cpu"},
    ),
    "filter --generated q --embeddings e --output o --encoder m --pooling mean --keep 2": (
        "retrieval.filter.filter_queries",
        {"queries": "q", "of": None, "languages": None, "allow_missing": False, "force": False},
    ),
    f"augment --embeddings e --sums s --output o --alpha 0.2 --queries 3 {AUGMENT}": (
        "representation.augment.augment",
        {"how": HOW, "allow_missing": True},
    ),
    f"augment --embeddings e --generated g --output o --alpha 0.2 --queries 3 {AUGMENT} --device cpu": (
        "representation.augment.augment_streaming",
        {"how": HOW, "allow_missing": True, "device": "cpu"},
    ),
    "index --embeddings e --output o --factory SQ8": ("retrieval.index.build_index", {"factory": "SQ8"}),
    "index --sparse --collection c --output o --generated g --languages te ru --queries 3 --analyzer en "
    "--allow-missing --force": (
        "retrieval.sparse.build_sparse_index",
        {"generated": "g", "languages": ("te", "ru"), "queries": 3, "analyzer": "en"}
        | {"allow_missing": True, "force": True},
    ),
    f"ablate alpha --alpha 0.1 0 --queries 3 {ABLATE}": (
        "reproduction.ablate.ablate",
        {**ABLATED, "vary": "alpha", "values": (0.1, 0.0), "how": dataclasses.replace(HOW, alpha=0.01)},
    ),
    f"ablate queries --alpha 0.2 --queries 3 0 {ABLATE}": (
        "reproduction.ablate.ablate",
        {**ABLATED, "vary": "queries", "values": (3, 0), "how": dataclasses.replace(HOW, queries=0)},
    ),
}
for kind, recipe in (("xdr", EncoderRecipe), ("xqg", GeneratorRecipe), ("reader", ReaderRecipe)):
    expected = {"recipe": load_recipe(f"{kind}-mini", recipe, **TRAINED), "output": "o", "force": True}
    CASES[f"train {kind} {TRAIN}"] = (f"train.{kind}.train", expected)


@pytest.mark.parametrize("line", CASES)
def test_options_are_handed_on(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    calls, (function, expected) = Calls(), CASES[line]
    calls.replace(function, SimpleNamespace(text=lambda: "", counts=NO_COUNTS), monkeypatch)
    assert cli.main(line.split()) == 0
    ((_, given),) = calls
    assert {name: given[name] for name in expected} == expected
