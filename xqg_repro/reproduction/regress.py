"""Regressions: named conditions whose scores and runs must stay as they are.

``resources/regressions`` has a YAML file for each: the benchmark and its conditions, checksums of the data, and the
reference runs. Expected scores and tolerances are the benchmark's. :func:`regress` runs the chosen steps and returns
its checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from xqg_repro import collection
from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.files import file_digest
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.checks import check_plan
from xqg_repro.reproduction.paths import run_path
from xqg_repro.reproduction.report import Report
from xqg_repro.reproduction.run import run_condition
from xqg_repro.reproduction.tasks import Step, Task, plan
from xqg_repro.reproduction.verdict import Check, Verdict
from xqg_repro.retrieval.runfile import Run, read_run


@dataclass(frozen=True)
class Regression:
    """What is checked.

    Attributes:
        name: also of the page, ``docs/regressions/<name>.md``.
        title: the page's heading.
        about: the page's introduction, in Markdown.
        benchmark: name of the benchmark; its YAML holds the measures, expected scores and tolerances.
        conditions: the conditions to run.
        data: the collection's file → MD5; empty where none is published.
        runs: reference run in ``runs/`` → its SHA-256; may be empty.
        scores: where the expected scores come from, in Markdown; empty if measured with this package.
        log: reproductions that were reported, a line of Markdown each.
        score_tolerance: how far a score may be from the reference run's; relative for scores above 1.
        overlap: the smallest share of a question's passages that must agree with the reference run.
    """

    name: str
    title: str
    about: str
    benchmark: str
    conditions: tuple[str, ...]
    data: Mapping[str, str]
    runs: Mapping[str, str] = field(default_factory=dict)
    scores: str = ""
    log: tuple[str, ...] = ()
    score_tolerance: float = 1e-4
    overlap: float = 0.9


class RunDifference(NamedTuple):
    """How a run differs from another run of the same questions.

    Attributes:
        questions: number of questions.
        moved: questions whose passages or ranks differ.
        rescored: passages in both runs whose scores differ by more than the tolerance.
        overlap: the smallest share of a question's passages that are in both with the same score.
    """

    questions: int
    moved: int
    rescored: int
    overlap: float

    @property
    def equal(self) -> bool:
        """Whether docids and ranks are equal, and scores within the tolerance."""
        return not (self.moved or self.rescored)

    def verdict(self, least_overlap: float) -> Verdict:
        """OK for equal runs, OKish for an overlap of ``least_overlap``, else FAIL."""
        if self.equal:
            return Verdict.OK
        return Verdict.OKISH if self.overlap >= least_overlap else Verdict.FAIL

    def __str__(self) -> str:
        if self.equal:
            return f"docids, ranks and scores of all {self.questions:,} questions"
        return (
            f"passages or ranks differ for {self.moved:,} of {self.questions:,} questions, scores for "
            f"{self.rescored:,} passages; at least {self.overlap:.0%} of a question's passages agree"
        )


def regression_names() -> list[str]:
    """Names of all regressions."""
    return sorted(path.stem for path in resource("regressions").glob("*.yaml"))


def load_regression(name: str) -> Regression:
    """Read a regression; :class:`InputError` naming the nearest if there is none of that name."""
    names = regression_names()
    if name not in names:
        raise InputError(f"unknown regression {name!r}", hint=nearest(name, names))
    path = resource("regressions", f"{name}.yaml")
    return parse(Regression, read_yaml(path), path)


def conditions_of(regression: Regression) -> tuple[Benchmark, list[Condition]]:
    """The benchmark and the conditions to run."""
    benchmark = load_benchmark(regression.benchmark)
    return benchmark, [benchmark.condition(name) for name in regression.conditions]


def regression_tasks(regression: Regression, directory: str, steps: Sequence[Step] = tuple(Step)) -> list[Task]:
    """The tasks of some steps; a task that conditions share appears once."""
    benchmark, conditions = conditions_of(regression)
    tasks = [task for condition in conditions for task in plan(benchmark, condition, directory, steps=steps)]
    return sorted(dict.fromkeys(tasks), key=lambda task: list(Step).index(task.step))


def check_regression(
    regression: Regression, directory: str, steps: Sequence[Step], references: str | Path = "runs"
) -> None:
    """Check what a regression needs, as :func:`~xqg_repro.reproduction.checks.check_plan`, and its reference runs."""
    tasks = regression_tasks(regression, directory, steps)
    check_plan(*conditions_of(regression), tasks, steps=steps)
    if Step.EVALUATE in steps:
        for name in regression.runs:
            if not (path := Path(references) / name).exists():
                raise InputError("no such reference run", path=path, hint="run in a checkout, or use --runs")


def whole_command(regression: Regression) -> Task:
    """The command that runs all steps."""
    return Task("regress", {"regression": regression.name, "index": True, "search": True, "verify": True})


def regress(
    regression: Regression,
    directory: str = "out",
    steps: Sequence[Step] = tuple(Step),
    *,
    references: str | Path = "runs",
) -> list[Check]:
    """Run some steps; with :attr:`Step.EVALUATE`, check the data, the scores and the runs.

    Args:
        regression: what to run.
        directory: everything is written below it.
        steps: index, search, read, evaluate.
        references: folder of the reference runs.

    Returns:
        the checks; without evaluation only those of what could not be run.

    Raises:
        InputError: as :func:`check_regression`, unless there is nothing to run.
    """
    if {*steps} - {Step.EVALUATE}:
        check_regression(regression, directory, steps, references)
    benchmark, conditions = conditions_of(regression)
    outcomes = [run_condition(benchmark, condition, directory, steps=steps) for condition in conditions]
    if Step.EVALUATE not in steps:
        return [
            Check(Verdict.FAIL, f"{outcome.condition.name}: not run on {topics}: {problem}")
            for outcome in outcomes
            for topics, problem in outcome.problems.items()
        ]
    paths = [
        Path(run_path(benchmark, condition, topics, directory))
        for condition in conditions
        for topics in benchmark.topic_sets()
    ]
    runs = {path.name: path for path in paths}
    checks = [_check_data(benchmark, file, checksum) for file, checksum in regression.data.items()]
    checks += Report(benchmark, outcomes).checks()
    for name, checksum in regression.runs.items():
        checks.append(_check_run(regression, runs, Path(references) / name, checksum))
    return checks


def _check_data(benchmark: Benchmark, file: str, published: str) -> Check:
    try:
        checksum = collection.file_checksum(benchmark.collection, file)
    except InputError as error:
        return Check(Verdict.FAIL, f"data: {error}")
    if published and checksum != published:
        return Check(Verdict.FAIL, f"data: {file}: expected MD5 {published}, got {checksum}")
    return Check(Verdict.OK, f"data: {file} {checksum}" + ("" if published else " (none is published)"))


def _check_run(regression: Regression, runs: Mapping[str, Path], reference: Path, expected: str) -> Check:
    name = reference.name.removesuffix(".gz")
    try:
        if not reference.exists():
            raise InputError("no such reference run", path=reference, hint="run in a checkout, or use --runs")
        if (checksum := file_digest(reference)) != expected:
            raise InputError(f"expected SHA-256 {expected}, got {checksum}", path=reference, hint="check it out again")
        difference = compare_runs(read_run(runs[name]), read_run(reference), regression.score_tolerance)
    except InputError as error:
        return Check(Verdict.FAIL, f"run: {error}")
    return Check(difference.verdict(regression.overlap), f"run: {name}: {difference}")


def compare_runs(run: Run, reference: Run, tolerance: float) -> RunDifference:
    """Compare a run with a reference run; ``tolerance`` is relative for scores above 1.

    Raises:
        InputError: the runs are of different questions.
    """
    if run.keys() != reference.keys():
        qid = min(run.keys() ^ reference.keys())
        raise InputError(f"the run and the reference run have different questions: only one of them has {qid!r}")
    moved, rescored, overlaps = 0, 0, []
    for qid, hits in reference.items():
        scores = {hit.docid: hit.score for hit in run[qid]}
        moved += list(scores) != [hit.docid for hit in hits]
        shared = [hit for hit in hits if hit.docid in scores]
        same = sum(abs(hit.score - scores[hit.docid]) <= tolerance * max(1, abs(hit.score)) for hit in shared)
        rescored += len(shared) - same
        overlaps.append(same / max(len(hits), len(scores), 1))
    return RunDifference(len(reference), moved, rescored, min(overlaps, default=1.0))
