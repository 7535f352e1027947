"""Reranking of runs: one kind per scorer, as their settings differ."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from xqg_repro.cli.arguments import InputFile, InputPath
from xqg_repro.cli.late import add_late_options, rerank_with_late
from xqg_repro.cli.options import (
    TOPICS,
    add_collection_option,
    add_settings,
    add_stage_options,
    add_verb,
    given_settings,
    refuse_options,
    required_settings,
    stage_settings,
)
from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    from xqg_repro.models.scorer_settings import ScorerConfig


def add_rerank(verbs: Any, name: str) -> None:
    """Declare the verb ``rerank``."""
    text = "order the first passages of a run anew"
    kinds = verbs.add_parser(name, help=text, description=text).add_subparsers(metavar="SCORER", required=True)
    text = "by how likely a generator writes the question for the passage"
    verb = add_verb(kinds, "likelihood", _rerank_by_likelihood, text)
    _add_run_options(verb, "likelihood")
    add_scorer_options(verb)
    verb = add_verb(kinds, "late", rerank_with_late, "by late interaction")
    _add_run_options(verb, "late")
    text = "folder that index --late wrote; without it, the run's passages are embedded now, by --encoder"
    verb.add_argument("--index", type=InputPath, help=text)
    add_late_options(verb)


def _add_run_options(verb: argparse.ArgumentParser, tag: str) -> None:
    """Add the options that every scorer has."""
    verb.add_argument("--run", type=InputPath, dest="run_file", required=True, help="TREC run")
    verb.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
    add_collection_option(verb)
    verb.add_argument("--tag", default=tag, help="last column of the run (default: %(default)s)")
    text = "passages per question to score and to keep (default: %(default)s)"
    verb.add_argument("--depth", "--hits", type=int, default=50, help=text)
    add_stage_options(verb, "run file to write or replace; - for standard output", file=True)


def _rerank_by_likelihood(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.likelihood import rerank_by_likelihood

    rerank_by_likelihood(
        args.run_file,
        args.topics,
        scorer_config(args),
        args.output,
        tag=args.tag,
        depth=args.depth,
        passages=args.collection,
        tokens_per_batch=args.tokens_per_batch,
        **stage_settings(args),
    )


def add_scorer_options(verb: argparse.ArgumentParser) -> None:
    """Add the options that describe a generator as a scorer; :func:`scorer_config` reads most of them."""
    from xqg_repro.models.scorer_settings import ScorerConfig

    text = "tokens of prompts, or of questions, to compute at a time; affects speed and memory (default: by device)"
    verb.add_argument("--tokens-per-batch", type=int, metavar="N", help=text)
    note = "a preset's backend, precision and settings of sampling are left out"
    add_settings(verb, ScorerConfig, "--generator", "generators.yaml", note)


def scorer_config(args: argparse.Namespace) -> ScorerConfig:
    """The scorer that the options describe; :class:`InputError` if they name no model."""
    from xqg_repro.models.scorer_settings import ScorerConfig, load_scorer

    return required_settings(args, ScorerConfig, load_scorer, "--generator")


def refuse_scorer_options(args: argparse.Namespace, where: str) -> None:
    """Raise :class:`InputError` if an option of a generator as a scorer is given."""
    from xqg_repro.models.scorer_settings import ScorerConfig

    if hasattr(args, "preset") or given_settings(args, ScorerConfig):
        raise InputError(f"a generator's options have no effect {where}", hint="leave them out")
    refuse_options(args, where, "tokens_per_batch")
