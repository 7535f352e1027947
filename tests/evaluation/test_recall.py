from __future__ import annotations

import json
import random
from math import inf
from pathlib import Path
from typing import Any

import ir_datasets
import ir_measures
import pandas as pd
import pytest
from conftest import Mini
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.evaluate import Missing, evaluate, parse_measures
from xqg_repro.evaluation.measures import recall, register
from xqg_repro.evaluation.measures.recall import (
    answer_qrels,
    answer_recall,
    scorable,
    skeleton,
    tokens_until,
    word_tokenize,
)
from xqg_repro.retrieval.runfile import Hit

TEXTS = [
    "",
    "One sentence. Another one! A third?",
    "It's 5.5 million, isn't it? (Yes.) \"No,\" she said. 'Twas brillig.",
    "Dr. Smith of the U.S. Navy met Mr. J. Doe at 5 p.m. on Jan. 5. They left.",
    "Well... maybe. And so on . . . until the end... Then nothing…",
    "See e.g. fig. 3, i.e. the third. Cf. no. 7 etc. A final etc.",
    "$3.50 & 20% @ home; co-operative, rock'n'roll -- can't, cannot, gonna, and/or [sic].",
    "Helsinki (ruots. Helsingfors) on pääkaupunki. Москва — столица. 東京は首都です。",
    "A line\nbreak, a tab\there.  Two  spaces.\n\nA paragraph.",
]


# tokens


@pytest.fixture(scope="session")
def nltk_words(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """NLTK's own ``word_tokenize``, with its data folder made from the same Punkt parameters."""
    import nltk
    from nltk.tokenize.punkt import PunktParameters, save_punkt_params
    from punkt.data import load_bundled

    root = tmp_path_factory.mktemp("nltk")
    nltk.data.path.insert(0, str(root))
    bundled, parameters = load_bundled("english"), PunktParameters()
    for name in ("abbrev_types", "collocations", "sent_starters", "ortho_context"):
        getattr(parameters, name).update(getattr(bundled, name))
    folder = root / "tokenizers" / "punkt_tab" / "english"
    folder.parent.mkdir(parents=True)
    save_punkt_params(parameters, str(folder))
    yield nltk.word_tokenize
    nltk.data.path.remove(str(root))


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_equal_nltks(nltk_words: Any, text: str) -> None:
    assert list(word_tokenize(text)) == nltk_words(text)


@pytest.mark.integration
def test_tokens_of_real_passages_equal_nltks(nltk_words: Any, shared: Path) -> None:
    passages = json.loads((shared / "golden" / "xor_retrieve" / "passages.json").read_text(encoding="utf-8"))
    assert [text for text in passages if list(word_tokenize(text)) != nltk_words(text)] == []


# R@kt


@pytest.mark.parametrize(
    ("answers", "limit", "expected"),
    [
        (["capital"], 1, 0),
        (["capital"], 2, 1),
        (["capital."], 100, 0),  # the full stop is a token of its own
        (["capital . Turku"], 100, 1),
        (["Turku"], 3, 0),
        (["Turku"], 4, 1),
        (["urk"], 4, 1),  # any substring counts
        (["turku"], 100, 0),  # and letter case matters
        (["nothing", "older"], 100, 1),
    ],
)
def test_answer_is_looked_for_in_the_first_tokens(answers: list[str], limit: int, expected: int) -> None:
    assert answer_recall(["The capital.", "Turku is older."], answers, limit) == expected


def plain_answer_recall(texts: list[str], answers: list[str], limit: int) -> int:
    """The definition as it stands: tokenise everything, cut, join, look."""
    tokens = [token for text in texts for token in word_tokenize(text)][:limit]
    return int(any(answer in " ".join(tokens) for answer in answers))


PIECES = (
    *(
        "Helsinki",
        "tea",
        "a",
        "5.5",
        "3,000",
        "U.S.",
        "Dr.",
        "no.",
        "can't",
        "cannot",
        "rock'n'roll",
        "東京",
        "Москва",
        "ไทย",
    ),
    *('"', "''", "``", "'", "“", "”", "«", "’", "`", "...", "…", ". . .", ".", "!", "?", ",", ";", "%", "$", "--", "—"),
    *("(", ")", "[", "]", "*", "&", "/", "é", "e\u0301", "\u200b", "\ufeff", "1990s", "'tis", "gonna", "don't", "yes"),
)
SPACES = ("", "", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u2009", "\u3000", "\x1c", "\x85", "\u2028")


def fuzzed(draw: random.Random) -> tuple[list[str], list[str], int]:
    """Passages, answers and a limit: answers are mostly cut from the passages' texts, or from their joined tokens."""
    texts = [
        "".join(draw.choice(PIECES) + draw.choice(SPACES) for _ in range(draw.choice((0, 1, 3, 8, 20))))
        for _ in range(draw.randrange(7))
    ]
    sources = ["".join(texts), " ".join(token for text in texts for token in word_tokenize(text)), " ".join(PIECES)]
    answers = []
    for _ in range(draw.randrange(4)):
        source = draw.choice(sources)
        start = draw.randrange(len(source) + 1)
        answers.append(source[start : start + draw.choice((0, 1, 2, 5, 12, 40))])
    return texts, answers, draw.choice((0, 1, 2, 5, 10, 20, 60, 5000))


@pytest.mark.integration
def test_10000_random_cases_are_scored_by_the_plain_definition() -> None:
    draw, hits = random.Random(2026), 0
    for _ in range(10_000):
        texts, answers, limit = fuzzed(draw)
        expected = plain_answer_recall(texts, answers, limit)
        assert answer_recall(texts, answers, limit) == expected, (texts, answers, limit)
        hits += expected
    assert 3_000 < hits < 7_000


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5), st.lists(st.text(max_size=5), max_size=3), st.integers(0, 30))
def test_any_text_is_scored_by_the_plain_definition(texts: list[str], answers: list[str], limit: int) -> None:
    answers = [*answers, *(text[i : i + 4] for text in texts for i in range(0, len(text), 7))]
    assert answer_recall(texts, answers, limit) == plain_answer_recall(texts, answers, limit)


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_a_text_and_its_tokens_have_one_skeleton(text: str) -> None:
    assert skeleton(" ".join(word_tokenize(text))) == skeleton(text)
    assert len(word_tokenize(text)) >= len(text.split())


