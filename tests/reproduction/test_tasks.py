from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from reproduction.toy import TOY_WITH_ANSWERS, write_toy
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.tasks import (
    Step,
    Task,
    augmentation_options,
    indexing_tasks,
    parse_run_name,
    plan,
    query_tasks,
    run_path,
    study_task,
    two_click_tasks,
)


def test_task_prints_as_a_shell_reads_it() -> None:
    options = {"output": "two words", "query_prefix": "it's", "languages": ("fi", "$ru"), "weight": 1e-05}
    task = Task("encode", {**options, "force": True, "normalize": False})
    assert shlex.split(str(task)) == ["xqg-repro", *task.argv()]
    assert task.argv()[-6:] == ["fi", "$ru", "--weight", "1e-05", "--force", "--no-normalize"]


# the tasks of a condition


def benchmark_of(*conditions: Condition, **settings: object) -> Benchmark:
    measures = {"R2kt": MeasureConfig()}
    return Benchmark("toy", "A toy", "toy/docs", "toy/dev", ("ar", "fi"), measures, conditions, **settings)  # type: ignore[arg-type]


def augmented(name: str = "augmented", how: Augmentation | None = None, **settings: str) -> Condition:
    source = settings if "corpus" in settings else {"generator": "xqg-mini", **settings}
    return Condition(name, "Title", **{"encoder": "mbert", **source}, augmentation=how or Augmentation())  # type: ignore[arg-type]


def tasks_of(condition: Condition, model: str = "", **settings: object) -> dict[str, dict[str, object]]:
    """Verb → options of the condition's indexing tasks, in order."""
    tasks = indexing_tasks(benchmark_of(condition, **settings), condition, "out", model)
    return {task.verb: dict(task.options) for task in tasks}


def test_stages_hand_their_outputs_on() -> None:
    benchmark = load_benchmark("xquad")
    condition = benchmark.condition("e5-small")
    encode, index, search, evaluate = (
        task.options
        for task in indexing_tasks(benchmark, condition, "out")
        + query_tasks(benchmark, condition, "xquad/en/ar", "out")
    )
    assert index["embeddings"] == encode["output"]
    assert (search["index"], search["tag"]) == (index["output"], "e5-small")
    assert evaluate["run"] == search["output"] == "out/runs/run.xquad.e5-small.en.ar.txt"


def test_queries_are_generated_summed_and_added() -> None:
    tasks = tasks_of(augmented())
    assert {verb: options["output"] for verb, options in tasks.items()} == {
        "generate": "out/queries/toy.docs.xqg-mini",
        "encode": "out/embeddings/toy.docs.mbert",
        "sum": "out/sums/toy.docs.mbert.xqg-mini",
        "augment": "out/embeddings/toy.docs.augmented",
        "index": "out/indexes/toy.docs.augmented",
    }
    assert list(tasks) == ["generate", "encode", "sum", "augment", "index"]
    generate, encode, total, augment, index = tasks.values()
    assert (generate["collection"], generate["preset"]) == ("toy/docs", "xqg-mini")
    assert (total["generated"], total["preset"]) == (generate["output"], encode["preset"])
    assert (augment["embeddings"], augment["sums"], augment["alpha"]) == (encode["output"], total["output"], 0.01)
    assert index["embeddings"] == augment["output"]


def test_published_queries_are_not_generated() -> None:
    tasks = tasks_of(augmented(corpus="owner/corpus"))
    assert list(tasks) == ["encode", "sum", "augment", "index"]
    assert tasks["sum"]["generated"] == "owner/corpus"
    assert tasks["sum"]["output"] == tasks["augment"]["sums"] == "out/sums/toy.docs.mbert.owner.corpus"


@pytest.mark.parametrize(
    ("settings", "source"), [({"corpus": "owner/corpus"}, "owner/corpus"), ({}, "out/queries/toy.docs.xqg-mini")]
)
def test_sums_that_are_not_kept_are_not_computed(settings: dict[str, str], source: str) -> None:
    tasks = tasks_of(augmented(**settings), keep_sums=False)
    assert "sum" not in tasks and "sums" not in tasks["augment"]
    assert tasks["augment"]["generated"] == source


@pytest.mark.parametrize("keep_sums", [True, False])
def test_another_model_encodes_the_queries_too(keep_sums: bool) -> None:
    tasks = tasks_of(augmented(), "some/model", keep_sums=keep_sums)
    encoders = {verb: options["encoder"] for verb, options in tasks.items() if "encoder" in options}
    # augment takes the encoder of the embeddings
    assert encoders == dict.fromkeys(["encode", "sum"] if keep_sums else ["encode"], "some/model")


@pytest.mark.parametrize(("keep_sums", "adds"), [(True, "sum"), (False, "augment")])
def test_benchmark_has_its_number_of_queries(keep_sums: bool, adds: str) -> None:
    tasks = tasks_of(augmented(), queries=7, keep_sums=keep_sums)
    assert {v: options["queries"] for v, options in tasks.items() if "queries" in options} == {"generate": 7, adds: 7}
    tasks = tasks_of(augmented(how=Augmentation(queries=2)), queries=4, keep_sums=keep_sums)
    assert (tasks["generate"]["queries"], tasks["augment"]["queries"]) == (4, 2)


