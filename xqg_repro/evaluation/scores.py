"""Scores per question: what ``evaluate`` finds, and the JSON file that holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.text import read_text

ByLanguage: TypeAlias = Mapping[str, Mapping[str, float]]
"""Language → qid → score in [0, 1]."""


class Missing(StrEnum):
    """How questions missing from the run are scored: with zero, or not at all (as the official script does)."""

    ZERO = "zero"
    SKIP = "skip"


@dataclass(frozen=True)
class Scores:
    """Scores of one run, or of one file of answers.

    Attributes:
        topics: ir-datasets id.
        missing: how questions missing from the run were scored.
        per_query: measure → language → qid → score in [0, 1]. It contains every language of the topics, but only
            questions that can be scored.
        languages: qid → language, for every question of the topics.
        absent: qids of the topics that are missing from the run.
    """

    topics: str
    missing: Missing
    per_query: Mapping[str, ByLanguage]
    languages: Mapping[str, str]
    absent: tuple[str, ...]

    def count(self, measure: str, language: str | None = None) -> int:
        """The number of questions scored, in one language or in all."""
        scores = self.per_query[measure]
        return len(scores.get(language, {})) if language else sum(map(len, scores.values()))

    def mean(self, measure: str, language: str) -> float:
        """Mean over the questions of one language; NaN if it has none."""
        values = self.per_query[measure].get(language, {}).values()
        return fmean(values) if values else nan

    def average(self, measure: str, languages: Iterable[str] | None = None) -> float:
        """Macro average: the mean of the languages' means, over all languages unless some are named."""
        return fmean(self.mean(measure, language) for language in languages or self.per_query[measure])

    def table(self, measure: str) -> dict[str, float]:
        """Language → mean, then ``average`` → macro average."""
        means = {language: self.mean(measure, language) for language in self.per_query[measure]}
        return {**means, AVERAGE: self.average(measure)}

    def flatten(self, measure: str) -> dict[str, float]:
        """qid → score, in the order of the topics."""
        scores = self.per_query[measure]
        return {qid: scores[lang][qid] for qid, lang in self.languages.items() if qid in scores.get(lang, {})}

    def write(self, path: str | Path) -> None:
        """Write everything as JSON: means, numbers of questions, and scores by measure and qid."""
        summary = {}
        for measure in self.per_query:
            means = {column: None if isnan(mean) else mean for column, mean in self.table(measure).items()}
            summary[measure] = {"means": means, "questions": self.count(measure)}
        content = {
            "topics": self.topics,
            "missing": self.missing,
            "absent": self.absent,
            "summary": summary,
            "languages": self.languages,
            "per_query": {measure: self.flatten(measure) for measure in self.per_query},
        }
        with atomic_write(path) as file:
            json.dump(content, file, ensure_ascii=False, indent=1, allow_nan=False)
            file.write("\n")


def read_scores(path: str | Path) -> Scores:
    """Read a file that :meth:`Scores.write` wrote; :class:`InputError` if it is another file."""
    try:
        content = json.loads(read_text(Path(path), "file of scores"))
        languages = content["languages"]
        per_query = {measure: by_language(scores, languages) for measure, scores in content["per_query"].items()}
        return Scores(content["topics"], Missing(content["missing"]), per_query, languages, tuple(content["absent"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"is not a file of scores: {error}", path=path, hint="write it with xqg-repro evaluate"
        ) from None


def by_language(scores: Mapping[str, float], languages: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Group scores by the language of their question.

    Args:
        scores: qid → score.
        languages: qid → language; every language gets an entry, and questions keep this order.

    Raises:
        ValueError: a question has no language.

    >>> by_language({"q1": 1.0, "q3": 0.5}, {"q1": "ar", "q2": "fi", "q3": "ar"})
    {'ar': {'q1': 1.0, 'q3': 0.5}, 'fi': {}}
    """
    grouped: dict[str, dict[str, float]] = {language: {} for language in languages.values()}
    for qid, language in languages.items():
        if qid in scores:
            grouped[language][qid] = scores[qid]
    if not scores.keys() <= languages.keys():
        raise ValueError("a question has no language")
    return grouped
