"""Runs named conditions from collection to scores, or loads the scores of runs that exist."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest, manifest_path
from xqg_repro.evaluation.evaluate import evaluate, evaluate_answers
from xqg_repro.evaluation.scores import Scores, read_scores
from xqg_repro.reproduction.benchmark import Benchmark, Condition
from xqg_repro.reproduction.execute import execute as execute_task
from xqg_repro.reproduction.paths import answer_scores_path, answers_path, run_path, scores_path
from xqg_repro.reproduction.tasks import Step, Task, indexing_tasks, query_tasks
from xqg_repro.reproduction.verdict import Verdict, judge

logger = logging.getLogger(__name__)

COMMAND_PREFIX = "$ "
"""Log messages that show a command begin so."""

Executor = Callable[[Task], Any]


@dataclass
class Outcome:
    """What came of one condition.

    Attributes:
        condition: the condition.
        languages: the question languages that it was run in.
        per_query: measure → language → qid → score.
        problems: topic set → why it has no scores.
    """

    condition: Condition
    languages: tuple[str, ...]
    per_query: dict[str, dict[str, Mapping[str, float]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Measure → language (and ``average``) → mean score in [0, 1]."""
        scores = {}
        for measure, per_language in self.per_query.items():
            means = {language: fmean(values.values()) for language, values in per_language.items() if values}
            # an average over fewer languages would look like the expected one
            average = {AVERAGE: fmean(means.values())} if set(means) == set(self.languages) else {}
            scores[measure] = {**means, **average}
        return scores

    def verdicts(self, benchmark: Benchmark) -> list[tuple[str, str, Verdict, float]]:
        """(measure, language, verdict, expected) for every expected score of the outcome's languages."""
        columns = set(self.languages)
        if columns == set(benchmark.languages):  # the expected average is over all languages
            columns.add(AVERAGE)
        verdicts, scores = [], self.scores
        for measure, expected_scores in self.condition.expected.items():
            for language, expected in expected_scores.items():
                if language in columns:
                    score = scores.get(measure, {}).get(language, float("nan"))
                    verdict = judge(score, expected, benchmark.measures[measure])
                    verdicts.append((measure, language, verdict, expected))
        return verdicts

    def add(self, scores: Scores, languages: Sequence[str]) -> None:
        """Take over the scores of a topic set's languages."""
        for measure in scores.per_query:
            chosen = {language: scores.per_query[measure].get(language, {}) for language in languages}
            self.per_query.setdefault(measure, {}).update(chosen)


def run_condition(
    benchmark: Benchmark,
    condition: Condition,
    directory: str,
    *,
    languages: tuple[str, ...] = (),
    model: str = "",
    forced: set[Task] | None = None,
    steps: Collection[Step] = tuple(Step),
    execute: Executor = execute_task,
) -> Outcome:
    """Run one condition, or some of its steps; outputs that match are reused.

    A topic set whose data is not available is recorded as a problem, and the others still run.

    Args:
        benchmark: the condition's benchmark.
        condition: what to run.
        directory: everything is written below it.
        languages: question languages; empty for all.
        model: encoder to use instead of the preset's model.
        forced: rebuild everything but the outputs of these tasks, which earlier conditions share; tasks that run now
            are added. ``None`` rebuilds nothing.
        steps: which steps to run.
        execute: runs a task; returns :class:`Scores` for ``evaluate``.

    Raises:
        InputError: the collection or a model is not available.
    """
    outcome = Outcome(condition, languages or benchmark.languages)
    if Step.INDEX in steps:
        for task in indexing_tasks(benchmark, condition, directory, model):
            _run_task(task, forced, execute)
    for topics, topic_languages in benchmark.topic_sets(languages).items():
        try:
            for task in query_tasks(benchmark, condition, topics, directory, model):
                if task.step not in steps:
                    continue
                result = _run_task(task, forced, execute)
                if task.step is Step.EVALUATE:
                    outcome.add(result, topic_languages)
        except InputError as error:
            outcome.problems[topics] = str(error)
            logger.info(f"{topics}: not run: {error}")
    return outcome


def _run_task(task: Task, forced: set[Task] | None, execute: Executor) -> Any:
    if forced is not None and task.step is not Step.EVALUATE and task not in forced:
        forced.add(task)
        task = task.forced()
    logger.info(f"{COMMAND_PREFIX}{task}")
    return execute(task)


def load_outcome(
    benchmark: Benchmark, condition: Condition, folder: str | Path, languages: tuple[str, ...] = ()
) -> Outcome:
    """Score the runs in a folder, such as ``out/runs``, without running anything; missing runs are left out.

    Answers are looked for beside the runs, then in the sibling folder ``answers``. Where a run or its answers are not
    kept, a score file that ``evaluate`` wrote may stand in for them; that of random rankings may also be in the sibling
    folder ``scores``. Any of these files may be gzipped.
    """
    folder, outcome = Path(folder), Outcome(condition, languages or benchmark.languages)
    for topics, topic_languages in benchmark.topic_sets(languages).items():

        def place(path_of: Callable[..., str], topics: str = topics) -> Path:
            return folder / Path(path_of(benchmark, condition, topics, "")).name

        run, answers, scores = place(run_path), place(answers_path), place(scores_path)
        beside = [folder.resolve().parent / "scores" / scores.name] if condition.random else []
        passages = benchmark.passages_of(topics)
        if path := existing(run):
            outcome.add(evaluate(path, topics, benchmark.run_measures, passages=passages), topic_languages)
        elif path := existing(scores, *beside):
            outcome.add(read_scores(path), topic_languages)
        if not benchmark.reading:
            continue
        if path := existing(answers, folder.resolve().parent / "answers" / answers.name):
            _check_answers_match(path, run)
            found = evaluate_answers(path, topics, benchmark.answer_measures, passages=passages)
            outcome.add(found, topic_languages)
        elif path := existing(place(answer_scores_path)):
            outcome.add(read_scores(path), topic_languages)
    return outcome


def _check_answers_match(answers: Path, run: Path) -> None:
    """Raise if the manifest of an answers file says that another run was read."""
    manifest = manifest_path(answers)
    if manifest.exists() and run.exists() and Manifest.read_as(manifest).inputs.get("run") != file_digest(run):
        hint = "read again: run the two-click command without --skip-eval"
        raise InputError(f"were read from another version of {run}", path=answers, hint=hint)


def existing(*paths: Path) -> Path | None:
    """The first path that exists, as it is or gzipped."""
    candidates = (candidate for path in paths for candidate in (path, path.with_name(f"{path.name}.gz")))
    return next((path for path in candidates if path.exists()), None)