def test_sums_are_per_language_if_any_condition_adds_some_languages() -> None:
    every, some = augmented(), augmented("some", Augmentation(languages=("fi",)))
    for conditions in ((every, some), (some, every)):
        benchmark = benchmark_of(*conditions)
        first, second = (task for c in conditions for task in indexing_tasks(benchmark, c, "out") if task.verb == "sum")
        assert first == second and first.options["per_language"]


def test_conditions_share_what_they_have_in_common_and_no_more() -> None:
    conditions = (
        Condition("plain", "Plain", "mbert"),
        augmented("one"),
        augmented("two", Augmentation(0.2)),
        augmented("three", encoder="xdr-mini"),
        augmented("four", generator="xqg-mt5-base"),
    )
    benchmark = benchmark_of(*conditions)
    tasks = {task for condition in conditions for task in indexing_tasks(benchmark, condition, "out")}
    assert len({task.options["output"] for task in tasks}) == len(tasks)
    verbs = [task.verb for task in tasks]
    expected = {"generate": 2, "encode": 2, "sum": 3, "augment": 4, "index": 5}
    assert {verb: verbs.count(verb) for verb in expected} == expected


@pytest.mark.parametrize(
    ("how", "options"),
    [
        (Augmentation(), {"alpha": 0.01}),
        (Augmentation(0, normalize=True), {"alpha": 0, "normalize": True}),
        (
            Augmentation(1.0, Aggregate.MEAN, ("fi", "te"), 4, False),
            {"alpha": 1.0, "aggregate": "mean", "languages": ("fi", "te"), "queries": 4, "normalize": False},
        ),
    ],
)
def test_augmentation_has_the_options_that_differ_from_the_default(
    how: Augmentation, options: dict[str, object]
) -> None:
    assert augmentation_options(how) == options


# runs and answers


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """The toy benchmark with answers."""
    monkeypatch.chdir(tmp_path)
    return write_toy(TOY_WITH_ANSWERS)


def test_run_is_scored_then_read_then_its_answers_are_scored(reading: Benchmark) -> None:
    run, answers = "out/runs/run.toy.plain.ar.txt", "out/answers/answers.toy.plain.ar.json"
    search, *others = map(str, query_tasks(reading, reading.conditions[0], "toy/ar", "out"))
    assert search.endswith(f"--depth 100 --tag plain --output {run}")
    how = "--preset reader-mini --depth 3 --weight 0.5"
    assert others == [
        f"xqg-repro evaluate --run {run} --topics toy/ar --measures R@1 --output out/scores/scores.toy.plain.ar.json",
        f"xqg-repro read --run {run} --topics toy/ar {how} --output {answers}",
        f"xqg-repro evaluate --answers {answers} --topics toy/ar --measures EM F1 "
        "--output out/scores/scores.toy.plain.ar.answers.json",
    ]


def test_run_is_not_scored_if_only_answers_are_measured(reading: Benchmark) -> None:
    only = dataclasses.replace(reading, measures={"F1": MeasureConfig()})
    tasks = query_tasks(only, reading.conditions[1], "toy/ar", "out")
    assert [task.verb for task in tasks] == ["search", "read", "evaluate"]


@pytest.mark.parametrize(
    ("steps", "verbs"),
    [
        ([Step.INDEX, Step.SEARCH], ["encode", "index", "search", "search"]),
        ([Step.READ], ["read"] * 2),
        ([Step.EVALUATE], ["evaluate"] * 4),
        (list(Step), ["encode", "index", *["search", "evaluate", "read", "evaluate"] * 2]),
    ],
)
def test_plan_keeps_the_chosen_steps(reading: Benchmark, steps: list[Step], verbs: list[str]) -> None:
    assert [task.verb for task in plan(reading, reading.conditions[0], "out", steps=steps)] == verbs


def test_copied_commands_make_read_and_score_the_runs(reading: Benchmark) -> None:
    run, others = two_click_tasks(reading, reading.conditions[0])
    assert str(run) == "python -m xqg_repro.2cr.toy --condition plain --skip-eval --directory out"
    assert others == plan(reading, reading.conditions[0], "out", steps=[Step.READ, Step.EVALUATE])


def test_study_has_the_options_that_are_chosen() -> None:
    benchmark = load_benchmark("xquad")
    assert str(study_task(benchmark, "out")) == "xqg-repro study --preset e5-small --output out/study"
    task = study_task(benchmark, "d", model="e", readers=["a", "b"], languages=["en", "ar"], passages=["ar"])
    options = "--encoder e --languages en ar --passages ar --reader a b --output d/study"
    assert str(task) == f"xqg-repro study --preset e5-small {options}"


@pytest.mark.parametrize("name", [path.stem for path in resource("conditions").glob("*.yaml")])
def test_runs_have_names_of_their_own_that_tell_condition_and_topics(name: str) -> None:
    benchmark = load_benchmark(name)
    pairs = [(c, topics) for c in benchmark.conditions for topics in benchmark.topic_sets()]
    names = [parse_run_name(run_path(benchmark, *pair, "out")) for pair in pairs]
    assert names == [(condition.name, topics) for condition, topics in pairs]


@pytest.mark.parametrize("name", ["run.txt", "run.toy.txt", "run.toy.plain.ar.json", "runs/theirs.toy.plain.ar.txt"])
def test_other_names_tell_nothing(name: str) -> None:
    assert parse_run_name(name) == ("", "")
