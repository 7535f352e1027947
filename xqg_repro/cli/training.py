"""Training: train xdr, xqg, decr, reader and answerer, and what prepares data and models.

That is folds, twins, score and trim here; mine and label are in :mod:`xqg_repro.cli.labelling`.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from xqg_repro.cli.arguments import InputFile, InputPath
from xqg_repro.cli.labelling import add_label, add_mine
from xqg_repro.cli.options import add_stage_options, add_verb, stage_settings
from xqg_repro.cli.reranking import add_scorer_options, refuse_scorer_options, scorer_config
from xqg_repro.core.errors import InputError


def add_train(verbs: Any, name: str) -> None:
    """Declare the verb ``train``."""
    verb = verbs.add_parser(
        name, help="train a model from a named recipe", description="train a model from a named recipe"
    )
    kinds = verb.add_subparsers(metavar="MODEL", required=True)
    for kind, handler, text in (
        ("xdr", _train_xdr, "train a dual encoder contrastively, or on the vectors of a teacher"),
        (
            "xqg",
            _train_xqg,
            "train a query generator, from passages to questions, or to tell passages apart by their questions",
        ),
        ("decr", _train_decr, "train a stage of DR.DECR, a late-interaction model"),
        ("reader", _train_reader, "train a reader, which marks the answer in a passage, starting from an encoder"),
        ("answerer", _train_answerer, "train an answer generator, from a question and passages to the answer"),
    ):
        model = add_verb(kinds, kind, handler, text)
        default = "" if kind == "decr" else " (default: %(default)s)"
        model.add_argument(
            "--recipe",
            type=InputFile,
            **({"required": True} if kind == "decr" else {"default": f"{kind}-mini"}),
            help="name of a recipe in resources/recipes, or a YAML file" + default,
        )
        for option, kind_of_input, metavar, text in (
            ("--model", InputPath, "MODEL", "folder, Hugging Face id or package:NAME to start from"),
            ("--data", InputFile, "DATA", "ir-datasets id, training file or folder of parallel questions"),
            ("--held-out-data", InputFile, "DATA", "the same, for held-out measurements"),
        ):
            model.add_argument(option, type=kind_of_input, metavar=metavar, help=f"{text}, instead of the recipe's")
        if kind == "xdr":
            text = "of a recipe of parallel questions: encoder whose vectors to learn, instead of the recipe's"
            model.add_argument("--teacher", type=InputPath, metavar="MODEL", help=text)
            text = "of a recipe with an alignment: generated queries in other languages, instead of the recipe's"
            model.add_argument("--queries", "--generated", type=InputPath, metavar="FOLDER", help=text)
        if kind == "xqg":
            for option, text in (
                ("--translations", "of a causal model: sentences and their translations to learn (.jsonl)"),
                ("--held-out-translations", "the same, for held-out measurements"),
            ):
                model.add_argument(option, type=InputFile, metavar="FILE", help=f"{text}, instead of the recipe's")
        if kind == "decr":
            text = "model of stage A, for stages C and D, instead of the recipe's"
            model.add_argument("--teacher", type=InputPath, metavar="MODEL", help=text)
            text = "for stage D: the lines of --data with English questions, instead of the recipe's"
            model.add_argument("--twins", type=InputFile, metavar="FILE", help=text)
        model.add_argument("--steps", type=int, help="optimiser steps instead of the recipe's")
        model.add_argument("--seed", type=int, help="seed instead of the recipe's")
        text = "number format of the training, instead of the recipe's; float32 is faster on CPUs without bfloat16"
        model.add_argument("--precision", choices=["float32", "bfloat16"], help=text)
        add_stage_options(model, "model folder to write", device=False)
    _add_folds(kinds)
    add_mine(kinds)
    add_label(kinds)
    _add_twins(kinds)
    _add_score(kinds)
    _add_trim(kinds)


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that options override."""
    from xqg_repro.models.settings import Precision

    settings = {name: getattr(args, name) for name in ("model", "data", "held_out_data", "steps", "seed")}
    return settings | {"precision": args.precision and Precision(args.precision)}


