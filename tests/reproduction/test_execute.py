"""What is shown is what runs: a task's command line and the task itself call the same function with the same values."""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from reproduction.toy import TOY_WITH_ANSWERS, TOY_WITHOUT_SUMS, Calls, toy
from xqg_repro import cli
from xqg_repro.cli import two_click
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.scores import Missing, Scores
from xqg_repro.reproduction.benchmark import Benchmark, load_benchmark
from xqg_repro.reproduction.execute import EXECUTORS, execute
from xqg_repro.reproduction.regress import load_regression, regression_names, whole_command
from xqg_repro.reproduction.tasks import Step, Task, plan, study_task, two_click_tasks
from xqg_repro.retrieval import bm25, late_index

STAGES = ["generate.generate", "encode.encode", "sums.sum_queries", "augment.augment", "augment.augment_streaming"]
STAGES = [f"representation.{name}" for name in STAGES]
STAGES += [
    "retrieval.filter.filter_queries",
    "retrieval.index.build_index",
    "retrieval.search.search",
    "retrieval.exact.search_embeddings",
    "retrieval.sparse.build_sparse_index",
    "retrieval.late_index.build_late_index",
    "retrieval.late_search.search_late",
    "retrieval.late_rerank.rerank_late",
    "retrieval.bm25.search_sparse",
    "retrieval.fusion.fuse",
    "retrieval.read.read",
    "study.run.run_study",
]
STAGES += ["evaluation.evaluate.evaluate", "evaluation.evaluate.evaluate_answers", "evaluation.chance.score_chance"]

SHIPPED = [load_benchmark(path.stem) for path in resource("conditions").glob("*.yaml")]
AUGMENTED = """\
  - {name: made, title: A, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.5, languages: [fi, ar]}}
  - {name: mean, title: B, encoder: e5-small, corpus: a/b, augmentation: {alpha: 1.0e-05, aggregate: mean, queries: 2}}
  - {name: unit, title: C, encoder: mbert, corpus: a/b, augmentation: {alpha: 0, normalize: true}}
  - {name: best, title: J, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.5}, filter: {keep: 2, of: 8}}
  - {name: drawn, title: I, random: 3}
  - {name: bm25, title: E, sparse: true}
  - {name: bm25-more, title: F, sparse: true, generator: xqg-mini}
  - {name: tokens, title: K, late: decr-mini}
  - {name: again, title: L, late: decr-mini, reranks: unit}
  - {name: rank, title: G, fuses: [unit, bm25], fusion: {method: rrf, k: 7}}
  - name: score
    title: H
    fuses: [bm25, unit, bm25-more]
    fusion: {method: interpolation, weights: [0.1, 0.4, 0.5], normalise: none}
  - {name: long, title: D, encoder: mbert, corpus: a/b, augmentation: {alpha: 1, normalize: false}}
"""


def tasks_of(benchmark: Benchmark) -> Iterator[Task]:
    """All tasks, with the conditions' own encoders and with another."""
    for model in ("", "some/model"):
        for condition in benchmark.conditions:
            yield from plan(benchmark, condition, "out put", model=model)
    if benchmark.study:
        yield study_task(benchmark, "out")
        yield study_task(benchmark, "out", model="m", readers=["a", "b"], languages=["en", "ar"], passages=["ar"])
        texts = {"generated": ["g0", "g1"], "filtered": ["f"], "translated": ["t"], "losses": ["l.json"]}
        yield study_task(benchmark, "out", spans="s.npy", texts=texts, fold_encoders=["e0", "e1"], folds="f")


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """The tasks of the shipped benchmarks, and of toys with every setting."""
    in_files = TOY_WITH_ANSWERS.replace("toy/{language}", "$DATA/questions.jsonl.gz/{language}")
    texts = (TOY_WITH_ANSWERS, TOY_WITHOUT_SUMS, f"sum_precision: int8\n{TOY_WITH_ANSWERS}", in_files)
    toys = [toy(text + AUGMENTED) for text in texts]
    return list(dict.fromkeys(task for benchmark in (*SHIPPED, *toys) for task in tasks_of(benchmark)))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls, scores = Calls(), Scores("t", Missing.ZERO, {"F1": {"ar": {"q": 1.0}}}, {"q": "ar"}, ())
    for function in STAGES:
        calls.replace(
            function,
            scores if function.startswith("evaluation.") else SimpleNamespace(means={}, counts=defaultdict(int)),
            monkeypatch,
        )
    monkeypatch.setattr(Scores, "write", lambda scores, path: calls.append(("write", path)))
    monkeypatch.setattr(bm25, "is_sparse", lambda index: ".bm25" in str(index))
    monkeypatch.setattr(late_index, "is_late", lambda index: ".tokens" in str(index))
    # search() then takes the encoder of the index itself
    monkeypatch.setattr(sys.modules["xqg_repro.retrieval.stage"], "stored_encoder", lambda index: None)
    return calls


def test_command_line_and_task_call_the_same_function_with_the_same_arguments(tasks: list[Task], calls: Calls) -> None:
    parser = cli.parser()
    for task in tasks:
        for variant in (task,) if task.step is Step.EVALUATE else (task, task.forced()):
            calls.clear()
            args = parser.parse_args(variant.argv())
            args.run(args)
            shown = calls.copy()
            calls.clear()
            execute(variant)
            assert shown and calls == shown, variant


def test_every_executor_and_option_is_tried(tasks: list[Task]) -> None:
    assert {task.verb for task in tasks} == set(EXECUTORS)
    for verb, executor in EXECUTORS.items():
        options = {name for task in tasks if task.verb == verb for name in task.options}
        known = inspect.signature(executor).parameters.values()
        named = {option.name for option in known if option.kind is option.POSITIONAL_OR_KEYWORD}
        named |= {option.name for option in known if option.kind is option.KEYWORD_ONLY}
        assert options == named - {"force"}, verb


def test_copied_commands_are_understood() -> None:
    for benchmark in SHIPPED:
        for condition in benchmark.conditions:
            run, others = two_click_tasks(benchmark, condition, "my out")
            args = two_click.parser(benchmark.name).parse_args(run.argv())
            assert (args.condition, args.skip_eval, args.directory) == (
                [condition.name],
                not condition.random,
                "my out",
            )
            assert others == plan(benchmark, condition, "my out", steps=[Step.READ, Step.EVALUATE])
    for name in regression_names():
        args = cli.parser().parse_args(whole_command(load_regression(name)).argv())
        assert (args.regression, args.index, args.search, args.verify) == ([name], True, True, True)
