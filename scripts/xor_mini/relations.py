"""The relations: the kind of entity that each is about, how values are written, and the answers."""

from __future__ import annotations

import datetime

from entities import EN, World

Pair = tuple[str, str]  # (relation, entity code)

KIND_OF_RELATION = {
    "capital": "territory",
    "area": "territory",
    "population": "territory",
    "currency": "territory",
    "currency_since": "territory",
    "former_currency": "territory",
    "official_language": "territory",
    "second_language": "territory",
    "language_share": "territory",
    "dialling_code": "territory",
    "internet_domain": "territory",
    "country_code": "territory",
    "currency_code": "currency",
    "currency_country": "currency",
    "currency_start": "currency",
    "currency_successor": "currency",
    "language_country": "language",
    "language_script": "language",
    "language_code": "language",
    "language_speakers": "language",
    "script_code": "script",
    "script_language": "script",
    "city_country": "city",
    "city_population": "city",
    "city_latitude": "city",
}


def date(day: datetime.date) -> str:
    """Write a date as in "15 November 1993"."""
    return f"{day.day} {EN.months['format']['wide'][day.month]} {day.year}"


def people(number: float) -> str:
    """Write a rounded number of people: "1.3 billion", "5.2 million", "48,000"."""
    if number >= 999_500_000:
        return f"{number / 1e9:.1f} billion"
    if number >= 999_500:
        return f"{number / 1e6:.1f} million" if number < 99_950_000 else f"{number / 1e6:.0f} million"
    step = 1_000 if number >= 9_500 else 100
    return f"{round(number / step) * step:,}"


def degrees(value: float, letters: str) -> str:
    """Write a coordinate as in "60.17° N"; `letters` are those for positive and negative values."""
    return f"{abs(value):.2f}° {letters[0] if value >= 0 else letters[1]}"


def percent(value: float) -> str:
    """Write a share as in "9.6 percent"."""
    return f"{value:g} percent"


def answers(world: World) -> dict[Pair, str]:
    """Return the answer for every (relation, entity) for which the facts are unambiguous."""

    def country(codes: tuple[str, ...]) -> str | None:
        """Name the only country in `codes`; phrases that ask "which country" do not fit other territories."""
        t = world.territory.get(codes[0]) if len(codes) == 1 else None
        return t.name if t and t.noun == "country" else None

    values: dict[Pair, str | None] = {}
    for code, t in world.territory.items():
        now, shares = t.current, t.languages
        named = [EN.languages.get(language) for language, _ in shares] + [None, None]
        gaps = [a[1] > b[1] for a, b in zip(shares, [*shares[1:], ("", 0.0)], strict=True)] + [False, False]
        values |= {
            ("capital", code): t.capital,
            ("area", code): f"{t.area:,}" if t.area >= 10 else None,
            ("population", code): f"{t.population:,}",
            ("currency", code): world.currency[now.currency].name if now else None,
            ("currency_since", code): date(now.start) if now else None,
            ("former_currency", code): EN.currencies[t.former.currency] if t.former else None,
            ("official_language", code): EN.languages.get(t.official[0]) if len(t.official) == 1 else None,
            ("second_language", code): named[1] if gaps[0] and gaps[1] and named[0] and shares[1][1] >= 1 else None,
            ("language_share", code): percent(shares[0][1]) if gaps[0] and named[0] else None,
            ("dialling_code", code): t.phone,
            ("internet_domain", code): t.domain,
            ("country_code", code): t.iso3,
        }
    for code, c in world.currency.items():
        values |= {
            ("currency_code", code): code,
            ("currency_country", code): country(c.users),
            ("currency_start", code): date(c.start),
            ("currency_successor", code): world.currency[c.successor].name if c.successor else None,
        }
    for code, lang in world.language.items():
        values |= {
            ("language_country", code): country((lang.speakers[0][0],)),
            ("language_script", code): world.script[lang.script].name if lang.script in world.script else None,
            ("language_code", code): f"code {code}",
            ("language_speakers", code): people(lang.total),
        }
    for code, s in world.script.items():
        values["script_code", code] = code
        values["script_language", code] = world.language[s.languages[0]].name if s.languages else None
    for code, city in world.city.items():
        values |= {
            ("city_country", code): country((city.territory,)),
            ("city_population", code): f"{city.population:,}",
            ("city_latitude", code): degrees(city.latitude, "NS"),
        }
    return {pair: answer for pair, answer in values.items() if answer}
