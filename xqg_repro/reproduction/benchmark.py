"""Benchmarks and their conditions, read from YAML and checked while they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models.settings import load_generator, load_preset
from xqg_repro.representation.settings import Augmentation


@dataclass(frozen=True)
class Reading:
    """How answers are taken from a run's passages.

    Attributes:
        reader: a preset's name (see ``resources/readers.yaml``).
        depth: how many of a question's passages are read.
        weight: of the retrieval score beside the answer's own.
    """

    reader: str
    depth: int = 1
    weight: float = 0.0

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"a depth of {self.depth} reads nothing", hint="read one passage a question at least")
        if not 0 <= self.weight < float("inf"):
            raise InputError(f"the weight of the retrieval score is {self.weight}", hint="it must be 0 or more")


@dataclass(frozen=True)
class Condition:
    """One row of a results table: a named way from collection to run.

    Attributes:
        name: also the run tag and part of the run's file name.
        title: the row's label in tables.
        encoder: a preset's name (see ``resources/encoders.yaml``).
        generator: a preset's name (see ``resources/generators.yaml``) whose queries augment the passages.
        corpus: queries that exist already, in place of a generator: a folder or the id of a hub dataset.
        augmentation: how they are added; needs one of the two.
        baseline: name of the condition that it is compared with.
        expected: measure → language or ``average`` → score in printed units. Never printed as if measured.
    """

    name: str
    title: str
    encoder: str
    generator: str = ""
    corpus: str = ""
    augmentation: Augmentation | None = None
    baseline: str = ""
    expected: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sources = bool(self.generator) + bool(self.corpus)
        if sources != (self.augmentation is not None):
            raise InputError(f"{self.name} needs an augmentation with one source of queries, or none of these")


@dataclass(frozen=True)
class Benchmark:
    """A collection, its topics, measures, and the conditions of its table.

    Attributes:
        name: such as ``xor-mini``.
        title: heading of its tables.
        collection: ir-datasets id of the passages.
        topics: ir-datasets id of the topics; ``{language}`` in it stands for each of ``languages`` in turn.
        languages: question languages, in table order.
        measures: measure name → how it is printed, in table order.
        reading: how answers are taken from the runs; there if, and only if, some of the measures are of answers.
        depth: passages retrieved per question.
        queries: generated queries a language for each passage.
        keep_sums: store the sums of the first 1, 2, … of them, for ablations and for other conditions; each takes as
            much room as the passages.
        study: preset of the encoder with which all conditions together include the study (see :mod:`xqg_repro.study`).
        conditions: in table order.
    """

    name: str
    title: str
    collection: str
    topics: str
    languages: tuple[str, ...]
    measures: Mapping[str, MeasureConfig]
    conditions: tuple[Condition, ...]
    reading: Reading | None = None
    depth: int = 100
    queries: int = 5
    keep_sums: bool = True
    study: str = ""

    def __post_init__(self) -> None:
        for what in ("languages", "measures", "conditions"):
            if not getattr(self, what):
                raise InputError(f"{self.name} has no {what}", hint="name one at least")
        names = [condition.name for condition in self.conditions]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two conditions are called {repeated[0]!r}", hint="their runs would be one file")
        if self.answer_measures and self.reading is None:
            raise InputError(
                f"{', '.join(self.answer_measures)} can only be measured of answers, and the benchmark reads none",
                hint="say how they are read: reading: {reader: …, depth: …, weight: …}",
            )
        if self.reading and not self.answer_measures:
            raise InputError("the benchmark reads answers, but measures none", hint="add EM or F1 to its measures")

    @property
    def answer_measures(self) -> tuple[str, ...]:
        """The measures that are of answers; all others are of runs."""
        from xqg_repro.evaluation.measures.match import (
            MATCH_MEASURES,  # settings are read long before anything is measured
        )

        return tuple(name for name in self.measures if name in MATCH_MEASURES)

    @property
    def run_measures(self) -> tuple[str, ...]:
        """The measures that are of runs."""
        return tuple(name for name in self.measures if name not in self.answer_measures)

    def topic_sets(self, languages: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
        """ir-datasets id of each topic set → the languages that are read off it."""
        chosen = languages or self.languages
        if unknown := [name for name in chosen if name not in self.languages]:
            raise InputError(
                f"{self.name} has no questions in {', '.join(unknown)}",
                hint=f"its languages are {' '.join(self.languages)}",
            )
        if "{language}" in self.topics:
            return {self.topics.format(language=language): (language,) for language in chosen}
        return {self.topics: tuple(chosen)}

    def condition(self, name: str) -> Condition:
        """The condition of that name; :class:`InputError` naming the others where there is none."""
        for condition in self.conditions:
            if condition.name == name:
                return condition
        raise InputError(
            f"{self.name} has no condition {name!r}", hint=f"choose from: {', '.join(c.name for c in self.conditions)}"
        )


def load_benchmark(name_or_path: str) -> Benchmark:
    """Read a benchmark's conditions: one that ships with the package (by name), or a YAML file of one's own."""
    path = resource("conditions", f"{name_or_path}.yaml")
    if not path.exists() and not (path := Path(name_or_path)).exists():
        known = sorted(p.stem for p in resource("conditions").glob("*.yaml"))
        raise InputError(f"there is no benchmark {name_or_path!r}", hint=f"choose from: {', '.join(known)}")
    benchmark = parse(Benchmark, read_yaml(path), path)
    for condition in benchmark.conditions:
        try:
            load_preset(condition.encoder)
            if condition.generator:
                load_generator(condition.generator)
        except InputError as error:
            raise InputError(f"{condition.name}: {error.problem}", path=path, hint=error.hint) from None
        if condition.baseline and condition.baseline not in {c.name for c in benchmark.conditions}:
            problem = f"{condition.name} has the baseline {condition.baseline!r}, which is no condition"
            raise InputError(problem, path=path)
        for measure, scores in condition.expected.items():
            unknown = [] if measure in benchmark.measures else [measure]
            unknown += [column for column in scores if column not in (*benchmark.languages, AVERAGE)]
            if unknown:
                problem = f"{condition.name} expects a score of {unknown[0]!r}, which the benchmark does not have"
                raise InputError(problem, path=path)
    return benchmark
