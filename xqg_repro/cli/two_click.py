"""The command line of ``python -m xqg_repro.2cr.<benchmark>``, the same for all benchmarks."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.cli.arguments import Directory, InputPath, OutputFile, check_arguments
from xqg_repro.cli.options import messages_on_stderr
from xqg_repro.core.errors import InputError, in_file
from xqg_repro.core.outputs import expand_home
from xqg_repro.core.streams import exit_status

if TYPE_CHECKING:
    from xqg_repro.reproduction.benchmark import Benchmark
    from xqg_repro.reproduction.report import Report
    from xqg_repro.reproduction.run import Executor
    from xqg_repro.reproduction.tasks import Step, Task

logger = logging.getLogger(__name__)


def parser(benchmark: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    shared = argparse.ArgumentParser(
        prog=f"python -m xqg_repro.2cr.{benchmark.replace('-', '_')}",
        description=f"Two-click reproduction of {benchmark}: from collection to scored TREC run.",
    )
    which = shared.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="run every condition")
    which.add_argument("--condition", nargs="+", metavar="NAME", help="run these conditions")
    which.add_argument("--list-conditions", action="store_true", help="print the conditions' names and stop")
    shared.add_argument("--language", nargs="+", default=[], metavar="LANG", help="question languages (default: all)")
    text = "model folder or id instead of the condition's own"
    shared.add_argument("--encoder", type=InputPath, default="", metavar="MODEL", help=text)
    study = "with --all, if the benchmark has a study"
    shared.add_argument(
        "--reader", type=InputPath, nargs="+", default=[], metavar="MODEL", help=f"{study}: readers, for EM and F1"
    )
    text = f"{study}: spans of an earlier study, instead of readers"
    shared.add_argument("--spans", type=InputPath, default="", metavar="FILE", help=text)
    shared.add_argument("--passages", nargs="+", default=[], metavar="LANG", help=f"{study}: paragraph languages")
    text = f"{study}: an encoder for each of --folds, trained on the other folds"
    shared.add_argument("--fold-encoders", type=InputPath, nargs="+", default=[], metavar="MODEL", help=text)
    text = f"{study}: output of xqg-repro train folds that the fold encoders were trained on"
    shared.add_argument("--folds", type=InputPath, default="", metavar="FOLDER", help=text)
    text = "everything is written below it (default: %(default)s)"
    shared.add_argument("--directory", type=Directory, default="out", help=text)
    shared.add_argument("--dry-run", action="store_true", help="print the commands, check what they need, run nothing")
    shared.add_argument("--display-commands", action="store_true", help="print each command before it runs")
    shared.add_argument("--skip-eval", action="store_true", help="write runs only: read no answers, score nothing")
    shared.add_argument("--force", action="store_true", help="rebuild everything")
    text = "run nothing: score existing runs and write --output"
    shared.add_argument("--generate-report", action="store_true", help=text)
    text = "also write a report: a page (.html) or Markdown (.md)"
    shared.add_argument("--output", type=OutputFile, metavar="FILE", help=text)
    return shared


def main(benchmark_name: str, arguments: Sequence[str] | None = None, execute: Executor | None = None) -> int:
    """Run conditions of a benchmark; ``execute`` runs their tasks, by default for real.

    Returns:
        0: every condition ran and no expected score failed; 1: a score failed or a run is missing; 2: an input error.
    """

    def action() -> int:
        args = parser(benchmark_name).parse_args(arguments)
        check_arguments(args)

        def wanted(message: str) -> bool:
            from xqg_repro.reproduction.run import COMMAND_PREFIX

            return args.display_commands or not message.startswith(COMMAND_PREFIX)

        with messages_on_stderr(wanted):
            return _main(expand_home(benchmark_name), args, execute)

    return exit_status(action)


def _main(benchmark_name: str, args: argparse.Namespace, execute: Executor | None) -> int:
    from xqg_repro.core.plots import check_matplotlib
    from xqg_repro.reproduction.benchmark import load_benchmark
    from xqg_repro.reproduction.checks import check_plan
    from xqg_repro.reproduction.execute import execute as execute_task
    from xqg_repro.reproduction.report import Report, report_of_runs
    from xqg_repro.reproduction.run import COMMAND_PREFIX, run_condition
    from xqg_repro.reproduction.tasks import plan

    _check_options(args)
    execute = execute or execute_task
    benchmark = load_benchmark(benchmark_name)
    if args.list_conditions:
        print(*(f"{condition.name}\t{condition.title}" for condition in benchmark.conditions), sep="\n")
        return 0
    conditions = [benchmark.condition(name) for name in args.condition or []] or list(benchmark.conditions)
    languages = tuple(dict.fromkeys(args.language))
    benchmark.topic_sets(languages)  # refuses an unknown language before anything runs
    if args.output and args.output.endswith(".html"):
        check_matplotlib()
    study = _study(benchmark, languages, args)
    settings: dict[str, Any] = {"languages": languages, "model": args.encoder, "steps": _steps(args)}
    if args.generate_report:
        runs = Path(args.directory) / "runs"
        if not runs.is_dir():
            raise InputError("no such folder of runs", path=runs, hint="run first, or use --directory")
        _write(report_of_runs(benchmark, runs, [condition.name for condition in conditions], languages), args)
        return 0
    tasks = [task for condition in conditions for task in plan(benchmark, condition, args.directory, **settings)]
    if args.dry_run:
        print(*tasks, *study, sep="\n")
    with in_file(benchmark_name) if Path(benchmark_name).is_file() else nullcontext():
        check_plan(benchmark, conditions, [*tasks, *study], **settings)
    if args.dry_run:
        return 0
    forced: set[Task] | None = set() if args.force else None
    report = Report(
        benchmark,
        [
            run_condition(benchmark, condition, args.directory, forced=forced, execute=execute, **settings)
            for condition in conditions
        ],
    )
    if args.skip_eval:
        return 1 if any(outcome.problems for outcome in report.outcomes) else 0
    print(report.text())
    if args.output:
        _write(report, args)
    for task in study:
        logger.info(f"{COMMAND_PREFIX}{task}")
        execute(task)
    return 1 if report.failed else 0


def _check_options(args: argparse.Namespace) -> None:
    if args.generate_report:
        if not args.output:
            raise InputError("--generate-report needs --output")
        if args.skip_eval or args.dry_run or args.list_conditions:
            raise InputError("--generate-report runs nothing", hint="leave out --skip-eval, --dry-run, …")
    elif not (args.all or args.condition or args.list_conditions):
        raise InputError("nothing to do", hint="give --all, --condition NAME, --list-conditions or --generate-report")
    if args.output and args.skip_eval:
        raise InputError("a report needs scores, which --skip-eval leaves out", hint="leave out one of the two")
    if args.output and Path(args.output).suffix not in (".html", ".md"):
        raise InputError("a report is a page or Markdown", path=args.output, hint="end its name in .html or .md")


def _steps(args: argparse.Namespace) -> list[Step]:
    from xqg_repro.reproduction.tasks import Step

    return [step for step in Step if not (args.skip_eval and step in (Step.READ, Step.EVALUATE))]


def _study(benchmark: Benchmark, languages: tuple[str, ...], args: argparse.Namespace) -> list[Task]:
    """The study, if all conditions of a benchmark that has one are to run."""
    from xqg_repro.core.plots import check_matplotlib
    from xqg_repro.models.settings import load_preset
    from xqg_repro.reproduction.checks import check_encoder, check_model
    from xqg_repro.reproduction.tasks import study_task
    from xqg_repro.study.packed import find_packed
    from xqg_repro.study.settings import load_study

    if not benchmark.study or args.skip_eval or not args.all:
        options = ("reader", "spans", "passages", "fold_encoders", "folds")
        if given := [f"--{name.replace('_', '-')}" for name in options if getattr(args, name)]:
            hint = "use --all, with a benchmark that has a study"
            raise InputError(f"only the study has {' and '.join(given)}", hint=hint)
        return []
    if args.reader and args.spans:
        raise InputError("--spans takes the place of --reader", hint="leave out one of the two")
    check_matplotlib()
    load_study(languages, args.passages)
    texts = find_packed()
    if args.passages not in ([], ["en"]):
        texts = {}  # they are about English paragraphs
    for model in (args.encoder or load_preset(benchmark.study).model, *args.fold_encoders):
        check_encoder(model)
    for model in args.reader:
        check_model(model)
    settings = {"model": args.encoder, "readers": args.reader, "languages": languages, "passages": args.passages}
    folds = {"fold_encoders": args.fold_encoders, "folds": args.folds}
    task = study_task(benchmark, args.directory, **settings, **folds, spans=args.spans, texts=texts)
    return [task.forced() if args.force else task]


def _write(report: Report, args: argparse.Namespace) -> None:
    if args.output.endswith(".html"):
        from xqg_repro.reproduction.page import write_page

        measured = report.measurements(Path(args.directory) / "runs")
        write_page(report.evidence, args.output, measured=measured, directory=args.directory)
    else:
        report.write_markdown(args.output, args.directory, args.encoder)
    print(f"report: {args.output}")
