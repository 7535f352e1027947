"""Settings of models: all that determines an embedding, a query, a translation or an answer besides the text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES, XOR_LANGUAGES, check_languages
from xqg_repro.core.settings import convert_enums, read_preset

LANGUAGE = "{lang}"
"""Placeholder of the query's language, ISO 639-1, in an encoder's ``query_suffix``."""


class Pooling(StrEnum):
    """How token vectors become one vector: the first token's, the last one's, or the mean of all, without padding."""

    CLS = "cls"
    MEAN = "mean"
    LAST = "last"


class Precision(StrEnum):
    """The number format of a model's layers."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


class Backend(StrEnum):
    """What computes a model: PyTorch, or CTranslate2, which is faster on CPUs and knows int8, but fewer kinds."""

    TORCH = "torch"
    CTRANSLATE2 = "ctranslate2"


def _set_backend(settings: EncoderConfig | GeneratorConfig | TranslatorConfig) -> None:
    """Convert the backend, and let int8 choose CTranslate2; :class:`InputError` for int8 in PyTorch."""
    if settings.backend is not None:
        convert_enums(settings, backend=Backend)
    if settings.precision is Precision.INT8:
        if settings.backend is Backend.TORCH:
            raise InputError("the backend torch has no precision int8", hint="use --backend ctranslate2")
        object.__setattr__(settings, "backend", Backend.CTRANSLATE2)


def torch_precision(settings: EncoderConfig | GeneratorConfig | TranslatorConfig) -> str:
    """The precision to load a model in with torch; CTranslate2 converts it from float32."""
    return Precision.FLOAT32 if settings.backend is Backend.CTRANSLATE2 else settings.precision or Precision.FLOAT32


@dataclass(frozen=True)
class EncoderConfig:
    """All settings of an encoder that affect an embedding. The defaults are the paper's (Tevatron's).

    Attributes:
        model: Hugging Face id, or a folder with config, tokenizer and safetensors weights, or a folder of two such,
            ``query`` and ``passage``, or ``package:NAME`` for a model that ships with this package.
        pooling: first token (``cls``), ``last`` token or ``mean``.
        normalize: divide each embedding by its L2 norm, so that the inner product is the cosine.
        query_prefix, passage_prefix: text put before each query or passage, with its final space if it needs one.
        title_separator: a passage is ``title + title_separator + text``; ``None`` leaves the title out.
        query_max_length, passage_max_length: maximum number of tokens of a query or passage, including special tokens;
            longer input is truncated.
        precision: number format of the model's layers; embeddings are float32 in any case.
        backend: what computes the model; ``None`` is CTranslate2 for int8, otherwise torch.
        query_suffix: text put after each query, with its leading space if it needs one; ``{lang}`` in it is the query's
            language. It is cut off with the end of a query that is too long.
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
    backend: Backend | None = None
    query_suffix: str = ""

    def __post_init__(self) -> None:
        convert_enums(self, pooling=Pooling, precision=Precision)
        _set_backend(self)
        if min(self.query_max_length, self.passage_max_length) < 3:
            raise InputError("a maximum length below 3 tokens leaves no room for text between the special tokens")
        if unknown := {*re.findall(r"\{\w*\}", self.query_suffix)} - {LANGUAGE}:
            raise InputError(f"query_suffix has the placeholder {min(unknown)}", hint=f"the only one is {LANGUAGE}")

    @property
    def needs_language(self) -> bool:
        """Whether the vector of a query depends on the language that it is said to be in."""
        return LANGUAGE in self.query_suffix


def check_same_pooling(made: EncoderConfig, other: EncoderConfig, user: str, path: str | Path, hint: str) -> None:
    """Raise :class:`InputError` unless two encoders pool and normalise alike.

    One ``made`` the vectors at ``path``, the ``other`` those of ``user`` (such as ``the questions``).
    """
    if (made.pooling, made.normalize) != (other.pooling, other.normalize):
        problem = f"was made with {_describe_pooling(made)}, but {user} use {_describe_pooling(other)}"
        raise InputError(problem, path=path, hint=hint)


def _describe_pooling(config: EncoderConfig) -> str:
    return f"{config.pooling} pooling, {'' if config.normalize else 'not '}normalised"


@dataclass(frozen=True)
class GeneratorConfig:
    """All settings of a generator that affect a query. The defaults are the paper's.

    Attributes:
        model: Hugging Face id or folder of a sequence-to-sequence or causal language model, or ``package:NAME`` for one
            that ships with this package.
        languages: ISO 639-1 codes of the languages to generate in.
        queries: queries per passage and language.
        prompt: what the model reads; ``{language}`` is the language's English name, ``{title}`` and ``{text}`` are the
            passage's.
        prompt_max_length: maximum number of tokens of a prompt, including special tokens; a longer one is truncated;
            for a causal model, what follows ``{text}`` is kept.
        query_max_length: maximum number of new tokens per query.
        top_k: sample from the k most likely tokens; 0 for all.
        top_p: sample from the most likely tokens that together have this probability.
        temperature: divides the logits.
        precision: number format of the model's layers; ``None`` is float32 in CTranslate2; in torch it is bfloat16 on
            hardware that supports it, otherwise float32.
        seed: seed of the sampling; each (passage, language) draws from its own stream.
        backend: what computes the model; ``None`` is CTranslate2 for int8, otherwise torch.
        chat: the prompt is the user's message in the chat template of a causal model's tokenizer.
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
    backend: Backend | None = None
    chat: bool = False

    def __post_init__(self) -> None:
        if self.precision is not None:
            convert_enums(self, precision=Precision)
        _set_backend(self)
        check_languages(self.languages)
        if min(self.queries, self.query_max_length, self.prompt_max_length) < 1 or not self.languages:
            raise InputError("there must be at least one language, one query and one token")
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
    """All settings of a translator that affect a translation, except the target language.

    Attributes:
        model: Hugging Face id or folder of a sequence-to-sequence or causal language model, or ``package:NAME`` for one
            that ships with this package.
        prompt: what the model reads; ``{text}`` is a sentence, ``{language}`` the English name of the target language,
            and ``{code}`` the model's code for it.
        source: ISO 639-1 code of the passages' language.
        codes: ISO 639-1 code → the model's code. If the prompt has no ``{code}``, these are language codes of the
            model's tokenizer, which marks the input with that of ``source`` and starts the translation with that of the
            target language. Empty for a model that finds the language's name in the prompt, or that has only one
            target language.
        text_max_length: maximum number of tokens of a prompt, including special tokens; a longer sentence is translated
            in parts.
        translation_max_length: maximum number of new tokens per sentence.
        beams: number of beams of beam search; 1 takes the most likely token at each step.
        precision: number format of the model's layers.
        backend: what computes the model; ``None`` is CTranslate2 for int8, otherwise torch.
        chat: the prompt is the user's message in the chat template of a causal model's tokenizer.
    """

    model: str
    prompt: str = "{text}"
    source: str = "en"
    codes: Mapping[str, str] = field(default_factory=dict)
    text_max_length: int = 256
    translation_max_length: int = 256
    beams: int = 1
    precision: Precision = Precision.FLOAT32
    backend: Backend | None = None
    chat: bool = False

    def __post_init__(self) -> None:
        convert_enums(self, precision=Precision)
        _set_backend(self)
        check_languages([self.source, *self.codes])
        if min(self.text_max_length, self.translation_max_length, self.beams) < 1:
            raise InputError("there must be at least one token in a text and in its translation, and one beam")

    @property
    def has_language_tokens(self) -> bool:
        """Whether the codes are the tokenizer's language codes, not part of the prompt."""
        return bool(self.codes) and "{code}" not in self.prompt

    def prompt_for(self, language: str, text: str) -> str:
        """The model's input for a sentence and a target language.

        >>> TranslatorConfig("t5-small", "translate English to {language}: {text}").prompt_for("de", "A city.")
        'translate English to German: A city.'
        """
        return self.prompt.format(language=LANGUAGE_NAMES[language], code=self.codes.get(language, ""), text=text)


