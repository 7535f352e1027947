"""Regressions, the study on XQuAD, and what a machine has and lacks: regress, study, doctor."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from xqg_repro.cli.arguments import Directory, InputPath
from xqg_repro.cli.options import add_encoder_options, add_stage_options, add_verb, required_encoder, stage_settings
from xqg_repro.core.errors import InputError


def add_regress(verbs: Any, name: str) -> None:
    """Declare the verb ``regress``."""
    verb = add_verb(verbs, name, _regress, "run regressions: index, search, and verify scores and runs")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--regression", nargs="+", metavar="NAME", help="run these; see docs/regressions")
    which.add_argument("--all", action="store_true", help="run every regression")
    verb.add_argument("--index", action="store_true", help="build the indexes, from the collection on")
    verb.add_argument("--search", action="store_true", help="search them, and read answers if any are measured")
    verb.add_argument("--verify", action="store_true", help="check data, scores and runs; a fail is exit status 1")
    verb.add_argument("--dry-run", action="store_true", help="print the commands, check what they need, run nothing")
    text = "everything is written below it (default: %(default)s)"
    verb.add_argument("--directory", type=Directory, default="out", help=text)
    text = "folder of the reference runs (default: %(default)s)"
    verb.add_argument("--runs", type=InputPath, default="runs", help=text)


def _regress(args: argparse.Namespace) -> int:
    from xqg_repro.reproduction import regress
    from xqg_repro.reproduction.tasks import Step
    from xqg_repro.reproduction.verdict import Check, Verdict

    chosen = {Step.INDEX: args.index, Step.SEARCH: args.search, Step.READ: args.search, Step.EVALUATE: args.verify}
    steps = [step for step in Step if chosen[step]]
    if not steps:
        raise InputError("nothing to do", hint="give one or more of --index --search --verify")
    failed = 0
    for regression in map(regress.load_regression, regress.regression_names() if args.all else args.regression):
        try:
            if args.dry_run:
                print(*regress.regression_tasks(regression, args.directory, steps), sep="\n")
                regress.check_regression(regression, args.directory, steps, args.runs)
                continue
            checks = regress.regress(regression, args.directory, steps, references=args.runs)
        except InputError as error:  # a missing model must not keep the other regressions from running
            if not args.all:
                raise
            checks = [Check(Verdict.FAIL, str(error))]
        print(regression.name, *checks, sep="\n", file=sys.stderr if args.dry_run else sys.stdout)
        failed += any(check.verdict is Verdict.FAIL for check in checks)
    return 1 if failed else 0


def add_study(verbs: Any, name: str) -> None:
    """Declare the verb ``study``."""
    from xqg_repro.models.settings import Precision

    text = "compare query-augmented with passage-augmented retrieval on XQuAD, with α chosen on other articles"
    verb = add_verb(verbs, name, _study, text)
    add_encoder_options(verb)
    verb.add_argument("--languages", nargs="+", default=[], metavar="LANG", help="of the questions (default: all)")
    verb.add_argument("--passages", nargs="+", default=[], metavar="LANG", help="of the paragraphs (default: en)")
    verb.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="to compare (default: all)")
    _add_made_texts(verb)
    answers = verb.add_mutually_exclusive_group()
    text = (
        "question-answering model that answers from the retrieved paragraphs, for EM and F1; of several, trained on "
        "parts of XQuAD, each question gets one that has not seen its article"
    )
    answers.add_argument("--reader", type=InputPath, nargs="+", default=[], metavar="MODEL", help=text)
    answers.add_argument(
        "--spans", type=InputPath, metavar="FILE", help="spans.npy from an earlier run, instead of readers"
    )
    text = "number format of the readers' layers"
    verb.add_argument("--reader-precision", choices=[*Precision], default="float32", help=text)
    text = "an encoder for each of --folds, trained on the other folds: the study once more, with these"
    verb.add_argument("--fold-encoders", type=InputPath, nargs="+", default=[], metavar="MODEL", help=text)
    text = "output of xqg-repro train folds that the fold encoders were trained on"
    verb.add_argument("--folds", type=InputPath, metavar="FOLDER", help=text)
    add_stage_options(verb, "directory to write")


def _add_made_texts(verb: Any) -> None:
    """Options for machine-made texts; several folders share the paragraphs among them."""
    kinds = {
        "generated": (
            "QUERIES",
            "generated queries: outputs of xqg-repro generate that together have each paragraph once",
        ),
        "filtered": ("QUERIES", "the best of them: outputs of xqg-repro filter"),
        "translated": ("FOLDER", "machine translations: outputs of xqg-repro translate"),
        "losses": ("FILE", "held-out losses of the generators by task and language, as their training wrote them"),
    }
    for name, (metavar, text) in kinds.items():
        verb.add_argument(f"--{name}", type=InputPath, nargs="+", default=[], metavar=metavar, help=text)


def _study(args: argparse.Namespace) -> None:
    from xqg_repro.models.settings import Precision, ReaderConfig
    from xqg_repro.study.run import StudyInputs, run_study
    from xqg_repro.study.settings import load_study
    from xqg_repro.study.tables import over_pairs_table, scores_table

    encoder = required_encoder(args)
    precision = Precision(args.reader_precision)
    inputs = StudyInputs(
        generated=tuple(args.generated),
        filtered=tuple(args.filtered),
        translated=tuple(args.translated),
        readers=tuple(ReaderConfig(model, precision=precision) for model in args.reader),
        spans=args.spans,
        losses=tuple(args.losses),
        fold_encoders=tuple(dataclasses.replace(encoder, model=model) for model in args.fold_encoders),
        folds=args.folds,
    )
    study = load_study(args.languages, args.passages, args.methods, **inputs.available)
    summary = run_study(study, encoder, args.output, inputs, **stage_settings(args))
    for measure in summary.means:
        tables = scores_table(summary, measure), over_pairs_table(summary, measure)
        print(*(table.text() for table in tables), sep="\n\n", end="\n\n")


def add_doctor(verbs: Any, name: str) -> None:
    """Declare the verb ``doctor``."""
    text = "show what is installed and what each condition and recipe still needs"
    verb = add_verb(verbs, name, _doctor, text)
    verb.description = f"{text}; the exit status is 1 if the embedded collection cannot run"
    verb.add_argument(
        "--directory", type=InputPath, default="out", help="where conditions would write (default: %(default)s)"
    )
    text = "use this data file although its checksum is not the recorded one"
    verb.add_argument("--accept", type=InputPath, metavar="FILE", help=text)
    verb.add_argument("--online", action="store_true", help="try to reach the Hugging Face hub")


def _doctor(args: argparse.Namespace) -> int:
    if args.accept is not None:
        from xqg_repro.collection.files import accept

        print(accept(args.accept))
        return 0
    from xqg_repro.reproduction.doctor import examine

    diagnosis = examine(args.directory, online=args.online)
    print(diagnosis.text())
    return 0 if diagnosis.ready else 1
