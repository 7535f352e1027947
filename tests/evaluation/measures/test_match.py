from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pandas as pd
import pytest
import regex
from hypothesis import example, given, settings, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.measures.match import (
    MATCH_MEASURES,
    exact_match,
    f1,
    match_score,
    normalise_mlqa,
    normalise_squad,
    register,
)

# squad


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Beatles", "beatles"),
        ("the theatre, another anthem", "theatre another anthem"),  # whole words only
        ("U.S.A.", "usa"),
        ("rock'n'roll", "rocknroll"),  # punctuation leaves no space behind
        ("the-end", "theend"),  # it goes before the articles are looked for
        ("a.n", ""),  # and may leave one
        (string.punctuation, ""),
        ("«1,5 %»…", "«15 »…"),  # only ASCII's punctuation
        ("«the»", "« »"),  # a space stands for an article
        ("two\u00a0\u3000\n words", "two words"),
        ("ÉCOLE die Straße", "école die straße"),  # only English articles
    ],
)
def test_squad_normalisation(text: str, expected: str) -> None:
    assert normalise_squad(text) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "em", "expected"),
    [
        ("helsinki.", ["Turku", "the Helsinki"], 1, 1),
        ("Helsinki, Finland", ["Helsinki"], 0, 2 / 3),  # P = 1/2, R = 1
        ("Helsinki", ["Helsinki in Finland"], 0, 1 / 2),  # P = 1, R = 1/3
        ("b a c", ["c b"], 0, 1),  # order does not matter to F1
        ("tea tea milk", ["tea tea tea"], 0, 2 / 3),
        ("one two three four", ["one two", "two three four five six", "seven"], 0, 2 / 3),  # 2/3, 6/9, 0
        ("in May 1968", ["1968", "May 1968"], 0, 0.8),  # the best of 1/2 and 4/5
        ("no", ["yes", "No!"], 1, 1),
        ("Oslo", ["Bergen"], 0, 0),
        ("tea", [""], 0, 0),
        ("", [""], 1, 0),  # equal, but without a token in common
        ("the", ["--", "a cup"], 1, 0),
    ],
)
def test_scores_worked_out_by_hand(answer: str, gold: list[str], em: int, expected: float) -> None:
    assert exact_match(answer, gold, normalise_squad) == match_score("EM", answer, gold) == em
    assert f1(answer, gold, normalise_squad) == match_score("F1", answer, gold) == pytest.approx(expected)


# mlqa


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The “Beatles” — an ‘Act’… ", "beatles act"),
        ("en", "¿$5 + 5 €?", "5 5 €"),  # signs of ASCII go, those of Unicode's category S stay
        ("de", "Ein eine einen einem eines einer der die das den dem des Hauses", "hauses"),
        ("de", "keine Diebe, derer the a", "keine diebe derer the a"),
        ("es", "¡Un una unos unas el la los las Casas!", "casas"),
        ("es", "él, lo ella un-dos", "él lo ella undos"),
        ("vi", "Của là cái chiếc những Việt Nam", "việt nam"),
        ("ar", "في البيت الكبير", "في بيت كبير"),
        ("ar", "كمالية قال", "كم ية ق"),  # inside words and at their ends as well
        ("ar", "هل هذا؟ نعم، هذا", "هل هذا نعم هذا"),
        ("hi", "यह किताब है।", "यह किताब है"),
        ("fi", "the talo, а der", "the talo а der"),
        ("ko", "대한민국·서울", "대한민국서울"),
        ("zh", "《三国演义》，1987 年 abc版 DEF", "三 国 演 义 1987 年 abc 版 def"),
        ("zh", "㐀㐁 カナ", "㐀㐁 カナ"),  # outside MLQA's range
        ("zh", "一龥龦", "一 龥 龦"),  # which ends at U+9FA5
        ("ja", "「ひらがな」・2020年のABC", "ひ ら が な 2020 年 の abc"),
        ("ja", "か\u3099き ｶﾞ 𠮷々", "か\u3099 き ｶﾞ 𠮷 々"),  # voicing marks apart from their letters
        ("ja", "葛\U000e0100城", "葛\U000e0100 城"),
        ("th", "น้ำดื่ม", "น้ำ ดื่ ม"),  # consonant + tone mark + sara am; consonant + vowel sign + tone mark
        ("th", "ปี 2560 และ ๒๕๖๐", "ปี 2560 แ ล ะ ๒๕๖๐"),
        ("th", "\u0e31ก", "\u0e31 ก"),  # a mark without a letter
        ("th", "ABCกAB", "abc ก ab"),
    ],
)
def test_mlqa_normalisation(language: str, text: str, expected: str) -> None:
    assert normalise_mlqa(text, language) == expected


