"""Runs named conditions from collection to scored TREC run, and judges the scores.

The commands that run are those that ``--display-commands`` and the documentation show; see :mod:`xqg_repro.commands`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from xqg_repro import cli, commands
from xqg_repro.config import AVERAGE, Benchmark, Condition, MeasureConfig, load_benchmark
from xqg_repro.errors import InputError, exit_status
from xqg_repro.evaluate import read_scores
from xqg_repro.verdict import Verdict, judge


@dataclass
class Outcome:
    """What came of one condition.

    Attributes:
        condition: what was run.
        scores: measure → language (and ``average``) → mean score in [0, 1].
        per_query: measure → language → qid → score.
        problems: topic set → why it has no scores.
    """

    condition: Condition
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    per_query: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def verdicts(
        self, measures: Mapping[str, MeasureConfig], languages: Sequence[str]
    ) -> list[tuple[str, str, Verdict, float]]:
        """(measure, language, verdict, expected) for every expected score of the languages asked for."""
        judged = []
        for measure, expected in self.condition.expected.items():
            for language, value in expected.items():
                if language in languages:
                    score = self.scores.get(measure, {}).get(language, float("nan"))
                    judged.append((measure, language, judge(score, value, measures[measure]), value))
        return judged


def plan(
    benchmark: Benchmark,
    condition: Condition,
    directory: str,
    languages: tuple[str, ...] = (),
    model: str = "",
    skip_evaluation: bool = False,
) -> list[commands.Command]:
    """All commands of one condition, in order."""
    planned = commands.passage_commands(benchmark, condition, directory, model)
    for topics in benchmark.topic_sets(languages):
        planned += commands.topic_commands(benchmark, condition, topics, directory, evaluate=not skip_evaluation)
    return planned


def run_condition(
    benchmark: Benchmark,
    condition: Condition,
    directory: str,
    *,
    languages: tuple[str, ...] = (),
    model: str = "",
    forced: set[commands.Command] | None = None,
    skip_evaluation: bool = False,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Run one condition; what is there already is reused.

    With ``forced`` everything is made anew but what these commands, which earlier conditions had in common with this
    one, have made; those that run now are added.

    A topic set whose data cannot be had is recorded as a problem and the others still run. A collection or a model
    that cannot be had raises :class:`InputError`.
    """
    outcome = Outcome(condition)
    for command in commands.passage_commands(benchmark, condition, directory, model):
        _execute(command, forced, log)
    for topics, wanted in benchmark.topic_sets(languages).items():
        try:
            planned = commands.topic_commands(benchmark, condition, topics, directory, evaluate=not skip_evaluation)
            for command in planned:
                _execute(command, forced, log)
            if not skip_evaluation:
                _collect(planned[-1].option("--output"), wanted, outcome.per_query)
        except InputError as error:
            outcome.problems[topics] = str(error)
            log(f"{topics}: not run: {error}")
    asked = set(languages or benchmark.languages)
    for measure, per_language in outcome.per_query.items():
        means = {language: fmean(values.values()) for language, values in per_language.items() if values}
        # an average over fewer languages than asked for would look like the one expected
        average = {AVERAGE: sum(means.values()) / len(means)} if set(means) == asked else {}
        outcome.scores[measure] = {**means, **average}
    return outcome


def _execute(command: commands.Command, forced: set[commands.Command] | None, log: Callable[[str], None]) -> None:
    if forced is not None and command.stage != "evaluate" and command not in forced:
        forced.add(command)
        command = commands.Command((*command.arguments, "--force"))
    log(f"$ {command}")
    with contextlib.redirect_stdout(io.StringIO()):  # evaluate prints its table; here all tables come at the end
        cli.run(command.arguments, log)


def _collect(scores_path: str, wanted: Sequence[str], found: dict[str, dict[str, dict[str, float]]]) -> None:
    scores = read_scores(scores_path)
    for measure in scores.per_query:
        by_language = scores.by_language(measure)
        found.setdefault(measure, {}).update({language: by_language.get(language, {}) for language in wanted})


