from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from conftest import Mini, small_tokenizer

from reproduction.toy import AUGMENTED, TOY, TOY_WITH_ANSWERS, Stages, write_toy
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.evaluate import evaluate_answers
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.reproduction import execute
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.run import Outcome, load_outcome, run_condition
from xqg_repro.reproduction.tasks import Step, Task, plan
from xqg_repro.reproduction.verdict import Verdict
from xqg_repro.retrieval.read import read
from xqg_repro.retrieval.runfile import Hit, write_run


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """The toy's stages; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return Stages()


# running


def test_planned_tasks_are_those_that_run(stages: Stages) -> None:
    benchmark = write_toy(TOY_WITH_ANSWERS + AUGMENTED)
    for condition in benchmark.conditions:
        stages.tasks.clear()
        run_condition(benchmark, condition, "out", model="some/model", execute=stages)
        assert stages.tasks == plan(benchmark, condition, "out", model="some/model")


def test_scores_are_means_by_language_with_their_average(stages: Stages) -> None:
    benchmark = write_toy()
    outcome = run_condition(benchmark, benchmark.conditions[0], "out", execute=stages)
    assert outcome.scores == {"R@1": {"ar": 0.5, "fi": 0.6, AVERAGE: 0.55}}
    assert [verdict for *_, verdict, _ in outcome.verdicts(benchmark)] == [Verdict.OK] * 3


def test_only_the_chosen_languages_run_and_their_average_is_not_judged(stages: Stages) -> None:
    benchmark = write_toy()
    outcome = run_condition(benchmark, benchmark.conditions[0], "out", languages=("fi",), execute=stages)
    assert [task.options["topics"] for task in stages.tasks if task.verb == "search"] == ["toy/fi"]
    assert [entry[:2] for entry in outcome.verdicts(benchmark)] == [("R@1", "fi")]
    every = run_condition(benchmark, benchmark.conditions[0], "out", languages=("fi", "ar"), execute=stages)
    assert len(every.verdicts(benchmark)) == 3


def test_topics_without_data_are_a_problem_and_the_others_run(stages: Stages) -> None:
    stages.problems["search", "ar"] = "could not be downloaded"
    stages.scores["fi"] = 0.55  # the expected average, which is of both languages
    benchmark = write_toy()
    outcome = run_condition(benchmark, benchmark.conditions[0], "out", execute=stages)
    assert outcome.problems == {"toy/ar": "ar.json: could not be downloaded"}
    assert outcome.scores == {"R@1": {"fi": 0.55}}
    assert {language: verdict for _, language, verdict, _ in outcome.verdicts(benchmark)} == dict.fromkeys(
        ("ar", "fi", AVERAGE), Verdict.FAIL
    )


def test_run_whose_answers_cannot_be_read_keeps_its_own_scores(stages: Stages) -> None:
    stages.problems["read", "ar"] = "no such model"
    benchmark = write_toy(TOY_WITH_ANSWERS)
    outcome = run_condition(benchmark, benchmark.conditions[0], "out", execute=stages)
    assert outcome.scores["R@1"] == {"ar": 0.5, "fi": 0.6, AVERAGE: 0.55} and outcome.scores["F1"] == {"fi": 0.6}
    assert list(outcome.problems) == ["toy/ar"]


@pytest.mark.parametrize("verb", ["generate", "sum", "augment"])
def test_index_that_cannot_be_built_stops_the_condition(stages: Stages, verb: str) -> None:
    stages.problems[verb, ""] = "disk full"
    benchmark = write_toy(TOY + AUGMENTED)
    with pytest.raises(InputError, match="disk full"):
        run_condition(benchmark, benchmark.condition("made"), "out", execute=stages)
    assert stages.verbs[-1] == verb


def test_forced_outputs_are_rebuilt_once(stages: Stages) -> None:
    benchmark = write_toy(TOY_WITH_ANSWERS + AUGMENTED)
    forced: set[Task] = set()
    for condition in benchmark.conditions:
        run_condition(benchmark, condition, "out", forced=forced, execute=stages)
    rebuilt = [task for task in stages.tasks if "force" in task.options]
    planned = {task for condition in benchmark.conditions for task in plan(benchmark, condition, "out")}
    assert sorted(map(str, rebuilt)) == sorted(str(t.forced()) for t in planned if t.step is not Step.EVALUATE)


# the scores of what a folder holds: the small collection

MINI = """\
name: test-mini
title: The small collection
collection: xor-tydi
topics: test-mini/dev
languages: [ar, bn, fi, ja, ko, ru, te]
depth: 5
reading: {reader: tiny, depth: 2, weight: 0.25}
measures:
  R@1: {scale: 100, digits: 1}
  EM: {scale: 100, digits: 1, tolerance: 1}
  F1: {scale: 100, digits: 1, tolerance: 1}
conditions:
  - {name: plain, title: The plain one, encoder: mbert, expected: {EM: {ar: 50, average: 50}}}
