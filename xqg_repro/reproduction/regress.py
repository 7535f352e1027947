"""Regressions: named conditions that must go on giving the scores and the runs that they gave.

``resources/regressions`` has a YAML file for each: which benchmark and conditions, the checksums of the data, and the
reference runs. Expected scores and their tolerances are the benchmark's. :func:`regress` runs the steps asked for
and says what it found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from xqg_repro import collection
from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.files import file_digest
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.report import Report
from xqg_repro.reproduction.run import plan, run_condition
from xqg_repro.reproduction.tasks import Command, Step, run_path
from xqg_repro.reproduction.verdict import Check, Verdict
from xqg_repro.retrieval.runfile import Run, read_run


@dataclass(frozen=True)
class Regression:
    """What is checked.

    Attributes:
        name: also of the page, ``docs/regressions/<name>.md``.
        title: the page's heading.
        benchmark: name of the benchmark; its YAML holds the measures, expected scores and tolerances.
        conditions: those of its conditions that are run.
        data: the collection's file → MD5; empty where none is published.
        runs: reference run in ``runs/`` → its SHA-256; empty where there is none.
        score_tolerance: how far a score may be from the reference run's; of scores above 1, relative to them.
        overlap: the least share of a question's passages that must be the reference run's, up to that tolerance.
    """

    name: str
    title: str
    benchmark: str
    conditions: tuple[str, ...]
    data: Mapping[str, str]
    runs: Mapping[str, str] = field(default_factory=dict)
    score_tolerance: float = 1e-4
    overlap: float = 0.9


class RunDifference(NamedTuple):
    """How a run differs from another one of the same questions.

    Attributes:
        questions: number of questions.
        moved: questions whose passages are not the same ones in the same order.
        scores: passages, of those in both, whose scores differ by more than the tolerance.
        overlap: the least share of a question's passages that are in both with the same score, up to the tolerance.
    """

    questions: int
    moved: int
    scores: int
    overlap: float

    def verdict(self, least: float) -> Verdict:
        """OK for the same docids at the same ranks with the same scores, OKish for an overlap of ``least``."""
        if not (self.moved or self.scores):
            return Verdict.OK
        return Verdict.OKISH if self.overlap >= least else Verdict.FAIL

    def __str__(self) -> str:
        if not (self.moved or self.scores):
            return f"docids, ranks and scores of all {self.questions:,} questions"
        return (
            f"{self.moved:,} of {self.questions:,} questions have other passages or ranks, {self.scores:,} passages "
            f"other scores; at least {self.overlap:.0%} of a question's passages are the same"
        )


def names() -> list[str]:
    """The regressions that there are."""
    return sorted(path.stem for path in resource("regressions").glob("*.yaml"))


def load_regression(name: str) -> Regression:
    """Read a regression; :class:`InputError` naming the nearest where there is none of that name."""
    if name not in names():
        raise InputError(f"there is no regression {name!r}", hint=nearest(name, names()))
    path = resource("regressions", f"{name}.yaml")
    return parse(Regression, read_yaml(path), path)


def conditions_of(regression: Regression) -> tuple[Benchmark, list[Condition]]:
    """The benchmark and the conditions that are run."""
    benchmark = load_benchmark(regression.benchmark)
    return benchmark, [benchmark.condition(name) for name in regression.conditions]


def planned(regression: Regression, directory: str, steps: Collection[Step] = tuple(Step)) -> list[Command]:
    """The commands of some steps, each once though conditions have it in common."""
    benchmark, conditions = conditions_of(regression)
    found = [command for condition in conditions for command in plan(benchmark, condition, directory, steps=steps)]
    return sorted(dict.fromkeys(found), key=lambda command: list(Step).index(command.step))


def command(regression: Regression) -> Command:
    """The one that runs all steps."""
    return Command(("regress", "--regression", regression.name, "--index", "--search", "--verify"))


def regress(
    regression: Regression,
    directory: str = "out",
    steps: Collection[Step] = tuple(Step),
    *,
    references: str | Path = "runs",
) -> list[Check]:
    """Run some steps; with :attr:`Step.EVALUATE`, check the data, the scores and the runs.

    Args:
        regression: what is run.
        directory: everything is written below it.
        steps: index, search, read, evaluate.
        references: folder of the reference runs.

    Returns:
        what was found; without evaluation only what could not be run.
    """
    benchmark, conditions = conditions_of(regression)
    outcomes = [run_condition(benchmark, condition, directory, steps=steps) for condition in conditions]
    if Step.EVALUATE not in steps:
        problems = [(o.condition.name, topics, why) for o in outcomes for topics, why in o.problems.items()]
        return [Check(Verdict.FAIL, f"{name}: not run on {topics}: {why}") for name, topics, why in problems]
    made = {
        Path(path).name: Path(path)
        for condition in conditions
        for topics in benchmark.topic_sets()
        for path in [run_path(benchmark, condition, topics, directory)]
    }
    return [
        *(_check_data(benchmark, file, checksum) for file, checksum in regression.data.items()),
        *Report(benchmark, outcomes).checks(),
        *(_check_run(regression, made, Path(references) / name, digest) for name, digest in regression.runs.items()),
    ]


def _check_data(benchmark: Benchmark, file: str, checksum: str) -> Check:
    try:
        found = collection.file_checksum(benchmark.collection.partition("/")[0], file)
    except InputError as error:
        return Check(Verdict.FAIL, f"data: {error}")
    if checksum and found != checksum:
        return Check(Verdict.FAIL, f"data: {file} has the MD5 {found}, not {checksum}")
    return Check(Verdict.OK, f"data: {file} {found}" if checksum else f"data: {file} {found} (none is published)")


def _check_run(regression: Regression, made: Mapping[str, Path], reference: Path, checksum: str) -> Check:
    name = reference.name.removesuffix(".gz")
    try:
        if not reference.exists():
            raise InputError("there is no such reference run", path=reference, hint="run in a checkout, or use --runs")
        if (found := file_digest(reference)) != checksum:
            raise InputError(f"has the SHA-256 {found}, not {checksum}", path=reference, hint="check it out again")
        difference = compare_runs(read_run(made[name]), read_run(reference), regression.score_tolerance)
    except InputError as error:
        return Check(Verdict.FAIL, f"run: {error}")
    return Check(difference.verdict(regression.overlap), f"run: {name}: {difference}")


def compare_runs(made: Run, reference: Run, tolerance: float) -> RunDifference:
    """Compare a run with a reference run; ``tolerance`` is relative for scores above 1.

    Raises:
        InputError: the runs are of other questions.
    """
    if made.keys() != reference.keys():
        some = min(made.keys() ^ reference.keys())
        raise InputError(f"the run and the reference run do not hold the same questions: {some!r} is in one of them")
    moved, changed, overlaps = 0, 0, []
    for qid, hits in reference.items():
        scores = {hit.docid: hit.score for hit in made[qid]}
        moved += list(scores) != [hit.docid for hit in hits]
        shared = [hit for hit in hits if hit.docid in scores]
        same = sum(abs(hit.score - scores[hit.docid]) <= tolerance * max(1, abs(hit.score)) for hit in shared)
        changed += len(shared) - same
        overlaps.append(same / max(len(hits), len(scores), 1))
    return RunDifference(len(reference), moved, changed, min(overlaps, default=1.0))