def encoder_settings(config: EncoderConfig) -> dict[str, Any]:
    """The settings as a manifest records them: without an empty ``query_suffix``, as folders without it are older."""
    settings = dataclasses.asdict(config)
    return settings if config.query_suffix else {key: value for key, value in settings.items() if key != "query_suffix"}


def writer_settings(config: GeneratorConfig | TranslatorConfig) -> dict[str, Any]:
    """The settings as a manifest records them: without ``chat`` unless it is on, as folders without it are older."""
    settings = dataclasses.asdict(config)
    return settings if config.chat else {name: value for name, value in settings.items() if name != "chat"}


def count_prompts(prompt: str, filled: Iterable[str], placeholders: str) -> int:
    """The number of different texts in ``filled``, which are lazily made from the template ``prompt``.

    :class:`InputError` if the template has another placeholder than ``placeholders``, which the message lists.
    """
    try:
        return len({*filled})
    except (LookupError, ValueError, AttributeError) as error:
        problem = f"the prompt {prompt!r} cannot be filled in: {error!r}"
        raise InputError(problem, hint=f"the placeholders are {placeholders}") from None


@dataclass(frozen=True)
class ReaderConfig:
    """All settings of a reader that affect the answer that it finds in a passage.

    Attributes:
        model: Hugging Face id or folder of a question-answering model, or ``package:NAME`` for one that ships with this
            package.
        max_length: maximum number of tokens of question and passage together, including special tokens; a longer
            passage is read in windows.
        stride: number of tokens that two consecutive windows share.
        question_max_length: maximum number of tokens of a question, without special tokens; a longer one is truncated.
        answer_max_length: maximum number of tokens of an answer.
        precision: number format of the model's layers.
    """

    model: str
    max_length: int = 384
    stride: int = 128
    question_max_length: int = 64
    answer_max_length: int = 30
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        convert_enums(self, precision=Precision)
        if self.precision is Precision.INT8:
            raise InputError("a reader has no precision int8", hint="use float32, bfloat16 or float16")
        if min(self.stride, self.question_max_length, self.answer_max_length) < 1:
            raise InputError("there must be at least one token in a question, in an answer and in the stride")
        # three special tokens, or four in XLM-R
        if self.max_length < self.question_max_length + self.stride + 5:
            raise InputError(
                f"{self.max_length} tokens leave no room for a question of {self.question_max_length} tokens and a "
                f"stride of {self.stride}",
                hint="raise the maximum length, or lower the other two",
            )


def load_preset(name: str) -> EncoderConfig:
    """A preset of ``resources/encoders.yaml``; :class:`InputError` lists all names if the name is unknown."""
    return read_preset(EncoderConfig, "encoders.yaml", name, "encoder preset")


def load_generator(name: str) -> GeneratorConfig:
    """A preset of ``resources/generators.yaml``; :class:`InputError` lists all names if the name is unknown."""
    return read_preset(GeneratorConfig, "generators.yaml", name, "generator preset")


def load_translator(name: str) -> TranslatorConfig:
    """A preset of ``resources/translators.yaml``; :class:`InputError` lists all names if the name is unknown."""
    return read_preset(TranslatorConfig, "translators.yaml", name, "translator preset")


def load_reader(name: str) -> ReaderConfig:
    """A preset of ``resources/readers.yaml``; :class:`InputError` lists all names if the name is unknown."""
    return read_preset(ReaderConfig, "readers.yaml", name, "reader preset")
