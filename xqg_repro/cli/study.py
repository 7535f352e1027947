"""The study on XQuAD: queries against passages as what passages are augmented with."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import add_encoder_options, add_stage_options, add_verb, named_encoder, stage_settings


def add_study(verbs: Any, name: str) -> None:
    """Declare the verb ``study``."""
    from xqg_repro.models.settings import Precision

    text = "compare query-augmented with passage-augmented retrieval on XQuAD, α chosen on other articles"
    verb = add_verb(verbs, name, _study, text)
    add_encoder_options(verb)
    verb.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="of the questions (default: all)")
    verb.add_argument("--passages", nargs="+", default=[], metavar="CODE", help="of the paragraphs (default: en)")
    verb.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="to compare (default: all)")
    verb.add_argument("--generated", metavar="QUERIES", help="generated queries, as a further source")
    verb.add_argument("--translated", metavar="FOLDER", help="translations by xqg-repro translate, as a further source")
    answers = verb.add_mutually_exclusive_group()
    text = (
        "answer from the paragraphs found, for EM and F1, with this question-answering model; or with several, "
        "trained on parts of XQuAD, of which each question takes one that has not seen its article"
    )
    answers.add_argument("--reader", nargs="+", default=[], metavar="MODEL", help=text)
    answers.add_argument("--spans", metavar="FILE", help="spans.npy that readers made before, in their place")
    verb.add_argument("--reader-precision", choices=[*Precision], default="float32", help="of the readers' layers")
    add_stage_options(verb, "encode and score again even if the folders match", "directory to write")


def _study(args: argparse.Namespace) -> None:
    from xqg_repro.models.settings import Precision, ReaderConfig
    from xqg_repro.study.run import run_study
    from xqg_repro.study.settings import load_study
    from xqg_repro.study.tables import over_pairs, scores

    sources = {"generated": args.generated, "translated": args.translated}
    there = {name: source is not None for name, source in sources.items()}
    study = load_study(args.languages, args.passages, args.methods, **there)
    config = named_encoder(args)
    precision = Precision(args.reader_precision)
    answers = {"readers": [ReaderConfig(model, precision=precision) for model in args.reader], "spans": args.spans}
    found = run_study(study, config, args.output, **sources, **answers, **stage_settings(args))
    for measure in found.means:
        print(scores(found, measure).text(), over_pairs(found, measure).text(), sep="\n\n", end="\n\n")
