"""The entities that facts are about: their records, and their English names as used in sentences."""

from __future__ import annotations

import datetime
import hashlib
import math
from dataclasses import dataclass

from babel import Locale, UnknownLocaleError


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


EN = Locale("en")
# The usual English names in running text; `territory_name` spells out CLDR's "&" and "St.".
TERRITORY_NAMES = {
    "CD": "Democratic Republic of the Congo", "CG": "Republic of the Congo", "CI": "Ivory Coast",
    "GS": "South Georgia and the South Sandwich Islands", "HK": "Hong Kong", "MM": "Myanmar", "MO": "Macao",
    "PS": "Palestine", "TR": "Turkey", "VC": "Saint Vincent and the Grenadines", "VI": "United States Virgin Islands",
}  # fmt: skip
WITH_ARTICLE = _codes("AE AX BQ BS CD CF CG CK DO FK FO GB GM IM IO KM KY MH MP MV NL PH PN SB SC TC TF US UM VG VI")
# Members and observers of the United Nations are called "country", all other entries "territory".
NOT_UN = _codes(
    "AI AS AW AX BL BM BQ CK CW EH FK FO GF GG GI GL GP GU HK IM JE KY MF MO MP MQ MS NC NU PF PM PR RE SH SX TC TW VG "
    "VI WF XK YT"
)
SCRIPT_NAMES = {"Hans": "simplified Chinese", "Hant": "traditional Chinese"}


def seed(*parts: object) -> int:
    """Return a 63-bit integer that depends only on `parts` (SHA-256 of their text)."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def plain(name: str | None) -> bool:
    """Whether a sentence can use `name`: it exists and has no parentheses, brackets, digits or notes of CLDR."""
    return bool(name) and not any(c.isdigit() or c in "()[]" for c in name) and "SAR" not in name.split()


def territory_name(code: str) -> str:
    """Return the English name without article, or "" for a code that CLDR does not name."""
    name = TERRITORY_NAMES.get(code) or EN.territories.get(code, "")
    name = name.replace(" & ", " and ").replace("St. ", "Saint ").replace("U.S. ", "United States ").replace("’", "'")
    return name if plain(name) else ""


def name_in_text(code: str) -> str:
    """Return the English name as used in a sentence, with its article."""
    return f"the {territory_name(code)}" if code in WITH_ARTICLE else territory_name(code)


def script_name(code: str) -> str:
    """Return the English name of any script."""
    return SCRIPT_NAMES.get(code) or EN.scripts[code]


def find_locale(tag: str) -> Locale | None:
    """Return the locale of a tag such as "te-Telu-IN" or "und-FI" (likeliest language), or None if CLDR has none."""
    try:
        locale = Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return None
    return locale if locale.territory == tag.split("-")[-1] else None


@dataclass(frozen=True)
class Usage:
    """A currency as legal tender of a territory; `end` is None for a currency in use."""

    currency: str
    start: datetime.date
    end: datetime.date | None


@dataclass(frozen=True)
class Territory:
    """A CLDR territory with its GeoNames figures; `languages` are (code, percent) pairs, most widely spoken first.

    The ranks by area and population are within the continent, from 1; the continent has `continent_size` entries.
    """

    code: str
    name: str
    capital: str
    area: int
    area_rank: int
    population: int
    population_rank: int
    world_rank: int
    phone: str
    domain: str
    iso3: str
    numeric: int
    fips: str
    postal_digits: int
    continent: str
    continent_size: int
    neighbours: tuple[str, ...]
    current: Usage | None
    former: Usage | None
    languages: tuple[tuple[str, float], ...]
    official: tuple[str, ...]
    regional: tuple[str, ...]
    zones: tuple[str, ...]
    locale: Locale | None
    cities: tuple[str, ...]

    @property
    def in_text(self) -> str:
        """The name as used in a sentence, with its article."""
        return name_in_text(self.code)

    @property
    def noun(self) -> str:
        """ "country" or "territory"."""
        return "territory" if self.code in NOT_UN else "country"


@dataclass(frozen=True)
class Currency:
    """A currency; `start` is its first and `end` its last day as legal tender anywhere.

    `users` are the territories where it is legal tender now; some are too small to be among the world's territories.
    """

    code: str
    name: str
    users: tuple[str, ...]
    former_users: tuple[str, ...]
    start: datetime.date
    end: datetime.date | None
    successor: str | None
    predecessor: str | None


@dataclass(frozen=True)
class Language:
    """A language; `speakers` are (territory, number) pairs, largest first; `rank` is its rank among all in CLDR."""

    code: str
    name: str
    script: str
    tag: str
    speakers: tuple[tuple[str, float], ...]
    official_in: tuple[str, ...]
    regional_in: tuple[str, ...]
    rank: int

    @property
    def total(self) -> float:
        """The number of speakers in all territories."""
        return sum(n for _, n in self.speakers)


@dataclass(frozen=True)
class Script:
    """A script, the languages mainly written in it, largest first, and its likely (language, territory), if any."""

    code: str
    name: str
    languages: tuple[str, ...]
    likely: tuple[str, str]


@dataclass(frozen=True)
class City:
    """A place after which a time zone is named; `zone` is the zone's key."""

    zone: str
    name: str
    territory: str
    population: int
    latitude: float
    longitude: float
    rank: int
    capital: bool


def distance(start: City, end: City) -> float:
    """Return the great-circle distance between two cities in kilometres (haversine, radius 6,371 km)."""
    lat1, lat2 = math.radians(start.latitude), math.radians(end.latitude)
    dlat, dlon = lat2 - lat1, math.radians(end.longitude - start.longitude)
    h = math.sin(dlat / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(dlon / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(h))


@dataclass(frozen=True)
class World:
    """All entities of each kind, by code."""

    territory: dict[str, Territory]
    currency: dict[str, Currency]
    language: dict[str, Language]
    script: dict[str, Script]
    city: dict[str, City]
