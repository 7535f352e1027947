"""Tasks: what a reproduction does, one stage at a time; their command lines are derived, never parsed.

A :class:`Task` names a verb and its options. :meth:`Task.argv` is its command line, for display, dry runs and
documentation; :func:`xqg_repro.reproduction.execute.execute` runs it. A test holds the two together.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Benchmark, Condition
from xqg_repro.reproduction.paths import answer_scores_path, answers_path, run_path, scores_path, stage_path


class Step(StrEnum):
    """The part of a reproduction that a task belongs to: build the index, search it, read answers, score."""

    INDEX = "index"
    SEARCH = "search"
    READ = "read"
    EVALUATE = "evaluate"


@dataclass(frozen=True)
class Task:
    """One stage with its options.

    Attributes:
        verb: the verb of ``xqg-repro`` or, for another ``program``, empty.
        inputs: what is named without an option, before all options: files, or the kind of a verb that has several.
        options: option name, with underscores → value: a text, a number, several texts, or ``True`` for a flag and
            ``False`` for its ``--no-`` form. Options appear in this order on the command line.
        program: what the command line begins with.

    >>> print(Task("augment", {"embeddings": "a b", "alpha": 0.1, "languages": ("fi", "ru"), "normalize": False}))
    xqg-repro augment --embeddings 'a b' --alpha 0.1 --languages fi ru --no-normalize
    """

    verb: str
    options: Mapping[str, Any] = field(default_factory=dict)
    program: tuple[str, ...] = ("xqg-repro",)
    inputs: tuple[str, ...] = ()

    @property
    def step(self) -> Step:
        """The part of a reproduction that the task belongs to."""
        others = {"fuse": Step.SEARCH, "rerank": Step.SEARCH, "chance": Step.EVALUATE}
        return Step(self.verb) if self.verb in list(Step) else others.get(self.verb, Step.INDEX)

    def argv(self) -> list[str]:
        """The words of the command line behind the program: the verb, its inputs and its options."""
        words = [*([self.verb] if self.verb else []), *self.inputs]
        for name, value in self.options.items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            elif isinstance(value, tuple):
                words += [f"--{option}", *map(str, value)]
            else:
                words += [f"--{option}", str(value)]
        return words

    def forced(self) -> Task:
        """The same task with ``--force``."""
        return dataclasses.replace(self, options={**self.options, "force": True})

    def __str__(self) -> str:
        return shlex.join((*self.program, *self.argv()))

    def __hash__(self) -> int:
        return hash(str(self))


def indexing_tasks(benchmark: Benchmark, condition: Condition, directory: str, model: str = "") -> list[Task]:
    """From the collection to the index, or the embeddings, of one condition, or of each one that it fuses.

    Args:
        benchmark: the condition's benchmark.
        condition: what to build.
        directory: everything is written below it.
        model: folder or id to use instead of the preset's model.
    """
    tasks: list[Task] = []
    for part in benchmark.parts(condition):
        if part.sparse:
            tasks += _sparse_tasks(benchmark, part, directory)
        elif part.encoder:
            tasks += _dense_tasks(benchmark, part, directory, model)
        elif part.late and not part.reranks:
            output = stage_path(benchmark, directory, "indexes", part.name)
            options = {"late": True, "collection": benchmark.collection, **_late_encoder(part, model)}
            tasks.append(Task("index", {**options, "output": output}))
    return list(dict.fromkeys(tasks))


def _sparse_tasks(benchmark: Benchmark, condition: Condition, directory: str) -> list[Task]:
    """From the collection to an index for BM25."""
    generated, tasks = _queries(benchmark, condition, directory)
    options: dict[str, Any] = {"sparse": True, "collection": benchmark.collection}
    if generated:
        options |= {"generated": generated, "queries": benchmark.queries}
    return [*tasks, Task("index", {**options, "output": stage_path(benchmark, directory, "indexes", condition.name)})]


def _late_encoder(condition: Condition, model: str) -> dict[str, str]:
    """The options that name a late-interaction encoder."""
    return {"preset": condition.late, **({"encoder": model} if model else {})}


def _queries(benchmark: Benchmark, condition: Condition, directory: str) -> tuple[str, list[Task]]:
    """A condition's generated queries, if it has any, and the task that makes them, unless they exist."""
    if not condition.generator:
        return condition.corpus, []
    count = benchmark.generated_queries(condition)
    name = condition.generator if count == benchmark.queries else f"{condition.generator}.{count}"
    output = stage_path(benchmark, directory, "queries", name)
    settings = {"preset": condition.generator, "queries": count, "output": output}
    return output, [Task("generate", {"collection": benchmark.collection, **settings})]


