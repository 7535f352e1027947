"""Training in rounds: train rounds."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.arguments import InputFile, InputPath
from xqg_repro.cli.options import add_stage_options, add_verb, stage_settings


def add_rounds(kinds: Any) -> None:
    """Declare ``train rounds``."""
    from xqg_repro.train.judge_settings import JudgeKind

    text = "train an encoder in rounds, each on labels that a judge gives to what the encoder of the one before found"
    verb = add_verb(kinds, "rounds", _rounds, text)
    text = "name of a recipe of train: rounds in resources/recipes, such as cora-mini, or a YAML file"
    verb.add_argument("--recipe", type=InputFile, required=True, help=text)
    for option, kind, metavar, text in (
        ("--rounds", int, "N", "trainings of the encoder"),
        ("--labelled", float, "SHARE", "share of each language's questions that keep their relevant passages"),
        ("--seed", int, "SEED", "seed of every training"),
        ("--steps", int, "N", "optimiser steps of the encoder in each round"),
        ("--model", InputPath, "MODEL", "what the encoder starts from: folder, Hugging Face id or package:NAME"),
        ("--reader", InputPath, "MODEL", "reader of the judge reader: a preset, or a folder that train reader wrote"),
    ):
        verb.add_argument(option, type=kind, metavar=metavar, help=f"{text}, instead of the recipe's")
    text = "languages in which no question keeps its relevant passages, instead of the recipe's"
    verb.add_argument("--hide-languages", nargs="*", metavar="LANG", help=text)
    text = "what makes a passage positive, instead of the recipe's judge; generator needs a recipe with an answerer"
    verb.add_argument("--judge", choices=[kind.value for kind in JudgeKind], help=text)
    add_stage_options(verb, "folder to write, with a folder per round; encoder in it is the final encoder")


def _rounds(args: argparse.Namespace) -> None:
    from xqg_repro.train.rounds import train
    from xqg_repro.train.rounds_recipe import load_rounds
    from xqg_repro.train.rounds_report import rounds_table

    hidden = None if args.hide_languages is None else tuple(args.hide_languages)
    recipe = load_rounds(
        args.recipe,
        encoder={"steps": args.steps, "model": args.model},
        judge=args.judge,
        reader=args.reader,
        rounds=args.rounds,
        labelled=args.labelled,
        hidden_languages=hidden,
        seed=args.seed,
    )
    print(rounds_table(train(recipe, args.output, **stage_settings(args))).text())
