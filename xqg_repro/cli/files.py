"""Files of other tools: leaderboard submissions, and runs in other formats."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.arguments import InputFile, InputPath, OutputFile, summary_stream
from xqg_repro.cli.options import add_collection_option, add_verb
from xqg_repro.core.errors import InputError

FORMS = ("tevatron", "msmarco", "dpr", "trec")


def add_submit(verbs: Any, name: str) -> None:
    """Declare the verb ``submit``."""
    verb = add_verb(verbs, name, _submit, "write, check or convert a prediction file for XOR-TyDi's leaderboard")
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--run", type=InputPath, dest="run_file", metavar="RUN", help="TREC run to make a submission from"
    )
    what.add_argument(
        "--check", type=InputPath, dest="check_file", metavar="FILE", help="submission to check, from any tool"
    )
    what.add_argument(
        "--convert", type=InputPath, dest="convert_file", metavar="FILE", help="submission to write as a TREC run"
    )
    verb.add_argument("--topics", type=InputFile, metavar="ID", help="ir-datasets id, such as xor-tydi/test, or path")
    add_collection_option(verb)
    text = "submission, or with --convert TREC run, to write; - for standard output"
    verb.add_argument("--output", type=OutputFile, help=text)
    verb.add_argument("--tag", help="with --convert: the run's last column (default: submission)")


def _submit(args: argparse.Namespace) -> None:
    mode = next(mode for mode in ("run", "check", "convert") if getattr(args, mode + "_file") is not None)
    _refuse_options(args, mode)
    from xqg_repro.evaluation import submission
    from xqg_repro.evaluation.printing import count_table

    if mode == "run":
        summary = submission.write_submission(args.run_file, args.topics, args.output, args.collection)
        print(summary.table().text(), file=summary_stream(args.output))
    elif mode == "check":
        print(submission.check(args.check_file, args.topics).table().text())
    else:
        tag = submission.TAG if args.tag is None else args.tag
        counts = submission.submission_to_run(args.convert_file, args.topics, args.output, tag, args.collection)
        print(count_table("converted", counts).text(), file=summary_stream(args.output))


def _refuse_options(args: argparse.Namespace, mode: str) -> None:
    """Refuse options that the mode lacks or does not use."""
    needed = () if mode == "check" else ("topics", "output")
    idle = {"run": ("tag",), "check": ("output", "tag"), "convert": ()}[mode]
    for option in needed:
        if getattr(args, option) is None:
            raise InputError(f"--{mode} needs --{option}", hint="see xqg-repro submit --help")
    for option in idle:
        if getattr(args, option) is not None:
            raise InputError(f"--{option} has no effect with --{mode}", hint="leave it out")


def add_runfile(verbs: Any, name: str) -> None:
    """Declare the verb ``runfile``."""
    text = "check a TREC run, or convert another tool's results to one"
    verb = verbs.add_parser(name, help=text, description=text)
    kinds = verb.add_subparsers(metavar="WHAT", required=True)
    what = add_verb(kinds, "check", _check, "check a TREC run and summarise it")
    what.add_argument("file", type=InputPath, metavar="RUN", help="TREC run")
    _add_topics(what, "the questions that it should have")
    what = add_verb(kinds, "convert", _convert, "convert another tool's results to a TREC run")
    what.add_argument("file", type=InputPath, metavar="INPUT", help="the tool's file")
    what.add_argument(
        "--from",
        dest="form",
        choices=FORMS,
        required=True,
        help="tevatron: qid, docid, score; msmarco: qid, docid, rank; dpr: JSON of DPR or Pyserini; trec: six columns",
    )
    text = "TREC run to write; - for standard output"
    what.add_argument("--output", type=OutputFile, required=True, help=text)
    what.add_argument("--tag", required=True, help="the run's last column")
    _add_topics(what, "its questions; required for DPR's JSON without ids")


def _add_topics(verb: argparse.ArgumentParser, of: str) -> None:
    verb.add_argument("--topics", type=InputFile, default="", help=f"ir-datasets id or path of {of}")


def _check(args: argparse.Namespace) -> None:
    from xqg_repro.evaluation.convert import check
    from xqg_repro.evaluation.printing import count_table

    print(count_table("run", check(args.file, args.topics)).text())


def _convert(args: argparse.Namespace) -> None:
    from xqg_repro.evaluation.convert import convert
    from xqg_repro.evaluation.printing import count_table

    counts = convert(args.file, args.output, args.form, args.tag, args.topics)
    print(count_table("converted", counts).text(), file=summary_stream(args.output))
