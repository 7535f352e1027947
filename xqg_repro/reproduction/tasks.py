"""The one place that builds command lines: for running, for dry runs and for documentation alike."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath, PurePosixPath

from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Benchmark, Condition


class Step(StrEnum):
    """What a command does for a reproduction: make the index, search it, read answers from the run, or score."""

    INDEX = "index"
    SEARCH = "search"
    READ = "read"
    EVALUATE = "evaluate"


PROGRAM = ("xqg-repro",)


@dataclass(frozen=True)
class Command:
    """One command line: a stage's, or another program's.

    >>> print(Command(("index", "--embeddings", "a b", "--output", "c")))
    xqg-repro index --embeddings 'a b' --output c
    """

    arguments: tuple[str, ...]
    program: tuple[str, ...] = PROGRAM

    @property
    def stage(self) -> str:
        """The verb."""
        return self.arguments[0]

    @property
    def step(self) -> Step:
        """The part of a reproduction that the stage belongs to."""
        return Step(self.stage) if self.stage in list(Step) else Step.INDEX

    def option(self, name: str) -> str:
        """The value that follows an option."""
        return self.arguments[self.arguments.index(name) + 1]

    def __str__(self) -> str:
        return shlex.join((*self.program, *self.arguments))


def indexing_tasks(benchmark: Benchmark, condition: Condition, directory: str, model: str = "") -> list[Command]:
    """From collection to index, for one condition.

    Args:
        benchmark: where the condition belongs.
        condition: what to build.
        directory: everything is written below it.
        model: folder or id to use in place of the preset's model.
    """
    collection = ("--collection", benchmark.collection)
    encoder = ("--preset", condition.encoder, *(("--encoder", model) if model else ()))
    embeddings = _path(benchmark, directory, "embeddings", condition.encoder)
    planned = [("encode", *collection, *encoder, "--output", embeddings)]
    if condition.augmentation:
        generated = condition.corpus or _path(benchmark, directory, "queries", condition.generator)
        if condition.generator:
            made = ("--preset", condition.generator, "--queries", str(benchmark.queries))
            planned.insert(0, ("generate", *collection, *made, "--output", generated))
        passages, embeddings = embeddings, _path(benchmark, directory, "embeddings", condition.name)
        source = ("--generated", generated)
        if benchmark.keep_sums:
            source_name = condition.generator or generated.strip("./").replace("/", ".")
            sums = _path(benchmark, directory, "sums", f"{condition.encoder}.{source_name}")
            kept = ("--queries", str(benchmark.queries), *(("--per-language",) if _languages_apart(benchmark) else ()))
            planned.append(("sum", *source, *encoder, *kept, "--output", sums))
            source = ("--sums", sums)
        how = (*source, *augmentation_options(_complete(condition.augmentation, benchmark)))
        planned.append(("augment", "--embeddings", passages, *how, "--output", embeddings))
    index = _path(benchmark, directory, "indexes", condition.name)
    planned.append(("index", "--embeddings", embeddings, "--output", index))
    return [Command(arguments) for arguments in planned]


def _languages_apart(benchmark: Benchmark) -> bool:
    """Whether some condition takes the queries of some languages only: sums are shared between conditions."""
    return any(c.augmentation is not None and c.augmentation.languages for c in benchmark.conditions)


def _complete(how: Augmentation, benchmark: Benchmark) -> Augmentation:
    """Without stored sums, ``augment`` has to be told how many queries there are."""
    return how if how.queries or benchmark.keep_sums else dataclasses.replace(how, queries=benchmark.queries)


def augmentation_options(how: Augmentation) -> tuple[str, ...]:
    """The options of ``augment`` that say the same; α always, the others where they are not the default."""
    options = ["--alpha", str(how.alpha)]
    if how.aggregate is not Aggregate.SUM:
        options += ["--aggregate", how.aggregate]
    if how.languages:
        options += ["--languages", *how.languages]
    if how.queries:
        options += ["--queries", str(how.queries)]
    if how.normalize is not None:
        options.append("--normalize" if how.normalize else "--no-normalize")
    return tuple(options)


def query_tasks(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> list[Command]:
    """From index to run to scores, for one condition and topic set; and to answers and theirs, if any are measured.

    A run is scored before it is read: it has its scores even where the reader cannot be had.
    """
    here = (benchmark, condition, topics, directory)
    asked, run = ("--topics", topics), run_path(*here)
    found = ("--index", _path(benchmark, directory, "indexes", condition.name), *asked)
    planned = [("search", *found, "--depth", str(benchmark.depth), "--tag", condition.name, "--output", run)]
    if benchmark.run_measures:
        measures = ("--measures", *benchmark.run_measures)
        planned.append(("evaluate", "--run", run, *asked, *measures, "--output", scores_path(*here)))
    if how := benchmark.reading:
        settings = ("--preset", how.reader, "--depth", str(how.depth), "--weight", str(how.weight))
        planned.append(("read", "--run", run, *asked, *settings, "--output", answers_path(*here)))
        measures = ("--measures", *benchmark.answer_measures)
        given = ("--answers", answers_path(*here), *asked)
        planned.append(("evaluate", *given, *measures, "--output", answer_scores_path(*here)))
    return [Command(arguments) for arguments in planned]


def two_click_commands(
    benchmark: Benchmark, condition: Condition, directory: str = "out"
) -> tuple[Command, list[Command]]:
    """What is copied to reproduce one condition: the command that makes its runs; those that read and score them."""
    module = f"xqg_repro.2cr.{benchmark.name.replace('-', '_')}"
    made = ("--condition", condition.name, "--skip-eval", "--directory", directory)
    sets = benchmark.topic_sets()
    planned = [command for topics in sets for command in query_tasks(benchmark, condition, topics, directory)]
    return Command(made, ("python", "-m", module)), [c for c in planned if c.step is not Step.SEARCH]


def study_command(
    benchmark: Benchmark,
    directory: str,
    *,
    model: str = "",
    readers: Sequence[str] = (),
    languages: Sequence[str] = (),
    passages: Sequence[str] = (),
) -> Command:
    """The study of a benchmark that has one.

    Args:
        benchmark: with the preset of its encoder.
        directory: everything is written below it.
        model: folder or id to use in place of the preset's model.
        readers: models that answer from what is found.
        languages, passages: of the questions and of the paragraphs; the study's own unless given.
    """
    options = ["study", "--preset", benchmark.study, *(("--encoder", model) if model else ())]
    for option, chosen in (("--languages", languages), ("--passages", passages), ("--reader", readers)):
        options += [option, *chosen] if chosen else []
    return Command((*options, "--output", str(PurePosixPath(directory, "study"))))


def run_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``runs/run.<benchmark>.<condition>.<topics>.txt`` below a directory."""
    return str(PurePosixPath(directory, "runs", f"run.{_label(benchmark, condition, topics)}.txt"))


