"""What the study reports, ``study.json``: the source of its tables, figures and page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xqg_repro.core.files import atomic_write
from xqg_repro.core.settings import parse
from xqg_repro.core.text import read_json

FILE = "study.json"
OPTIONAL = ("answers", "budget", "written", "trends", "fold_encoders")
"""What only some studies have; others leave it out."""


@dataclass(frozen=True)
class PairTest:
    """A method compared with another on one pair of languages.

    Attributes:
        pair: as ``paragraphs/questions``.
        difference: difference of the means, method minus other.
        p: p-value of the paired randomisation test.
        corrected: Holm-corrected p, over all pairs of this comparison and measure.
    """

    measure: str
    method: str
    other: str
    pair: str
    difference: float
    p: float
    corrected: float


@dataclass(frozen=True)
class PooledTest:
    """A method compared with another over many pairs of languages, all with the same questions.

    Attributes:
        scope: which pairs of two different languages: the language of the paragraphs, or ``all``.
        group: group of question languages, as ``grouping: group``; empty for all.
        pairs: number of pairs.
        difference: mean over pairs.
        low, high: limits of its 95 % interval, from a bootstrap over articles.
        p: p-value of a randomisation test that swaps the methods of a question in all pairs at once; ``None`` for
            groups.
        p_articles: p-value of a randomisation test that swaps all questions of an article at once.
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
class MethodCost:
    """What a method costs in addition to the paragraphs in one language.

    Attributes:
        vectors: number of texts to encode.
        characters: number of characters in these texts.
        indexes: one, or one per question language.
        bytes: size of the vectors in all these indexes, four bytes per component.
    """

    method: str
    vectors: int
    characters: int
    indexes: int
    bytes: int


@dataclass(frozen=True)
class QuestionExample:
    """A question whose own paragraph the winner ranks first and the loser does not; ``ranks`` is by method."""

    winner: str
    loser: str
    pair: str
    qid: str
    ranks: Mapping[str, int]


@dataclass(frozen=True)
class QuestionAnswer:
    """The research question, asked in one way, on one measure, for paragraphs in the study's first language.

    Attributes:
        way: how it is asked, as the study's settings have it.
        difference, low, high, p: mean over the pairs of two different languages, limits of its 95 % interval and
            p-value, by article.
        questions: number of questions.
        needed: number of questions that would detect the difference, at this variance of articles; ``None`` if these
            questions decide, or if no number would.
    """

    way: str
    measure: str
    method: str
    other: str
    difference: float
    low: float
    high: float
    p: float
    questions: int
    needed: int | None

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class TextCost:
    """What machine-made texts of a paragraph cost in one language, in the mean over the paragraphs.

    Attributes:
        queries: number of generated queries.
        query_tokens: tokens of all of these.
        translation_tokens, cut_tokens: tokens of the translation, whole and cut to the queries' cost.
    """

    language: str
    queries: float
    query_tokens: float
    translation_tokens: float
    cut_tokens: float


@dataclass(frozen=True)
class GainTrend:
    """The gain by question language against a value of each language.

    Attributes:
        against: a grouping, or a task of the generator and ``loss``.
        points: language → its value and the mean difference of the two methods.
        rho, low, high, p: Spearman's correlation, limits of its 95 % interval, p-value.
    """

    measure: str
    method: str
    other: str
    against: str
    points: Mapping[str, tuple[float, ...]]
    rho: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class FoldEncoders:
    """The study with encoders that were trained on other articles than those they are measured on.

    Attributes:
        encoder: name of the first encoder's folder.
        models: fingerprint of each fold's encoder.
        means: as :attr:`StudySummary.means`.
        mixed: as :attr:`StudySummary.mixed`, without groups.
    """

    encoder: str
    models: tuple[str, ...]
    means: Mapping[str, Mapping[str, Mapping[str, float]]]
    mixed: tuple[PooledTest, ...]


@dataclass(frozen=True)
class StudySummary:
    """Everything that is reported.

    Attributes:
        encoder: name of the model's folder.
        model: fingerprint of the model.
        data: fingerprint of the collection's files.
        languages, passages, folds, seed, chosen_by, alphas: see :class:`~xqg_repro.study.settings.Study`.
        counts: ``articles``, ``paragraphs``, ``questions``; ``alone``: questions that are the only one about their
            paragraph; ``same``: questions with duplicates; ``answered``: questions with EM and F1.
        titles, bounds: method → title and bound.
        means: measure → pair → method → mean score.
        chosen, read, gold, curves: see :class:`~xqg_repro.study.results.Results`, with pairs as in :class:`PairTest`;
            ``read`` and ``gold`` are empty without a reader.
        mixed: comparisons over many pairs, for all question languages and for groups.
        sources: grouping → its source.
        answers: the research question, if there are machine-made texts.
        budget: what machine-made texts cost, by language.
        written: kind of machine-made text → ``tokens`` and ``seconds``, where its writer has counted them.
        trends: gains against resources and losses.
        fold_encoders: the same with encoders that were trained further, if any.
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
    tests: tuple[PairTest, ...]
    mixed: tuple[PooledTest, ...]
    sources: Mapping[str, str]
    costs: tuple[MethodCost, ...]
    examples: tuple[QuestionExample, ...]
    answers: tuple[QuestionAnswer, ...] = ()
    budget: tuple[TextCost, ...] = ()
    written: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    trends: tuple[GainTrend, ...] = ()
    fold_encoders: FoldEncoders | None = None

    @property
    def question_languages(self) -> list[str]:
        """The question languages other than the first paragraph language; averages are over these."""
        return [code for code in self.languages if code != self.passages[0]]

    def write(self, folder: Path) -> None:
        """Write ``study.json``, with one line per attribute and numbers rounded to six digits.

        What is empty of :data:`OPTIONAL` is left out.
        """
        parts = {key: value for key, value in dataclasses.asdict(self).items() if value or key not in OPTIONAL}
        values = {key: _round(value) for key, value in parts.items()}
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
        with atomic_write(folder / FILE) as file:
            file.write("{\n" + ",\n".join(lines) + "\n}\n")


def read_summary(folder: Path) -> StudySummary:
    """Read ``study.json``; raise :class:`~xqg_repro.core.errors.InputError` if it is missing or malformed."""
    path = folder / FILE
    return parse(StudySummary, read_json(path, "study", "xqg-repro study writes it"), path)


def _round(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _round(item) for key, item in value.items()}
    return [_round(item) for item in value] if isinstance(value, list | tuple) else value
