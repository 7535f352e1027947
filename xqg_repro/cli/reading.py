"""The stage from a run to answers: read."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import add_stage_options, add_verb, given_settings, stage_settings


def add_read(verbs: Any, name: str) -> None:
    """Declare the verb ``read``."""
    verb = add_verb(verbs, name, _read, "take an answer to each question from a run's passages, with a reader")
    verb.add_argument("--run", dest="run_file", required=True, help="TREC run")
    verb.add_argument("--topics", required=True, help="ir-datasets id, such as xor-mini/dev")
    verb.add_argument("--depth", type=int, default=1, help="passages to read a question (default: %(default)s)")
    text = "of the retrieval score beside the answer's own (default: %(default)s)"
    verb.add_argument("--weight", type=float, default=0.0, help=text)
    add_stage_options(verb, "read again even if the file matches", "file of answers (.json) to write")
    _add_reader_options(verb)


def _add_reader_options(verb: argparse.ArgumentParser) -> None:
    from xqg_repro.models.settings import Precision

    group = verb.add_argument_group("reader", "a preset's settings, each of which an option overrides")
    group.add_argument("--preset", default=argparse.SUPPRESS, help="named settings from resources/readers.yaml")
    group.add_argument(
        "--reader",
        dest="model",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="question-answering model: folder, Hugging Face id or package:NAME",
    )
    for option, text in (
        ("--max-length", "tokens of question and passage together"),
        ("--stride", "tokens that two windows of a longer passage share"),
        ("--question-max-length", "tokens of a question"),
        ("--answer-max-length", "tokens of an answer"),
    ):
        group.add_argument(option, type=int, default=argparse.SUPPRESS, help=text)
    group.add_argument("--precision", choices=[*Precision], default=argparse.SUPPRESS, help="of the reader's layers")


def _read(args: argparse.Namespace) -> None:
    import dataclasses

    from xqg_repro.core.errors import InputError
    from xqg_repro.core.settings import parse
    from xqg_repro.models.settings import ReaderConfig, load_reader
    from xqg_repro.retrieval.read import read

    given = given_settings(args, ReaderConfig)
    if hasattr(args, "preset"):
        config = dataclasses.replace(load_reader(args.preset), **given)
    elif "model" in given:
        config = parse(ReaderConfig, given, "command line")
    else:
        raise InputError("no reader is named", hint="use --preset or --reader")
    settings = {"depth": args.depth, "weight": args.weight, **stage_settings(args)}
    read(args.run_file, args.topics, config, args.output, **settings)