def parser(benchmark: str) -> argparse.ArgumentParser:
    """The command line that all benchmarks share."""
    shared = argparse.ArgumentParser(
        prog=f"python -m xqg_repro.2cr.{benchmark.replace('-', '_')}",
        description=f"Two-click reproduction of {benchmark}: from collection to scored TREC run.",
    )
    which = shared.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="run every condition")
    which.add_argument("--condition", nargs="+", metavar="NAME", help="run these conditions")
    which.add_argument("--list-conditions", action="store_true", help="print the conditions' names and stop")
    shared.add_argument("--language", nargs="+", default=[], metavar="LANG", help="question languages (default: all)")
    shared.add_argument(
        "--encoder", default="", metavar="MODEL", help="model folder or id in place of the condition's own"
    )
    shared.add_argument("--directory", default="out", help="everything is written below it (default: %(default)s)")
    shared.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    shared.add_argument("--display-commands", action="store_true", help="print each command before it runs")
    shared.add_argument("--skip-eval", action="store_true", help="write runs, do not score them")
    shared.add_argument("--force", action="store_true", help="make everything anew")
    shared.add_argument("--output", metavar="FILE.md", help="also write a report (Markdown)")
    return shared


def main(benchmark_name: str, arguments: Sequence[str] | None = None) -> int:
    """The shell behind ``python -m xqg_repro.2cr.<benchmark>``; returns the exit status.

    0: every condition ran and no expected score failed; 1: a score failed or a run is missing; 2: an input error.
    """
    asked = parser(benchmark_name).parse_args(arguments)
    return exit_status(lambda: _main(benchmark_name, asked))


def _main(benchmark_name: str, asked: argparse.Namespace) -> int:
    benchmark = load_benchmark(benchmark_name)
    if asked.list_conditions:
        for condition in benchmark.conditions:
            print(f"{condition.name}\t{condition.title}")
        return 0
    chosen = [benchmark.condition(name) for name in asked.condition] if asked.condition else list(benchmark.conditions)
    languages = tuple(dict.fromkeys(asked.language))
    benchmark.topic_sets(languages)
    if asked.dry_run:
        for condition in chosen:
            print(*plan(benchmark, condition, asked.directory, languages, asked.encoder, asked.skip_eval), sep="\n")
        return 0
    log = _logger(asked.display_commands)
    forced: set[commands.Command] | None = set() if asked.force else None
    outcomes = [
        run_condition(
            benchmark,
            condition,
            asked.directory,
            languages=languages,
            model=asked.encoder,
            forced=forced,
            skip_evaluation=asked.skip_eval,
            log=log,
        )
        for condition in chosen
    ]
    if not asked.skip_eval:
        from xqg_repro.report import results_text, write_report

        print(results_text(benchmark, outcomes, languages))
        if asked.output:
            write_report(benchmark, outcomes, languages, asked.directory, asked.output, asked.encoder)
            print(f"report: {asked.output}")
    if asked.skip_eval:
        return 1 if any(outcome.problems for outcome in outcomes) else 0
    return 1 if failed(benchmark, outcomes, languages) else 0


def failed(benchmark: Benchmark, outcomes: Sequence[Outcome], languages: tuple[str, ...] = ()) -> bool:
    """Whether a run is missing or an expected score was not met."""
    asked = judged_languages(benchmark, languages)
    return any(
        outcome.problems or any(v is Verdict.FAIL for _, _, v, _ in outcome.verdicts(benchmark.measures, asked))
        for outcome in outcomes
    )


def judged_languages(benchmark: Benchmark, languages: tuple[str, ...]) -> tuple[str, ...]:
    """The columns whose expected scores apply: an average only when it is over all the languages."""
    chosen = languages or benchmark.languages
    return (*chosen, AVERAGE) if set(chosen) == set(benchmark.languages) else tuple(chosen)


def _logger(display_commands: bool) -> Callable[[str], None]:
    def log(message: str) -> None:
        if display_commands or not message.startswith("$ "):
            print(message, file=sys.stderr)

    return log
