"""The command line behind ``python -m xqg_repro.2cr.<benchmark>``, the same for all benchmarks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_repro.core.errors import InputError, exit_status

if TYPE_CHECKING:
    from xqg_repro.reproduction.benchmark import Benchmark, Condition
    from xqg_repro.reproduction.report import Report
    from xqg_repro.reproduction.run import Outcome
    from xqg_repro.reproduction.tasks import Command, Step


def parser(benchmark: str) -> argparse.ArgumentParser:
    """The command line that all benchmarks share."""
    shared = argparse.ArgumentParser(
        prog=f"python -m xqg_repro.2cr.{benchmark.replace('-', '_')}",
        description=f"Two-click reproduction of {benchmark}: from collection to scored TREC run.",
    )
    which = shared.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="run every condition")
    which.add_argument("--condition", nargs="+", metavar="NAME", help="run these conditions")
    which.add_argument("--list-conditions", action="store_true", help="print the conditions' names and stop")
    shared.add_argument("--language", nargs="+", default=[], metavar="LANG", help="question languages (default: all)")
    shared.add_argument(
        "--encoder", default="", metavar="MODEL", help="model folder or id in place of the condition's own"
    )
    text = "with --all, where the benchmark includes the study"
    shared.add_argument("--reader", nargs="+", default=[], metavar="MODEL", help=f"{text}: readers, for EM and F1")
    shared.add_argument("--passages", nargs="+", default=[], metavar="LANG", help=f"{text}: languages of paragraphs")
    shared.add_argument("--directory", default="out", help="everything is written below it (default: %(default)s)")
    shared.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    shared.add_argument("--display-commands", action="store_true", help="print each command before it runs")
    shared.add_argument("--skip-eval", action="store_true", help="write runs, neither read answers nor score")
    shared.add_argument("--force", action="store_true", help="make everything anew")
    shared.add_argument(
        "--generate-report", action="store_true", help="run nothing: score the runs that are there and write --output"
    )
    shared.add_argument("--output", metavar="FILE", help="also write a report: a page (.html) or Markdown (.md)")
    return shared


def main(benchmark_name: str, arguments: Sequence[str] | None = None) -> int:
    """The shell behind ``python -m xqg_repro.2cr.<benchmark>``; returns the exit status.

    0: every condition ran and no expected score failed; 1: a score failed or a run is missing; 2: an input error.
    """
    asked = parser(benchmark_name).parse_args(arguments)
    return exit_status(lambda: _main(benchmark_name, asked))


def _main(benchmark_name: str, asked: argparse.Namespace) -> int:
    from xqg_repro import cli
    from xqg_repro.reproduction.benchmark import load_benchmark
    from xqg_repro.reproduction.report import Report, report_of_runs
    from xqg_repro.reproduction.run import plan

    _check(asked)
    benchmark = load_benchmark(benchmark_name)
    if asked.list_conditions:
        print(*(f"{condition.name}\t{condition.title}" for condition in benchmark.conditions), sep="\n")
        return 0
    chosen = [benchmark.condition(name) for name in asked.condition] if asked.condition else list(benchmark.conditions)
    languages = tuple(dict.fromkeys(asked.language))
    benchmark.topic_sets(languages)  # an unknown language is noticed before anything runs
    study = _study(benchmark, languages, asked)
    if asked.dry_run:
        for condition in chosen:
            planned = plan(benchmark, condition, asked.directory, languages, asked.encoder, _steps(asked))
            print(*planned, sep="\n")
        print(*study, sep="\n", end="\n" if study else "")
        return 0
    if asked.generate_report:
        runs = Path(asked.directory) / "runs"
        if not runs.is_dir():
            raise InputError("there is no such folder of runs", path=runs, mend="run first, or name its --directory")
        _write(report_of_runs(benchmark, runs, [condition.name for condition in chosen], languages), asked)
        return 0
    report = Report(benchmark, _run(benchmark, chosen, languages, asked))
    if asked.skip_eval:
        return 1 if any(outcome.problems for outcome in report.outcomes) else 0
    print(report.text())
    if asked.output:
        _write(report, asked)
    for command in study:
        log = _log(asked)
        log(f"$ {command}")
        cli.run(command.arguments, log)
    return 1 if report.failed else 0


def _check(asked: argparse.Namespace) -> None:
    if asked.generate_report:
        if not asked.output:
            raise InputError("--generate-report writes a report, but --output names none")
        if asked.skip_eval or asked.dry_run or asked.list_conditions:
            raise InputError("--generate-report runs nothing", mend="leave --skip-eval, --dry-run, … out")
    elif not (asked.all or asked.condition or asked.list_conditions):
        raise InputError("nothing to do", mend="give --all, --condition NAME, --list-conditions or --generate-report")
    if asked.output and asked.skip_eval:
        raise InputError("a report needs scores, which --skip-eval leaves out", mend="leave one of the two out")
    if asked.output and Path(asked.output).suffix not in (".html", ".md"):
        raise InputError("a report is a page or Markdown", path=asked.output, mend="end its name in .html or .md")


def _steps(asked: argparse.Namespace) -> list[Step]:
    from xqg_repro.reproduction.tasks import Step

    return [step for step in Step if not (asked.skip_eval and step in (Step.READ, Step.EVALUATE))]


def _run(
    benchmark: Benchmark, chosen: Sequence[Condition], languages: tuple[str, ...], asked: argparse.Namespace
) -> list[Outcome]:
    from xqg_repro.reproduction.run import run_condition

    forced = set() if asked.force else None
    settings = {"languages": languages, "model": asked.encoder, "forced": forced, "steps": _steps(asked)}
    settings["log"] = _log(asked)
    return [run_condition(benchmark, condition, asked.directory, **settings) for condition in chosen]


def _log(asked: argparse.Namespace) -> Callable[[str], None]:
    def log(message: str) -> None:
        if asked.display_commands or not message.startswith("$ "):
            print(message, file=sys.stderr)

    return log


def _study(benchmark: Benchmark, languages: tuple[str, ...], asked: argparse.Namespace) -> list[Command]:
    """The study's command, where all of a benchmark is asked for and it has one."""
    from xqg_repro.reproduction.tasks import Command, study_command

    if not benchmark.study or asked.skip_eval or not asked.all:
        if asked.reader or asked.passages:
            raise InputError("--reader and --passages are of the study", mend="give --all, of a benchmark with a study")
        return []
    settings = {"model": asked.encoder, "readers": asked.reader, "languages": languages, "passages": asked.passages}
    command = study_command(benchmark, asked.directory, **settings)
    return [Command((*command.arguments, "--force")) if asked.force else command]


def _write(report: Report, asked: argparse.Namespace) -> None:
    if asked.output.endswith(".html"):
        from xqg_repro.reproduction.page import write_page

        measured = report.measurements(Path(asked.directory) / "runs")
        write_page(report.evidence, asked.output, measured=measured, directory=asked.directory)
    else:
        report.write_markdown(asked.output, asked.directory, asked.encoder)
    print(f"report: {asked.output}")
