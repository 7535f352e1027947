"""Sentences and passages: how numbers and lists are worded, and how templates become text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from entities import seed
from relations import Pair

MIN_WORDS = 40  # shorter passages are left out
ENOUGH_WORDS, MAX_WORDS = 64, 97  # fillers are added up to the former; sentences beyond the latter are left out
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class Fact:
    """A sentence to write: the name of its templates, their slots, and the pairs whose answers it states."""

    name: str
    slots: dict[str, str] = field(default_factory=dict)
    states: tuple[Pair, ...] = ()
    filler: bool = False


@dataclass(frozen=True)
class Subject:
    """The entity of a passage: its title, and its name and generic noun in running text.

    The text about a nameless subject uses the noun throughout, as a passage from the middle of an article may.
    """

    title: str
    name: str
    noun: str
    nameless: bool = False


@dataclass(frozen=True)
class Passage:
    """A passage; `kind` and `entity` identify it, `states` are the pairs whose answers it states."""

    kind: str
    entity: str
    title: str
    text: str
    states: frozenset[Pair]


def nth(n: int) -> str:
    """Write an ordinal: "third", "21st"."""
    if n < len(ORDINALS):
        return ORDINALS[n]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{ending}"


def largest(n: int) -> str:
    """Write a rank by size: "largest", "second largest"."""
    return "largest" if n == 1 else f"{nth(n)} largest"


def number(n: int) -> str:
    """Write a count, in words up to ten."""
    return NUMBERS[n] if n < len(NUMBERS) else f"{n:,}"


def listing(names: Iterable[str]) -> str:
    """Join names as in "A, B and C"."""
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last


def pick(options: Sequence[str], count: int, *parts: object) -> list[str]:
    """Return up to `count` of `options`, chosen by hash and kept in their order."""
    chosen = sorted(options, key=lambda option: seed(*parts, option))[:count]
    return [option for option in options if option in chosen]


def references(subject: Subject) -> dict[str, tuple[str, str, str]]:
    """Return the words for the entity as subject, object and possessive, for each form of reference."""
    own = f"{subject.name}'" if subject.name.endswith("s") else f"{subject.name}'s"
    noun = f"the {subject.noun}"
    forms = {"noun": (noun, noun, f"{noun}'s"), "it": ("it", noun, "its"), "name": (subject.name, subject.name, own)}
    if subject.nameless:
        del forms["name"]
    return forms


def write_sentence(template: str, words: tuple[str, str, str], title: str, fact: Fact) -> str:
    """Fill a template with the words for the entity (subject, object, possessive) and the slots of a fact."""
    text = template.format(S=words[0], O=words[1], P=words[2], N=title, **fact.slots)
    return text[0].upper() + text[1:]


def compose(kind: str, entity: str, subject: Subject, facts: Sequence[Fact], templates: dict) -> Passage:
    """Write the passage of one kind about one entity; hashes decide on phrasings, order and references.

    The first of `facts` comes first. Fillers are used in the given order while there are fewer than ENOUGH_WORDS words.
    The first sentence has the entity's name (or its noun, for a nameless subject). Later ones vary between noun,
    pronoun and name; a pronoun only follows a sentence whose subject was the entity.
    """
    forms = references(subject)

    def template(fact: Fact) -> str:
        return templates[kind][fact.name][seed(entity, kind, fact.name) % len(templates[kind][fact.name])]

    used: list[Fact] = []
    words = 0
    for fact in sorted(facts, key=lambda fact: fact.filler):
        length = len(write_sentence(template(fact), forms["noun"], subject.title, fact).split())
        if words + length <= MAX_WORDS and not (fact.filler and words >= ENOUGH_WORDS):
            used.append(fact)
            words += length
    sentences: list[str] = []
    form, own = "noun" if subject.nameless else "name", True
    for fact in [used[0], *sorted(used[1:], key=lambda fact: seed(entity, kind, fact.name, "order"))]:
        if sentences:
            choice = [f for f in forms if f != form and (f != "it" or own)] or ["noun"]
            form = choice[seed(entity, kind, fact.name, "reference") % len(choice)]
        own = template(fact).startswith(("{S}", "{P}"))
        sentences.append(write_sentence(template(fact), forms[form], subject.title, fact))
    titles = templates[kind]["title"]
    title = titles[seed(entity, kind, "title") % len(titles)].format(N=subject.title, O=subject.name)
    states = frozenset(pair for fact in used for pair in fact.states)
    return Passage(kind, entity, title[0].upper() + title[1:], " ".join(sentences), states)
