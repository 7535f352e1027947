"""English passages: the facts in each kind of passage; the words are in phrases/passages.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from entities import (
    EN,
    City,
    Currency,
    Language,
    Script,
    Territory,
    World,
    distance,
    find_locale,
    name_in_text,
    script_name,
    seed,
)
from relations import date, degrees, people, percent
from sentences import MIN_WORDS, Fact, Passage, Subject, compose, largest, listing, nth, number, pick
from territory_passages import (
    amounts,
    calendar,
    communications,
    geography,
    meta_zone,
    money,
    names,
    population,
    tongues,
    writing_habits,
)

TEMPLATES = Path(__file__).parent / "phrases" / "passages.yaml"
NAMELESS = 45  # percent of the passages about a territory, except geography, with its name in the title only
LARGE_LANGUAGE = 1_000  # territories with fewer speakers of a language are not mentioned


def currency(world: World, c: Currency) -> Iterator[Fact]:
    """Yield the facts about a current or former currency."""
    if len(c.users) == 1:
        t = world.territory[c.users[0]]
        yield Fact("current", {"country": t.in_text}, (("currency_country", c.code), ("currency", t.code)))
    elif c.users:
        listed = names(pick(c.users, 2 if len(c.users) > 3 else 3, c.code, "users"))
        yield Fact("shared", {"k": number(len(c.users)), "list": listed})
    else:
        yield Fact("past", {"list": names(pick(c.former_users, 3, c.code, "users"))})
    yield Fact("code", {"code": c.code}, (("currency_code", c.code),))
    since = tuple(("currency_since", u) for u in c.users[:1] if len(c.users) == 1)
    yield Fact("start", {"start": date(c.start)}, (("currency_start", c.code), *since))
    if c.end:
        yield Fact("end", {"end": date(c.end)})
        years = round((c.end - c.start).days / 365.25)
        if years > 1:
            yield Fact("years", {"k": number(years)}, filler=True)
    if c.successor:
        slots = {"successor": world.currency[c.successor].name}
        yield Fact("successor", slots, (("currency_successor", c.code),))
    if c.predecessor:
        slots = {"predecessor": world.currency[c.predecessor].name}
        yield Fact("predecessor", slots, (("currency_successor", c.predecessor),))
    word = c.name.split()[-1]
    same = [o.name for o in world.currency.values() if o.name.split()[-1] == word and o.code != c.code and o.users]
    if same:
        listed = " and the ".join(pick(same, 2, c.code, "same"))
        yield Fact("namesakes", {"word": word, "list": listed}, filler=True)
    if len(c.users) == 1 and c.code[:2] == c.users[0]:
        yield Fact("letters", {"two": c.code[:2], "country": world.territory[c.users[0]].in_text})
    if c.users:
        total = sum(world.territory[u].population for u in c.users if u in world.territory)
        yield Fact("population", {"people": people(total)}, filler=True)
    yield from amounts(c.code)


def speakers(world: World, lang: Language) -> Iterator[Fact]:
    """Yield the facts about where a language is spoken, and by how many people."""
    (home, n), *rest = lang.speakers
    slots = {"country": world.territory[home].in_text}
    yield Fact("lead", slots, (("language_country", lang.code),))
    yield Fact("total", {"total": people(lang.total)}, (("language_speakers", lang.code),))
    abroad = [code for code, k in rest if k >= LARGE_LANGUAGE]
    if abroad:
        yield Fact("abroad", slots | {"list": names(abroad[:3])})
        yield Fact("home", slots | {"n": people(n)})
    else:
        yield Fact("only", slots)
    official = list(lang.official_in)
    if len(official) > 3:
        listed = names(pick(official, 2, lang.code, "official"))
        yield Fact("officials", {"k": number(len(official)), "list": listed})
    elif official:
        yield Fact("official" if len(official) == 1 else "official_few", {"list": names(official)})
    elif lang.regional_in:
        yield Fact("regional", {"list": names(pick(lang.regional_in, 3, lang.code, "regional"))})
    else:
        yield Fact("unofficial", filler=True)
    yield Fact("rank", {"nth": nth(lang.rank), "place": str(lang.rank)})
    share = next(p for code, p in world.territory[home].languages if code == lang.code)
    states = (("language_share", home),) if world.territory[home].languages[0][0] == lang.code else ()
    yield Fact("share", slots | {"share": percent(share)}, states, filler=True)


def writing(world: World, lang: Language) -> Iterator[Fact]:
    """Yield the facts about the script and the codes of a language."""
    known = world.script.get(lang.script)
    name = script_name(lang.script)
    yield Fact("lead", {"script": name}, (("language_script", lang.code),) if known else ())
    yield Fact("code", {"code": lang.code}, (("language_code", lang.code),))
    yield Fact("tag", {"tag": lang.tag})
    if known:
        yield Fact("script_code", {"script": name, "script_code": lang.script}, (("script_code", lang.script),))
        others = [world.language[code].name for code in known.languages[:12] if code != lang.code]
        if others:
            yield Fact("same", {"script": name, "list": listing(pick(others, 3, lang.code, "same"))})
        else:
            yield Fact("alone", {})
    yield Fact("letters", {"two": lang.speakers[0][0]}, filler=True)
    locale = find_locale(lang.tag)
    if locale and locale.language == lang.code:
        yield from writing_habits(locale, filler=True)


def script(world: World, s: Script) -> Iterator[Fact]:
    """Yield the facts about a script in use or a historic one."""
    language = EN.languages[s.languages[0] if s.languages else s.likely[0]].replace("’", "'")
    others = [world.language[code].name for code in s.languages[1:]]
    states = (("script_language", s.code),) if others or s.languages else ()
    yield Fact("lead" if s.languages else "old", {"language": language}, states)
    yield Fact("code", {"code": s.code}, (("script_code", s.code),))
    if len(others) == 1:
        yield Fact("one_other", {"list": others[0]})
    elif others:
        yield Fact("others", {"list": listing(pick(others[:12], 3, s.code, "others"))})
        yield Fact("count", {"k": number(len(others) + 1)})
    else:
        yield Fact("one", {"language": language}) if s.languages else Fact("none")
    if s.likely[1] in world.territory:
        country = {"country": name_in_text(s.likely[1])}
        yield Fact("where" if s.languages else "old_where", country)
    if not s.languages and s.likely[0] in world.language:
        usual = world.language[s.likely[0]].script
        if usual != s.code:
            yield Fact("latin", {"language": language, "script": script_name(usual)})
    codes = sorted(world.script)
    other = codes[(codes.index(s.code) + 1) % len(codes)]
    slots = {"other": script_name(other), "code2": other}
    yield Fact("unlike", slots, (("script_code", other),), filler=True)
    yield Fact("form", filler=True)


def city(world: World, c: City) -> Iterator[Fact]:
    """Yield the facts about a city or town."""
    t = world.territory[c.territory]
    noun, plural = ("city", "cities") if c.population >= 100_000 else ("town", "towns")
    states = (("city_country", c.zone), *((("capital", t.code),) if c.capital else ()))
    yield Fact("capital" if c.capital else "lead", {"country": t.in_text, "noun": noun, "plural": plural}, states)
    yield Fact("population", {"population": f"{c.population:,}"}, (("city_population", c.zone),))
    position = {"lat": degrees(c.latitude, "NS"), "lon": degrees(c.longitude, "EW")}
    yield Fact("latitude", position, (("city_latitude", c.zone),))
    if c.rank <= 30:
        yield Fact("rank", {"rank": largest(c.rank), "nth": nth(c.rank), "country": t.in_text, "land": t.noun})
    yield Fact("zone", {"zone": c.zone}, filler=True)
    if meta_zone(c.zone):
        yield Fact("meta", {"meta": meta_zone(c.zone)})
    others = [o for o in world.city.values() if o.zone != c.zone]
    near = min(others, key=lambda o: (distance(c, o), o.zone))
    yield Fact("near", {"near": near.name, "km": f"{distance(c, near):,.0f}"})
    for capital in [o for o in others if o.territory == c.territory and o.capital and o != near]:
        km = f"{distance(c, capital):,.0f}"
        yield Fact(
            "to_capital", {"capital": capital.name, "km": km, "land": t.noun}, (("capital", t.code),), filler=True
        )
    side = "northern" if c.latitude >= 0 else "southern"
    belts = ((23.44, "in the tropics"), (66.56, f"in the temperate zone of the {side} hemisphere"))
    belt = next((text for limit, text in belts if abs(c.latitude) < limit), "inside the polar circle")
    yield Fact("climate", {"belt": belt}, filler=True)
    if t.current:
        name = world.currency[t.current.currency].name
        yield Fact("money", {"currency": name, "land": t.noun}, (("currency", t.code),), filler=True)


Teller = Callable[[World, object], Iterator[Fact]]
TERRITORY_KINDS: dict[str, Teller] = {
    "territory.geography": geography,
    "territory.people": population,
    "territory.money": money,
    "territory.languages": tongues,
    "territory.communications": communications,
    "territory.calendar": calendar,
}
COUNTRIES_ONLY = ("territory.people", "territory.calendar")  # kinds without territories outside the United Nations


def subject_of(kind: str, entity: Territory | Currency | Language | Script | City) -> Subject:
    """Return how a passage of this kind refers to its entity."""
    match entity:
        case Territory():
            nameless = kind != "territory.geography" and seed(entity.code, kind, "nameless") % 100 < NAMELESS
            return Subject(entity.name, entity.in_text, entity.noun, nameless)
        case Currency():
            return Subject(entity.name, f"the {entity.name}", "currency")
        case Language():
            return Subject(entity.name, entity.name, "language")
        case Script():
            return Subject(entity.name, f"the {entity.name} script", "script")
        case City():
            return Subject(entity.name, entity.name, "city" if entity.population >= 100_000 else "town")


def write_passages(world: World) -> list[Passage]:
    """Return all passages, sorted by kind and entity."""
    templates = yaml.safe_load(TEMPLATES.read_text(encoding="utf-8"))
    plan: list[tuple[str, Teller, object, str]] = []
    for kind, tell in TERRITORY_KINDS.items():
        chosen = [t for t in world.territory.values() if t.noun == "country" or kind not in COUNTRIES_ONLY]
        plan += [(kind, tell, t, t.code) for t in chosen]
    plan += [("currency", currency, c, c.code) for c in world.currency.values()]
    for kind, tell in (("language.speakers", speakers), ("language.writing", writing)):
        plan += [(kind, tell, lang, lang.code) for lang in world.language.values()]
    plan += [("script", script, s, s.code) for s in world.script.values()]
    plan += [("city", city, c, c.zone) for c in world.city.values()]
    passages = []
    for kind, tell, entity, code in sorted(plan, key=lambda item: (item[0], item[3])):
        facts = list(tell(world, entity))
        if facts:
            passages.append(compose(kind, code, subject_of(kind, entity), facts, templates))
    return [passage for passage in passages if len(passage.text.split()) >= MIN_WORDS]
