from __future__ import annotations

import shlex

import pytest

from reproduction.toy import AUGMENTED, TOY, TOY_WITH_ANSWERS, TOY_WITHOUT_SUMS, toy
from xqg_repro.core.settings import resource
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.paths import parse_run_name, run_path
from xqg_repro.reproduction.tasks import (
    Step,
    Task,
    augmentation_options,
    indexing_tasks,
    plan,
    query_tasks,
    study_task,
    two_click_tasks,
)

QUERIES = "generate --collection toy --preset xqg-mini --queries 5 --output out/queries/toy.xqg-mini"


def test_task_prints_as_a_shell_reads_it() -> None:
    options = {"output": "two words", "query_prefix": "it's", "languages": ("fi", "$ru"), "weight": 1e-05}
    task = Task("encode", {**options, "force": True, "normalize": False})
    assert shlex.split(str(task)) == ["xqg-repro", *task.argv()]
    assert task.argv()[-6:] == ["fi", "$ru", "--weight", "1e-05", "--force", "--no-normalize"]


def test_tasks_hand_their_outputs_on() -> None:
    benchmark = toy(TOY_WITH_ANSWERS + AUGMENTED)
    queries, passages, sums = "out/queries/toy.xqg-mini", "out/embeddings/toy.mbert", "out/sums/toy.mbert.xqg-mini"
    augmented, index, run = "out/embeddings/toy.made", "out/indexes/toy.made", "out/runs/run.toy.made.ar.txt"
    answers, scores = "out/answers/answers.toy.made.ar.json", "out/scores/scores.toy.made.ar"
    lines = [
        f"generate --collection toy --preset xqg-mini --queries 5 --output {queries}",
        f"encode --collection toy --preset mbert --output {passages}",
        f"sum --generated {queries} --preset mbert --queries 5 --output {sums}",
        f"augment --embeddings {passages} --sums {sums} --alpha 0.5 --output {augmented}",
        f"index --embeddings {augmented} --output {index}",
        f"search --index {index} --topics toy/ar --depth 100 --tag made --output {run}",
        f"evaluate --run {run} --topics toy/ar --measures R@1 --output {scores}.json",
        f"read --run {run} --topics toy/ar --preset reader-mini --depth 3 --weight 0.5 --output {answers}",
        f"evaluate --answers {answers} --topics toy/ar --measures EM F1 --output {scores}.answers.json",
    ]
    made = plan(benchmark, benchmark.condition("made"), "out", ("ar",))
    assert [str(task) for task in made] == [f"xqg-repro {line}" for line in lines]


SPARSE = """\
  - {name: words, title: Words, sparse: true}
  - {name: more, title: More words, sparse: true, generator: xqg-mini}
  - {name: mixed, title: Mixed, fuses: [plain, more], fusion: {method: interpolation, weights: [0.25, 0.75]}}
"""


def test_a_sparse_condition_indexes_words_and_appends_queries() -> None:
    benchmark = toy(f"index: false\n{TOY_WITHOUT_SUMS}{SPARSE}")
    search = "--topics toy/ar --depth 100 --tag"
    for name, before, options in (
        ("words", [], ""),
        ("more", [QUERIES], " --generated out/queries/toy.xqg-mini --queries 5"),
    ):
        lines = [
            *before,
            f"index --sparse --collection toy{options} --output out/indexes/toy.{name}",
            f"search --index out/indexes/toy.{name} {search} {name} --output out/runs/run.toy.{name}.ar.txt",
        ]
        tasks = plan(benchmark, benchmark.condition(name), "out", ("ar",), steps=(Step.INDEX, Step.SEARCH))
        assert [str(task) for task in tasks] == [f"xqg-repro {line}" for line in lines]


LATE = """\
  - {name: tokens, title: Tokens, late: decr-mini}
  - {name: again, title: Again, late: decr-mini, reranks: made}
"""


def test_late_interaction_searches_its_own_index_or_reranks_the_run_of_another_condition() -> None:
    benchmark = toy(TOY + AUGMENTED + LATE)
    tasks = plan(benchmark, benchmark.condition("tokens"), "out", ("ar",), "some/model")
    index, run = "out/indexes/toy.tokens", "out/runs/run.toy.tokens.ar.txt"
    assert [str(task) for task in tasks][:2] == [
        f"xqg-repro index --late --collection toy --preset decr-mini --encoder some/model --output {index}",
        f"xqg-repro search --index {index} --topics toy/ar --depth 100 --tag tokens --output {run}",
    ]
    made = plan(benchmark, benchmark.condition("made"), "out", ("ar",))
    tasks = plan(benchmark, benchmark.condition("again"), "out", ("ar",))
    found = made[-2].options["output"]
    output = "out/runs/run.toy.again.ar.txt"
    how = f"--topics toy/ar --preset decr-mini --depth 100 --tag again --output {output}"
    assert tasks[:-2] == made[:-1]
    assert str(tasks[-2]) == f"xqg-repro rerank late --run {found} {how}"
    assert tasks[-2].step is Step.SEARCH and tasks[-1].options["run"] == output


