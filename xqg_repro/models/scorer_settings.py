"""Settings of a generator that scores questions; imports nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.settings import convert_enums
from xqg_repro.models.settings import GeneratorConfig, Precision, count_prompts, load_generator


class Normalise(StrEnum):
    """How the log-likelihoods of a question's tokens become one score: their mean, or their sum."""

    MEAN = "mean"
    SUM = "sum"


@dataclass(frozen=True)
class ScorerConfig:
    """All settings of a generator that affect the likelihood of a question. Torch computes it.

    Attributes:
        model: Hugging Face id or folder of a sequence-to-sequence or causal language model, or ``package:NAME`` for one
            that ships with this package.
        prompt: what the model reads; ``{language}`` is the question's language in English, ``{title}`` and ``{text}``
            are the passage's.
        prompt_max_length: maximum number of tokens of a prompt, including special tokens; a longer one is truncated;
            for a causal model, what follows ``{text}`` is kept.
        query_max_length: maximum number of tokens of a question, including its end token; a longer one is truncated.
        normalise: the score is the mean or the sum over the question's tokens.
        precision: number format of the model's layers.
        chat: the prompt is the user's message in the chat template of a causal model's tokenizer.
    """

    model: str
    prompt: str = GeneratorConfig.prompt
    prompt_max_length: int = GeneratorConfig.prompt_max_length
    query_max_length: int = 128
    normalise: Normalise = Normalise.MEAN
    precision: Precision = Precision.FLOAT32
    chat: bool = False

    def __post_init__(self) -> None:
        convert_enums(self, normalise=Normalise, precision=Precision)
        if self.precision is Precision.INT8:
            raise InputError("the likelihood of a question has no precision int8", hint="use float32 or bfloat16")
        if min(self.prompt_max_length, self.query_max_length) < 1:
            raise InputError("there must be at least one token in a prompt and in a question")
        filled = (self.prompt_for(language, "", "") for language in LANGUAGE_NAMES)
        count_prompts(self.prompt, filled, "{language}, {title} and {text}")

    def prompt_for(self, language: str, title: str, text: str) -> str:
        """The model's input for a passage and a language.

        >>> ScorerConfig("some/model").prompt_for("fi", "Turku", "A city.")
        'Generate a Finnish question for this passage: Turku A city.'
        """
        return self.prompt.format(language=LANGUAGE_NAMES[language], title=title, text=text)


def load_scorer(name: str) -> ScorerConfig:
    """A preset of ``resources/generators.yaml`` as a scorer; :class:`InputError` lists all names if it is unknown.

    What only affects sampling is left out, and so is the precision: int8 and bfloat16 would round the scores.
    """
    generator = load_generator(name)
    return ScorerConfig(generator.model, generator.prompt, generator.prompt_max_length, chat=generator.chat)
