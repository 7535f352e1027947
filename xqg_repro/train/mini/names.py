"""Multilingual names in the training of a generator: names to learn, and questions with other names in them.

A generator from scratch has to learn two things that a pre-trained one brings along: how an entity is called in each
language, and that a question about a passage names the passage's entity, whatever it is. The first it learns from
lessons: it reads a passage and writes the name of what the title speaks of. The second it learns from training
questions in which the entity is exchanged for one of another kind: *What is the population of the Danish Krone?* In
both, the passage is any of the collection, with another entity in the place of its own. So nobody asks what is asked
there. A name that entities of two kinds share, as a city and its country may, is neither exchanged nor put in: the
question about the one could be somebody's question about the other.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import NamedTuple

from xqg_repro.train.data import Example, TrainingPassage


class Entity(NamedTuple):
    """A place, currency, language, script or city by its English name."""

    kind: str
    english: str


class Names:
    """The names of the entities that the titles of a collection speak of.

    Args:
        names: see :func:`~xqg_repro.train.data.load_names`.
        passages: the collection.
    """

    def __init__(self, names: Sequence[Example], passages: Sequence[TrainingPassage]) -> None:
        english = sorted({name.positive.title for name in names}, key=lambda name: (-len(name), name))
        self.find: Callable[[str], str] = cache(lambda text: next((name for name in english if _in(text, name)), ""))
        """Text → the longest English name that it holds as whole words, or nothing."""
        self._passages = [passage for passage in passages if self.find(passage.title)]
        spoken_of = {self.find(passage.title) for passage in self._passages}
        self.names: dict[Entity, dict[str, str]] = defaultdict(dict)
        for name in names:
            if name.positive.title in spoken_of:
                kind = name.positive.doc_id.removesuffix(f" {name.positive.title}")
                self.names[Entity(kind, name.positive.title)][name.lang] = name.query

    @cached_property
    def pairs(self) -> list[tuple[str, str, str]]:
        """(language, English name, name), each once."""
        return [(language, e.english, name) for e, found in self.names.items() for language, name in found.items()]

    def lesson(self, position: int, draw: random.Random) -> Example:
        """The pair at a position: a name, and a drawn passage that speaks of its entity in place of its own."""
        language, english, name = self.pairs[position]
        passage = draw.choice(self._passages)
        return Example(name, _exchange(passage, self.find(passage.title), english), lang=language)

    def called(self, english: str, language: str) -> set[str]:
        """The names in a language of all entities of an English name."""
        return {names[language] for e, names in self.names.items() if e.english == english and language in names}

    def exchange(self, example: Example, draw: random.Random) -> tuple[Example, str]:
        """The example about an entity of another kind, and that one's name; as it is and "" where it names none."""
        entity = self._entity(example)
        others = self._others[entity.kind, example.lang] if entity else []
        if entity is None or not others or self._is_shared(entity, example.lang):
            return example, ""
        other = draw.choice(others)
        name = self.names[other][example.lang]
        query = example.query.replace(self.names[entity][example.lang], name, 1)
        positive = _exchange(example.positive, entity.english, other.english)
        return example._replace(query=query, positive=positive), name

    @cached_property
    def _others(self) -> dict[tuple[str, str], list[Entity]]:
        """Kind and language → the entities of other kinds that have a name of their own in the language."""
        kinds = {entity.kind for entity in self.names}
        found = defaultdict(list)
        for entity, names in self.names.items():
            for language in names:
                if not self._is_shared(entity, language):
                    for kind in kinds - {entity.kind}:
                        found[kind, language].append(entity)
        return found

    def _is_shared(self, entity: Entity, language: str) -> bool:
        """Whether an entity of another kind has the same name, in the language or in English."""
        return len(self._kinds[language, self.names[entity][language]] | self._kinds["en", entity.english]) > 1

    @cached_property
    def _kinds(self) -> dict[tuple[str, str], set[str]]:
        """Language and name → the kinds of the entities of that name."""
        found = defaultdict(set)
        for entity, names in self.names.items():
            found["en", entity.english].add(entity.kind)
            for language, name in names.items():
                found[language, name].add(entity.kind)
        return found

    @cached_property
    def _by_language(self) -> dict[str, list[tuple[str, Entity]]]:
        """Language → names and entities, the longest name first."""
        found = defaultdict(list)
        for entity, names in self.names.items():
            for language, name in names.items():
                found[language].append((name, entity))
        return {language: sorted(pairs, key=lambda pair: -len(pair[0])) for language, pairs in found.items()}

    def _entity(self, example: Example) -> Entity | None:
        """The entity with the longest name that both the question and the passage hold."""
        text = f"{example.positive.title} {example.positive.text}"
        asked = (e for name, e in self._by_language.get(example.lang, ()) if name in example.query)
        return next((e for e in asked if _in(text, e.english)), None)


def _exchange(passage: TrainingPassage, english: str, other: str) -> TrainingPassage:
    title, text = (_whole(english).sub(lambda _: other, text) for text in (passage.title, passage.text))
    return passage._replace(title=title, text=text)


def _in(text: str, name: str) -> bool:
    """Whether a text holds a name as whole words."""
    return name in text and _whole(name).search(text) is not None


@cache
def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
