"""Fusion of runs, and the scores of its weights."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.arguments import InputFile, InputPath
from xqg_repro.cli.options import add_stage_options, add_verb, stage_settings

_METHODS = ("rrf", "interpolation", "average")
_NORMALISE = ("min-max", "none")


def add_fuse(verbs: Any, name: str) -> None:
    """Declare the verb ``fuse``."""
    verb = add_verb(verbs, name, _fuse, "fuse TREC runs of the same questions into one")
    verb.add_argument("runs", type=InputPath, nargs="+", metavar="RUN", help="TREC runs, at least two")
    text = "rrf: Σ 1/(k + rank); interpolation: weighted sum of normalised scores; average: mean of scores as they are"
    verb.add_argument("--method", choices=_METHODS, required=True, help=text)
    text = "of interpolation, one per run, with the sum 1 (default: equal)"
    verb.add_argument("--weights", type=float, nargs="+", metavar="W", help=text)
    verb.add_argument("--k", type=int, help="of rrf (default: 60)")
    text = "of interpolation: map each question's scores to [0, 1], or not (default: min-max)"
    verb.add_argument("--normalise", choices=_NORMALISE, help=text)
    verb.add_argument("--tag", default="fusion", help="last column of the run (default: %(default)s)")
    _add_common_options(verb)
    add_stage_options(verb, "TREC run to write; - for standard output", device=False, file=True)


def _add_common_options(verb: argparse.ArgumentParser) -> None:
    text = "passages per question, of each run and of the fused one (default: %(default)s)"
    verb.add_argument("--depth", "--hits", type=int, default=100, help=text)
    verb.add_argument("--allow-missing", action="store_true", help="accept questions that a run lacks; count them")


def _fuse(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.fusion import Fusion, Method, Normalise, fuse

    weights = tuple(args.weights) if args.weights else None
    normalise = Normalise(args.normalise) if args.normalise else None
    how = Fusion(Method(args.method), weights, args.k, normalise)
    settings = {"tag": args.tag, "depth": args.depth, "allow_missing": args.allow_missing, **stage_settings(args)}
    fuse(args.runs, how, args.output, **settings)


def add_ablate_fusion(kinds: Any, name: str) -> None:
    """Declare ``ablate fusion``."""
    what = add_verb(kinds, name, _ablate_fusion, "vary the weights of two interpolated runs")
    what.add_argument("runs", type=InputPath, nargs=2, metavar="RUN", help="two TREC runs")
    what.add_argument("--topics", type=InputFile, required=True, help="ir-datasets id, such as xor-mini/held-out")
    text = "weights of the first run (default: 0, 0.1, … 1)"
    what.add_argument("--weights", type=float, nargs="+", default=[], metavar="W", help=text)
    text = "map each question's scores to [0, 1], or not (default: %(default)s)"
    what.add_argument("--normalise", choices=_NORMALISE, default="min-max", help=text)
    what.add_argument("--measures", nargs="+", default=["R2kt", "R5kt"], help="R2kt, R5kt or ir-measures names")
    _add_common_options(what)
    add_stage_options(what, "stage folder to write: scores.json, table.md, plot.svg", device=False)


def _ablate_fusion(args: argparse.Namespace) -> None:
    from xqg_repro.reproduction.ablate_fusion import ablate_fusion
    from xqg_repro.retrieval.fusion import Normalise

    ablation = ablate_fusion(
        args.runs,
        args.topics,
        args.output,
        values=args.weights,
        normalise=Normalise(args.normalise),
        measures=args.measures,
        depth=args.depth,
        allow_missing=args.allow_missing,
        **stage_settings(args),
    )
    print(ablation.text())
