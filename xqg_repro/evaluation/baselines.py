"""Published results on XOR-Retrieve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.settings import parse, read_yaml, resource


@dataclass(frozen=True)
class Published:
    """A published result.

    Attributes:
        split: ``dev`` or ``test``; ``inferred`` if the source does not name it.
        average, per_language: in percent, as printed.
        source: where the figures were read; ``provenance`` is ``primary`` for the authors' own figures, else
            ``secondary``.
    """

    system: str
    split: str
    measure: str
    average: float
    source: str
    provenance: str
    paper: str = ""
    inferred: bool = False
    per_language: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Baselines:
    """All published results on a benchmark.

    Attributes:
        collection, topics: ir-datasets ids of the passages and of the questions that runs can be compared on.
        questions: how many of these questions there are, by language.
    """

    collection: str
    topics: str
    questions: Mapping[str, int]
    rows: tuple[Published, ...]

    @property
    def split(self) -> str:
        """The split of the topics, such as ``dev``."""
        return self.topics.rpartition("/")[2]

    def find(self, system: str, measure: str) -> Published:
        """A system's dev result with figures by language; the authors' own if there are several.

        Raises:
            InputError: the system is unknown (names the nearest), or has no such result.
        """
        rows = [row for row in self.rows if row.system == system]
        if not rows:
            known = dict.fromkeys(row.system for row in self.rows)
            raise InputError(f"unknown published system {system!r}", hint=nearest(system, known))
        usable = [row for row in rows if (row.split, row.measure) == ("dev", measure) and row.per_language]
        if not usable:
            others = [f"{row.measure} on {row.split}{'' if row.per_language else ', average only'}" for row in rows]
            hint = f"published: {', '.join(others)}"
            raise InputError(f"{system} has no published {measure} on dev by language", hint=hint)
        return min(usable, key=lambda row: row.provenance != "primary")

    def counts(self, row: Published) -> dict[str, tuple[int, int]]:
        """Language → (questions with an answer found, questions) of a dev result.

        A percentage on dev is k/n for a known n, so k can be recovered. A few published percentages are not k/n for any
        k; then k is the nearest.
        """
        counts = {}
        for language, percent in row.per_language.items():
            questions = self.questions[language]
            counts[language] = round(percent * questions / 100), questions
        return counts


@cache
def load_baselines() -> Baselines:
    """The published results that the package contains: ``resources/baselines``."""
    path = resource("baselines", "xor_tydi.yaml")
    return parse(Baselines, read_yaml(path), path)
