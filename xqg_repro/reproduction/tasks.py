"""Tasks: what a reproduction does, one stage at a time; their command lines are derived, never parsed.

A :class:`Task` names a verb and its options. :meth:`Task.argv` is its command line, for display, dry runs and
documentation; :func:`xqg_repro.reproduction.execute.execute` runs it. A test holds the two together.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath, PurePosixPath
from typing import Any

from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Benchmark, Condition


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
        options: option name, with underscores → value: a text, a number, several texts, or ``True`` for a flag and
            ``False`` for its ``--no-`` form. Options appear in this order on the command line.
        program: what the command line begins with.

    >>> print(Task("augment", {"embeddings": "a b", "alpha": 0.1, "languages": ("fi", "ru"), "normalize": False}))
    xqg-repro augment --embeddings 'a b' --alpha 0.1 --languages fi ru --no-normalize
    """

    verb: str
    options: Mapping[str, Any] = field(default_factory=dict)
    program: tuple[str, ...] = ("xqg-repro",)

    @property
    def step(self) -> Step:
        """The part of a reproduction that the task belongs to."""
        return Step(self.verb) if self.verb in list(Step) else Step.INDEX

    def argv(self) -> list[str]:
        """The words of the command line behind the program: the verb and its options."""
        words = [self.verb] if self.verb else []
        for name, value in self.options.items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            elif isinstance(value, tuple):
                words += [f"--{option}", *value]
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
    """From the collection to the index, or the embeddings, of one condition.

    Args:
        benchmark: the condition's benchmark.
        condition: what to build.
        directory: everything is written below it.
        model: folder or id to use instead of the preset's model.
    """
    collection = {"collection": benchmark.collection}
    encoder = {"preset": condition.encoder, **({"encoder": model} if model else {})}
    passages = _path(benchmark, directory, "embeddings", condition.encoder)
    embeddings, index = _searched(benchmark, condition, directory)
    encode = Task("encode", {**collection, **encoder, "output": passages})
    indexing = [Task("index", {"embeddings": embeddings, "output": index})] if benchmark.index else []
    if not condition.augmentation:
        return [encode, *indexing]

    tasks = []
    generated = condition.corpus or _path(benchmark, directory, "queries", condition.generator)
    if condition.generator:
        settings = {"preset": condition.generator, "queries": benchmark.queries}
        tasks.append(Task("generate", {**collection, **settings, "output": generated}))
    tasks.append(encode)
    source = {"generated": generated}
    if benchmark.keep_sums:
        name = condition.generator or generated.strip("./").replace("/", ".")
        sums = _path(benchmark, directory, "sums", f"{condition.encoder}.{name}")
        kept: dict[str, Any] = {
            "queries": benchmark.queries,
            **({"per_language": True} if _sums_per_language(benchmark) else {}),
        }
        if benchmark.sum_precision:
            kept["precision"] = benchmark.sum_precision
        tasks.append(Task("sum", {**source, **encoder, **kept, "output": sums}))
        source = {"sums": sums}
    how = augmentation_options(_with_queries(condition.augmentation, benchmark))
    tasks.append(Task("augment", {"embeddings": passages, **source, **how, "output": embeddings}))
    return tasks + indexing


def _searched(benchmark: Benchmark, condition: Condition, directory: str) -> tuple[str, str]:
    """The embeddings of a condition and their index."""
    embeddings = condition.name if condition.augmentation else condition.encoder
    return _path(benchmark, directory, "embeddings", embeddings), _path(benchmark, directory, "indexes", condition.name)


def _sums_per_language(benchmark: Benchmark) -> bool:
    """Whether a condition adds the queries of some languages only; conditions share their sums."""
    return any(c.augmentation is not None and c.augmentation.languages for c in benchmark.conditions)


def _with_queries(how: Augmentation, benchmark: Benchmark) -> Augmentation:
    """The augmentation with its number of queries, which ``augment`` cannot read off sums that are not stored."""
    return how if how.queries or benchmark.keep_sums else dataclasses.replace(how, queries=benchmark.queries)


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


def query_tasks(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> list[Task]:
    """From what is searched to the scores of one condition and topic set; through answers, if any measure needs them.

    A run is scored before it is read, so that it has scores even if the reader is not available.
    """
    which = (benchmark, condition, topics, directory)
    questions, run, passages = {"topics": topics}, run_path(*which), benchmark.passages_of(topics)
    scored_on = {**questions, **({"collection": passages} if passages else {})}
    embeddings, index = _searched(benchmark, condition, directory)
    source = {"index": index} if benchmark.index else {"embeddings": embeddings}
    search = {**source, **questions, "depth": benchmark.depth, "tag": condition.name, "output": run}
    tasks = [Task("search", search)]
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
        tasks += query_tasks(benchmark, condition, topics, directory)
    return [task for task in tasks if task.step in steps]


def two_click_tasks(benchmark: Benchmark, condition: Condition, directory: str = "out") -> tuple[Task, list[Task]]:
    """The command that makes a condition's runs, and the tasks that read and score them: what a page offers to copy."""
    module = f"xqg_repro.2cr.{benchmark.name.replace('-', '_')}"
    options = {"condition": condition.name, "skip_eval": True, "directory": directory}
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
) -> Task:
    """The study of a benchmark that has one.

    Args:
        benchmark: names the preset of the study's encoder.
        directory: everything is written below it.
        model: folder or id to use instead of the preset's model.
        readers: models that answer from the retrieved paragraphs.
        languages, passages: of questions and paragraphs; empty for the study's own.
    """
    options: dict[str, Any] = {"preset": benchmark.study, **({"encoder": model} if model else {})}
    for name, chosen in (("languages", languages), ("passages", passages), ("reader", readers)):
        if chosen:
            options[name] = tuple(chosen)
    return Task("study", {**options, "output": str(PurePosixPath(directory, "study"))})


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
    label = _file_label(topics.removeprefix(f"{benchmark.name}/"))
    return f"{benchmark.name}.{condition.name}.{label}"


def _path(benchmark: Benchmark, directory: str, kind: str, name: str) -> str:
    return str(PurePosixPath(directory, kind, f"{_file_label(benchmark.collection)}.{name}"))


def _file_label(dataset_id: str) -> str:
    """A dataset's id as part of a file's name: of a path, without what only says where the data is, and the suffix.

    >>> _file_label("xor-mini/dev"), _file_label("$XQG_REPRO_DATA/wiki-vital/corpus.jsonl.gz")
    ('xor-mini.dev', 'wiki-vital.corpus')
    """
    path = re.sub(r"^(\$\w+|\$\{\w+\}|~\w*|\.*)/+", "", dataset_id)
    return re.sub(r"\.(jsonl?|tsv|txt)(\.gz)?(?=/|$)", "", path).replace("/", ".")


def parse_run_name(run: str | PurePath) -> tuple[str, str]:
    """Condition and topics from the name of a run or answers file; two empty strings for any other name.

    >>> parse_run_name("runs/run.xor-mini.xdr-mini.dev.txt.gz"), parse_run_name("answers.xor-mini.xdr-mini.dev.json")
    (('xdr-mini', 'xor-mini/dev'), ('xdr-mini', 'xor-mini/dev'))
    """
    match = re.fullmatch(r"(run\..*\.txt|answers\..*\.json)(\.gz)?", PurePath(run).name)
    parts = match[1].split(".")[1:-1] if match else []
    return (parts[1], "/".join([parts[0], *parts[2:]])) if len(parts) > 2 and all(parts) else ("", "")
