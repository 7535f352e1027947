from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from reproduction.toy import AUGMENTED, TOY, TOY_WITH_ANSWERS, Stages, toy
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.evaluate import evaluate, evaluate_answers
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.run import Outcome, load_outcome, run_condition
from xqg_repro.reproduction.tasks import Step, Task, plan
from xqg_repro.reproduction.verdict import Verdict
from xqg_repro.retrieval.runfile import Hit, write_run


def run(stages: Stages, text: str = TOY, name: str = "plain", **settings: Any) -> Outcome:
    """Run a condition of the toy benchmark."""
    benchmark = toy(text)
    return run_condition(benchmark, benchmark.condition(name), "out", execute=stages, **settings)


def test_scores_are_means_by_language_with_their_average() -> None:
    outcome = run(Stages())
    assert outcome.scores == {"R@1": {"ar": 0.5, "fi": 0.6, AVERAGE: 0.55}}
    assert [verdict for *_, verdict, _ in outcome.verdicts(toy())] == [Verdict.OK] * 3


def test_only_the_chosen_languages_run_and_their_average_is_not_judged() -> None:
    stages = Stages()
    outcome = run(stages, languages=("fi",))
    assert [task.options["topics"] for task in stages.tasks if task.verb == "search"] == ["toy/fi"]
    assert [language for _, language, *_ in outcome.verdicts(toy())] == ["fi"]
    assert len(run(stages, languages=("fi", "ar")).verdicts(toy())) == 3


def test_topics_without_data_are_a_problem_and_the_others_run() -> None:
    stages = Stages()
    stages.problems["search", "ar"] = "could not be downloaded"
    stages.scores["fi"] = 0.55  # the expected average, which is of both languages
    outcome = run(stages)
    assert outcome.problems == {"toy/ar": "ar.json: could not be downloaded"}
    assert outcome.scores == {"R@1": {"fi": 0.55}}
    assert [verdict for *_, verdict, _ in outcome.verdicts(toy())] == [Verdict.FAIL] * 3


def test_run_whose_answers_cannot_be_read_keeps_its_own_scores() -> None:
    stages = Stages()
    stages.problems["read", "ar"] = "no such model"
    outcome = run(stages, TOY_WITH_ANSWERS)
    assert outcome.scores["R@1"] == {"ar": 0.5, "fi": 0.6, AVERAGE: 0.55} and outcome.scores["F1"] == {"fi": 0.6}
    assert list(outcome.problems) == ["toy/ar"]


def test_index_that_cannot_be_built_stops_the_condition() -> None:
    stages = Stages()
    stages.problems["augment", ""] = "disk full"
    with pytest.raises(InputError, match="disk full"):
        run(stages, TOY + AUGMENTED, "made")
    assert stages.verbs == ["generate", "encode", "sum", "augment"]


def test_forced_outputs_are_rebuilt_once() -> None:
    benchmark, stages, forced = toy(TOY_WITH_ANSWERS + AUGMENTED), Stages(), set[Task]()
    for condition in benchmark.conditions:
        run_condition(benchmark, condition, "out", forced=forced, execute=stages)
    rebuilt = [task for task in stages.tasks if "force" in task.options]
    planned = {task for condition in benchmark.conditions for task in plan(benchmark, condition, "out")}
    assert sorted(map(str, rebuilt)) == sorted(str(t.forced()) for t in planned if t.step is not Step.EVALUATE)


# scores of files that exist: the small collection

MINI = """\
name: test-mini
title: The small collection
collection: xor-tydi
topics: test-mini/dev
languages: [ar, bn, fi, ja, ko, ru, te]
reading: {reader: tiny}
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


def averages(runs: str, file: str = "mini.yaml") -> dict[str, float]:
    """Measure → the condition's average for what a folder of runs holds."""
    benchmark = load_benchmark(file)
    outcome = load_outcome(benchmark, benchmark.conditions[0], runs)
    return {measure: by_language[AVERAGE] for measure, by_language in outcome.scores.items()}


@pytest.mark.parametrize(("folder", "runs"), [("out/answers", "out/runs"), ("out/runs", "out/runs"), ("runs", "runs")])
def test_answers_are_found_beside_the_runs_and_in_the_sibling_folder(
    mini: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: str, runs: str
) -> None:
    write_answers(folder, mini)
    expected = HALF_RIGHT if runs == "runs" else {"R@1": 1.0, **HALF_RIGHT}
    file = str(Path("mini.yaml").absolute())
    assert averages(runs) == expected
    monkeypatch.chdir(runs)
    assert averages(".", file) == expected


def test_scores_stand_in_for_runs_and_answers_that_are_not_kept(mini: dict[str, str], mini_data: Mini) -> None:
    assert averages("out/runs") == {"R@1": 1.0}
    kept = Path("runs", "scores.test-mini.plain.dev.answers.json")
    evaluate_answers(mini, mini_data.topics).write(kept)
    Path(f"{kept}.gz").write_bytes(gzip.compress(kept.read_bytes()))
    kept.unlink()
    assert averages("runs") == HALF_RIGHT
    evaluate(Path("out", "runs", RUN), mini_data.topics, ["R@1"]).write("runs/scores.test-mini.plain.dev.json")
    assert averages("runs") == {"R@1": 1.0, **HALF_RIGHT}


def test_answers_read_from_another_run_are_refused(mini: dict[str, str]) -> None:
    answers = write_answers("out/answers", mini)
    manifest = Manifest("read", inputs={"run": file_digest(Path("out", "runs", RUN))})
    manifest.write_as(answers.with_name(f"{answers.name}.json"))
    assert averages("out/runs")["EM"] == 0.5
    write_run({"q0": [Hit("1", 0.5)]}, Path("out", "runs", RUN), "plain")
    with pytest.raises(InputError, match="another version of") as caught:
        averages("out/runs")
    assert caught.value.path == answers.resolve()


def test_answers_to_other_questions_are_left_out(mini: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    write_answers("out/answers", {**mini, "q99": "Turku"})
    assert averages("out/runs") == {"R@1": 1.0, **HALF_RIGHT}
    assert "left out 1 questions" in caplog.messages[-1]
