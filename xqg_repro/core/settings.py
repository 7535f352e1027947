"""Conditions, encoders and benchmarks as frozen dataclasses, read from YAML and checked while they are read."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import read_text

LANGUAGE_NAMES = {
    "ar": "Arabic",
    "bn": "Bengali",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "hi": "Hindi",
    "ja": "Japanese",
    "ko": "Korean",
    "ro": "Romanian",
    "ru": "Russian",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""English names of the languages in the collections, by ISO 639-1 code."""

XOR_LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
"""The seven question languages of XOR-TyDi QA, in the order of the paper's tables."""

AVERAGE = "average"
"""The column of the macro average over languages."""

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Pooling(StrEnum):
    """How token vectors become one vector: the first token's, or the mean over tokens that are not padding."""

    CLS = "cls"
    MEAN = "mean"


class Precision(StrEnum):
    """The number format in which the encoder's layers run; embeddings are float32 whichever it is."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that decides an embedding besides the text. The defaults are the paper's (Tevatron's) settings.

    Attributes:
        model: Hugging Face id, or a folder with config, tokenizer and safetensors weights, or ``package:NAME`` for a
            model that ships with this package.
        pooling: first token (``cls``) or ``mean``.
        normalize: divide each embedding by its L2 norm, so that the inner product is the cosine.
        query_prefix, passage_prefix: put before the text as they are, a final space included.
        title_separator: a passage is ``title + title_separator + text``; ``None`` leaves the title out.
        query_max_length, passage_max_length: in tokens, special tokens included; longer input is cut at the end.
        precision: see :class:`Precision`.
    """

    model: str
    pooling: Pooling = Pooling.CLS
    normalize: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    title_separator: str | None = " "
    query_max_length: int = 32
    passage_max_length: int = 128
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        for name, kind in (("pooling", Pooling), ("precision", Precision)):
            object.__setattr__(self, name, _member(kind, getattr(self, name), name))  # notebooks pass plain strings
        if min(self.query_max_length, self.passage_max_length) < 3:
            raise InputError("a maximum length below 3 tokens leaves no room for text between the special tokens")


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that decides a generated query besides the passage. The defaults are the paper's settings.

    Attributes:
        model: Hugging Face id or folder of a seq2seq model, or ``package:NAME`` for one that ships with this package.
        languages: ISO 639-1 codes of the languages to generate in.
        queries: queries a language for each passage.
        prompt: what the model reads; ``{language}`` is the language's English name, ``{title}`` and ``{text}`` are the
            passage's.
        prompt_max_length: in tokens, special tokens included; a longer prompt is cut at the end.
        query_max_length: new tokens a query.
        top_k: sample among the k likeliest tokens; 0 for all.
        top_p: sample among the likeliest tokens that together have this probability.
        temperature: divides the logits.
        precision: see :class:`Precision`; ``None`` is bfloat16 on hardware that has it, else float32.
        seed: of the sampling; each (passage, language) draws from a stream of its own.
    """

    model: str = "ielabgroup/xor-tydi-docTquery-mt5-base"
    languages: tuple[str, ...] = XOR_LANGUAGES
    queries: int = 5
    prompt: str = "Generate a {language} question for this passage: {title} {text}"
    prompt_max_length: int = 256
    query_max_length: int = 64
    top_k: int = 10
    top_p: float = 1.0
    temperature: float = 1.0
    precision: Precision | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if self.precision is not None:
            object.__setattr__(self, "precision", _member(Precision, self.precision, "precision"))
        check_languages(self.languages)
        if min(self.queries, self.query_max_length, self.prompt_max_length) < 1 or not self.languages:
            raise InputError("there must be one language, one query and one token at least")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not self.temperature > 0:
            raise InputError("top_k must be 0 or more, top_p in (0, 1], and the temperature above 0")

    def prompt_for(self, language: str, title: str | None, text: str) -> str:
        """The model's input for a passage and a language.

        >>> GeneratorConfig().prompt_for("fi", "Turku", "A city.")
        'Generate a Finnish question for this passage: Turku A city.'
        """
        return self.prompt.format(language=LANGUAGE_NAMES[language], title=title or "", text=text)


@dataclass(frozen=True)
class TranslatorConfig:
    """Everything that decides a translation besides the text and the language that it is translated into.

    Attributes:
        model: Hugging Face id or folder of a seq2seq model, or ``package:NAME`` for one that ships with this package.
        prompt: what the model reads; ``{text}`` is a sentence, ``{language}`` the English name of the language that it
            is translated into, and ``{code}`` the model's own code of that language.
        source: ISO 639-1 code of the passages' language.
        codes: ISO 639-1 code → the model's own code. Unless the prompt holds ``{code}``, these are the languages of the
            model's tokenizer, which marks the text that is read by one of them (``source``) and begins the translation
            with another. Empty for a model that the prompt tells the language by its name, or that has a single one.
        text_max_length: tokens of a prompt, special ones included; a longer sentence is translated in parts.
        translation_max_length: new tokens a sentence.
        beams: of beam search; 1 takes the likeliest token at each step.
        precision: see :class:`Precision`.
    """

    model: str
    prompt: str = "{text}"
    source: str = "en"
    codes: Mapping[str, str] = field(default_factory=dict)
    text_max_length: int = 256
    translation_max_length: int = 256
    beams: int = 1
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", _member(Precision, self.precision, "precision"))
        check_languages([self.source, *self.codes])
        if min(self.text_max_length, self.translation_max_length, self.beams) < 1:
            raise InputError("there must be one token at least in a text and in its translation, and one beam")

    @property
    def has_language_tokens(self) -> bool:
        """Whether the codes are languages of the tokenizer, not a part of the prompt."""
        return bool(self.codes) and "{code}" not in self.prompt

    def prompt_for(self, language: str, text: str) -> str:
        """The model's input for a sentence and the language that it is translated into.

        >>> TranslatorConfig("t5-small", "translate English to {language}: {text}").prompt_for("de", "A city.")
        'translate English to German: A city.'
        """
        return self.prompt.format(language=LANGUAGE_NAMES[language], code=self.codes.get(language, ""), text=text)


class Aggregate(StrEnum):
    """What is added to a passage: the sum over its queries, as in the paper, or their mean."""

    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True)
class Augmentation:
    """How query sums are added to passages: ``(1-α)·p + α·Σq``. The defaults are the paper's.

    Attributes:
        alpha: α in [0, 1]; 0 leaves the passages as they are.
        aggregate: see :class:`Aggregate`.
        languages: whose queries are added; empty for all that there are.
        queries: the first so many a language; 0 for all that there are.
        normalize: divide the result by its L2 norm; ``None`` does as the encoder does.
    """

    alpha: float = 0.01
    aggregate: Aggregate = Aggregate.SUM
    languages: tuple[str, ...] = ()
    queries: int = 0
    normalize: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "aggregate", _member(Aggregate, self.aggregate, "aggregate"))
        if not 0 <= self.alpha <= 1:
            raise InputError(f"α is {self.alpha}", mend="it must lie between 0 and 1")
        if self.queries < 0:
            raise InputError(f"the first {self.queries} queries cannot be added", mend="0 stands for all of them")


@dataclass(frozen=True)
class MeasureConfig:
    """How a measure is printed and how far a reproduction may be off, in printed units."""

    scale: float = 1.0
    digits: int = 3
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        if not self.scale > 0 or self.digits < 0 or self.tolerance < 0:
            raise InputError(
                f"a scale of {self.scale}, {self.digits} digits and a tolerance of {self.tolerance} print no score",
                mend="the scale must be above 0, the other two 0 or more",
            )


@dataclass(frozen=True)
class ReaderConfig:
    """Everything that decides the answer that a reader takes from a passage.

    Attributes:
        model: Hugging Face id or folder of a question-answering model, or ``package:NAME`` for one that ships with this
            package.
        max_length: in tokens, of question and passage together, special tokens included; a longer passage is read in
            windows.
        stride: tokens that two windows share.
        question_max_length: in tokens, without special ones; a longer question is cut at the end.
        answer_max_length: in tokens.
        precision: see :class:`Precision`.
    """

    model: str
    max_length: int = 384
    stride: int = 128
    question_max_length: int = 64
    answer_max_length: int = 30
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", _member(Precision, self.precision, "precision"))
        if min(self.stride, self.question_max_length, self.answer_max_length) < 1:
            raise InputError("there must be one token at least in a question, in an answer and shared by two windows")
        # three special tokens, or four in XLM-R's manner
        if self.max_length < self.question_max_length + self.stride + 5:
            raise InputError(
                f"{self.max_length} tokens leave no room for a question of {self.question_max_length} and a passage "
                f"of which {self.stride} are read twice",
                mend="raise the maximum length, or lower one of the other two",
            )


@dataclass(frozen=True)
class Reading:
    """How answers are taken from a run's passages.

    Attributes:
        reader: a preset's name (see ``resources/readers.yaml``).
        depth: how many of a question's passages are read.
        weight: of the retrieval score beside the answer's own.
    """

    reader: str
    depth: int = 1
    weight: float = 0.0

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"a depth of {self.depth} reads nothing", mend="read one passage a question at least")
        if not 0 <= self.weight < float("inf"):
            raise InputError(f"the weight of the retrieval score is {self.weight}", mend="it must be 0 or more")


@dataclass(frozen=True)
class Condition:
    """One row of a results table: a named way from collection to run.

    Attributes:
        name: also the run tag and part of the run's file name.
        title: the row's label in tables.
        encoder: a preset's name (see ``resources/encoders.yaml``).
        generator: a preset's name (see ``resources/generators.yaml``) whose queries augment the passages.
        corpus: queries that exist already, in place of a generator: a folder or the id of a hub dataset.
        augmentation: how they are added; needs one of the two.
        baseline: name of the condition that it is compared with.
        expected: measure → language or ``average`` → score in printed units. Never printed as if measured.
    """

    name: str
    title: str
    encoder: str
    generator: str = ""
    corpus: str = ""
    augmentation: Augmentation | None = None
    baseline: str = ""
    expected: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sources = bool(self.generator) + bool(self.corpus)
        if sources != (self.augmentation is not None):
            raise InputError(f"{self.name} needs an augmentation with one source of queries, or none of these")


@dataclass(frozen=True)
class Benchmark:
    """A collection, its topics, measures, and the conditions of its table.

    Attributes:
        name: such as ``xor-mini``.
        title: heading of its tables.
        collection: ir-datasets id of the passages.
        topics: ir-datasets id of the topics; ``{language}`` in it stands for each of ``languages`` in turn.
        languages: question languages, in table order.
        measures: measure name → how it is printed, in table order.
        reading: how answers are taken from the runs; there if, and only if, some of the measures are of answers.
        depth: passages retrieved per question.
        queries: generated queries a language for each passage.
        keep_sums: store the sums of the first 1, 2, … of them, for ablations and for other conditions; each takes as
            much room as the passages.
        study: preset of the encoder with which all conditions together include the study (see :mod:`xqg_repro.study`).
        conditions: in table order.
    """

    name: str
    title: str
    collection: str
    topics: str
    languages: tuple[str, ...]
    measures: Mapping[str, MeasureConfig]
    conditions: tuple[Condition, ...]
    reading: Reading | None = None
    depth: int = 100
    queries: int = 5
    keep_sums: bool = True
    study: str = ""

    def __post_init__(self) -> None:
        for what in ("languages", "measures", "conditions"):
            if not getattr(self, what):
                raise InputError(f"{self.name} has no {what}", mend="name one at least")
        names = [condition.name for condition in self.conditions]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two conditions are called {repeated[0]!r}", mend="their runs would be one file")
        if self.answer_measures and self.reading is None:
            raise InputError(
                f"{', '.join(self.answer_measures)} can only be measured of answers, and the benchmark reads none",
                mend="say how they are read: reading: {reader: …, depth: …, weight: …}",
            )
        if self.reading and not self.answer_measures:
            raise InputError("the benchmark reads answers, but measures none", mend="add EM or F1 to its measures")

    @property
    def answer_measures(self) -> tuple[str, ...]:
        """The measures that are of answers; all others are of runs."""
        from xqg_repro.evaluation.measures.match import (
            MATCH_MEASURES,  # settings are read long before anything is measured
        )

        return tuple(name for name in self.measures if name in MATCH_MEASURES)

    @property
    def run_measures(self) -> tuple[str, ...]:
        """The measures that are of runs."""
        return tuple(name for name in self.measures if name not in self.answer_measures)

    def topic_sets(self, languages: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
        """ir-datasets id of each topic set → the languages that are read off it."""
        chosen = languages or self.languages
        if unknown := [name for name in chosen if name not in self.languages]:
            raise InputError(
                f"{self.name} has no questions in {', '.join(unknown)}",
                mend=f"its languages are {' '.join(self.languages)}",
            )
        if "{language}" in self.topics:
            return {self.topics.format(language=language): (language,) for language in chosen}
        return {self.topics: tuple(chosen)}

    def condition(self, name: str) -> Condition:
        """The condition of that name; :class:`InputError` naming the others where there is none."""
        for condition in self.conditions:
            if condition.name == name:
                return condition
        raise InputError(
            f"{self.name} has no condition {name!r}", mend=f"choose from: {', '.join(c.name for c in self.conditions)}"
        )


def _member(kind: type[E], value: Any, key: str, source: str | Path | None = None) -> E:
    if value not in list(kind):
        raise InputError(f"{key} is {value!r}", path=source, mend=f"choose from: {', '.join(kind)}")
    return kind(value)


def check_languages(codes: Iterable[str]) -> None:
    """Raise :class:`InputError` where one of these is no code of :data:`LANGUAGE_NAMES`."""
    if unknown := [code for code in codes if code not in LANGUAGE_NAMES]:
        raise InputError(f"unknown language {unknown[0]!r}", mend=f"choose from: {' '.join(LANGUAGE_NAMES)}")


def resource(*parts: str) -> Path:
    """Path of a file or folder that ships inside the package."""
    return Path(str(resources.files("xqg_repro"))).joinpath("resources", *parts)


def parse(cls: type[T], data: Any, source: str | Path) -> T:
    """Build a dataclass from YAML data, checking names and types; raise :class:`InputError` naming the key.

    Understands nested dataclasses, tuples, mappings, enums, unions with ``None`` and the plain types.
    """
    if not isinstance(data, dict):
        raise InputError(f"{cls.__name__} must be a mapping, not {type(data).__name__}", path=source)
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := [key for key in data if key not in known]:
        raise InputError(
            f"{cls.__name__} has no key {unknown[0]!r}", path=source, mend=f"known: {', '.join(sorted(known))}"
        )
    required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]  # type: ignore[arg-type]
    if absent := [name for name in required if name not in data]:
        raise InputError(f"{cls.__name__} lacks the key {absent[0]!r}", path=source, mend="add it")
    try:
        values = {key: _convert(hints[key], value, source, key) for key, value in data.items()}
        return cls(**values)
    except InputError as error:
        raise error if error.path else InputError(error.problem, path=source, mend=error.mend) from None


_KINDS = {tuple: "a list", Mapping: "a mapping", str: "a text", bool: "true or false", int: "a whole number"}
_KINDS |= {float: "a number"}


def _convert(hint: Any, value: Any, source: str | Path, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, source)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _member(hint, value, key, source)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, source, key) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {str(name): _convert(arguments[1], item, source, f"{key}.{name}") for name, item in value.items()}
    if type(None) in arguments:
        return None if value is None else _convert(arguments[0], value, source, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(
        f"{key} is {value!r}, which is not of the type it must be",
        path=source,
        mend=f"expected {_KINDS.get(origin or hint, getattr(hint, '__name__', hint))}",
    )


def read_yaml(path: Path) -> Any:
    """Parse a YAML file; :class:`InputError` with the line where it cannot be parsed or repeats a key."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            if repeated := [i for i, key in enumerate(keys) if key in keys[:i]]:
                mark = node.value[repeated[0]][0].start_mark
                raise InputError(f"repeats the key {keys[repeated[0]]!r}", path=path, line=mark.line + 1)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(read_text(path), Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(
            f"is not valid YAML: {getattr(error, 'problem', error)}", path=path, line=mark.line + 1 if mark else None
        ) from None


def load_benchmark(name_or_path: str) -> Benchmark:
    """Read a benchmark's conditions: one that ships with the package (by name), or a YAML file of one's own."""
    path = resource("conditions", f"{name_or_path}.yaml")
    if not path.exists() and not (path := Path(name_or_path)).exists():
        known = sorted(p.stem for p in resource("conditions").glob("*.yaml"))
        raise InputError(f"there is no benchmark {name_or_path!r}", mend=f"choose from: {', '.join(known)}")
    benchmark = parse(Benchmark, read_yaml(path), path)
    for condition in benchmark.conditions:
        try:
            load_preset(condition.encoder)
            if condition.generator:
                load_generator(condition.generator)
        except InputError as error:
            raise InputError(f"{condition.name}: {error.problem}", path=path, mend=error.mend) from None
        if condition.baseline and condition.baseline not in {c.name for c in benchmark.conditions}:
            problem = f"{condition.name} has the baseline {condition.baseline!r}, which is no condition"
            raise InputError(problem, path=path)
        for measure, scores in condition.expected.items():
            unknown = [] if measure in benchmark.measures else [measure]
            unknown += [column for column in scores if column not in (*benchmark.languages, AVERAGE)]
            if unknown:
                problem = f"{condition.name} expects a score of {unknown[0]!r}, which the benchmark does not have"
                raise InputError(problem, path=path)
    return benchmark


def load_presets() -> dict[str, EncoderConfig]:
    """Named encoder settings: ``resources/encoders.yaml``."""
    return _presets(EncoderConfig, "encoders.yaml")


def load_preset(name: str) -> EncoderConfig:
    """One encoder preset; :class:`InputError` naming the others where there is none."""
    return _chosen(load_presets(), name, "encoder preset")


def load_generator(name: str) -> GeneratorConfig:
    """One preset of ``resources/generators.yaml``; :class:`InputError` naming the others where there is none."""
    return _chosen(_presets(GeneratorConfig, "generators.yaml"), name, "generator preset")


def load_translator(name: str) -> TranslatorConfig:
    """One preset of ``resources/translators.yaml``; :class:`InputError` naming the others where there is none."""
    return _chosen(_presets(TranslatorConfig, "translators.yaml"), name, "translator preset")


def load_reader(name: str) -> ReaderConfig:
    """One preset of ``resources/readers.yaml``; :class:`InputError` naming the others where there is none."""
    return _chosen(_presets(ReaderConfig, "readers.yaml"), name, "reader preset")


def _presets(cls: type[T], file: str) -> dict[str, T]:
    path = resource(file)
    return {name: parse(cls, data, path) for name, data in read_yaml(path).items()}


def _chosen(presets: dict[str, T], name: str, what: str) -> T:
    if name not in presets:
        raise InputError(f"there is no {what} {name!r}", mend=f"choose from: {', '.join(presets)}")
    return presets[name]
