"""Parallel questions: the English phrasing of each question that train may ask, without answers or passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from inflect import fill
from relations import KIND_OF_RELATION

from xqg_repro.train.parallel_data import question_key

if TYPE_CHECKING:
    from build import Question

Names = Mapping[tuple[str, str], str]  # (kind, code) -> name


@dataclass(frozen=True)
class Phrasing:
    """The phrases of each relation in one language."""

    lang: str
    phrases: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path, lang: str) -> Phrasing:
        """Return the phrases in the folder's file of a language."""
        return cls(lang, yaml.safe_load((folder / f"{lang}.yaml").read_text(encoding="utf-8")))

    def count(self, relation: str) -> int:
        """Return how many phrases a relation has."""
        return len(self.phrases[relation])

    def question(self, relation: str, number: int, name: str) -> str:
        """Return the question for a relation of the entity `name` in the phrase of this number."""
        return fill(self.phrases[relation][number], name, self.lang)


def in_english(question: Question, phrasing: Phrasing, names: Names) -> str:
    """Return the English question about the same pair, in the phrase of the same number."""
    relation, code = question.pair
    number = question.phrase % phrasing.count(relation)
    return phrasing.question(relation, number, names[KIND_OF_RELATION[relation], code])


def parallel_questions(questions: Sequence[Question], phrasing: Phrasing, names: Names) -> list[tuple[str, str]]:
    """Return (question, English question) for each of a language's possible questions whose role is train.

    The training questions are the first ones.
    """
    return [(q.text, in_english(q, phrasing, names)) for q in questions if q.split == "train"]


def check_parallel(
    parallel: Mapping[str, Sequence[tuple[str, str]]],
    possible: Mapping[str, Sequence[Question]],
    phrasing: Phrasing,
    names: Names,
) -> None:
    """Raise ValueError if a pair of another role than train occurs, by its fact or by the text of a side.

    `possible` are the possible questions of each language, with their roles; those about pairs of other roles, and
    their English phrasings, are compared by letters, marks and digits alone.
    """
    everything = [q for questions in possible.values() for q in questions]
    others = [q for q in everything if q.split != "train"]
    if facts := {q.fact for q in everything if q.split == "train"} & {q.fact for q in others}:
        raise ValueError(f"train and another role share the fact {min(facts)}")
    unseen = {question_key(text) for q in others for text in (q.text, in_english(q, phrasing, names))}
    for lang, pairs in parallel.items():
        for pair in pairs:
            if unseen & set(map(question_key, pair)):
                raise ValueError(f"{lang}: {pair} is a question of another role than train")
