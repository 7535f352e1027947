"""What the study writes down and its tables and page are made from: ``study.json``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xqg_repro.core.files import atomic_write, read_json
from xqg_repro.core.settings import parse

FILE = "study.json"


@dataclass(frozen=True)
class Tested:
    """A method against another on one pair of languages.

    Attributes:
        measure, method, other, pair: what is compared; the pair as ``paragraphs/questions``.
        difference: of the means, method minus other.
        p: of the paired randomisation test.
        corrected: by Holm, over all pairs of this comparison and measure.
    """

    measure: str
    method: str
    other: str
    pair: str
    difference: float
    p: float
    corrected: float


@dataclass(frozen=True)
class Mixed:
    """A method against another over many pairs, which all have the same questions.

    Attributes:
        measure, method, other: what is compared.
        scope: which pairs: the paragraphs' language or ``all``; of two different languages.
        group: of the questions' languages, as ``grouping: group``, or empty for all.
        pairs: their number.
        difference: mean over pairs.
        low, high: ends of its 95 per cent interval, articles drawn anew.
        p: of a randomisation test that swaps the methods of a question in all pairs at once; ``None`` for groups.
        p_articles: of one that swaps all questions of an article at once.
    """

    measure: str
    method: str
    other: str
    scope: str
    group: str
    pairs: int
    difference: float
    low: float
    high: float
    p: float | None
    p_articles: float


@dataclass(frozen=True)
class Cost:
    """What a method costs beside the paragraphs in one language.

    Attributes:
        method: its name.
        vectors: texts to encode.
        characters: in them.
        indexes: one, or one for each language that is asked in.
        bytes: of all these indexes, four for each component.
    """

    method: str
    vectors: int
    characters: int
    indexes: int
    bytes: int


@dataclass(frozen=True)
class Example:
    """A question whose own paragraph one method ranks first and the other does not; ``ranks`` is by method."""

    winner: str
    loser: str
    pair: str
    qid: str
    ranks: Mapping[str, int]


@dataclass(frozen=True)
class Summary:
    """All that is reported.

    Attributes:
        encoder: name of the model's folder.
        model: fingerprint of the model.
        data: fingerprint of the collection's files.
        languages, passages, folds, seed, chosen_by, alphas: see :class:`~xqg_repro.study.settings.Study`.
        counts: of articles, paragraphs, questions; ``alone``: questions with no other on their paragraph; ``same``:
            questions of which the wording comes up again on their paragraph; ``answered``: questions with EM and F1.
        titles, bounds: of the methods, by name.
        means: measure → pair → method → mean score.
        chosen: pair → method → aggregate and α of each fold.
        read: pair → method → what each fold chose for answers; empty without a reader.
        gold: measure of answers → pair → mean where the reader is given the right paragraph; empty without a reader.
        curves: measure → method → pair → aggregate → mean score for each α.
        tests: by pair.
        mixed: over pairs, for all languages and for groups.
        sources: grouping → who made it.
        costs: by method.
        examples: where one method wins.
    """

    encoder: str
    model: str
    data: str
    languages: tuple[str, ...]
    passages: tuple[str, ...]
    folds: int
    seed: int
    chosen_by: str
    alphas: tuple[float, ...]
    counts: Mapping[str, int]
    titles: Mapping[str, str]
    bounds: Mapping[str, str]
    means: Mapping[str, Mapping[str, Mapping[str, float]]]
    chosen: Mapping[str, Mapping[str, tuple[str, ...]]]
    read: Mapping[str, Mapping[str, tuple[str, ...]]]
    gold: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, Mapping[str, Mapping[str, tuple[float, ...]]]]]
    tests: tuple[Tested, ...]
    mixed: tuple[Mixed, ...]
    sources: Mapping[str, str]
    costs: tuple[Cost, ...]
    examples: tuple[Example, ...]

    def write(self, folder: Path) -> None:
        """Write ``study.json``; curves and means have six digits, so that the file stays small."""
        held = dataclasses.asdict(self)
        with atomic_write(folder / FILE) as file:
            # a line an entry, not a line a number
            parts = [
                f"{json.dumps(key)}: {json.dumps(_rounded(value), ensure_ascii=False)}" for key, value in held.items()
            ]
            file.write("{\n" + ",\n".join(parts) + "\n}\n")


def read_summary(folder: Path) -> Summary:
    """Read ``study.json``; raises :class:`~xqg_repro.core.errors.InputError` where it is missing or of another form."""
    path = folder / FILE
    return parse(Summary, read_json(path, "study", "xqg-repro study writes it"), path)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
