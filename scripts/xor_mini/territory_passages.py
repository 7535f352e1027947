"""Facts about territories: a generator for each kind of passage."""

from __future__ import annotations

import math
from collections.abc import Iterator

from babel import Locale
from babel.core import get_global
from entities import EN, Territory, World, distance, name_in_text, script_name, seed
from relations import date, people, percent
from sentences import Fact, largest, listing, nth, number, pick

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MAX_LISTED = 4


def names(codes: tuple[str, ...] | list[str]) -> str:
    """Join the English names of territories."""
    return listing(name_in_text(code) for code in codes)


def neighbour(world: World, t: Territory, purpose: str) -> Territory | None:
    """Return a neighbour chosen by hash, or None if there are none."""
    shuffled = sorted(t.neighbours, key=lambda code: seed(t.code, purpose, code))
    return world.territory[shuffled[0]] if shuffled else None


def most_similar(t: Territory, peers: list[Territory], figure: str) -> Territory:
    """Return the peer whose figure has the ratio nearest to 1 to that of `t`."""
    value = getattr(t, figure) or 1
    others = [p for p in peers if p.code != t.code and getattr(p, figure)]
    return min(others, key=lambda p: (abs(math.log(getattr(p, figure) / value)), p.code))


def geography(world: World, t: Territory) -> Iterator[Fact]:
    """Yield the facts about a territory's continent, capital, area and neighbours."""
    peers = [p for p in world.territory.values() if p.continent == t.continent]
    size = "large" if t.area >= 1_000_000 else "small" if t.area < 100_000 else "medium-sized"
    slots = {"continent": t.continent, "count": str(t.continent_size), "noun": t.noun, "size": size}
    yield Fact("lead", slots)
    if t.capital:
        yield Fact("capital", slots | {"capital": t.capital}, (("capital", t.code),))
    if t.area >= 10:
        yield Fact("area", {"area": f"{t.area:,}"}, (("area", t.code),))
        yield Fact("rank", slots | {"rank": largest(t.area_rank), "nth": nth(t.area_rank)})
    listed = pick(t.neighbours, MAX_LISTED, t.code, "neighbours")
    if len(t.neighbours) > MAX_LISTED:
        listed_text = f"{', '.join(map(name_in_text, listed))} and {number(len(t.neighbours) - MAX_LISTED)} more"
        yield Fact("neighbours", {"list": listed_text, "noun": t.noun})
    elif listed:
        slots = {"list": names(listed), "noun": t.noun, "other": world.territory[listed[0]].noun}
        yield Fact("neighbours" if len(listed) > 1 else "one_neighbour", slots)
    else:
        yield Fact("no_neighbour")
    if len(listed) > 1:
        big = max((world.territory[c] for c in t.neighbours), key=lambda n: (n.area, n.code))
        yield Fact("largest_neighbour", {"big": big.in_text}, filler=True)
    similar = most_similar(t, peers, "area")
    yield Fact("similar", {"similar": similar.in_text, "other": similar.noun}, filler=True)
    for city in [c for c in world.city.values() if c.territory == t.code][:1]:
        far = max(world.city.values(), key=lambda c: (c.territory != t.code, seed(t.code, c.zone)))
        slots = {"city": city.name, "far": far.name, "km": f"{round(distance(city, far), -1):,.0f}"}
        yield Fact("distances", slots, filler=True)


def population(world: World, t: Territory) -> Iterator[Fact]:
    """Yield the facts about a territory's inhabitants."""
    peers = [p for p in world.territory.values() if p.continent == t.continent]
    slots = {"continent": t.continent, "count": str(t.continent_size)}
    slots |= {"rank": largest(t.population_rank), "nth": nth(t.population_rank)}
    yield Fact("lead", {"population": f"{t.population:,}"}, (("population", t.code),))
    if t.area >= 10:
        value = t.population / t.area
        dense = "sparsely" if value < 25 else "densely" if value > 150 else "moderately"
        yield Fact("density", {"density": f"{value:,.0f}" if value >= 10 else f"{value:.1f}", "dense": dense})
    yield Fact("rank", slots)
    yield Fact("world", {"world": nth(t.world_rank), "place": str(t.world_rank)})
    if t.cities:
        yield Fact("cities" if len(t.cities) > 1 else "one_city", {"list": listing(t.cities)})
    if t.area >= 10:
        yield Fact("area", {"area": f"{t.area:,}"}, (("area", t.code),), filler=True)
    yield Fact("similar", {"similar": most_similar(t, peers, "population").in_text}, filler=True)
    other = neighbour(world, t, "population")
    if other and t.population > 1.5 * other.population:
        times = t.population / other.population
        text = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
        yield Fact("more_people", {"times": text, "small": other.in_text}, filler=True)


