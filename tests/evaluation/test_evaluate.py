"""Scores of runs and answers, by question and language."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.evaluate import evaluate, evaluate_answers, read_answers
from xqg_repro.evaluation.measures.parse import parse_measures
from xqg_repro.evaluation.measures.recall import scorable
from xqg_repro.evaluation.scores import Missing, read_scores
from xqg_repro.retrieval.runfile import Hit, Run

# the official script


@pytest.fixture(scope="module")
def golden_topics(golden: dict[str, Any], register: Callable[..., str]) -> str:
    passages = [Passage(str(i), "", text) for i, text in enumerate(golden["passages"])]
    questions = [Question(q["id"], q["question"], q["lang"], tuple(q["answers"])) for q in golden["data"].values()]
    return register("test-golden", passages, questions)


@pytest.fixture(scope="module")
def golden_run(golden: dict[str, Any]) -> Run:
    return {p["id"]: [Hit(str(c), -float(i)) for i, c in enumerate(p["ctxs"])] for p in golden["predictions"]}


@pytest.mark.integration
def test_the_official_scores(golden: dict[str, Any], golden_topics: str, golden_run: Run) -> None:
    scores = evaluate(golden_run, golden_topics, ["R2kt", "R5kt"], missing=Missing.SKIP)
    for name, official in (("R2kt", "R@2kt"), ("R5kt", "R@5kt")):
        expected = golden["expected"][official]
        assert scores.flatten(name) == expected["per_query"]
        assert 100 * scores.average(name) == pytest.approx(expected["macro_average"], abs=1e-9)
        for language, figures in expected["per_language"].items():
            assert scores.count(name, language) == figures["count"]
            assert scores.mean(name, language) * figures["count"] == pytest.approx(figures["hit"])
            assert 100 * scores.mean(name, language) == pytest.approx(figures["percent"], abs=1e-9)


@pytest.mark.integration
def test_questions_without_a_prediction_score_zero_unless_skipped(
    golden: dict[str, Any], golden_topics: str, golden_run: Run
) -> None:
    zero, skip = (evaluate(golden_run, golden_topics, ["R2kt"], missing=missing) for missing in Missing)
    absent = {qid for qid, item in golden["data"].items() if qid not in golden_run and scorable(item["answers"])}
    scores = zero.flatten("R2kt")
    assert {qid: scores[qid] for qid in absent} == dict.fromkeys(absent, 0.0) != {}
    assert skip.flatten("R2kt") == {qid: score for qid, score in scores.items() if qid not in absent}
    assert zero.absent == skip.absent
    assert zero.average("R2kt") < skip.average("R2kt")


# runs


def perfect_run(mini: Mini) -> Run:
    """A run in which each question finds its own passage first, then passage 2."""
    return {qid: [Hit(docid, 1.0), Hit("2", 0.5)] for qid, docid in mini.qrels}


def test_a_perfect_run_scores_one(mini_data: Mini) -> None:
    scores = evaluate(perfect_run(mini_data), mini_data.topics, ["R2kt", "R@1", "RR@10", "MRR@10"])
    assert {name: scores.average(name) for name in scores.per_query} == dict.fromkeys(scores.per_query, 1)
    assert (scores.count("R2kt"), scores.count("R@1")) == (13, 14)  # the answer to one question is yes


@pytest.mark.parametrize(
    ("missing", "averages"),
    [(Missing.ZERO, {"R2kt": 6 / 7, "RR@10": 13 / 14}), (Missing.SKIP, {"R2kt": 1, "RR@10": 1})],
)
def test_a_missing_question_scores_zero_or_nothing(mini_data: Mini, missing: Missing, averages: dict) -> None:
    run = perfect_run(mini_data)
    del run["q13"]  # Telugu; the answer to the other Telugu question is yes
    scores = evaluate(run, mini_data.topics, list(averages), missing=missing)
    assert scores.absent == ("q13",)
    for measure, average in averages.items():
        chosen = None if missing is Missing.ZERO or measure != "R2kt" else ("ar", "bn", "fi", "ja", "ko", "ru")
        assert scores.average(measure, chosen) == pytest.approx(average)
        assert scores.per_query[measure]["te"].get("q13") == (0.0 if missing is Missing.ZERO else None)


def test_the_average_is_the_mean_of_the_languages_means(mini_data: Mini) -> None:
    run = perfect_run(mini_data)
    run["q0"] = run["q7"] = [Hit("60", 1.0)]  # both Arabic questions fail
    scores = evaluate(run, mini_data.topics, ["R@1"])
    assert scores.table("R@1")["ar"] == 0
    assert scores.average("R@1") == pytest.approx(6 / 7)
    assert scores.average("R@1", ["ar", "fi"]) == pytest.approx(1 / 2)


def test_equal_scores_keep_the_order_of_the_run(mini_data: Mini, tmp_path: Path) -> None:
    # passage 1 is relevant to q0 and is the second of three with equal scores
    lines = [f"q0 Q0 {docid} {rank} 0.5 t\n" for rank, docid in enumerate(("9", "1", "3"), 1)]
    (tmp_path / "run.txt").write_text("".join(lines))
    measures = ["nDCG@10", "RR@10", "R@1", "R@2"]
    scores = evaluate(tmp_path / "run.txt", mini_data.topics, measures, missing=Missing.SKIP)
    found = [scores.per_query[measure]["ar"]["q0"] for measure in measures]
    assert found == pytest.approx([0.6309297536, 0.5, 0.0, 1.0])


def test_other_runs_are_refused(mini_data: Mini, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no passage '99'"):
        evaluate({"q0": [Hit("99", 1.0)]}, mini_data.topics, ["R2kt"])
    with pytest.raises(InputError, match="no question of test-mini/dev"):
        evaluate({"x": [Hit("1", 1.0)]}, mini_data.topics, ["R2kt"])
    (tmp_path / "run.txt").write_text("x Q0 1 1 0.5 t\n")
    with pytest.raises(InputError, match="no question 'x'"):
        evaluate(tmp_path / "run.txt", mini_data.topics, ["R2kt"])


def test_a_run_that_found_nothing_scores_zero(mini_data: Mini, tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("")
    scores = evaluate(tmp_path / "run.txt", mini_data.topics, ["R2kt", "nDCG@10"])
    assert list(scores.absent) == list(scores.languages)
    assert {value for of_language in scores.per_query["R2kt"].values() for value in of_language.values()} == {0.0}
    assert {value for of_language in scores.per_query["nDCG@10"].values() for value in of_language.values()} == {0.0}
    with pytest.raises(InputError, match="no question of test-mini/dev"):
        evaluate(tmp_path / "run.txt", mini_data.topics, ["R2kt"], missing=Missing.SKIP)


@pytest.mark.parametrize("name", ["R3kt", "nDCG@", "recall", "nDCG@10)", ""])
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="ir-measures does not know"):
        parse_measures(["R2kt", name])


def test_measures_of_runs_and_answers_are_not_mixed_up(mini_data: Mini) -> None:
    with pytest.raises(InputError, match="EM scores answers"):
        evaluate(perfect_run(mini_data), mini_data.topics, ["EM"])
    with pytest.raises(InputError, match="R2kt does not score answers"):
        evaluate_answers({"q0": "tea"}, mini_data.topics, ["R2kt"])


# the file of scores


def test_scores_are_written_with_every_question_and_read_back(mini_data: Mini, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    run = perfect_run(mini_data)
    del run["q13"]
    scores = evaluate(run, mini_data.topics, ["R2kt", "R@1"], missing=Missing.SKIP)
    scores.write(path)
    written = json.loads(path.read_text())
    assert list(written) == ["topics", "missing", "absent", "summary", "languages", "per_query"]
    assert written["summary"]["R2kt"]["questions"] == len(written["per_query"]["R2kt"]) == 12
    assert written["summary"]["R@1"]["means"]["average"] == 1.0
    assert written["summary"]["R2kt"]["means"]["te"] is None  # no Telugu question was scored
    assert read_scores(path) == scores


@pytest.mark.parametrize("content", ["[]", "{}", "text", '{"per_query": {"R": {"q": 1}}, "languages": {}}'])
def test_other_files_are_not_scores(tmp_path: Path, content: str) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(InputError, match="not a file of scores"):
        read_scores(tmp_path / "scores.json")


# answers


def test_answers_are_scored_by_question(mini_data: Mini) -> None:
    answers = {question["id"]: question["answers"][0] for question in mini_data.questions[:-1]}
    zero, skip = (
        evaluate_answers(answers, mini_data.topics, ["EM", "EM_mlqa"], missing=missing) for missing in Missing
    )
    assert zero.count("EM") == 14 and skip.count("EM") == 13  # yes is an answer
    assert zero.per_query["EM"]["te"] == {"q6": 1.0, "q13": 0.0} and skip.average("EM_mlqa") == 1
    with pytest.raises(InputError, match="no question 'x'"):
        evaluate_answers({"x": "tea"}, mini_data.topics)
    with pytest.raises(InputError, match="no question of test-mini/dev is answered"):
        evaluate_answers({}, mini_data.topics)


def test_answers_are_read_in_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    content = {"1": {"answer": "Tee", "score": 1}, "-2": {"answer": ""}, "3": "北京"}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_answers(path) == {"1": "Tee", "-2": "", "3": "北京"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"1": "tea",\n "2": "milk"\n "3": ""}', r"answers\.json:3: is not JSON"),
        ("", r"answers\.json:1: is not JSON"),
        ("[" * 100_000, r"answers\.json: is not JSON"),
        ('["tea"]', "not a mapping"),
        ('{"1": "tea", "2": "milk", "1": "tea"}', "repeats the key '1'"),
        ('{"1": "tea", "q2": null}', "'q2' is not text: None"),
        ('{"q1": {"text": "tea"}}', "'q1' is not text: None"),
        ('{"q1": {"answer": {"answer": "tea"}}}', "'q1' is not text"),
    ],
)
def test_malformed_answers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_answers(path)
    assert caught.value.path == path
