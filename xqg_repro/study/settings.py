"""What the study compares: ``resources/study.yaml`` as frozen dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.representation.settings import Aggregate

FILE = "study.yaml"
NONE = "none"
"""The method that adds nothing, with which others are compared."""


class Source(StrEnum):
    """Where the vectors come from that are added to a paragraph.

    ``-own`` is the language of the question that is asked alone, ``-all`` every language of the study; paragraphs are
    those of languages other than the paragraph's. Questions are people's, of XQuAD, without the one that is asked;
    paragraphs are people's translations, and translations a machine's.
    """

    QUESTIONS_OWN = "questions-own"
    QUESTIONS_ALL = "questions-all"
    PARAGRAPHS_OWN = "paragraphs-own"
    PARAGRAPHS_ALL = "paragraphs-all"
    SENTENCES = "sentences"
    GENERATED = "generated"
    TRANSLATIONS_OWN = "translations-own"
    TRANSLATIONS_ALL = "translations-all"

    @property
    def own(self) -> bool:
        """Whether it depends on the language that is asked in."""
        return self in (Source.QUESTIONS_OWN, Source.PARAGRAPHS_OWN, Source.TRANSLATIONS_OWN)

    @property
    def of_paragraphs(self) -> bool:
        """Whether it depends on the language of the paragraphs."""
        return self.translated or self in (Source.PARAGRAPHS_OWN, Source.PARAGRAPHS_ALL, Source.SENTENCES)

    @property
    def translated(self) -> bool:
        """Whether it needs machine translations."""
        return self in (Source.TRANSLATIONS_OWN, Source.TRANSLATIONS_ALL)


class Bound(StrEnum):
    """What a method's scores stand for: what it would score in use, or with vectors that people had to write."""

    FAIR = "fair"
    UPPER = "upper"


@dataclass(frozen=True)
class Method:
    """One way to augment paragraphs.

    Attributes:
        title: in tables.
        sources: what is added; each source is aggregated on its own, then the mean of the sources is added.
        bound: see :class:`Bound`.
        aggregates: to choose from; empty for the study's.
        normalize: divide the result by its L2 norm; ``None`` does as the encoder does.
        read: whether a reader, where there is one, answers from what it finds.
    """

    title: str
    sources: tuple[Source, ...] = ()
    bound: Bound = Bound.FAIR
    aggregates: tuple[Aggregate, ...] = ()
    normalize: bool | None = None
    read: bool = True


@dataclass(frozen=True)
class ReadingGrid:
    """From which paragraphs an answer is taken: the best of these is chosen on other articles.

    Attributes:
        depths: so many of the first paragraphs are read.
        weights: of the retrieval score beside the reader's.
        chosen_by: ``EM`` or ``F1``.
    """

    depths: tuple[int, ...]
    weights: tuple[float, ...]
    chosen_by: str


@dataclass(frozen=True)
class Grouping:
    """A grouping of languages and who made it."""

    source: str
    languages: Mapping[str, str]


@dataclass(frozen=True)
class Study:
    """The whole study.

    Attributes:
        languages: of the questions, and of what is added.
        passages: languages of the paragraphs that are searched, some of ``languages``.
        folds: parts into which articles are split.
        seed: of that split.
        chosen_by: the measure by which α and the aggregate are chosen on the other folds.
        measures: to report; see :data:`~xqg_repro.study.scoring.MEASURES`.
        alphas: the grid of α.
        aggregates: sum, mean, or both.
        methods: name → method; ``none`` is one of them.
        comparisons: pairs of methods to be tested.
        groups: groupings of the questions' languages.
        reading: how answers are chosen, where there is a reader.
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

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All pairs of a paragraphs' and a questions' language, in the order of tables."""
        return tuple((paragraphs, asked) for paragraphs in self.passages for asked in self.languages)

    def aggregates_of(self, method: Method) -> tuple[Aggregate, ...]:
        """The aggregates that a method chooses from."""
        return method.aggregates or self.aggregates


def load_study(
    languages: Sequence[str] = (),
    passages: Sequence[str] = (),
    methods: Sequence[str] = (),
    *,
    generated: bool = False,
    translated: bool = False,
) -> Study:
    """The study that ships with the package, for some of its languages and methods.

    Args:
        languages: all of the file's unless given.
        passages: English unless given.
        methods: all unless given; ``none`` is always among them.
        generated: whether there are generated questions, without which no method adds them.
        translated: whether there are machine translations, without which no method adds them.

    Raises:
        InputError: an unknown or repeated language, a paragraphs' language that is not among the languages, a method
            that there is not.
    """
    path = resource(FILE)
    study = parse(Study, read_yaml(path), path)
    chosen = {"languages": tuple(languages) or study.languages, "passages": tuple(passages) or study.passages}
    for name, known in (("languages", study.languages), ("passages", chosen["languages"])):
        for code in chosen[name]:
            if code not in known:
                problem = f"{code!r} is no language of {'XQuAD' if name == 'languages' else 'this study'}"
                raise InputError(problem, hint=f"--{name} from: {' '.join(known)}")
            if chosen[name].count(code) > 1:
                raise InputError(f"--{name} repeats {code}")
    lacking = {s for s in Source if (s.translated and not translated) or (s is Source.GENERATED and not generated)}
    known = {name: method for name, method in study.methods.items() if lacking.isdisjoint(method.sources)}
    if unknown := [name for name in methods if name not in known]:
        raise InputError(f"the study has no method {unknown[0]!r}", hint=nearest(unknown[0], known))
    kept = {name: m for name, m in known.items() if name in (*(methods or known), NONE)}
    comparisons = tuple(names for names in study.comparisons if set(names) <= kept.keys())
    return dataclasses.replace(study, **chosen, methods=kept, comparisons=comparisons)