def _filter_task(benchmark: Benchmark, condition: Condition, directory: str, source: Mapping[str, str]) -> Task:
    """The choice of a condition's best queries; ``source`` are the options that name queries, passages and encoder."""
    output = stage_path(benchmark, directory, "queries", f"{condition.encoder}.{_queries_name(benchmark, condition)}")
    numbers = {"keep": benchmark.added_queries(condition), "of": benchmark.generated_queries(condition)}
    return Task("filter", {**source, **_sum_precision(benchmark), **numbers, "output": output})


def _queries_name(benchmark: Benchmark, condition: Condition) -> str:
    """What names the queries that augment a condition's passages in paths."""
    name = condition.generator or condition.corpus.strip("./").replace("/", ".")
    if not condition.filter:
        return name
    return f"{name}.best-{benchmark.added_queries(condition)}-of-{benchmark.generated_queries(condition)}"


def _sum_precision(benchmark: Benchmark) -> dict[str, str]:
    """The option for the number format in which queries are embedded, where it differs from the encoder's."""
    return {"precision": benchmark.sum_precision} if benchmark.sum_precision else {}


def _dense_tasks(benchmark: Benchmark, condition: Condition, directory: str, model: str) -> list[Task]:
    """From the collection to an encoder's index or embeddings."""
    encoder = {"preset": condition.encoder, **({"encoder": model} if model else {})}
    passages = stage_path(benchmark, directory, "embeddings", condition.encoder)
    embeddings, index = _searched(benchmark, condition, directory)
    encode = Task("encode", {"collection": benchmark.collection, **encoder, "output": passages})
    indexing = [Task("index", {"embeddings": embeddings, "output": index})] if benchmark.index else []
    if not condition.augmentation:
        return [encode, *indexing]

    generated, tasks = _queries(benchmark, condition, directory)
    tasks.append(encode)
    if condition.filter:
        inputs = {"queries": generated, "embeddings": passages, **encoder}
        tasks.append(_filter_task(benchmark, condition, directory, inputs))
        generated = tasks[-1].options["output"]
    source, count = {"generated": generated}, benchmark.added_queries(condition)
    if benchmark.keep_sums:
        name = f"{condition.encoder}.{_queries_name(benchmark, condition)}"
        sums = stage_path(benchmark, directory, "sums", name)
        per_language = {"per_language": True} if _sums_per_language(benchmark) else {}
        kept = {"queries": count, **per_language, **_sum_precision(benchmark)}
        tasks.append(Task("sum", {**source, **encoder, **kept, "output": sums}))
        source = {"sums": sums}
    how = augmentation_options(_with_queries(condition.augmentation, benchmark, count))
    tasks.append(Task("augment", {"embeddings": passages, **source, **how, "output": embeddings}))
    return tasks + indexing


def _searched(benchmark: Benchmark, condition: Condition, directory: str) -> tuple[str, str]:
    """The embeddings of a condition and their index."""
    embeddings = condition.name if condition.augmentation else condition.encoder
    return stage_path(benchmark, directory, "embeddings", embeddings), stage_path(
        benchmark, directory, "indexes", condition.name
    )


def _sums_per_language(benchmark: Benchmark) -> bool:
    """Whether a condition adds the queries of some languages only; conditions share their sums."""
    return any(c.augmentation is not None and c.augmentation.languages for c in benchmark.conditions)


def _with_queries(how: Augmentation, benchmark: Benchmark, count: int) -> Augmentation:
    """The augmentation with its number of queries, which ``augment`` cannot read off sums that are not stored."""
    return how if how.queries or benchmark.keep_sums else dataclasses.replace(how, queries=count)


def augmentation_options(how: Augmentation) -> dict[str, Any]:
    """The options of ``augment``: α always, the others where they differ from the default."""
    options: dict[str, Any] = {"alpha": how.alpha}
    if how.aggregate is not Aggregate.SUM:
        options["aggregate"] = how.aggregate.value
    if how.languages:
        options["languages"] = tuple(how.languages)
    if how.queries:
        options["queries"] = how.queries
    if how.normalize is not None:
        options["normalize"] = how.normalize
    return options


