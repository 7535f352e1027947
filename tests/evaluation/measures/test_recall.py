from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import Any

import ir_measures
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.measures import recall, register
from xqg_repro.evaluation.measures.recall import answer_recall, scorable, skeleton, tokens_until, word_tokenize

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


@pytest.fixture(scope="module")
def nltk_words(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """NLTK's own ``word_tokenize``, with a data folder made from the same Punkt parameters."""
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


def test_tokens_are_nltks(nltk_words: Any) -> None:
    for text in TEXTS:
        assert list(word_tokenize(text)) == nltk_words(text)


@pytest.mark.integration
def test_tokens_of_real_passages_are_nltks(nltk_words: Any, golden: dict[str, Any]) -> None:
    assert [text for text in golden["passages"] if list(word_tokenize(text)) != nltk_words(text)] == []


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
def test_answers_are_searched_in_the_first_tokens(answers: list[str], limit: int, expected: int) -> None:
    assert answer_recall(["The capital.", "Turku is older."], answers, limit) == expected


PIECES = [
    *("Helsinki", "tea", "a", "5.5", "3,000", "U.S.", "Dr.", "no.", "can't", "cannot", "rock'n'roll", "東京", "Москва"),
    *('"', "''", "``", "'", "“", "”", "«", "’", "`", "...", "…", ". . .", ".", "!", "?", ",", ";", "%", "$", "--", "—"),
    *("(", ")", "[", "]", "*", "&", "/", "é", "e\u0301", "\u200b", "\ufeff", "1990s", "'tis", "gonna", "ไทย", "yes"),
]
SPACES = ("", "", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u2009", "\u3000", "\x1c", "\x85", "\u2028")


def random_case(draw: random.Random) -> tuple[list[str], list[str], int]:
    """Passages, answers and a limit; most answers are cut from the passages' texts, or from their joined tokens."""
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


def test_random_cases_are_scored_by_the_plain_definition(plain_recall: Callable[..., int]) -> None:
    draw, cases, hits = random.Random(2026), 1_000, 0
    for _ in range(cases):
        texts, answers, limit = random_case(draw)
        expected = plain_recall(texts, answers, limit)
        assert answer_recall(texts, answers, limit) == expected, (texts, answers, limit)
        hits += expected
    assert 0.3 * cases < hits < 0.7 * cases


@settings(max_examples=40)
@given(st.lists(st.text(max_size=60), max_size=5), st.lists(st.text(max_size=5), max_size=3), st.integers(0, 30))
def test_any_text_is_scored_by_the_plain_definition(
    plain_recall: Callable[..., int], texts: list[str], answers: list[str], limit: int
) -> None:
    answers = [*answers, *(text[i : i + 4] for text in texts for i in range(0, len(text), 7))]
    assert answer_recall(texts, answers, limit) == plain_recall(texts, answers, limit)


@settings(max_examples=100)
@given(st.text())
def test_a_text_and_its_tokens_have_one_skeleton(text: str) -> None:
    assert skeleton(" ".join(word_tokenize(text))) == skeleton(text)
    assert len(word_tokenize(text)) >= len(text.split())


def test_what_cannot_matter_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(recall, "_joined_tokens", lambda text: seen.append(text) or " ".join(word_tokenize(text)))
    texts = ["One Turku.", "Two.", "Three Vaasa.", "Four."]
    assert tokens_until(texts, ["Oulu", "100%"]) == inf and seen == []
    assert tokens_until(texts, ["Turku"]) == 2 and seen == ["One Turku."]
    assert tokens_until([*texts, "word " * 5000, "Oulu"], ["Oulu"]) == inf and seen == ["One Turku."]


def test_yes_and_no_are_not_answers() -> None:
    assert scorable(["yes", "Turku", "no", "Yes"]) == ["Turku", "Yes"]
    qrels = pd.DataFrame({"query_id": ["1", "2"], "answers": [["yes", "oil"], ["no", "tea"]]})
    run = pd.DataFrame({"query_id": ["1", "2"], "doc_id": ["d", "d"], "score": [1.0, 1.0], "text": ["yes", "tea"]})
    scores = ir_measures.iter_calc([register()["R2kt"]], qrels, run)
    assert {score.query_id: score.value for score in scores} == {"1": 0.0, "2": 1.0}


# ir-measures


@pytest.mark.parametrize(("position", "expected"), [(0, 1.0), (1, 0.0), (39, 0.0)])
def test_equal_scores_are_read_in_the_runs_order(position: int, expected: float) -> None:
    texts = ["word " * 2000] * 40
    texts[position] = "tea " * 2000
    qrels = pd.DataFrame({"query_id": ["1"], "answers": [["tea"]]})
    rows = [("1", str(i), 0.5, text) for i, text in enumerate(texts)]
    run = pd.DataFrame(rows, columns=["query_id", "doc_id", "score", "text"])
    assert [score.value for score in ir_measures.iter_calc([register()["R2kt"]], qrels, run)] == [expected]


@pytest.mark.parametrize("absent", ["answers", "text"])
def test_a_missing_column_is_named(absent: str) -> None:
    qrels = pd.DataFrame({"query_id": ["1"], "answers": [["tea"]]}).drop(columns=absent, errors="ignore")
    run = pd.DataFrame({"query_id": ["1"], "doc_id": ["d"], "score": [1.0], "text": ["tea"]})
    with pytest.raises((InputError, ValueError), match=absent):
        list(ir_measures.iter_calc([register()["R2kt"]], qrels, run.drop(columns=absent, errors="ignore")))


@pytest.mark.parametrize("name", ["R2kt", "R5kt"])
def test_ir_measures_knows_the_name(name: str) -> None:
    assert ir_measures.parse_measure(name) == register()[name] == register()[name]
    assert str(register()[name]) == name


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
