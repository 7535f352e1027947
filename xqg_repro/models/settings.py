"""What decides an embedding, a query, a translation or an answer besides the text: one dataclass a model kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES, XOR_LANGUAGES, check_languages
from xqg_repro.core.settings import choose, convert_enums, read_presets


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
        convert_enums(self, pooling=Pooling, precision=Precision)
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
            convert_enums(self, precision=Precision)
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
        convert_enums(self, precision=Precision)
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
        convert_enums(self, precision=Precision)
        if min(self.stride, self.question_max_length, self.answer_max_length) < 1:
            raise InputError("there must be one token at least in a question, in an answer and shared by two windows")
        # three special tokens, or four in XLM-R's manner
        if self.max_length < self.question_max_length + self.stride + 5:
            raise InputError(
                f"{self.max_length} tokens leave no room for a question of {self.question_max_length} and a passage "
                f"of which {self.stride} are read twice",
                hint="raise the maximum length, or lower one of the other two",
            )


def load_presets() -> dict[str, EncoderConfig]:
    """Named encoder settings: ``resources/encoders.yaml``."""
    return read_presets(EncoderConfig, "encoders.yaml")


def load_preset(name: str) -> EncoderConfig:
    """One encoder preset; :class:`InputError` naming the others where there is none."""
    return choose(load_presets(), name, "encoder preset")


def load_generator(name: str) -> GeneratorConfig:
    """One preset of ``resources/generators.yaml``; :class:`InputError` naming the others where there is none."""
    return choose(read_presets(GeneratorConfig, "generators.yaml"), name, "generator preset")


def load_translator(name: str) -> TranslatorConfig:
    """One preset of ``resources/translators.yaml``; :class:`InputError` naming the others where there is none."""
    return choose(read_presets(TranslatorConfig, "translators.yaml"), name, "translator preset")


def load_reader(name: str) -> ReaderConfig:
    """One preset of ``resources/readers.yaml``; :class:`InputError` naming the others where there is none."""
    return choose(read_presets(ReaderConfig, "readers.yaml"), name, "reader preset")
