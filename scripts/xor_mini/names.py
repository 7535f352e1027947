"""Names in many languages: every territory, currency, language, script and city that CLDR names in three of the seven.

They are what a model from scratch reads first, in place of the web text that mBERT and XLM-R have read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from babel import Locale
from entities import EN, plain

KINDS = {"territory": "territories", "currency": "currencies", "language": "languages", "script": "scripts"}
LEAST = 3  # languages in which an entity must have a name of its own


def _entities(locales: Sequence[Locale]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield (kind, code, English name, names in the order of `locales`, "" where there is none)."""
    for kind, attribute in KINDS.items():
        for code, english in sorted(getattr(EN, attribute).items()):
            yield kind, code, english, [getattr(locale, attribute).get(code, "") for locale in locales]
    for zone in sorted({zone for locale in locales for zone in locale.time_zones}):
        english = EN.time_zones.get(zone, {}).get("city") or zone.rsplit("/", 1)[-1].replace("_", " ")
        yield "city", zone, english, [locale.time_zones.get(zone, {}).get("city") or "" for locale in locales]


def name_lines(languages: Sequence[str], unseen: dict[tuple[str, str], str]) -> list[str]:
    """Return tab-separated lines, a header first: kind, split, English name, a name or nothing a language.

    The split is the one whose questions are about the entity; train, where ``unseen`` does not name another.
    """
    lines = ["\t".join(["kind", "split", "en", *languages])]
    for kind, code, english, found in _entities([Locale(language) for language in languages]):
        names = [name if plain(name) and name != english else "" for name in found]
        if plain(english) and sum(map(bool, names)) >= LEAST:
            lines.append("\t".join([kind, unseen.get((kind, code), "train"), english, *names]))
    return lines
