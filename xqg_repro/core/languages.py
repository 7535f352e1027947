"""Languages of the collections: names, scripts and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xqg_repro.core.errors import InputError

LANGUAGE_NAMES = {
    "ar": "Arabic",
    "bn": "Bengali",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "hi": "Hindi",
    "ja": "Japanese",
    "ko": "Korean",
    "ro": "Romanian",
    "ru": "Russian",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""ISO 639-1 code → English name."""

XOR_LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
"""The seven question languages of XOR-TyDi QA, in the order of the paper's tables."""

AVERAGE = "average"
"""Column of the macro average over languages."""


def check_languages(codes: Iterable[str]) -> None:
    """Raise :class:`InputError` for a code that is not in :data:`LANGUAGE_NAMES`."""
    if unknown := [code for code in codes if code not in LANGUAGE_NAMES]:
        raise InputError(f"unknown language {unknown[0]!r}", hint=f"choose from: {' '.join(LANGUAGE_NAMES)}")


_MARKS = r"\u0300-\u036f"  # accents that decomposed text writes as separate characters

SCRIPTS = {
    "ar": r"\p{Script_Extensions=Arabic}",  # with the vowel marks, which Arabic shares with Syriac
    "bn": r"\p{Bengali}",
    "el": rf"\p{{Greek}}{_MARKS}",
    "hi": r"\p{Devanagari}",
    "ja": r"\p{Hiragana}\p{Katakana}\p{Han}〆ーｰ゛゜ﾞﾟ\u3099\u309a",  # signs that both kana share have no script
    "ko": r"\p{Hangul}",
    "ru": rf"\p{{Cyrillic}}{_MARKS}",
    "te": r"\p{Telugu}",
    "th": r"\p{Thai}",
    "zh": r"\p{Han}",
    **dict.fromkeys(("de", "en", "es", "fi", "ro", "tr", "vi"), rf"\p{{Latin}}{_MARKS}"),
}
"""ISO 639-1 code → the characters of the language's script, for a set ``[…]`` of the module ``regex``."""


def is_in_script(text: str, language: str) -> bool:
    """Whether more than half of a text's letters and combining marks belong to the language's script.

    A text without letters is in no script.

    >>> is_in_script("Missä Turku on?", "fi"), is_in_script("Missä Turku on?", "ru"), is_in_script("1812?", "fi")
    (True, False, False)
    """
    import regex

    letters = regex.findall(r"[\p{L}\p{M}]", text)
    in_script = regex.findall(f"[{SCRIPTS[language]}]", "".join(letters))
    return 2 * len(in_script) > len(letters)


def question_language(text: str, named: str = "") -> str:
    """The language that a question is ``named`` to have, or else the one of its script.

    Of the seven languages, Finnish must be named, since it shares its script with English and others.
    :class:`InputError` if the language is unknown.

    >>> question_language("Где Турку?"), question_language("Missä Turku on?", "fi")
    ('ru', 'fi')
    """
    by_script = (code for code in XOR_LANGUAGES if code != "fi" and is_in_script(text, code))
    language = named or next(by_script, "")
    if language not in LANGUAGE_NAMES:
        raise InputError(f"unknown language of the question {text!r}", hint='give each question a "lang"')
    return language


def is_only_in_script(text: str, languages: Iterable[str]) -> bool:
    """Whether all of a text's letters and combining marks belong to scripts of the languages.

    >>> is_only_in_script("Turku 1812", ["fi"]), is_only_in_script("Åbo я", ["fi"]), is_only_in_script("1812", [])
    (True, False, True)
    """
    import regex

    others = "".join(SCRIPTS[language] for language in languages)
    return regex.fullmatch(rf"(?:[^\p{{L}}\p{{M}}]{f'|[{others}]' if others else ''})*", text) is not None


SHORTEST_SENTENCE = 20
"""Characters; a shorter piece usually ends in an abbreviation, so it is joined to its neighbour."""

_SENTENCE_ENDS = r"(?<=[.!?؟])\s+|(?<=[।。！？])\s*"


def split_sentences(text: str, language: str) -> list[str]:
    """A paragraph's sentences; in Thai, which does not mark their ends, the sentences or clauses between spaces.

    >>> split_sentences("It is by Dr. Who of Gallifrey. He came late! Why did he come so late?", "en")
    ['It is by Dr. Who of Gallifrey. He came late!', 'Why did he come so late?']
    """
    sentences: list[str] = []
    for piece in re.split(r"\s+" if language == "th" else _SENTENCE_ENDS, text.strip()):
        if sentences and min(len(sentences[-1]), len(piece)) < SHORTEST_SENTENCE:
            sentences[-1] = f"{sentences[-1]} {piece}".strip()
        elif piece:
            sentences.append(piece)
    return sentences