def query_tasks(benchmark: Benchmark, condition: Condition, topics: str, directory: str, model: str = "") -> list[Task]:
    """From what is searched to the scores of one condition and topic set; through answers, if any measure needs them.

    A run is scored before it is read, so that it has scores even if the reader is not available. ``model`` reranks
    instead of the preset's.
    """
    which = (benchmark, condition, topics, directory)
    questions, run, passages = {"topics": topics}, run_path(*which), benchmark.passages_of(topics)
    scored_on = {**questions, **({"collection": passages} if passages else {})}
    if condition.random:
        how = {"measures": benchmark.run_measures, "rankings": condition.random, "depth": benchmark.depth}
        return [Task("chance", {**scored_on, **how, "output": scores_path(*which)})]
    parts = benchmark.parts(condition)
    tasks = [_search_task(benchmark, part, topics, directory) for part in parts if not part.reranks]
    if condition.fusion:
        tasks.append(_fuse_task(*which, parts))
    if condition.reranks:
        first = run_path(benchmark, parts[0], topics, directory)
        how = {**_late_encoder(condition, model), "depth": benchmark.depth, "tag": condition.name, "output": run}
        tasks.append(Task("rerank", {"run": first, **scored_on, **how}, inputs=("late",)))
    if benchmark.run_measures:
        scored = {"run": run, **scored_on, "measures": benchmark.run_measures, "output": scores_path(*which)}
        tasks.append(Task("evaluate", scored))
    if reading := benchmark.reading:
        answers = answers_path(*which)
        settings = {"preset": reading.reader, "depth": reading.depth, "weight": reading.weight}
        tasks.append(Task("read", {"run": run, **scored_on, **settings, "output": answers}))
        scored = {"answers": answers, **scored_on, "measures": benchmark.answer_measures}
        tasks.append(Task("evaluate", {**scored, "output": answer_scores_path(*which)}))
    return tasks


def _search_task(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> Task:
    embeddings, index = _searched(benchmark, condition, directory)
    has_index = benchmark.index or condition.sparse or condition.late
    source = {"index": index} if has_index else {"embeddings": embeddings}
    output = run_path(benchmark, condition, topics, directory)
    how = {"topics": topics, "depth": benchmark.depth, "tag": condition.name, "output": output}
    return Task("search", {**source, **how})


def _fuse_task(
    benchmark: Benchmark, condition: Condition, topics: str, directory: str, parts: Sequence[Condition]
) -> Task:
    """The fusion of the parts' runs; BM25 leaves out questions none of whose words it knows."""
    runs = tuple(run_path(benchmark, part, topics, directory) for part in parts)
    how = {name: value for name, value in vars(condition.fusion).items() if value is not None}
    missing = {"allow_missing": True} if any(part.sparse for part in parts) else {}
    output = run_path(benchmark, condition, topics, directory)
    options = {**how, "depth": benchmark.depth, **missing, "tag": condition.name, "output": output}
    return Task("fuse", options, inputs=runs)


def plan(
    benchmark: Benchmark,
    condition: Condition,
    directory: str,
    languages: tuple[str, ...] = (),
    model: str = "",
    steps: Sequence[Step] = tuple(Step),
) -> list[Task]:
    """The tasks of one condition, in order."""
    tasks = indexing_tasks(benchmark, condition, directory, model)
    for topics in benchmark.topic_sets(languages):
        tasks += query_tasks(benchmark, condition, topics, directory, model)
    return [task for task in tasks if task.step in steps]


def two_click_tasks(benchmark: Benchmark, condition: Condition, directory: str = "out") -> tuple[Task, list[Task]]:
    """The command that makes a condition's runs, and the tasks that read and score them: what a page offers to copy."""
    module = f"xqg_repro.2cr.{benchmark.name.replace('-', '_')}"
    skip = {} if condition.random else {"skip_eval": True}
    options = {"condition": condition.name, **skip, "directory": directory}
    tasks = [
        task
        for topics in benchmark.topic_sets()
        for task in query_tasks(benchmark, condition, topics, directory)
        if task.step is not Step.SEARCH
    ]
    return Task("", options, ("python", "-m", module)), tasks


def study_task(
    benchmark: Benchmark,
    directory: str,
    *,
    model: str = "",
    readers: Sequence[str] = (),
    languages: Sequence[str] = (),
    passages: Sequence[str] = (),
    spans: str = "",
    fold_encoders: Sequence[str] = (),
    folds: str = "",
    texts: Mapping[str, Sequence[str]] | None = None,
) -> Task:
    """The study of a benchmark that has one.

    Args:
        benchmark: names the preset of the study's encoder.
        directory: everything is written below it.
        model: folder or id to use instead of the preset's model.
        readers: models that answer from the retrieved paragraphs.
        languages, passages: of questions and paragraphs; empty for the study's own.
        spans: a file of spans in place of readers.
        fold_encoders, folds: encoders for the study once more, and the folder of the folds that they were trained on.
        texts: machine-made texts and losses by option; see :func:`~xqg_repro.study.packed.find_packed`.
    """
    options: dict[str, Any] = {"preset": benchmark.study, **({"encoder": model} if model else {})}
    chosen = {"languages": languages, "passages": passages, **(texts or {}), "reader": readers}
    chosen |= {"fold_encoders": fold_encoders}
    options |= {name: tuple(values) for name, values in chosen.items() if values}
    options |= {name: path for name, path in (("spans", spans), ("folds", folds)) if path}
    return Task("study", {**options, "output": str(PurePosixPath(directory, "study"))})
