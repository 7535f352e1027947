"""Regressions: do the conditions still give the scores and runs that they gave?"""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import add_verb
from xqg_repro.core.errors import InputError


def add_regress(verbs: Any, name: str) -> None:
    """Declare the verb ``regress``."""
    verb = add_verb(verbs, name, _regress, "run regressions: index, search, and verify scores and runs")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--regression", nargs="+", metavar="NAME", help="run these; see docs/regressions")
    which.add_argument("--all", action="store_true", help="run every regression")
    verb.add_argument("--index", action="store_true", help="make the indexes, from the collection on")
    verb.add_argument("--search", action="store_true", help="search them, and read answers if any are measured")
    verb.add_argument("--verify", action="store_true", help="check data, scores and runs; a fail is exit status 1")
    verb.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    verb.add_argument("--directory", default="out", help="everything is written below it (default: %(default)s)")
    verb.add_argument("--runs", default="runs", help="folder of the reference runs (default: %(default)s)")


def _regress(args: argparse.Namespace) -> int:
    from xqg_repro.reproduction.regress import load_regression, names, planned, regress
    from xqg_repro.reproduction.tasks import Step
    from xqg_repro.reproduction.verdict import Check, Verdict

    given = {Step.INDEX: args.index, Step.SEARCH: args.search, Step.READ: args.search, Step.EVALUATE: args.verify}
    steps = [step for step in Step if given[step]]
    if not steps:
        raise InputError("nothing to do", hint="give one or more of --index --search --verify")
    failed = 0
    for regression in map(load_regression, names() if args.all else args.regression):
        if args.dry_run:
            print(*planned(regression, args.directory, steps), sep="\n")
            continue
        try:
            checks = regress(regression, args.directory, steps, references=args.runs)
        except InputError as error:  # a model that cannot be had must not keep the other regressions from running
            if not args.all:
                raise
            checks = [Check(Verdict.FAIL, str(error))]
        print(regression.name, *checks, sep="\n")
        failed += any(check.verdict is Verdict.FAIL for check in checks)
    return 1 if failed else 0
