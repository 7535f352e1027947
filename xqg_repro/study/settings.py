"""What the study compares: ``resources/study.yaml`` as frozen dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.representation.settings import Aggregate

FILE = "study.yaml"
NONE = "none"
"""The method that adds nothing: the baseline."""


class Kind(StrEnum):
    """Machine-made texts that a study may have."""

    GENERATED = "generated"
    FILTERED = "filtered"
    TRANSLATED = "translated"


class Source(StrEnum):
    """Where the vectors that are added to a paragraph come from.

    ``-own`` uses only the language of the question asked, ``-all`` every language of the study. Paragraphs and
    translations are always in languages other than the paragraph's. People wrote and translated XQuAD's questions and
    paragraphs. A machine wrote ``generated`` queries, of which ``filtered`` are some, and ``translations``;
    ``translations-cut`` are as long as the generated queries in the same language (see
    :mod:`~xqg_repro.study.budget`). The question asked is never added.
    """

    QUESTIONS_OWN = "questions-own"
    QUESTIONS_ALL = "questions-all"
    PARAGRAPHS_OWN = "paragraphs-own"
    PARAGRAPHS_ALL = "paragraphs-all"
    SENTENCES = "sentences"
    GENERATED_OWN = "generated-own"
    GENERATED_ALL = "generated-all"
    FILTERED_OWN = "filtered-own"
    FILTERED_ALL = "filtered-all"
    TRANSLATIONS_OWN = "translations-own"
    TRANSLATIONS_ALL = "translations-all"
    TRANSLATIONS_CUT_OWN = "translations-cut-own"
    TRANSLATIONS_CUT_ALL = "translations-cut-all"

    @property
    def uses_question_language(self) -> bool:
        """Whether the vectors depend on the language of the question asked."""
        return self.value.endswith("-own")

    @property
    def uses_paragraph_language(self) -> bool:
        """Whether the vectors depend on the language of the paragraphs."""
        return self.value.startswith(("translations", "paragraphs", "sentences"))

    @property
    def needs(self) -> frozenset[Kind]:
        """The machine-made texts that the source needs."""
        kinds = set()
        if self.value.startswith(("generated", "filtered", "translations-cut")):
            kinds.add(Kind.GENERATED)
        if self.value.startswith("filtered"):
            kinds.add(Kind.FILTERED)
        if self.value.startswith("translations"):
            kinds.add(Kind.TRANSLATED)
        return frozenset(kinds)


class Bound(StrEnum):
    """Whether a method could be used in practice (fair) or needs vectors of human-written texts (upper bound)."""

    FAIR = "fair"
    UPPER = "upper"


@dataclass(frozen=True)
class Method:
    """One way to augment paragraphs.

    Attributes:
        title: shown in tables.
        sources: what is added. Each source is aggregated separately; the mean of the sources is added.
        bound: see :class:`Bound`.
        aggregates: the aggregates to choose from; empty takes the study's.
        normalize: divide the augmented vector by its L2 norm; ``None`` follows the encoder.
        read: whether a reader, if there is one, answers from the paragraphs that the method finds.
    """

    title: str
    sources: tuple[Source, ...] = ()
    bound: Bound = Bound.FAIR
    aggregates: tuple[Aggregate, ...] = ()
    normalize: bool | None = None
    read: bool = True


@dataclass(frozen=True)
class ReadingGrid:
    """How an answer may be chosen; cross-validation over articles picks the depth and the weight.

    Attributes:
        depths: numbers of top paragraphs to read.
        weights: weights of the retrieval score relative to the reader's score.
        chosen_by: ``EM`` or ``F1``.
    """

    depths: tuple[int, ...]
    weights: tuple[float, ...]
    chosen_by: str


@dataclass(frozen=True)
class Grouping:
    """Languages in groups: language → group, and the source of the grouping."""

    source: str
    languages: Mapping[str, str]


@dataclass(frozen=True)
class Trend:
    """A comparison whose gain by question language is set against the languages' resources.

    Attributes:
        method, other: the comparison.
        grouping: name of a grouping whose groups end in a number, such as ``class 3``.
        loss: the generator's task whose held-out loss by language is set against the gain, too: a key of the files of
            losses; empty for none.
    """

    method: str
    other: str
    grouping: str
    loss: str = ""


@dataclass(frozen=True)
class Study:
    """The whole study.

    Attributes:
        languages: languages of the questions and of what is added.
        passages: languages of the paragraphs that are searched, a subset of ``languages``.
        folds: number of parts into which the articles are split.
        seed: of the split.
        chosen_by: the measure by which α and the aggregate are chosen on the other folds.
        measures: the measures to report; see :data:`~xqg_repro.study.scoring.MEASURES`.
        alphas: the grid of α.
        aggregates: sum, mean, or both.
        methods: name → method; always includes ``none``.
        comparisons: pairs of methods to test.
        groups: name → grouping of the question languages.
        reading: how answers are chosen if there is a reader.
        question: the research question, way of asking → the comparisons that answer it, all among ``comparisons``.
        trends: gains by language to set against resources; their comparisons are among ``comparisons``.
    """

    languages: tuple[str, ...]
    passages: tuple[str, ...]
    folds: int
    seed: int
    chosen_by: str
    measures: tuple[str, ...]
    alphas: tuple[float, ...]
    aggregates: tuple[Aggregate, ...]
    methods: Mapping[str, Method]
    comparisons: tuple[tuple[str, ...], ...]
    groups: Mapping[str, Grouping]
    reading: ReadingGrid
    question: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    trends: tuple[Trend, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a paragraph language and a question language, in the order of the tables."""
        return tuple((passages, questions) for passages in self.passages for questions in self.languages)

    def aggregates_of(self, method: Method) -> tuple[Aggregate, ...]:
        """The aggregates that a method chooses from."""
        return method.aggregates or self.aggregates


