"""The study on XQuAD: queries against passages as what passages are augmented with."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import Log, add_encoder_options, add_stage_options, add_verb, named_encoder, stage_settings


def add_study(verbs: Any, name: str) -> None:
    """Declare the verb ``study``."""
    text = "compare query-augmented with passage-augmented retrieval on XQuAD, α chosen on other articles"
    verb = add_verb(verbs, name, _study, text)
    add_encoder_options(verb)
    verb.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="of the questions (default: all)")
    verb.add_argument("--passages", nargs="+", default=[], metavar="CODE", help="of the paragraphs (default: en)")
    verb.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="to compare (default: all)")
    verb.add_argument("--generated", metavar="QUERIES", help="generated queries, as a further source")
    add_stage_options(verb, "encode and score again even if the folders match", "directory to write")


def _study(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.study.run import run_study
    from xqg_repro.study.settings import load_study
    from xqg_repro.study.tables import over_pairs, scores

    study = load_study(asked.languages, asked.passages, asked.methods, generated=asked.generated is not None)
    config = named_encoder(asked)
    found = run_study(study, config, asked.output, generated=asked.generated, **stage_settings(asked, log))
    for measure in study.measures:
        print(scores(found, measure).text(), over_pairs(found, measure).text(), sep="\n\n", end="\n\n")