def test_what_cannot_matter_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(recall, "_tokenised", lambda text: seen.append(text) or " ".join(word_tokenize(text)))
    texts = ["One Turku.", "Two.", "Three Vaasa.", "Four."]
    assert tokens_until(texts, ["Oulu", "100%"]) == inf and seen == []
    assert tokens_until(texts, ["Turku"]) == 2 and seen == ["One Turku."]
    assert tokens_until([*texts, "word " * 5000, "Oulu"], ["Oulu"]) == inf and seen == ["One Turku."]


def test_all_cut_offs_follow_from_one_number() -> None:
    texts = ["One two.", "Three four."]
    assert tokens_until(texts, ["four"]) == 5
    assert [answer_recall(texts, ["four"], limit) for limit in (4, 5, 6)] == [0, 1, 1]


def test_yes_and_no_are_no_answers() -> None:
    assert scorable(["yes", "Turku", "no", "Yes"]) == ["Turku", "Yes"]


def test_question_answered_by_yes_has_no_score() -> None:
    qrels = answer_qrels({"1": ["yes"], "2": ["no", "tea"]})
    run = pd.DataFrame({"query_id": ["1", "2"], "doc_id": ["d", "d"], "score": [1.0, 1.0], "text": ["yes", "tea"]})
    scores = ir_measures.iter_calc([register()["R2kt"]], qrels, run)
    assert [(score.query_id, score.value) for score in scores] == [("2", 1.0)]


@pytest.mark.parametrize(("position", "expected"), [(0, 1.0), (1, 0.0), (39, 0.0)])
def test_equal_scores_are_read_in_the_runs_order(position: int, expected: float) -> None:
    texts = ["word " * 2000] * 40
    texts[position] = "tea " * 2000
    qrels = pd.DataFrame({"query_id": ["1"], "answers": [["tea"]]})
    rows = [("1", str(i), 0.5, text) for i, text in enumerate(texts)]
    run = pd.DataFrame(rows, columns=["query_id", "doc_id", "score", "text"])
    assert [score.value for score in ir_measures.iter_calc([register()["R2kt"]], qrels, run)] == [expected]