def _train_xdr(args: argparse.Namespace) -> None:
    from xqg_repro.train import parallel, xdr
    from xqg_repro.train.recipe import EncoderRecipe, ParallelRecipe, encoder_kind, load_recipe

    if encoder_kind(args.recipe) is ParallelRecipe:
        if args.queries:
            raise _no_alignment(args.recipe)
        recipe = load_recipe(args.recipe, ParallelRecipe, **_overrides(args), teacher=args.teacher)
        parallel.train(recipe, args.output, **stage_settings(args))
        return
    if args.teacher:
        problem = f"the recipe {args.recipe} has no teacher, which only recipes of parallel questions have"
        raise InputError(problem, hint="leave out --teacher, or choose a recipe of train: xdr-parallel")
    encoder = load_recipe(args.recipe, EncoderRecipe, **_overrides(args))
    if args.queries:
        if encoder.alignment is None:
            raise _no_alignment(args.recipe)
        alignment = dataclasses.replace(encoder.alignment, queries=args.queries)
        encoder = dataclasses.replace(encoder, alignment=alignment)
    xdr.train(encoder, args.output, **stage_settings(args))


def _no_alignment(recipe: str) -> InputError:
    problem = f"the recipe {recipe} aligns no generated queries with its questions"
    return InputError(problem, hint="leave out --queries, or choose a recipe with an alignment")


def _train_xqg(args: argparse.Namespace) -> None:
    from xqg_repro.train import causal, xqg, xqg_contrastive
    from xqg_repro.train.recipe import CausalRecipe, ContrastiveRecipe, GeneratorRecipe, generator_kind, load_recipe

    translations = {name: getattr(args, name) for name in ("translations", "held_out_translations")}
    kind = generator_kind(args.recipe)
    if kind is CausalRecipe:
        recipe = load_recipe(args.recipe, CausalRecipe, **_overrides(args), **translations)
        causal.train(recipe, args.output, **stage_settings(args))
        return
    if any(translations.values()):
        problem = f"the recipe {args.recipe} learns no translations, which only causal models do"
        raise InputError(problem, hint="leave out --translations, or choose a recipe of train: xqg-causal")
    if kind is ContrastiveRecipe:
        contrastive = load_recipe(args.recipe, ContrastiveRecipe, **_overrides(args))
        xqg_contrastive.train(contrastive, args.output, **stage_settings(args))
        return
    xqg.train(load_recipe(args.recipe, GeneratorRecipe, **_overrides(args)), args.output, **stage_settings(args))


def _train_decr(args: argparse.Namespace) -> None:
    from xqg_repro.train.decr import train
    from xqg_repro.train.decr_recipe import DecrRecipe
    from xqg_repro.train.recipe import load_recipe

    recipe = load_recipe(args.recipe, DecrRecipe, **_overrides(args), teacher=args.teacher, twins=args.twins)
    train(recipe, args.output, **stage_settings(args))


def _train_reader(args: argparse.Namespace) -> None:
    from xqg_repro.train.reader import train
    from xqg_repro.train.recipe import ReaderRecipe, load_recipe

    recipe = load_recipe(args.recipe, ReaderRecipe, **_overrides(args))
    train(recipe, args.output, **stage_settings(args))


def _train_answerer(args: argparse.Namespace) -> None:
    from xqg_repro.train.answerer import train
    from xqg_repro.train.recipe import AnswererRecipe, load_recipe

    train(load_recipe(args.recipe, AnswererRecipe, **_overrides(args)), args.output, **stage_settings(args))