"""
RUN, ANSWERS = "run.test-mini.plain.dev.txt", "answers.test-mini.plain.dev.json"
HALF_RIGHT = {"EM": 0.5, "F1": pytest.approx(3 / 7)}  # one right answer is "The", of which F1 keeps no token


@pytest.fixture
def mini(mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Right answers to half of each language's questions, wrong ones to the others.

    The working directory has the benchmark ``mini.yaml``, and in ``out/runs`` a run whose first passages are right.
    """
    monkeypatch.chdir(tmp_path)
    Path("mini.yaml").write_text(MINI)
    write_run({qid: [Hit(docid, 1.0)] for qid, docid in mini_data.qrels}, Path("out", "runs", RUN), "plain")
    return {q["id"]: q["answers"][0] if i < 7 else "no idea" for i, q in enumerate(mini_data.questions)}


def write_answers(folder: str, answers: dict[str, str]) -> Path:
    """Write answers of the condition, compressed in a folder of reference runs."""
    path, text = Path(folder, ANSWERS), json.dumps(answers).encode()
    if folder == "runs":
        path, text = path.with_name(f"{path.name}.gz"), gzip.compress(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def outcome_of(folder: str, file: str = "mini.yaml") -> Outcome:
    benchmark = load_benchmark(file)
    return load_outcome(benchmark, benchmark.conditions[0], folder)


def averages(folder: str) -> dict[str, float]:
    """Measure → the condition's average for what a folder holds."""
    return {measure: by_language[AVERAGE] for measure, by_language in outcome_of(folder).scores.items()}


@pytest.mark.parametrize(("folder", "runs"), [("out/answers", "out/runs"), ("out/runs", "out/runs"), ("runs", "runs")])
def test_answers_are_found_beside_the_runs_and_in_the_sibling_folder(
    mini: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: str, runs: str
) -> None:
    write_answers(folder, mini)
    assert averages(runs) == (HALF_RIGHT if runs == "runs" else {"R@1": 1.0, **HALF_RIGHT})
    monkeypatch.chdir(runs)
    assert outcome_of(".", str(Path(*[".."] * len(Path(runs).parts), "mini.yaml"))).scores["EM"][AVERAGE] == 0.5


def test_question_without_an_answer_scores_zero(mini: dict[str, str]) -> None:
    write_answers("out/answers", {qid: mini[qid] for qid in list(mini)[1:]})  # the first one's is right
    assert averages("out/runs")["EM"] == pytest.approx(3 / 7)


def test_scores_stand_in_for_answers_that_are_not_kept(mini: dict[str, str], mini_data: Mini) -> None:
    assert averages("out/runs") == {"R@1": 1.0}
    kept = Path("runs", "scores.test-mini.plain.dev.answers.json")
    evaluate_answers(mini, mini_data.topics).write(kept)
    Path(f"{kept}.gz").write_bytes(gzip.compress(kept.read_bytes()))
    kept.unlink()
    assert averages("runs") == HALF_RIGHT


def test_answers_read_from_another_run_are_refused(mini: dict[str, str]) -> None:
    answers = write_answers("out/answers", mini)
    manifest = Manifest("read", inputs={"run": file_digest(Path("out", "runs", RUN))})
    manifest.write_as(answers.with_name(f"{answers.name}.json"))
    assert averages("out/runs")["EM"] == 0.5
    write_run({"q0": [Hit("1", 0.5)]}, Path("out", "runs", RUN), "plain")
    with pytest.raises(InputError, match="another version of") as caught:
        averages("out/runs")
    assert caught.value.path == answers.resolve()


def test_answers_to_other_questions_are_refused_unless_none_are_measured(mini: dict[str, str]) -> None:
    write_answers("out/answers", {**mini, "q99": "Turku"})
    with pytest.raises(InputError, match="q99"):
        averages("out/runs")
    Path("mini.yaml").write_text(re.sub(r"(?m)^(reading|  EM|  F1):.*\n", "", MINI).replace("EM:", "R@1:"))
    assert averages("out/runs") == {"R@1": 1.0}


@pytest.fixture
def tiny_reader(mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None) -> ReaderConfig:
    """A random question-answering model, named by every reader preset."""
    import torch
    import transformers

    tokenizer = small_tokenizer(f"{title} {text}" for _, title, text in mini_data.passages)
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    settings = {"max_position_embeddings": 160, "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    model = transformers.BertConfig(vocab_size=len(tokenizer), **sizes, **settings)
    transformers.BertForQuestionAnswering(model).save_pretrained(tmp_path / "reader")
    tokenizer.save_pretrained(tmp_path / "reader")
    lengths = {"max_length": 64, "stride": 8, "question_max_length": 20, "answer_max_length": 6}
    reader = ReaderConfig(str(tmp_path / "reader"), **lengths)
    monkeypatch.setattr(execute, "load_reader", lambda name: reader)
    return reader


def test_answers_are_read_and_scored_and_kept(
    mini_data: Mini, tiny_reader: ReaderConfig, mini: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    def reproduce() -> Outcome:
        steps = (Step.READ, Step.EVALUATE)
        return run_condition(benchmark, benchmark.conditions[0], "out", steps=steps)

    benchmark = load_benchmark("mini.yaml")
    outcome, answers = reproduce(), Path("out", "answers", ANSWERS)
    alone = read(Path("out", "runs", RUN), mini_data.topics, tiny_reader, "alone.json", depth=2, weight=0.25)
    assert answers.read_text() == alone.read_text()
    assert outcome.scores["F1"] == pytest.approx(evaluate_answers(alone, mini_data.topics).table("F1"))
    assert outcome.scores == outcome_of("out/runs").scores
    assert reproduce() == outcome
    assert f"read: {answers} is up to date" in caplog.messages