@pytest.mark.parametrize("absent", ["answers", "text"])
def test_missing_column_is_named(absent: str) -> None:
    qrels = pd.DataFrame({"query_id": ["1"], "answers": [["tea"]]}).drop(columns=absent, errors="ignore")
    run = pd.DataFrame({"query_id": ["1"], "doc_id": ["d"], "score": [1.0], "text": ["tea"]})
    with pytest.raises((InputError, ValueError), match=absent):
        list(ir_measures.iter_calc([register()["R2kt"]], qrels, run.drop(columns=absent, errors="ignore")))


@pytest.mark.parametrize("name", ["R2kt", "R5kt"])
def test_ir_measures_knows_the_name(name: str) -> None:
    assert register() == register()
    assert ir_measures.parse_measure(name) == register()[name]
    assert str(register()[name]) == name


@pytest.mark.parametrize("name", ["R3kt", "nDCG@", "recall", "nDCG@10)", ""])
def test_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="ir-measures does not know"):
        parse_measures(["R2kt", name])


# the official script's scores


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    folder = shared / "golden" / "xor_retrieve"
    found = {n: json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("passages", "predictions", "expected")}
    lines = (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()
    return {**found, "data": {item["id"]: item for item in map(json.loads, lines)}}


@pytest.fixture(scope="module")
def golden_topics(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golden questions and passages as an ir-datasets dataset."""
    from xqg_repro.collection.handlers import ListedDocs, Questions, dataset
    from xqg_repro.collection.records import Passage, Question

    docs = [Passage(str(i), "", text) for i, text in enumerate(golden["passages"])]
    asked = [Question(q["id"], q["question"], q["lang"], tuple(q["answers"])) for q in golden["data"].values()]
    handlers = ListedDocs(lambda: (docs, "docs"), "golden", "en"), Questions(lambda: (asked, "asked"), "golden")
    if "test-golden" not in ir_datasets.registry._registered:
        ir_datasets.registry.register("test-golden", dataset("xor-tydi", *handlers))
    return "test-golden"


@pytest.mark.integration
@pytest.mark.parametrize(("name", "official"), [("R2kt", "R@2kt"), ("R5kt", "R@5kt")])
def test_ir_measures_gives_the_official_scores(golden: dict[str, Any], name: str, official: str) -> None:
    predicted = [golden["data"][prediction["id"]] for prediction in golden["predictions"]]
    counted = [(item["id"], item["answers"]) for item in predicted if scorable(item["answers"])]
    qrels = pd.DataFrame(counted, columns=["query_id", "answers"])
    ranked = [(p["id"], i, c) for p in golden["predictions"] for i, c in enumerate(p["ctxs"])]
    hits = [(qid, str(c), -float(i), golden["passages"][c]) for qid, i, c in ranked]
    run = pd.DataFrame(hits, columns=["query_id", "doc_id", "score", "text"])
    scores = {score.query_id: score.value for score in ir_measures.iter_calc([register()[name]], qrels, run)}
    assert scores == golden["expected"][official]["per_query"]


@pytest.mark.integration
@pytest.mark.parametrize(("name", "official"), [("R2kt", "R@2kt"), ("R5kt", "R@5kt")])
def test_evaluate_gives_the_official_scores(
    golden: dict[str, Any], golden_topics: str, name: str, official: str
) -> None:
    run = {p["id"]: [Hit(str(c), -float(i)) for i, c in enumerate(p["ctxs"])] for p in golden["predictions"]}
    scores, expected = evaluate(run, golden_topics, [name], missing=Missing.SKIP), golden["expected"][official]
    assert scores.per_query[name] == expected["per_query"]
    assert 100 * scores.average(name) == pytest.approx(expected["macro_average"], abs=1e-9)
    for language, figures in expected["per_language"].items():
        assert scores.count(name, language) == figures["count"]
        assert scores.mean(name, language) * figures["count"] == pytest.approx(figures["hit"])
        assert 100 * scores.mean(name, language) == pytest.approx(figures["percent"], abs=1e-9)


@pytest.mark.integration
def test_questions_without_a_prediction_score_zero_unless_skipped(golden: dict[str, Any], golden_topics: str) -> None:
    run = {p["id"]: [Hit(str(c), -float(i)) for i, c in enumerate(p["ctxs"])] for p in golden["predictions"]}
    zero, skip = (evaluate(run, golden_topics, ["R2kt"], missing=missing) for missing in Missing)
    absent = {qid for qid, item in golden["data"].items() if qid not in run and scorable(item["answers"])}
    assert {qid: zero.per_query["R2kt"][qid] for qid in absent} == dict.fromkeys(absent, 0.0) != {}
    assert skip.per_query["R2kt"] == {q: v for q, v in zero.per_query["R2kt"].items() if q not in absent}
    assert zero.absent == skip.absent
    assert zero.average("R2kt") < skip.average("R2kt")


# evaluate


def own_passages(mini: Mini) -> dict[str, list[Hit]]:
    """A run in which each question finds its own passage first, and passage 2 next."""
    return {qid: [Hit(docid, 1.0), Hit("2", 0.5)] for qid, docid in mini.qrels}


def test_perfect_run_scores_one(mini_data: Mini) -> None:
    scores = evaluate(own_passages(mini_data), mini_data.topics, ["R2kt", "R@1", "RR@10"])
    assert {measure: scores.average(measure) for measure in scores.per_query} == {"R2kt": 1, "R@1": 1, "RR@10": 1}
    assert (scores.count("R2kt"), scores.count("R@1")) == (13, 14)  # one question's answer is yes


@pytest.mark.parametrize(
    ("missing", "averages"),
    [(Missing.ZERO, {"R2kt": 6 / 7, "RR@10": 13 / 14}), (Missing.SKIP, {"R2kt": 1, "RR@10": 1})],
)
def test_absent_question_counts_zero_or_nothing(mini_data: Mini, missing: Missing, averages: dict[str, float]) -> None:
    run = own_passages(mini_data)
    del run["q13"]  # Telugu, whose other question is answered by yes
    scores = evaluate(run, mini_data.topics, list(averages), missing=missing)
    assert scores.absent == ("q13",)
    for measure, average in averages.items():
        chosen = None if missing is Missing.ZERO or measure != "R2kt" else ("ar", "bn", "fi", "ja", "ko", "ru")
        assert scores.average(measure, chosen) == pytest.approx(average)
        assert scores.per_query[measure].get("q13") == (0.0 if missing is Missing.ZERO else None)


def test_average_is_the_mean_of_the_languages_means(mini_data: Mini) -> None:
    run = own_passages(mini_data)
    run["q0"] = run["q7"] = [Hit("60", 1.0)]  # both Arabic questions fail
    scores = evaluate(run, mini_data.topics, ["R@1"])
    assert scores.table("R@1")["ar"] == 0
    assert scores.average("R@1") == pytest.approx(6 / 7)
    assert scores.average("R@1", ["ar", "fi"]) == pytest.approx(1 / 2)


def test_equal_scores_keep_the_order_of_the_run(mini_data: Mini, tmp_path: Path) -> None:
    # passage 1 is right for q0, and stands second among three of equal score
    path = tmp_path / "run.txt"
    hits = ["9", "1", "3"]
    path.write_text("".join(f"q0 Q0 {docid} {rank} 0.5 t\n" for rank, docid in enumerate(hits, 1)))
    scores = evaluate(path, mini_data.topics, ["nDCG@10", "RR@10", "R@1", "R@2"], missing=Missing.SKIP)
    found = {measure: values["q0"] for measure, values in scores.per_query.items()}
    assert found == pytest.approx({"nDCG@10": 0.6309297536, "RR@10": 0.5, "R@1": 0.0, "R@2": 1.0})


def test_passage_that_the_collection_lacks_is_refused(mini_data: Mini) -> None:
    with pytest.raises(InputError, match="no passage '99'"):
        evaluate({"q0": [Hit("99", 1.0)]}, mini_data.topics, ["R2kt"])


def test_run_of_other_questions_is_refused(mini_data: Mini, tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("x Q0 1 1 0.5 t\n")
    with pytest.raises(InputError, match="no question 'x'"):
        evaluate(path, mini_data.topics, ["R2kt"])
    with pytest.raises(InputError, match="holds no question of test-mini/dev"):
        evaluate({"x": [Hit("1", 1.0)]}, mini_data.topics, ["R2kt"])


def test_scores_are_written_with_every_question(mini_data: Mini, tmp_path: Path) -> None:
    evaluate(own_passages(mini_data), mini_data.topics, ["R2kt"]).write(tmp_path / "scores.json")
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["summary"]["R2kt"]["questions"] == len(written["per_query"]["R2kt"]) == 13
    assert written["summary"]["R2kt"]["means"]["average"] == 1.0