def amounts(code: str) -> Iterator[Fact]:
    """Yield the facts about a currency's symbol and decimals."""
    symbol = EN.currency_symbols.get(code, code)
    if symbol != code and any(sign in symbol for sign in "$€£¥₪₹₩₱₫"):
        yield Fact("symbol", {"symbol": symbol}, filler=True)
    fractions = get_global("currency_fractions")
    digits = fractions.get(code, fractions["DEFAULT"])[0]
    yield Fact("digits", {"digits": number(digits)}, filler=True) if digits else Fact("whole", filler=True)


def money(world: World, t: Territory) -> Iterator[Fact]:
    """Yield the facts about a territory's currency."""
    if not t.current:
        return
    c = world.currency[t.current.currency]
    only = c.users == (t.code,)
    slots = {"currency": c.name, "noun": t.noun}
    yield Fact("lead", slots, (("currency", t.code), *((("currency_country", c.code),) if only else ())))
    same_start = (("currency_start", c.code),) if c.start == t.current.start else ()
    yield Fact("since", slots | {"since": date(t.current.start)}, (("currency_since", t.code), *same_start))
    if t.former:
        former = {"former": EN.currencies[t.former.currency], "end": date(t.former.end)}
        yield Fact("former", slots | former, (("former_currency", t.code),))
    yield Fact("code", slots | {"code": c.code}, (("currency_code", c.code),), filler=True)
    others = [code for code in c.users if code != t.code]
    if len(others) > 3:
        listed = names(pick(others, 2, t.code, "money"))
        yield Fact("shared", slots | {"k": number(len(others)), "list": listed})
    else:
        yield Fact("shared_few", slots | {"list": names(others)}) if others else Fact("alone", slots)
    yield from amounts(c.code)
    other = neighbour(world, t, "money")
    if other and other.current and other.current.currency != c.code:
        name = world.currency[other.current.currency].name
        slots = {"other": other.in_text, "money": name}
        yield Fact("abroad", slots, (("currency", other.code),), filler=True)


def tongues(world: World, t: Territory) -> Iterator[Fact]:
    """Yield the facts about a territory's languages; nothing if CLDR names none."""
    named = [(code, EN.languages[code], p) for code, p in t.languages if code in EN.languages]
    if not named:
        return
    top = t.languages[0]
    tie = len(t.languages) > 1 and t.languages[1][1] == top[1]
    if top[0] in EN.languages and not tie:
        slots = {"top": EN.languages[top[0]], "n1": people(top[1] / 100 * t.population)}
        lead = slots | {"share": percent(top[1]), "noun": t.noun}
        yield Fact("lead", lead, (("language_share", t.code),))
        second = t.languages[1] if len(t.languages) > 1 else ("", 0.0)
        third = t.languages[2][1] if len(t.languages) > 2 else 0.0
        if second[0] in EN.languages and second[1] >= 1 and second[1] > third:
            n2 = people(second[1] / 100 * t.population)
            yield Fact("second", slots | {"second": EN.languages[second[0]], "n2": n2}, (("second_language", t.code),))
            named = named[2:]
        else:
            named = named[1:]
        yield Fact("number", slots, filler=True)
        if top[0] in world.language:
            script = world.language[top[0]].script
            states = (("language_script", top[0]),) if script in world.script else ()
            yield Fact("script", slots | {"script": script_name(script)}, states, filler=True)
            home = world.language[top[0]].speakers[0][0]
            slots |= {"home": world.territory[home].in_text, "code": top[0]}
            yield Fact("home", slots, (("language_country", top[0]),), filler=True)
            yield Fact("code", slots, (("language_code", top[0]),), filler=True)
    elif len(named) > 1:
        yield Fact("several")
    else:
        return
    official = [EN.languages[code] for code in t.official if code in EN.languages]
    if len(official) == len(t.official) == 1:
        yield Fact("official", {"list": official[0], "noun": t.noun}, (("official_language", t.code),))
    elif len(official) == len(t.official) > 1:
        yield Fact("officials", {"list": listing(official), "k": number(len(official))})
    others = [name for _, name, p in named if p >= 0.1][:MAX_LISTED]
    if others:
        yield Fact("others", {"list": listing(others)})
    if len(t.languages) > 1:
        yield Fact("figures", {"k": number(len(t.languages))}, filler=True)