@pytest.mark.parametrize(
    ("language", "answer", "gold", "em", "expected"),
    [
        ("de", "Das Rote Kreuz", ["„Rotes Kreuz“", "dem Rote-Kreuz"], 0, 1 / 2),
        ("zh", "北京", ["北京市"], 0, 4 / 5),  # P = 1, R = 2/3
        ("zh", "北京。", ["北 京"], 1, 1),
        ("ja", "東京都", ["京都"], 0, 4 / 5),
        ("th", "น้ำ", ["น้ำตก"], 0, 1 / 2),  # one of three
        ("th", "ดี", ["ปี"], 0, 0),  # a vowel sign in common is no token in common
        ("ar", "ال", [""], 1, 0),
    ],
)
def test_mlqa_scores_worked_out_by_hand(language: str, answer: str, gold: list[str], em: int, expected: float) -> None:
    assert match_score("EM_mlqa", answer, gold, language) == em
    assert match_score("F1_mlqa", answer, gold, language) == pytest.approx(expected)


def test_only_mlqa_needs_a_language() -> None:
    assert match_score("EM", "das Haus", ["Haus"], "de") == match_score("EM", "das Haus", ["Haus"]) == 0
    for language in ("", "?", "zh-CN", "ZH", None, float("nan")):
        with pytest.raises(InputError, match="is not a language code"):
            match_score("EM_mlqa", "tea", ["tea"], language)


# the definitions, transcribed plainly

ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "de": "ein eine einen einem eines einer der die das den dem des",
    "vi": "của là cái chiếc những",
}
WORDS = [
    *" ".join(ARTICLES.values()).split(),
    "ال",
    "كمالية",
    "Haus",
    "東京",
    "タワー",
    "น้ำ",
    "ดื่ม",
    "北京",
    "1968",
    "Y",
]
SIGNS = [" ", "  ", "\n", "\u3000", "-", "'", ".", "«", "»", "؟", "。", "€", "+", "_", "\u0301", "İ"]
PIECES = st.lists(st.sampled_from(WORDS) | st.sampled_from(SIGNS), max_size=8).map("".join)
ANSWERS = PIECES | st.text(max_size=12) | st.text("aAnthe .-", max_size=12)
LANGUAGES = ["ar", "de", "en", "es", "fi", "hi", "ko", "ru", "te", "vi", "zh"]


def without_articles(text: str, articles: str) -> list[str]:
    """White-space tokens, after every run of word characters that is an article was replaced with a space."""
    runs = re.findall(r"\w+|\W+", text)
    return "".join(" " if run in articles.split() else run for run in runs).split()


def squad_tokens(text: str) -> list[str]:
    return without_articles("".join(c for c in text.lower() if c not in string.punctuation), ARTICLES["en"])


def mlqa_tokens(text: str, language: str) -> list[str]:
    kept = ""
    for character in text.lower():
        if not unicodedata.category(character).startswith("P") and character not in string.punctuation:
            kept += character
    if language == "ar":
        kept = " ".join(kept.split("ال"))
    tokens = without_articles(kept, ARTICLES.get(language, ""))
    return [part for token in tokens for part in chinese_parts(token)] if language == "zh" else tokens


