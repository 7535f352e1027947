from __future__ import annotations

import unicodedata

import pytest

from xqg_repro.core.languages import LANGUAGE_NAMES, SCRIPTS, is_in_script, split_sentences

QUESTIONS = {
    "ar": "ما هي عاصمة فنلندا؟",
    "bn": "ফিনল্যান্ডের রাজধানী কী?",
    "de": "Wie heißt die größte Stadt Österreichs?",
    "el": "Ποια είναι η πρωτεύουσα της Φινλανδίας;",
    "en": "What is the capital of Finland?",
    "es": "¿Cuál es la capital de España?",
    "fi": "Mikä on Suomen pääkaupunki?",
    "hi": "फ़िनलैंड की राजधानी क्या है?",
    "ja": "フィンランドの首都はどこですか?",
    "ko": "핀란드의 수도는 어디입니까?",
    "ro": "Care este capitala României și când a fost întemeiată?",
    "ru": "Какой город является столицей Финляндии?",
    "te": "ఫిన్లాండ్ రాజధాని ఏది?",
    "th": "เมืองหลวงของฟินแลนด์คืออะไร",
    "tr": "Türkiye'nin başkenti neresidir?",
    "vi": "Thủ đô của Phần Lan là gì?",
    "zh": "芬兰的首都是哪里?",
}
LATIN = {"de", "en", "es", "fi", "ro", "tr", "vi"}


def test_every_language_has_a_script() -> None:
    assert set(SCRIPTS) == set(LANGUAGE_NAMES) == set(QUESTIONS)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("language", QUESTIONS)
def test_questions_are_in_their_own_script_alone(language: str, form: str) -> None:
    text = unicodedata.normalize(form, QUESTIONS[language])
    same = LATIN if language in LATIN else {"ja", "zh"} if language == "zh" else {language}
    if (language, form) == ("ko", "NFD"):
        assert text != QUESTIONS["ko"]  # syllables fall apart into Jamo, which are another block
    assert {other for other in SCRIPTS if is_in_script(text, other)} == same


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("1812, 50 %?", "fi", False),
        ("ab яб", "fi", False),  # half is not more than half
        ("abc яб", "fi", True),
        ("abc яб", "ru", False),
        ("సి ab", "te", False),  # letter and vowel sign against two letters
        ("సి a", "te", True),
        ("人々 ab", "ja", False),
        ("人々 a", "ja", True),
        ("ﾌｨﾝﾗﾝﾄﾞ", "ja", True),
        ("ﾌｨﾝﾗﾝﾄﾞ", "zh", False),
        ("日本", "ko", False),
        ("ﾡﾢ", "ko", True),
    ],
)
def test_more_than_half_of_the_letters_decide(text: str, language: str, expected: bool) -> None:
    assert is_in_script(text, language) is expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "One sentence stands here. And another one stands there?  Yes, and a third one!", 3),
        ("en", "It costs 3.5 dollars in the U.S. today", 1),
        ("zh", "这是第一个句子它足够长可以算作一个句子。这是第二个句子它足够长可以算作一个句子。", 2),
        ("hi", "यह पहला वाक्य है जो काफी लंबा है। यह दूसरा वाक्य है जो काफी लंबा है।", 2),
        ("ar", "ما هي عاصمة البلاد التي نتحدث عنها؟ إنها مدينة كبيرة جدا.", 2),
        ("th", "ประโยคแรกของย่อหน้านี้ยาวพอ ประโยคที่สองของย่อหน้านี้ยาวพอ", 2),
    ],
)
def test_sentences_end_as_the_language_ends_them(language: str, text: str, expected: int) -> None:
    sentences = split_sentences(text, language)
    assert len(sentences) == expected
    assert "".join("".join(sentences).split()) == "".join(text.split())
