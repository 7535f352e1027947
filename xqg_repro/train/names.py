"""Multilingual names in the training of a generator: pairs to learn them from, and questions with other names in them.

A generator from scratch has to learn two things that a pre-trained one brings along: how an entity is called in each
language, and that a question about a passage names the passage's entity, whatever it is. The first it learns from
pairs, ``prompt(language, title) → name``. The second it learns from training questions in which the entity was
exchanged, in question and passage alike, for one that the collection does not know and that no reserved question
(those of dev) names. So no exchanged question can be a reserved one.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import NamedTuple

from xqg_repro.config import LANGUAGE_NAMES
from xqg_repro.train.data import Example, TrainingPassage

PROMPT = "Generate a {language} name for this passage: {title}"


class Entity(NamedTuple):
    """A place, currency, language, script or city by its English name."""

    kind: str
    english: str


class Names:
    """The names of entities, beside the passages of a collection.

    Args:
        names: see :func:`~xqg_repro.train.data.load_names`.
        passages: the collection.
        reserved: questions whose entities are never put in place of others.
    """

    def __init__(
        self, names: Sequence[Example], passages: Sequence[TrainingPassage], reserved: Sequence[str] = ()
    ) -> None:
        self._reserved = "\n".join(reserved)
        self._titles = list(dict.fromkeys(passage.title for passage in passages))
        self.names: dict[Entity, dict[str, str]] = defaultdict(dict)
        for name in names:
            kind = name.positive.doc_id.removesuffix(f" {name.positive.title}")
            self.names[Entity(kind, name.positive.title)][name.lang] = name.query
        english = sorted({entity.english for entity in self.names}, key=lambda name: (-len(name), name))
        self.find: Callable[[str], str] = cache(lambda text: next((name for name in english if _holds(text, name)), ""))
        """Text → the longest English name that it holds as whole words, or nothing."""

    def spoken_of(self) -> set[str]:
        """English names of the entities that the collection's titles name."""
        return {self.find(title) for title in self._titles} - {""}

    def pairs(self) -> list[tuple[str, str]]:
        """Prompt → name: for each title that names an entity, and for the bare name of each entity that is no title's.

        A title that is a bare name counts twice.
        """
        by_english: dict[str, list[Entity]] = defaultdict(list)
        for entity in self.names:
            by_english[entity.english].append(entity)
        asked = [(title, self.find(title)) for title in self._titles] + [(e, e) for e in by_english]
        spoken_of = self.spoken_of()
        return [
            (PROMPT.format(language=LANGUAGE_NAMES[language], title=title), name)
            for title, english in asked
            if english and (title != english or english not in spoken_of or title in self._titles)
            for entity in by_english[english]
            for language, name in self.names[entity].items()
        ]

    def exchange(self, example: Example, draw: random.Random) -> Example:
        """The example about another entity that the collection does not know, where there is one to exchange."""
        entity = self._entity(example)
        others = self._unknown[entity.kind, example.lang] if entity else []
        if entity is None or not others:
            return example
        other, passage = draw.choice(others), example.positive
        return example._replace(
            query=example.query.replace(self.names[entity][example.lang], self.names[other][example.lang]),
            positive=passage._replace(
                title=passage.title.replace(entity.english, other.english),
                text=passage.text.replace(entity.english, other.english),
            ),
        )

    @cached_property
    def _unknown(self) -> dict[tuple[str, str], list[Entity]]:
        """Kind and language → entities that neither the collection's titles nor the reserved questions name."""
        spoken_of, found = self.spoken_of(), defaultdict(list)
        for entity, names in self.names.items():
            for language, name in names.items():
                if entity.english not in spoken_of and name not in self._reserved:
                    found[entity.kind, language].append(entity)
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
        return next(
            (e for name, e in self._by_language.get(example.lang, ()) if name in example.query and e.english in text),
            None,
        )


def _holds(text: str, name: str) -> bool:
    return f" {name} " in f" {text} "