def communications(world: World, t: Territory) -> Iterator[Fact]:
    """Yield the facts about a territory's telephone, internet and country codes."""
    if not t.phone:
        return
    yield Fact("lead", {"phone": t.phone}, (("dialling_code", t.code),))
    if t.domain:
        yield Fact("domain", {"tld": t.domain, "noun": t.noun}, (("internet_domain", t.code),))
    yield Fact("iso3", {"iso3": t.iso3}, (("country_code", t.code),))
    yield Fact("iso2", {"iso2": t.code})
    yield Fact("numeric", {"numeric": f"{t.numeric:03}"})
    if t.postal_digits:
        yield Fact("postal", {"digits": number(t.postal_digits)}, filler=True)
    if t.fips:
        yield Fact("fips", {"fips": t.fips}, filler=True)
    other = neighbour(world, t, "telephone")
    if other and other.phone:
        slots = {"other": other.in_text, "phone2": other.phone}
        yield Fact("neighbour", slots, (("dialling_code", other.code),), filler=True)


def writing_habits(locale: Locale, filler: bool) -> Iterator[Fact]:
    """Yield the facts about a locale's decimal sign and date order."""
    symbols = locale.number_symbols.get(locale.default_numbering_system, {})
    sign = {",": "comma", ".": "point"}.get(symbols.get("decimal", ""))
    if sign:
        yield Fact("mark", {"mark": sign}, filler=filler)
    pattern = locale.date_formats["short"].pattern
    fields = sorted((pattern.find(letter), name) for letter, name in (("d", "day"), ("M", "month"), ("y", "year")))
    if fields[0][0] >= 0:
        yield Fact("order", {"order": listing(name for _, name in fields)}, filler=filler)


def calendar(world: World, t: Territory) -> Iterator[Fact]:
    """Yield the facts about a territory's week, clock and time zones."""
    if not t.locale:
        return
    yield Fact("lead", {"first": DAYS[t.locale.first_week_day]})
    days = range(t.locale.weekend_start, t.locale.weekend_end + 1)
    yield Fact("weekend" if len(days) > 1 else "one_weekend", {"list": listing(DAYS[d] for d in days)})
    if len(t.zones) > 1:
        cities = [EN.time_zones.get(z, {}).get("city") or z.split("/")[-1].replace("_", " ") for z in t.zones]
        yield Fact("zones", {"k": number(len(t.zones)), "list": listing(pick(cities, 2, t.code, "zones"))})
    elif t.zones:
        yield Fact("one_zone", {"list": t.zones[0]}, filler=True)
        if meta_zone(t.zones[0]):
            yield Fact("zone", {"zone": meta_zone(t.zones[0])})
    clock = t.locale.time_formats["short"].pattern
    yield Fact("clock24" if "H" in clock else "clock12")
    yield from writing_habits(t.locale, filler=False)
    whole = "the week that contains 1 January"
    week = whole if t.locale.min_week_days == 1 else "the first week with at least four days in January"
    yield Fact("first_week", {"week": week}, filler=True)
    other = neighbour(world, t, "calendar")
    if other and other.locale:
        yield Fact("neighbour", {"other": other.in_text, "first2": DAYS[other.locale.first_week_day]}, filler=True)


def meta_zone(zone: str) -> str:
    """Return the English name of a zone's time, or "" if CLDR has none or an outdated one."""
    if zone == "Europe/Volgograd":  # on Moscow time since December 2020
        return ""
    long = EN.meta_zones.get(get_global("meta_zones").get(zone, ""), {}).get("long", {})
    return long.get("generic") or long.get("standard") or ""