def test_a_fusion_runs_what_it_fuses() -> None:
    benchmark = toy(TOY_WITH_ANSWERS + SPARSE)
    parts = [plan(benchmark, benchmark.condition(name), "out", ("ar",), "some/model") for name in ("plain", "more")]
    tasks = plan(benchmark, benchmark.condition("mixed"), "out", ("ar",), "some/model")
    searches = [task for part in parts for task in part if task.step in (Step.INDEX, Step.SEARCH)]
    assert set(tasks[: len(searches)]) == set(searches)
    fusion, *others = tasks[len(searches) :]
    runs = "out/runs/run.toy.plain.ar.txt out/runs/run.toy.more.ar.txt"
    how = "--method interpolation --weights 0.25 0.75 --depth 100 --allow-missing --tag mixed"
    assert str(fusion) == f"xqg-repro fuse {runs} {how} --output out/runs/run.toy.mixed.ar.txt"
    assert fusion.step is Step.SEARCH
    assert [task.verb for task in others] == ["evaluate", "read", "evaluate"]
    assert others[0].options["run"] == fusion.options["output"]


def test_random_rankings_are_only_scored() -> None:
    benchmark = toy(TOY_WITH_ANSWERS + "  - {name: drawn, title: Drawn, random: 7}\n")
    command, scored = two_click_tasks(benchmark, benchmark.condition("drawn"))
    tasks = plan(benchmark, benchmark.condition("drawn"), "out", ("ar",))
    options = "--measures R@1 --rankings 7 --depth 100 --output out/scores/scores.toy.drawn.ar.json"
    assert [str(task) for task in tasks] == [f"xqg-repro chance --topics toy/ar {options}"]
    assert tasks[0].step is Step.EVALUATE
    assert scored[0] == tasks[0]
    assert str(command) == "python -m xqg_repro.2cr.toy --condition drawn --directory out"


@pytest.mark.parametrize(("name", "embeddings"), [("had", "toy.had"), ("plain", "toy.mbert")])
def test_embeddings_are_searched_where_no_index_is_built(name: str, embeddings: str) -> None:
    benchmark = toy(f"index: false\n{TOY_WITHOUT_SUMS}{AUGMENTED}")
    tasks = plan(benchmark, benchmark.condition(name), "out", ("ar",))
    assert [task.verb for task in tasks][-3:] == ["augment" if name == "had" else "encode", "search", "evaluate"]
    assert tasks[-3].options["output"] == tasks[-2].options["embeddings"] == f"out/embeddings/{embeddings}"
    assert "index" not in tasks[-2].options


def lines_of(name: str, text: str = TOY, model: str = "") -> list[str]:
    """The command lines that build the index of an augmented condition."""
    benchmark = toy(text + AUGMENTED)
    return [" ".join(task.argv()) for task in indexing_tasks(benchmark, benchmark.condition(name), "out", model)]


FILTERED = "  - {{name: best, title: Best, encoder: mbert, {}, augmentation: {{alpha: 0.5}}, filter: {{{}}}}}\n"


@pytest.mark.parametrize(
    ("source", "how", "text", "queries", "name"),
    [
        ("generator: xqg-mini", "keep: 2, of: 8", TOY, "toy.xqg-mini.8", "xqg-mini.best-2-of-8"),
        ("generator: xqg-mini", "keep: 2", f"sum_precision: int8\n{TOY}", "toy.xqg-mini", "xqg-mini.best-2-of-5"),
        ("generator: xqg-mini", "keep: 1, of: 2", TOY_WITHOUT_SUMS, "toy.xqg-mini.2", "xqg-mini.best-1-of-2"),
        ("corpus: a/b", "keep: 5", TOY_WITHOUT_SUMS, "a/b", "a.b.best-5-of-5"),
    ],
)
def test_a_filter_stands_between_queries_and_sums(source: str, how: str, text: str, queries: str, name: str) -> None:
    benchmark = toy(text + FILTERED.format(source, how))
    lines = [" ".join(task.argv()) for task in indexing_tasks(benchmark, benchmark.condition("best"), "out")]
    best, passages, sums = f"out/queries/toy.mbert.{name}", "out/embeddings/toy.mbert", f"out/sums/toy.mbert.{name}"
    keep, of = name.split("-")[-3::2]
    queries = f"out/queries/{queries}" if benchmark.condition("best").generator else queries
    precision = " --precision int8" if benchmark.sum_precision else ""
    numbers = f"--keep {keep} --of {of}"
    expected = [
        f"encode --collection toy --preset mbert --output {passages}",
        f"filter --queries {queries} --embeddings {passages} --preset mbert{precision} {numbers} --output {best}",
    ]
    if benchmark.condition("best").generator:
        expected.insert(0, f"generate --collection toy --preset xqg-mini --queries {of} --output {queries}")
    added = f"--generated {best} --alpha 0.5 --queries {keep}"
    if benchmark.keep_sums:
        expected.append(f"sum --generated {best} --preset mbert --queries {keep}{precision} --output {sums}")
        added = f"--sums {sums} --alpha 0.5"
    expected.append(f"augment --embeddings {passages} {added} --output out/embeddings/toy.best")
    assert lines[:-1] == expected


