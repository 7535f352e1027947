"""What the verbs hand on beyond the options of tasks, which tests/reproduction/test_execute.py checks."""

from __future__ import annotations

import dataclasses
import shlex
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
TRAINED = {"model": "m", "data": "a.json", "held_out_data": "b.json", "steps": 7, "seed": 1}


@pytest.mark.parametrize(
    ("function", "line", "expected"),
    [
        (
            "representation.generate.generate",
            "generate --collection c --output o --generator m --queries 1 --shard-size 7 --device cpu",
            {"config": dataclasses.replace(load_generator("xqg-mt5-base"), model="m", queries=1), "shard_size": 7}
            | {"device": "cpu"},
        ),
        (
            "representation.translate.translate",
            "translate --collection c --languages ar de --output o --preset m2m100-418m --shard-size 7 --force",
            {"languages": ("ar", "de"), "config": load_translator("m2m100-418m"), "shard_size": 7, "force": True},
        ),
        (
            "representation.encode.encode",
            "encode --collection c --output o --encoder m --pooling mean --shard-size 7 --dtype float16 --device cpu",
            {"config": ENCODER, "shard_size": 7, "dtype": "float16", "device": "cpu", "force": False},
        ),
        (
            "representation.sums.sum_queries",
            "sum --generated g --output o --encoder m --pooling mean --languages te ru --queries 3 --last-rank "
            "--dtype int8 --allow-missing --shard-size 7 --device cpu",
            {"config": ENCODER, "languages": ("te", "ru"), "count": 3, "per_language": False, "every_rank": False}
            | {"dtype": "int8", "allow_missing": True, "shard_size": 7, "device": "cpu"},
        ),
        (
            "representation.augment.augment",
            f"augment --embeddings e --sums s --output o --alpha 0.2 --queries 3 {AUGMENT}",
            {"how": HOW, "allow_missing": True},
        ),
        (
            "representation.augment.augment_streaming",
            f"augment --embeddings e --generated g --output o --alpha 0.2 --queries 3 {AUGMENT} --device cpu",
            {"how": HOW, "allow_missing": True, "device": "cpu"},
        ),
        (
            "retrieval.index.build_index",
            "index --embeddings e --output o --factory SQ8",
            {"embeddings": "e", "output": "o", "factory": "SQ8", "force": False},
        ),
        (
            "reproduction.ablate.ablate",
            f"ablate alpha --alpha 0.1 0 --queries 3 {ABLATE}",
            {**ABLATED, "vary": "alpha", "values": (0.1, 0.0), "how": dataclasses.replace(HOW, alpha=0.01)},
        ),
        (
            "reproduction.ablate.ablate",
            f"ablate queries --alpha 0.2 --queries 3 0 {ABLATE}",
            {**ABLATED, "vary": "queries", "values": (3, 0), "how": dataclasses.replace(HOW, queries=0)},
        ),
        *(
            (
                f"train.{kind}.train",
                f"train {kind} {TRAIN}",
                {"recipe": load_recipe(f"{kind}-mini", recipe, **TRAINED), "output": "o", "force": True},
            )
            for kind, recipe in (("xdr", EncoderRecipe), ("xqg", GeneratorRecipe), ("reader", ReaderRecipe))
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "--" not in value else "",
)
def test_options_are_handed_on(
    monkeypatch: pytest.MonkeyPatch, function: str, line: str, expected: dict[str, Any]
) -> None:
    calls = Calls()
    calls.replace(function, SimpleNamespace(text=lambda: ""), monkeypatch)
    assert cli.main(shlex.split(line)) == 0
    ((_, given),) = calls
    assert {name: given[name] for name in expected} == expected
