"""Names of the territories, currencies, languages, scripts and cities that CLDR names in three of the seven languages.

A model from scratch trains on these first, in place of the web text that mBERT and XLM-R were trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from babel import Locale
from entities import EN, plain

KINDS = {"territory": "territories", "currency": "currencies", "language": "languages", "script": "scripts"}
LEAST = 3  # number of languages in which an entity must have its own name


def _entities(locales: Sequence[Locale]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield (kind, code, English name, names in the order of `locales`), with "" for missing names."""
    for kind, attribute in KINDS.items():
        for code, english in sorted(getattr(EN, attribute).items()):
            yield kind, code, english, [getattr(locale, attribute).get(code, "") for locale in locales]
    for zone in sorted({zone for locale in locales for zone in locale.time_zones}):
        english = EN.time_zones.get(zone, {}).get("city") or zone.rsplit("/", 1)[-1].replace("_", " ")
        yield "city", zone, english, [locale.time_zones.get(zone, {}).get("city") or "" for locale in locales]


def name_lines(languages: Sequence[str], unseen: dict[tuple[str, str], str]) -> list[str]:
    """Return tab-separated lines after a header: kind, split, English name, and a name or nothing for each language.

    The split is the one whose questions are about the entity: train, unless ``unseen`` names another.
    """
    lines = ["\t".join(["kind", "split", "en", *languages])]
    for kind, code, english, translations in _entities([Locale(language) for language in languages]):
        names = [name if plain(name) and name != english else "" for name in translations]
        if plain(english) and sum(map(bool, names)) >= LEAST:
            lines.append("\t".join([kind, unseen.get((kind, code), "train"), english, *names]))
    return lines