def load_study(
    languages: Sequence[str] = (),
    passages: Sequence[str] = (),
    methods: Sequence[str] = (),
    *,
    generated: bool = False,
    filtered: bool = False,
    translated: bool = False,
) -> Study:
    """Load the package's study, restricted to some languages and methods.

    Args:
        languages: question languages; default: all of the file.
        passages: paragraph languages; default: English.
        methods: method names; default: all. ``none`` is always included.
        generated, filtered, translated: whether there are such machine-made texts; methods without theirs are left out.

    Raises:
        InputError: an unknown or repeated language, a paragraph language that is not among the languages, an unknown
            method.
    """
    path = resource(FILE)
    study = parse(Study, read_yaml(path), path)
    languages, passages = tuple(languages) or study.languages, tuple(passages) or study.passages
    _check_languages("languages", languages, study.languages, "XQuAD")
    _check_languages("passages", passages, languages, "this study")

    present = {Kind.GENERATED: generated, Kind.FILTERED: filtered, Kind.TRANSLATED: translated}
    lacking = {source for source in Source if not all(present[kind] for kind in source.needs)}
    known = {name: method for name, method in study.methods.items() if lacking.isdisjoint(method.sources)}
    if unknown := [name for name in methods if name not in known]:
        raise InputError(f"the study has no method {unknown[0]!r}", hint=nearest(unknown[0], known))
    kept = {name: method for name, method in known.items() if name in (*(methods or known), NONE)}
    comparisons = tuple(names for names in study.comparisons if set(names) <= kept.keys())
    ways = {way: tuple(pair for pair in pairs if set(pair) <= kept.keys()) for way, pairs in study.question.items()}
    return dataclasses.replace(
        study,
        languages=languages,
        passages=passages,
        methods=kept,
        comparisons=comparisons,
        question={way: pairs for way, pairs in ways.items() if pairs},
        trends=tuple(trend for trend in study.trends if {trend.method, trend.other} <= kept.keys()),
    )


def _check_languages(option: str, codes: Sequence[str], known: Sequence[str], owner: str) -> None:
    for code in codes:
        if code not in known:
            raise InputError(f"{owner} has no language {code!r}", hint=f"choose --{option} from: {' '.join(known)}")
        if codes.count(code) > 1:
            raise InputError(f"--{option} repeats {code}")