def chinese_parts(token: str) -> list[str]:
    parts: list[str] = []
    rest = ""
    for character in token:
        if 0x4E00 <= ord(character) <= 0x9FA5:
            parts += [rest, character] if rest else [character]
            rest = ""
        else:
            rest += character
    return [*parts, rest] if rest else parts


def best_scores(answer: str, gold: list[str], tokens: Callable[[str], list[str]]) -> tuple[int, float]:
    em, best, found = 0, 0.0, tokens(answer)
    for text in gold:
        right = tokens(text)
        em = max(em, int(" ".join(found) == " ".join(right)))
        left, common = list(right), 0
        for token in found:
            if token in left:
                left.remove(token)
                common += 1
        if common:
            precision, recall = common / len(found), common / len(right)
            best = max(best, (2 * precision * recall) / (precision + recall))
    return em, best


@settings(max_examples=40)
@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3))
@example("a-n 'the' _a_", ["_a_ a", "an"])
def test_squad_scores_equal_the_definition(answer: str, gold: list[str]) -> None:
    scores = match_score("EM", answer, gold), match_score("F1", answer, gold)
    assert scores == best_scores(answer, gold, squad_tokens)


@settings(max_examples=80)
@given(st.sampled_from(LANGUAGES), ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3))
def test_mlqa_scores_equal_the_definition(language: str, answer: str, gold: list[str]) -> None:
    scores = match_score("EM_mlqa", answer, gold, language), match_score("F1_mlqa", answer, gold, language)
    assert scores == best_scores(answer, gold, lambda text: mlqa_tokens(text, language))


JAPANESE = "東京都葛々〆𠮷ひらがなカタカナーヴｶﾅ\u3099\u309aﾞﾟ\U000e0100\U000e0101"
THAI = "".join(
    chr(c)
    for c in (*range(0x0E01, 0x0E3B), *range(0x0E40, 0x0E4F))
    if unicodedata.category(chr(c)) in ("Lo", "Lm", "Mn")
)


@settings(max_examples=50)
@given(st.text(THAI, max_size=12), st.text(JAPANESE, max_size=12))
def test_thai_and_japanese_tokens_are_grapheme_clusters(thai: str, japanese: str) -> None:
    assert normalise_mlqa(thai, "th").split() == regex.findall(r"\X", thai)
    japanese = f"の{japanese}"  # a variation selector needs a character
    assert normalise_mlqa(japanese, "ja").split() == regex.findall(r"\X", japanese)


