"""Multilingual names in the training of the mini models: pairs to learn, and questions with exchanged names.

A generator trained from scratch has to learn two things that a pre-trained one knows: the names of entities in each
language, and that a question about a passage names the passage's entity, whichever it is. It learns the names from
*lessons*, in which it reads a passage and writes the name of the title's entity. It learns to use them from training
questions whose entity is exchanged for one of another kind: *What is the population of the Danish Krone?* In both cases
another entity is put into the passage, so the generator sees no question of the collection.

Names that entities of two kinds share, such as a city and its country, are not exchanged in either direction, since the
result could be a real question about the other entity.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import NamedTuple

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.train.data import Example


def load_names(*, held_out: bool = False) -> list[Example]:
    """Names of places, currencies, languages, scripts and cities in seven languages, as pairs with the English name.

    Args:
        held_out: also return names of the collection's entities that no training question is about.

    Returns:
        examples whose ``query`` is the name and whose positive has the English name as its title.
    """
    path = resource("xor_mini", "names.tsv")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    languages = header.split("\t")[3:]
    pairs = []
    for number, line in enumerate(lines, 2):
        kind, split, english, *names = line.split("\t")
        if len(names) != len(languages):
            raise InputError(f"expected {len(languages)} names, got {len(names)}", path=path, line=number)
        if split != "train" and not held_out:
            continue
        target = Passage(f"{kind} {english}", english, "")
        for language, name in zip(languages, names, strict=True):
            if name and name != english:
                pairs.append(Example(name, target, lang=language))
    return pairs


class Entity(NamedTuple):
    """A place, currency, language, script or city by its English name."""

    kind: str
    english: str


class Names:
    """The names of the entities in a collection's titles.

    Args:
        names: pairs as :func:`load_names` returns them.
        passages: the collection.
    """

    def __init__(self, names: Sequence[Example], passages: Sequence[Passage]) -> None:
        longest_first = sorted({name.positive.title for name in names}, key=lambda name: (-len(name), name))
        self.find: Callable[[str], str] = cache(lambda text: next((n for n in longest_first if _contains(text, n)), ""))
        """Text → the longest English name that it contains as whole words, or ""."""
        self._passages = [passage for passage in passages if self.find(passage.title)]
        titles = {self.find(passage.title) for passage in self._passages}
        self.names: dict[Entity, dict[str, str]] = defaultdict(dict)
        for name in names:
            if name.positive.title in titles:
                kind = name.positive.doc_id.removesuffix(f" {name.positive.title}")
                self.names[Entity(kind, name.positive.title)][name.lang] = name.query

    @cached_property
    def pairs(self) -> list[tuple[str, str, str]]:
        """All pairs: (language, English name, name)."""
        return [
            (language, entity.english, name) for entity, names in self.names.items() for language, name in names.items()
        ]

    def lesson(self, position: int, draw: random.Random) -> Example:
        """A lesson on the pair at a position: its name, and a random passage with its entity put in."""
        language, english, name = self.pairs[position]
        passage = draw.choice(self._passages)
        return Example(name, _exchange(passage, self.find(passage.title), english), lang=language)

    def called(self, english: str, language: str) -> set[str]:
        """The names in a language of all entities with this English name."""
        return {
            names[language] for entity, names in self.names.items() if entity.english == english and language in names
        }

    def exchange(self, example: Example, draw: random.Random) -> tuple[Example, str]:
        """The example with its entity exchanged for one of another kind, and the new entity's name.

        An example without an entity that can be exchanged is returned unchanged, with the name "".
        """
        entity = self._entity(example)
        if entity is None or self._is_shared(entity, example.lang):
            return example, ""
        others = self._others[entity.kind, example.lang]
        if not others:
            return example, ""
        other = draw.choice(others)
        name = self.names[other][example.lang]
        query = example.query.replace(self.names[entity][example.lang], name, 1)
        positive = _exchange(example.positive, entity.english, other.english)
        return example._replace(query=query, positive=positive), name

    @cached_property
    def _others(self) -> dict[tuple[str, str], list[Entity]]:
        """(kind, language) → entities of other kinds that have a name of their own in the language."""
        kinds = {entity.kind for entity in self.names}
        others = defaultdict(list)
        for entity, names in self.names.items():
            for language in names:
                if not self._is_shared(entity, language):
                    for kind in kinds - {entity.kind}:
                        others[kind, language].append(entity)
        return others

    def _is_shared(self, entity: Entity, language: str) -> bool:
        """Whether an entity of another kind has the same name, in the language or in English."""
        return len(self._kinds[language, self.names[entity][language]] | self._kinds["en", entity.english]) > 1

    @cached_property
    def _kinds(self) -> dict[tuple[str, str], set[str]]:
        """(language, name) → kinds of the entities with that name."""
        kinds = defaultdict(set)
        for entity, names in self.names.items():
            kinds["en", entity.english].add(entity.kind)
            for language, name in names.items():
                kinds[language, name].add(entity.kind)
        return kinds

    @cached_property
    def _by_language(self) -> dict[str, list[tuple[str, Entity]]]:
        """Language → (name, entity), longest names first."""
        by_language = defaultdict(list)
        for entity, names in self.names.items():
            for language, name in names.items():
                by_language[language].append((name, entity))
        return {language: sorted(pairs, key=lambda pair: -len(pair[0])) for language, pairs in by_language.items()}

    def _entity(self, example: Example) -> Entity | None:
        """The entity with the longest name that is in both the question and the passage."""
        text = example.positive.default_text()
        for name, entity in self._by_language.get(example.lang, ()):
            if name in example.query and _contains(text, entity.english):
                return entity
        return None


def _exchange(passage: Passage, english: str, other: str) -> Passage:
    title, text = (_whole_words(english).sub(lambda _: other, text) for text in (passage.title, passage.text))
    return passage._replace(title=title, text=text)


def _contains(text: str, name: str) -> bool:
    """Whether a text contains a name as whole words."""
    return name in text and _whole_words(name).search(text) is not None


@cache
def _whole_words(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