def test_published_queries_are_not_generated_and_sums_may_be_left_out() -> None:
    encode, total, augment, _ = lines_of("had")
    assert total.startswith("sum --generated some/corpus ") and total.endswith("out/sums/toy.mbert.some.corpus")
    for name, source in (("had", "some/corpus"), ("made", "out/queries/toy.xqg-mini")):
        *_, encode, augment, _ = lines_of(name, TOY_WITHOUT_SUMS)
        assert encode.startswith("encode ") and f" --generated {source} " in augment


@pytest.mark.parametrize(("text", "adds"), [(TOY, "sum"), (TOY_WITHOUT_SUMS, "augment")])
def test_number_of_queries_and_another_model_are_handed_on(text: str, adds: str) -> None:
    lines = lines_of("made", f"queries: 7\n{text}", "some/model")
    assert [line.split()[0] for line in lines if " --queries 7" in line] == ["generate", adds]
    # augment takes the encoder of the embeddings
    assert {line.split()[0] for line in lines if " --encoder some/model" in line} == {"encode", adds} - {"augment"}
    assert " --alpha 0.02 --queries 4" in lines_of("had", text)[-2]


def test_conditions_share_what_they_have_in_common_and_no_more() -> None:
    some = "augmentation: {alpha: 0.2, languages: [fi]}}\n"
    more = f"  - {{name: some, title: A, encoder: mbert, generator: xqg-mini, {some}"
    more += f"  - {{name: other, title: B, encoder: e5-small, generator: xqg-mt5-base, {some}"
    benchmark = toy(TOY + AUGMENTED + more)
    tasks = {task for condition in benchmark.conditions for task in indexing_tasks(benchmark, condition, "out")}
    assert len({task.options["output"] for task in tasks}) == len(tasks)
    verbs = [task.verb for task in tasks]
    expected = {"generate": 2, "encode": 2, "sum": 3, "augment": 5, "index": 7}
    assert {verb: verbs.count(verb) for verb in expected} == expected
    # because one condition adds the queries of some languages only
    assert all(task.options["per_language"] for task in tasks if task.verb == "sum")


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
def test_augmentation_has_the_options_that_are_not_the_default(how: Augmentation, options: dict[str, object]) -> None:
    assert augmentation_options(how) == options


def test_run_is_not_scored_if_only_answers_are_measured() -> None:
    benchmark = toy(TOY_WITH_ANSWERS.replace("R@1", "EM_mlqa"))
    tasks = query_tasks(benchmark, benchmark.conditions[1], "toy/ar", "out")
    assert [task.verb for task in tasks] == ["search", "read", "evaluate"]


def test_study_has_the_options_that_are_chosen() -> None:
    benchmark = load_benchmark("xquad")
    assert str(study_task(benchmark, "out")) == "xqg-repro study --preset e5-small --output out/study"
    task = study_task(benchmark, "d", model="e", readers=["a", "b"], languages=["en", "ar"], passages=["ar"])
    options = "--encoder e --languages en ar --passages ar --reader a b --output d/study"
    assert str(task) == f"xqg-repro study --preset e5-small {options}"


@pytest.mark.parametrize("name", [path.stem for path in resource("conditions").glob("*.yaml")])
def test_name_of_a_run_tells_condition_and_topics(name: str) -> None:
    benchmark = load_benchmark(name)
    pairs = [(condition, topics) for condition in benchmark.conditions for topics in benchmark.topic_sets()]
    names = [parse_run_name(run_path(benchmark, *pair, "out")) for pair in pairs]
    assert names == [(condition.name, topics) for condition, topics in pairs]


@pytest.mark.parametrize("name", ["run.txt", "run.toy.txt", "run.toy.plain.ar.json", "runs/theirs.toy.plain.ar.txt"])
def test_other_names_tell_nothing(name: str) -> None:
    assert parse_run_name(name) == ("", "")