def scores_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``scores/scores.<benchmark>.<condition>.<topics>.json`` below a directory."""
    return str(PurePosixPath(directory, "scores", f"scores.{_label(benchmark, condition, topics)}.json"))


def answers_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``answers/answers.<benchmark>.<condition>.<topics>.json`` below a directory."""
    return str(PurePosixPath(directory, "answers", f"answers.{_label(benchmark, condition, topics)}.json"))


def answer_scores_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``scores/scores.<benchmark>.<condition>.<topics>.answers.json`` below a directory."""
    return str(PurePosixPath(directory, "scores", f"scores.{_label(benchmark, condition, topics)}.answers.json"))


def _label(benchmark: Benchmark, condition: Condition, topics: str) -> str:
    label = topics.removeprefix(f"{benchmark.name}/").replace("/", ".")
    return f"{benchmark.name}.{condition.name}.{label}"


def parse_run_name(run: str | PurePath) -> tuple[str, str]:
    """The condition and the topics that the name of a file of a run, or of answers, tells; "" and "" if it has another.

    >>> named_in("runs/run.xor-mini.xdr-mini.dev.txt.gz"), named_in("answers.xor-mini.xdr-mini.dev.json")
    (('xdr-mini', 'xor-mini/dev'), ('xdr-mini', 'xor-mini/dev'))
    """
    match = re.fullmatch(r"(run\..*\.txt|answers\..*\.json)(\.gz)?", PurePath(run).name)
    parts = match[1].split(".")[1:-1] if match else []
    return (parts[1], "/".join([parts[0], *parts[2:]])) if len(parts) > 2 and all(parts) else ("", "")


def _path(benchmark: Benchmark, directory: str, kind: str, name: str) -> str:
    return str(PurePosixPath(directory, kind, f"{benchmark.collection.replace('/', '.')}.{name}"))
