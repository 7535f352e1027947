"""Names in question phrases: the plain slot, the Bengali genitive and the Korean particles."""

from __future__ import annotations

import re
import unicodedata

SLOT = re.compile(r"\{X(?::([a-z]+))?\}")
KOREAN_PARTICLES = {"topic": ("은", "는"), "subject": ("이", "가"), "object": ("을", "를")}
CASED_LANGUAGES = frozenset(("en", "fi", "ru"))

_SIGNS_WITH_PLAIN_R = "ািীুূৃেো"  # vowel signs after which the genitive is র
_VOWELS_WITH_PLAIN_R = "আএওঅ"  # independent vowels with the same genitive: টোকিও, টোকিওর
_GLIDE = "ইঈউঊঐঔৈৌং"  # endings after which it is য়ের: মুম্বই, মুম্বইয়ের
_VIRAMA, _NUKTA, _KHANDA_TA = "্", "়", "ৎ"


def bengali_genitive(name: str) -> str:
    """Return `name` with the ending র, য়ের or ের, by its last letter."""
    name = unicodedata.normalize("NFC", name).rstrip(_VIRAMA)
    last = name.rstrip("ঁ")[-1]
    if last in _SIGNS_WITH_PLAIN_R or last in _VOWELS_WITH_PLAIN_R:
        return name + "র"
    if last in _GLIDE:
        return name + "য়ের"
    if last == _KHANDA_TA:
        return name[:-1] + "তের"
    if last == _NUKTA or unicodedata.category(last) == "Lo":
        return name + "ের"
    raise ValueError(f"no Bengali genitive for {name!r}: it does not end in a Bengali letter")


def korean_particle(name: str, kind: str) -> str:
    """Return `name` with its topic, subject or object particle, which depends on the last syllable."""
    place = ord(name[-1]) - 0xAC00
    if not 0 <= place < 11172:
        raise ValueError(f"no Korean particle for {name!r}: it does not end in a Hangul syllable")
    closed, open_ = KOREAN_PARTICLES[kind]
    return name + (closed if place % 28 else open_)


def fill(phrase: str, name: str, lang: str) -> str:
    """Put `name` into `phrase`; the question begins with a capital if the script has case."""

    def inflected(match: re.Match[str]) -> str:
        kind = match[1]
        if kind is None:
            return name
        if lang == "bn" and kind == "genitive":
            return bengali_genitive(name)
        if lang == "ko" and kind in KOREAN_PARTICLES:
            return korean_particle(name, kind)
        raise ValueError(f"{lang}: unknown slot {match[0]} in {phrase!r}")

    text, slots = SLOT.subn(inflected, phrase)
    if slots != 1:
        raise ValueError(f"{lang}: {slots} slots in {phrase!r}, expected 1")
    return text[0].upper() + text[1:] if lang in CASED_LANGUAGES else text