@pytest.mark.integration
@pytest.mark.parametrize("language", ["ar", "de", "th"])
def test_gold_answers_of_xquad_match_themselves(shared: Path, language: str) -> None:
    data = json.loads((shared / "data" / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    gold = [[answer["text"] for answer in qa["answers"]] for paragraph in paragraphs for qa in paragraph["qas"]]
    assert len(gold) == 1190
    for answers in gold:
        assert match_score("EM_mlqa", f"« {answers[0]} »", answers, language) == 1
        assert match_score("F1_mlqa", answers[0], answers, language) == 1
    if language == "th":  # every Thai letter is a token, with its marks
        letter = re.compile("[\u0e01-\u0e3a\u0e40-\u0e4e]")
        for text in (answer for answers in gold for answer in answers):
            tokens = normalise_mlqa(text, language).split()
            assert list(filter(letter.match, tokens)) == list(filter(letter.match, regex.findall(r"\X", text)))


# what cannot be scored


@pytest.mark.parametrize("wrong", [[], (), "", "tea", None, float("nan"), [None], ["tea", 3]])
def test_gold_answers_must_be_a_list_of_texts_and_the_answer_text(wrong: Any) -> None:
    for name in MATCH_MEASURES:
        with pytest.raises(InputError, match="gold answer"):
            match_score(name, "tea", wrong, "en")
    if not isinstance(wrong, str):
        with pytest.raises(InputError, match="is not text"):
            match_score("EM", wrong, ["tea"])


# ir-measures

QRELS = pd.DataFrame(
    {
        "query_id": ["3", "1", "2", "4"],
        "answers": [("das Haus", "Hütte"), ["green tea"], np.array(["北京市"], dtype=object), ["yes"]],
        "lang": ["de", "en", "zh", "en"],
    }
)
RUN = pd.DataFrame({"query_id": ["1", "2", "3", "9"], "answer": ["the tea", "北京", "Haus", "tea"]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EM", {"1": 0, "2": 0, "3": 0, "4": 0}),
        ("F1", {"1": 2 / 3, "2": 0, "3": 2 / 3, "4": 0}),
        ("EM_mlqa", {"1": 0, "2": 0, "3": 1, "4": 0}),
        ("F1_mlqa", {"1": 2 / 3, "2": 4 / 5, "3": 1, "4": 0}),
    ],
)
def test_ir_measures_scores_every_question_of_the_qrels(name: str, expected: dict[str, float]) -> None:
    measure = register()[name]
    metrics = list(ir_measures.iter_calc([measure], QRELS, RUN))
    assert {metric.query_id: metric.value for metric in metrics} == pytest.approx(expected)  # 4 is absent, 9 unknown
    assert len(metrics) == 4
    assert ir_measures.calc_aggregate([measure], QRELS, RUN)[measure] == pytest.approx(sum(expected.values()) / 4)


def test_numeric_ids_are_scored_once_and_squad_needs_no_language() -> None:
    qrels, run = (frame.astype({"query_id": int}) for frame in (QRELS, RUN))
    metrics = list(ir_measures.iter_calc([register()["EM_mlqa"]], qrels, run))
    assert sorted((metric.query_id, metric.value) for metric in metrics) == [(1, 0), (2, 0), (3, 1), (4, 0)]
    assert [m.value for m in ir_measures.iter_calc([register()["EM"]], QRELS.drop(columns="lang"), RUN)] == [0] * 4


def test_ir_measures_knows_the_names() -> None:
    assert register() is register()
    assert list(register()) == list(MATCH_MEASURES) == ["EM", "F1", "EM_mlqa", "F1_mlqa"]
    for name, measure in register().items():
        assert ir_measures.parse_measure(name) == measure and str(measure) == name
        assert not measure.SUPPORTED_PARAMS  # one answer has no cutoff


@pytest.mark.parametrize(
    ("name", "qrels", "run", "message"),
    [
        ("EM", QRELS.drop(columns="answers"), RUN, "EM needs the column 'answers' in the qrels"),
        ("F1", QRELS, RUN.drop(columns="answer"), "F1 needs the column 'answer' in the run"),
        ("EM_mlqa", QRELS.drop(columns="lang"), RUN, "EM_mlqa needs the column 'lang' in the qrels"),
        ("F1", pd.concat([QRELS, QRELS[:1]]), RUN, "question 3 occurs twice in the qrels"),
        ("F1", QRELS, pd.concat([RUN, RUN[1:2]]), "question 2 occurs twice in the run"),
        ("F1", QRELS, RUN.replace("北京", None), "question 2: the answer is not text"),
        ("EM", QRELS.assign(answers="tea"), RUN, "question 1: the gold answers are not a list"),
        ("EM", QRELS.assign(answers=[["a"], [], ["b"], ["c"]]), RUN, "question 1: there is no gold answer"),
        ("F1_mlqa", QRELS.assign(lang="?"), RUN, "question 1: '\\?' is not a language"),
    ],
)
def test_frames_that_cannot_be_scored_are_refused(
    name: str, qrels: pd.DataFrame, run: pd.DataFrame, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list(ir_measures.iter_calc([register()[name]], qrels, run))
