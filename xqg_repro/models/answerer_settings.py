"""Settings of a model that writes the answer to a question; imports nothing heavy, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import check_languages, question_language
from xqg_repro.core.settings import convert_enums
from xqg_repro.models.settings import Precision

if TYPE_CHECKING:
    from xqg_repro.collection.records import Passage


@dataclass(frozen=True)
class AnswererConfig:
    """All settings of an answer generator that affect an answer. The defaults are CORA's.

    Attributes:
        model: Hugging Face id or folder of a sequence-to-sequence model, or ``package:NAME`` for one that ships with
            this package.
        language: of the answers, as an ISO 639-1 code that the prompt names; empty for the question's own.
        prompt_max_length: maximum number of tokens of a prompt, including special tokens; a longer one is truncated.
        answer_max_length: maximum number of new tokens.
        precision: number format of the model's layers.
    """

    model: str
    language: str = "en"
    prompt_max_length: int = 1000
    answer_max_length: int = 20
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        convert_enums(self, precision=Precision)
        check_languages([self.language] if self.language else [])
        if self.precision is Precision.INT8:
            raise InputError("an answer generator has no precision int8", hint="use float32, bfloat16 or float16")
        if min(self.prompt_max_length, self.answer_max_length) < 1:
            raise InputError("there must be at least one token in a prompt and in an answer")


def answer_prompt(question: str, language: str, passages: Sequence[Passage]) -> str:
    """What an answer generator reads, in the form of CORA's mGEN.

    The language is written once. CORA's published code writes it twice, as its questions already name one.

    >>> from xqg_repro.collection.records import Passage
    >>> answer_prompt("Missä Turku on?", "en", [Passage("1", "Turku", "A city."), Passage("2", "Aura", "A river.")])
    '<Q>: Missä Turku on? [en] <P>: <0: Turku> A city. <1: Aura> A river.'
    """
    parts = (f"<{number}: {passage.title}> {passage.text}" for number, passage in enumerate(passages))
    return f"<Q>: {question} [{language}] <P>: {' '.join(parts)}"


def answer_language(language: str, question: str, lang: str) -> str:
    """The language that a prompt names: the given one, or else the question's.

    Args:
        language: as in :class:`AnswererConfig`.
        question: the question.
        lang: its language, if known; otherwise its script decides.

    Raises:
        InputError: the question's language is needed and unknown.
    """
    return language or question_language(question, lang)
