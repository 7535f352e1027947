"""A toy benchmark with two question languages, and what stands in for stages."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module

import pytest
import yaml

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse
from xqg_repro.evaluation.scores import Missing, Scores
from xqg_repro.reproduction.benchmark import Benchmark
from xqg_repro.reproduction.tasks import Task

TOY = """\
name: toy
title: A toy
collection: toy
topics: toy/{language}
languages: [ar, fi]
measures:
  R@1: {scale: 100, digits: 1, tolerance: 0.5}
conditions:
  - {name: plain, title: The plain one, encoder: mbert, expected: {R@1: {ar: 50, fi: 60, average: 55}}}
  - {name: free, title: The free one, encoder: mbert}
"""

AUGMENTED = """\
  - {name: made, title: Generated, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.5}, baseline: plain}
  - {name: more, title: More of it, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.9}}
  - {name: had, title: Published, encoder: mbert, corpus: some/corpus, augmentation: {alpha: 0.02, queries: 4}}
"""

READING = """\
reading: {reader: reader-mini, depth: 3, weight: 0.5}
measures:
  EM: {scale: 100, digits: 1, tolerance: 1}
  F1: {scale: 100, digits: 1, tolerance: 1}
"""

TOY_WITH_ANSWERS = TOY.replace("measures:\n", READING).replace("{R@1: {ar: 50,", "{EM: {ar: 50, fi: 60}, R@1: {ar: 50,")

TOY_WITHOUT_SUMS = TOY.replace("measures:", "keep_sums: false\nmeasures:")


def register() -> None:
    """Make the toy's datasets known to ir-datasets. They are empty."""
    import ir_datasets

    from xqg_repro.collection.handlers import Judgements, ListedDocs, Questions, dataset

    docs, questions = ListedDocs(lambda: ([], ""), "toy", "en"), Questions(lambda: ([], ""), "toy")
    qrels = Judgements(list, questions)
    for name in ("toy", "toy/ar", "toy/fi"):
        if name not in ir_datasets.registry._registered:
            ir_datasets.registry.register(name, dataset("xor-mini", docs, questions, qrels))


def toy(text: str = TOY) -> Benchmark:
    """The benchmark that a YAML text describes."""
    return parse(Benchmark, yaml.safe_load(text), "toy.yaml")


class Stages:
    """Runs no stage but keeps the tasks; ``evaluate`` gives all questions of a language the same score."""

    def __init__(self) -> None:
        self.scores = {"ar": 0.5, "fi": 0.6}
        self.problems: dict[tuple[str, str], str] = {}  # (verb, language) → what goes wrong
        self.tasks: list[Task] = []

    def __call__(self, task: Task) -> Scores | None:
        self.tasks.append(task)
        language = task.options.get("topics", "").rpartition("/")[2]
        if problem := self.problems.get((task.verb, language)):
            raise InputError(problem, path=f"{language}.json")
        if task.verb != "evaluate":
            return None
        qids = [f"{language}{number}" for number in range(2)]
        per_query = {
            measure: {language: dict.fromkeys(qids, self.scores[language])} for measure in task.options["measures"]
        }
        return Scores(task.options["topics"], Missing.ZERO, per_query, dict.fromkeys(qids, language), ())

    @property
    def verbs(self) -> list[str]:
        return [task.verb for task in self.tasks]


class Calls(list[tuple[str, dict[str, object]]]):
    """The calls of stages' functions, none of which runs: name, and all arguments with those left to defaults."""

    def replace(self, function: str, returned: object, patch: pytest.MonkeyPatch) -> None:
        """Let a function, such as ``retrieval.search.search``, only keep its arguments."""
        module, _, name = function.rpartition(".")
        # a folder's public name hides the module of the same name, so that no path of attributes leads to it
        home = sys.modules[import_module(f"xqg_repro.{module}").__name__]
        signature = inspect.signature(getattr(home, name))

        def stand_in(*args: object, **settings: object) -> object:
            bound = signature.bind(*args, **settings)
            bound.apply_defaults()
            self.append((name, {key: _plain(value) for key, value in bound.arguments.items()}))
            return returned

        patch.setattr(home, name, stand_in)


def _plain(value: object) -> object:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
