"""Runs named conditions from collection to scored TREC run, and judges the scores.

The commands that run are those that ``--display-commands`` and the documentation show; see
:mod:`xqg_repro.reproduction.tasks`.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest, manifest_path
from xqg_repro.evaluation.evaluate import Scores, evaluate, evaluate_answers, read_scores
from xqg_repro.reproduction import tasks as commands
from xqg_repro.reproduction.benchmark import Benchmark, Condition
from xqg_repro.reproduction.tasks import Command, Step
from xqg_repro.reproduction.verdict import Verdict, judge

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What came of one condition.

    Attributes:
        condition: what was run.
        languages: the question languages that were asked for.
        per_query: measure → language → qid → score.
        problems: topic set → why it has no scores.
    """

    condition: Condition
    languages: tuple[str, ...]
    per_query: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Measure → language (and ``average``) → mean score in [0, 1]."""
        found = {}
        for measure, per_language in self.per_query.items():
            means = {language: fmean(values.values()) for language, values in per_language.items() if values}
            # an average over fewer languages than asked for would look like the one expected
            average = {AVERAGE: fmean(means.values())} if set(means) == set(self.languages) else {}
            found[measure] = {**means, **average}
        return found

    def verdicts(self, benchmark: Benchmark) -> list[tuple[str, str, Verdict, float]]:
        """(measure, language, verdict, expected) for every expected score of the languages asked for."""
        complete = set(self.languages) == set(benchmark.languages)  # an average of some is not the one expected
        columns, judged, scores = (*self.languages, *((AVERAGE,) if complete else ())), [], self.scores
        for measure, expected in self.condition.expected.items():
            for language, value in expected.items():
                if language in columns:
                    score = scores.get(measure, {}).get(language, float("nan"))
                    judged.append((measure, language, judge(score, value, benchmark.measures[measure]), value))
        return judged


def plan(
    benchmark: Benchmark,
    condition: Condition,
    directory: str,
    languages: tuple[str, ...] = (),
    model: str = "",
    steps: Collection[Step] = tuple(Step),
) -> list[Command]:
    """The commands of one condition, in order."""
    planned = commands.indexing_tasks(benchmark, condition, directory, model)
    for topics in benchmark.topic_sets(languages):
        planned += commands.query_tasks(benchmark, condition, topics, directory)
    return [command for command in planned if command.step in steps]


def run_condition(
    benchmark: Benchmark,
    condition: Condition,
    directory: str,
    *,
    languages: tuple[str, ...] = (),
    model: str = "",
    forced: set[Command] | None = None,
    steps: Collection[Step] = tuple(Step),
) -> Outcome:
    """Run one condition, or some steps of it; what is up to date is reused.

    With ``forced`` everything is rebuilt but what these commands, which earlier conditions had in common with this
    one, have made; those that run now are added.

    A topic set whose data cannot be had is recorded as a problem and the others still run. A collection or a model
    that cannot be had raises :class:`InputError`.
    """
    outcome = Outcome(condition, languages or benchmark.languages)
    if Step.INDEX in steps:
        for command in commands.indexing_tasks(benchmark, condition, directory, model):
            _execute(command, forced)
    for topics, wanted in benchmark.topic_sets(languages).items():
        try:
            for command in commands.query_tasks(benchmark, condition, topics, directory):
                if command.step in steps:
                    _execute(command, forced)
                if command.step is Step.EVALUATE in steps:
                    _collect(read_scores(command.option("--output")), wanted, outcome)
        except InputError as error:
            outcome.problems[topics] = str(error)
            logger.info(f"{topics}: not run: {error}")
    return outcome


def _execute(command: Command, forced: set[Command] | None) -> None:
    if forced is not None and command.step is not Step.EVALUATE and command not in forced:
        forced.add(command)
        command = Command((*command.arguments, "--force"))
    logger.info(f"$ {command}")
    with contextlib.redirect_stdout(io.StringIO()):  # evaluate prints its table; here all tables come at the end
        args = cli.parser().parse_args(command.arguments)
        args.run(args)


def load_outcome(
    benchmark: Benchmark, condition: Condition, folder: str | Path, languages: tuple[str, ...] = ()
) -> Outcome:
    """What the runs in a folder, such as ``out/runs``, score; nothing is run, and what is not there is left out.

    The answers that were read from the runs lie beside them, or in the folder ``answers`` beside theirs. Where a run or
    its answers are not kept, as the questions may not be at hand, ``scores.….json`` may lie in the run's place: what
    ``evaluate`` wrote. All may be compressed (``.gz``).
    """
    folder, outcome = Path(folder), Outcome(condition, languages or benchmark.languages)
    for topics, wanted in benchmark.topic_sets(languages).items():
        run, scores, answers, answer_scores = (
            folder / Path(path(benchmark, condition, topics, "")).name
            for path in (commands.run_path, commands.scores_path, commands.answers_path, commands.answer_scores_path)
        )
        if path := existing(run):
            _collect(evaluate(path, topics, benchmark.run_measures), wanted, outcome)
        elif path := existing(scores):
            _collect(read_scores(path), wanted, outcome)
        if not benchmark.reading:
            continue
        if path := existing(answers, folder.resolve().parent / "answers" / answers.name):
            _check_read(path, run)
            _collect(evaluate_answers(path, topics, benchmark.answer_measures), wanted, outcome)
        elif path := existing(answer_scores):
            _collect(read_scores(path), wanted, outcome)
    return outcome


def _check_read(answers: Path, run: Path) -> None:
    """Raise for answers whose note says that they were read from another run than the one that is there."""
    note = manifest_path(answers)
    if note.exists() and run.exists() and Manifest.read_as(note).inputs.get("run") != file_digest(run):
        hint = "read them again: run the two-click command without --skip-eval"
        raise InputError(f"were not read from {run} as it is now", path=answers, hint=hint)


def existing(*paths: Path) -> Path | None:
    """The first file that is there as it is or compressed."""
    return next((p for path in paths for p in (path, path.with_name(f"{path.name}.gz")) if p.exists()), None)


def _collect(scores: Scores, wanted: Sequence[str], outcome: Outcome) -> None:
    for measure in scores.per_query:
        by_language = scores.by_language(measure)
        found = {language: by_language.get(language, {}) for language in wanted}
        outcome.per_query.setdefault(measure, {}).update(found)
