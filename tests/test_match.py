from __future__ import annotations

import json
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import ir_measures
import pandas as pd
import pytest
from conftest import Mini
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_repro import cli
from xqg_repro.errors import InputError
from xqg_repro.evaluate import Missing, evaluate, evaluate_answers
from xqg_repro.measures.match import (
    MATCH_MEASURES,
    Normalisation,
    exact_match,
    f1,
    match_score,
    normalise_mlqa,
    normalise_squad,
    normaliser,
    read_answers,
    register,
)

WORDS = st.lists(st.sampled_from(["a", "The", "an", "theory", "U.S.", "tea", "Tea!", "1,000", "—", "été", "  ", "(x)"]))
ANSWERS = st.one_of(st.text(max_size=12), WORDS.map(" ".join))


def plain_tokens(text: str) -> list[str]:
    """SQuAD v1.1's normalisation, step by step."""
    bare = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def plain_f1(answer: str, gold: list[str]) -> float:
    best = 0.0
    for text in gold:
        found, right = plain_tokens(answer), plain_tokens(text)
        shared = sum((Counter(found) & Counter(right)).values())
        if shared:
            best = max(best, 2 * shared / (len(found) + len(right)))
    return best


@settings(max_examples=500, deadline=None)
@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3))
def test_em_and_f1_are_squads(answer: str, gold: list[str]) -> None:
    assert exact_match(answer, gold, normalise_squad) == any(plain_tokens(answer) == plain_tokens(g) for g in gold)
    assert f1(answer, gold, normalise_squad) == pytest.approx(plain_f1(answer, gold))


@pytest.mark.parametrize(
    ("answer", "gold", "em", "score"),
    [
        ("The Beatles", ["beatles!"], 1, 1.0),
        ("in May 1968", ["1968", "May 1968"], 0, 0.8),
        ("tea tea", ["tea"], 0, 2 / 3),
        ("", ["tea"], 0, 0.0),
        ("tea", [""], 0, 0.0),
        ("...", ["the"], 1, 0.0),  # nothing is left of either: equal, but they share no token
        ("yes", ["no", "yes"], 1, 1.0),
        ("U.S.A.", ["USA"], 1, 1.0),
        ("«tea»", ["tea"], 0, 0.0),  # SQuAD removes ASCII punctuation only
    ],
)
def test_by_hand(answer: str, gold: list[str], em: int, score: float) -> None:
    assert match_score("EM", answer, gold) == em
    assert match_score("F1", answer, gold) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("The «tea», a cup", "en", "tea cup"),
        ("una casa de la Luna", "es", "casa de luna"),
        ("Das Haus des Herrn", "de", "haus herrn"),
        ("những con mèo của tôi", "vi", "con mèo tôi"),
        ("القاهرة", "ar", "قاهرة"),
        ("The tea", "fi", "the tea"),  # no articles are known of Finnish
        ("2008年5月12日", "zh", "2008 年 5 月 12 日"),
        ("東京タワー。", "ja", "東 京 タ ワ ー"),
        ("กรุงเทพ 2", "th", "ก รุ ง เ ท พ 2"),
        ("、。！？", "ja", ""),
    ],
)
def test_mlqa_normalises_by_language(text: str, language: str, expected: str) -> None:
    assert normalise_mlqa(text, language) == expected
    assert match_score("EM_mlqa", text, [expected], language) == 1