def _add_folds(kinds: Any) -> None:
    text = (
        "write XQuAD as training files: split its articles into folds and, for each fold, write the questions about "
        "the other articles to train on and those about its own articles to measure on"
    )
    verb = add_verb(kinds, "folds", _folds, text)
    verb.add_argument("--passages", metavar="LANGUAGE", default="en", help="of the paragraphs (default: %(default)s)")
    verb.add_argument("--languages", nargs="+", metavar="LANGUAGE", required=True, help="of the questions")
    verb.add_argument("--folds", type=int, default=5, help="number of folds (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=42, help="seed of the articles' order (default: %(default)s)")
    text = "also write, per fold, sentences with their translations into the languages, to learn and to measure on"
    verb.add_argument("--parallel", action="store_true", help=text)
    add_stage_options(verb, "folder of training files to write", device=False)


def _folds(args: argparse.Namespace) -> None:
    from xqg_repro.study.training_folds import write_folds

    settings = {"passages": args.passages, "folds": args.folds, "seed": args.seed, "parallel": args.parallel}
    write_folds(args.output, args.languages, **settings, **stage_settings(args))


def _add_twins(kinds: Any) -> None:
    text = "write a training file's lines with the questions in English, which stage D of DR.DECR reads"
    verb = add_verb(kinds, "twins", _twins, text)
    verb.add_argument("--data", type=InputFile, required=True, help="a .jsonl file in Tevatron's format")
    text = "folder of parallel questions, or xor-mini/parallel"
    verb.add_argument("--parallel", type=InputPath, metavar="FOLDER", required=True, help=text)
    add_stage_options(verb, "training file (.jsonl) to write; - for standard output", file=True, device=False)


def _twins(args: argparse.Namespace) -> None:
    from xqg_repro.train.twins import write_twins

    write_twins(args.data, args.parallel, args.output, **stage_settings(args))


def _add_score(kinds: Any) -> None:
    text = (
        "give each passage of a training file a teacher's score: how likely a generator writes the line's question for "
        "it, or the inner product of an encoder's vectors"
    )
    verb = add_verb(kinds, "score", _score, text)
    verb.add_argument("--data", type=InputFile, required=True, help="a .jsonl file in Tevatron's format")
    text = "score with the encoder of this folder, which encode or index wrote, instead of a generator"
    verb.add_argument("--embeddings", type=InputPath, metavar="FOLDER", help=text)
    text = "with --embeddings: the same lines with English questions, which the encoder reads instead"
    verb.add_argument("--twins", type=InputFile, metavar="FILE", help=text)
    add_stage_options(verb, "training file (.jsonl) to write; - for standard output", file=True)
    add_scorer_options(verb)


def _score(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.stage import stored_encoder
    from xqg_repro.train.score import score
    from xqg_repro.train.score_dense import score_by_encoder

    if args.embeddings:
        refuse_scorer_options(args, "with --embeddings")
        encoder = stored_encoder(args.embeddings)
        if encoder is None:
            hint = "name a folder that xqg-repro encode or index wrote"
            raise InputError("has no manifest, so its encoder is unknown", path=args.embeddings, hint=hint)
        score_by_encoder(args.data, encoder, args.output, twins=args.twins, **stage_settings(args))
        return
    if args.twins:
        raise InputError("--twins needs --embeddings", hint="a generator reads each question in its own language")
    score(args.data, scorer_config(args), args.output, tokens_per_batch=args.tokens_per_batch, **stage_settings(args))


def _add_trim(kinds: Any) -> None:
    text = (
        "trim the vocabulary of a causal language model to the tokens of given texts, so that training and writing "
        "cost less; other texts are still encoded without loss, in more tokens"
    )
    verb = add_verb(kinds, "trim", _trim, text)
    verb.add_argument("--model", type=InputPath, metavar="MODEL", required=True, help="folder or Hugging Face id")
    text = "files whose tokens stay: each line of a text file; all text values of .json and .jsonl, except ids"
    verb.add_argument("--texts", type=InputPath, nargs="+", metavar="FILE", required=True, help=text)
    text = "keep the first N tokens in the order of the merges, too, and as many characters (default: %(default)s)"
    verb.add_argument("--first", type=int, metavar="N", default=0, help=text)
    text = "take the first N tokens of each script of these languages (default: of any script)"
    verb.add_argument("--languages", nargs="+", metavar="LANGUAGE", default=[], help=text)
    add_stage_options(verb, "model folder to write", device=False)


def _trim(args: argparse.Namespace) -> None:
    from xqg_repro.train.trim import trim

    settings = {"first": args.first, "languages": args.languages, **stage_settings(args)}
    trim(args.model, args.texts, args.output, **settings)
