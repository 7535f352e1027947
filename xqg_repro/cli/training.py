"""Training: train xdr, train xqg."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import Log, add_stage_options, add_verb, stage_settings


def add_train(verbs: Any, name: str) -> None:
    """Declare the verb ``train``."""
    verb = verbs.add_parser(
        name, help="train a model from a named recipe", description="train a model from a named recipe"
    )
    kinds = verb.add_subparsers(metavar="MODEL", required=True)
    for kind, handler, text in (
        ("xdr", _train_xdr, "train a dual encoder contrastively"),
        ("xqg", _train_xqg, "train a query generator, from passages to questions"),
    ):
        model = add_verb(kinds, kind, handler, text)
        model.add_argument(
            "--recipe",
            default=f"{kind}-mini",
            help="name of a recipe in resources/recipes, or a YAML file (default: %(default)s)",
        )
        model.add_argument("--steps", type=int, help="optimiser steps in place of the recipe's")
        model.add_argument("--seed", type=int, help="seed in place of the recipe's")
        add_stage_options(model, "train again even if the folder matches", "model folder to write", device=False)


def _train_xdr(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.train.recipe import EncoderRecipe, load_recipe
    from xqg_repro.train.xdr import train

    recipe = load_recipe(asked.recipe, EncoderRecipe, steps=asked.steps, seed=asked.seed)
    train(recipe, asked.output, **stage_settings(asked, log))


def _train_xqg(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.train.recipe import GeneratorRecipe, load_recipe
    from xqg_repro.train.xqg import train

    recipe = load_recipe(asked.recipe, GeneratorRecipe, steps=asked.steps, seed=asked.seed)
    train(recipe, asked.output, **stage_settings(asked, log))
