"""The script in which each language of the collections is written, by Unicode block, and where its sentences end."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from xqg_repro.core.errors import InputError

_MARKS = (range(0x0300, 0x0370),)  # accents that stand as characters of their own (decomposed text)
_LATIN = (
    range(0x02B0),
    range(0x1E00, 0x1F00),
    range(0x2C60, 0x2C80),
    range(0xA720, 0xA800),
    range(0xAB30, 0xAB70),
    range(0xFB00, 0xFB07),
    range(0xFF21, 0xFF5B),
    *_MARKS,
)
_GREEK = (range(0x0370, 0x0400), range(0x1F00, 0x2000), *_MARKS)
_CYRILLIC = (
    range(0x0400, 0x0530),
    range(0x1C80, 0x1C90),
    range(0x2DE0, 0x2E00),
    range(0xA640, 0xA6A0),
    *_MARKS,
)
_ARABIC = (
    range(0x0600, 0x0700),
    range(0x0750, 0x0780),
    range(0x0870, 0x0900),
    range(0xFB50, 0xFE00),
    range(0xFE70, 0xFF00),
)
_DEVANAGARI = (range(0x0900, 0x0980), range(0xA8E0, 0xA900))
_HAN = (
    range(0x3005, 0x3008),
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2FA20),
    range(0x30000, 0x323B0),
)
_KANA = (range(0x3040, 0x3100), range(0x31F0, 0x3200), range(0xFF66, 0xFFA0), range(0x1B000, 0x1B170))
_HANGUL = (
    range(0x1100, 0x1200),
    range(0x3130, 0x3190),
    range(0xA960, 0xA980),
    range(0xAC00, 0xD800),
    range(0xFFA0, 0xFFDD),
)

SCRIPTS: dict[str, tuple[range, ...]] = {
    "ar": _ARABIC,
    "bn": (range(0x0980, 0x0A00),),
    "de": _LATIN,
    "el": _GREEK,
    "en": _LATIN,
    "es": _LATIN,
    "fi": _LATIN,
    "hi": _DEVANAGARI,
    "ja": (*_KANA, *_HAN),
    "ko": _HANGUL,
    "ro": _LATIN,
    "ru": _CYRILLIC,
    "te": (range(0x0C00, 0x0C80),),
    "th": (range(0x0E00, 0x0E80),),
    "tr": _LATIN,
    "vi": _LATIN,
    "zh": _HAN,
}
"""ISO 639-1 code → code points of the blocks that hold the language's letters and marks."""


def is_in_script(text: str, language: str) -> bool:
    """Whether more than half of a text's letters (with combining marks) belong to the language's script.

    A text without letters does not.

    >>> is_in_script("Missä Turku on?", "fi"), is_in_script("Missä Turku on?", "ru"), is_in_script("1812?", "fi")
    (True, False, False)
    """
    letters = [ord(character) for character in text if unicodedata.category(character)[0] in "LM"]
    return 2 * sum(any(letter in block for block in SCRIPTS[language]) for letter in letters) > len(letters)


SHORTEST = 20
"""Characters; a shorter piece is mostly the end of an abbreviation, and is joined to its neighbour."""

_SENTENCE_ENDS = r"(?<=[.!?؟])\s+|(?<=[।。！？])\s*"
# Thai marks no ends of sentences; a space stands between sentences or clauses
_ENDS = {"th": r"\s+"}


def sentences(text: str, language: str) -> list[str]:
    """A paragraph's sentences; for Thai, which marks no ends, the stretches between spaces.

    >>> sentences("It is by Dr. Who of Gallifrey. He came late! Why did he come so late?", "en")
    ['It is by Dr. Who of Gallifrey. He came late!', 'Why did he come so late?']
    """
    found: list[str] = []
    for piece in re.split(_ENDS.get(language, _SENTENCE_ENDS), text.strip()):
        if found and min(len(found[-1]), len(piece)) < SHORTEST:
            found[-1] = f"{found[-1]} {piece}".strip()
        elif piece:
            found.append(piece)
    return found


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
"""English names of the languages in the collections, by ISO 639-1 code."""


XOR_LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
"""The seven question languages of XOR-TyDi QA, in the order of the paper's tables."""


AVERAGE = "average"
"""The column of the macro average over languages."""


def check_languages(codes: Iterable[str]) -> None:
    """Raise :class:`InputError` where one of these is no code of :data:`LANGUAGE_NAMES`."""
    if unknown := [code for code in codes if code not in LANGUAGE_NAMES]:
        raise InputError(f"unknown language {unknown[0]!r}", hint=f"choose from: {' '.join(LANGUAGE_NAMES)}")
