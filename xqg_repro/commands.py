"""The one place that builds command lines: for running, for dry runs and for documentation alike."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from xqg_repro.config import Benchmark, Condition

PROGRAM = "xqg-repro"


@dataclass(frozen=True)
class Command:
    """One stage's command line.

    >>> print(Command(("index", "--embeddings", "a b", "--output", "c")))
    xqg-repro index --embeddings 'a b' --output c
    """

    arguments: tuple[str, ...]

    @property
    def stage(self) -> str:
        """The verb."""
        return self.arguments[0]

    def option(self, name: str) -> str:
        """The value that follows an option."""
        return self.arguments[self.arguments.index(name) + 1]

    def __str__(self) -> str:
        return shlex.join((PROGRAM, *self.arguments))


def passage_commands(benchmark: Benchmark, condition: Condition, directory: str, model: str = "") -> list[Command]:
    """From collection to index, for one condition.

    Args:
        benchmark: where the condition belongs.
        condition: what to build.
        directory: everything is written below it.
        model: folder or id to use in place of the preset's model.
    """
    embeddings, index = _paths(benchmark, condition, directory)
    chosen = ("--encoder", model) if model else ()
    return [
        Command(
            (
                "encode",
                "--collection",
                benchmark.collection,
                "--preset",
                condition.encoder,
                *chosen,
                "--output",
                embeddings,
            )
        ),
        Command(("index", "--embeddings", embeddings, "--output", index)),
    ]


def topic_commands(
    benchmark: Benchmark, condition: Condition, topics: str, directory: str, *, evaluate: bool = True
) -> list[Command]:
    """From index to run, and to scores if wanted, for one condition and topic set."""
    _, index = _paths(benchmark, condition, directory)
    run = run_path(benchmark, condition, topics, directory)
    name = PurePosixPath(run).name.replace("run.", "scores.", 1).replace(".txt", ".json")
    scores = str(PurePosixPath(directory, "scores", name))
    search = ("search", "--index", index, "--topics", topics, "--depth", str(benchmark.depth), "--tag", condition.name)
    measure = ("evaluate", "--run", run, "--topics", topics, "--measures", *benchmark.measures)
    planned = [Command((*search, "--output", run)), Command((*measure, "--output", scores))]
    return planned if evaluate else planned[:1]


def run_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``runs/run.<benchmark>.<condition>.<topics>.txt`` below a directory."""
    label = topics.removeprefix(f"{benchmark.name}/").replace("/", ".")
    return str(PurePosixPath(directory, "runs", f"run.{benchmark.name}.{condition.name}.{label}.txt"))


def _paths(benchmark: Benchmark, condition: Condition, directory: str) -> tuple[str, str]:
    collection = benchmark.collection.replace("/", ".")
    return (
        str(PurePosixPath(directory, "embeddings", f"{collection}.{condition.encoder}")),
        str(PurePosixPath(directory, "indexes", f"{collection}.{condition.name}")),
    )