def test_characters_are_tokens_where_words_are_not_written() -> None:
    assert match_score("F1_mlqa", "東京都", ["東京"], "ja") == pytest.approx(0.8)
    assert match_score("F1", "東京都", ["東京"]) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("EM", "tea", []), "no gold answer"),
        (("EM", "tea", "tea"), "no list of texts"),
        (("EM", None, ["tea"]), "no text"),
        (("EM_mlqa", "tea", ["tea"]), "not a language"),
    ],
)
def test_what_cannot_be_scored(arguments: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        match_score(*arguments)


def test_mlqa_needs_a_language_code() -> None:
    assert normaliser(Normalisation.MLQA, "de")("der Tee") == "tee"
    with pytest.raises(InputError, match="'German'"):
        normaliser(Normalisation.MLQA, "German")


# ir-measures


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    gold = [["tea"], ["the sea"], ["x"]]
    qrels = pd.DataFrame({"query_id": ["1", "2", "3"], "answers": gold, "lang": ["en", "de", "en"]})
    return qrels, pd.DataFrame({"query_id": ["1", "2"], "answer": ["Tea.", "sea"]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EM", {"1": 1.0, "2": 1.0}),
        ("F1", {"1": 1.0, "2": 1.0}),
        ("EM_mlqa", {"1": 1.0, "2": 0.0}),  # "the" is no German article
        ("F1_mlqa", {"1": 1.0, "2": 2 / 3}),
    ],
)
def test_ir_measures_gives_the_scores(name: str, expected: dict[str, float]) -> None:
    assert set(register()) == set(MATCH_MEASURES)
    assert ir_measures.parse_measure(name) == register()[name]
    found = {m.query_id: m.value for m in ir_measures.iter_calc([register()[name]], *frames()) if m.query_id != "3"}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("frame", "column"), [(0, "answers"), (0, "lang"), (1, "answer")])
def test_a_missing_column_is_named(frame: int, column: str) -> None:
    given = list(frames())
    given[frame] = given[frame].drop(columns=column)
    with pytest.raises((InputError, ValueError), match=column):
        list(ir_measures.iter_calc([register()["F1_mlqa"]], *given))


def test_a_question_answered_twice_is_refused() -> None:
    qrels, run = frames()
    with pytest.raises(InputError, match="repeats question 1"):
        list(ir_measures.iter_calc([register()["EM"]], qrels, pd.concat([run, run[:1]])))


# files of answers


def test_answers_are_read_in_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"1": "tea", "2": {"answer": "sea", "score": 1}}))
    assert read_answers(path) == {"1": "tea", "2": "sea"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"1": "tea",\n "2": }', "answers.json:2: is not JSON"),
        ('["tea"]', "no mapping"),
        ('{"1": "tea", "1": "sea"}', "repeats '1'"),
        ('{"1": 5}', "question '1' is no text but 5"),
        ('{"1": {"text": "tea"}}', "question '1' is no text but None"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_answers(path)
    assert problem in str(caught.value)


def test_answers_are_evaluated(mini_data: Mini, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = {question["id"]: question["answers"][0] for question in mini_data.questions}
    scores = evaluate_answers(gold, mini_data.topics)
    assert (scores.average("EM"), scores.count("EM")) == (1, len(gold))
    # a question whose answer is an article, of which nothing is left, has no token to share
    assert scores.per_query["F1"] == {qid: float(bool(plain_tokens(answer))) for qid, answer in gold.items()}
    first, *others = gold
    part = {qid: gold[qid] for qid in others}
    assert evaluate_answers(part, mini_data.topics).per_query["EM"][first] == 0
    skipped = evaluate_answers(part, mini_data.topics, ["F1_mlqa"], missing=Missing.SKIP)
    assert first not in skipped.per_query["F1_mlqa"] and skipped.absent == (first,)
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(part))
    assert cli.main(["evaluate", "--answers", str(path), "--topics", mini_data.topics]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^EM +0\.5000 +1\.0000", shown.out, re.MULTILINE)
    assert "1 questions are not there; such questions score zero (--missing zero)" in shown.err


@pytest.mark.parametrize(
    ("answers", "measure", "problem"),
    [
        ({}, "EM", "no question"),
        ({"x": "tea"}, "EM", "no question 'x'"),
        ({"q0": "tea"}, "R2kt", "not a measure of answers"),
    ],
)
def test_answers_that_cannot_be_evaluated(mini_data: Mini, answers: dict, measure: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        evaluate_answers(answers, mini_data.topics, [measure])


def test_runs_have_no_em(mini_data: Mini) -> None:
    with pytest.raises(InputError, match="EM is of answers, not of runs"):
        evaluate({"q0": []}, mini_data.topics, ["EM"])
