"""Settings of a late-interaction encoder; imports nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums, read_preset
from xqg_repro.models.settings import Precision


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """What decides which tokens of a text have vectors, for :class:`LateConfig`, which explains it, and for recipes."""

    query_prefix: str = ""
    passage_prefix: str = ""
    title_separator: str | None = " "
    query_max_length: int = 32
    passage_max_length: int = 180
    pad_queries: bool = True
    mask_punctuation: bool = True


@dataclass(frozen=True)
class _Model:
    model: str


@dataclass(frozen=True)
class LateConfig(TokenSettings, _Model):
    """All settings of a late-interaction encoder that affect a token's vector. The defaults are DR.DECR's.

    Prefixes take the place of ColBERT's marker tokens.

    Attributes:
        model: folder of a model with ``projection.safetensors``, or Hugging Face id of one.
        query_prefix, passage_prefix: text put before each query or passage, with its final space if it needs one.
        title_separator: a passage is ``title + title_separator + text``; ``None`` leaves the title out.
        query_max_length, passage_max_length: maximum number of tokens of a query or passage, including special tokens;
            longer input is truncated.
        pad_queries: pad each query to its maximum length, and score the padding like the other tokens.
        mask_punctuation: leave the punctuation of passages out of the score.
        precision: number format of the model's layers; token vectors are float32 in any case.
    """

    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        convert_enums(self, precision=Precision)
        if self.precision is Precision.INT8:
            raise InputError("late interaction has no precision int8", hint="use float32, bfloat16 or float16")
        if min(self.query_max_length, self.passage_max_length) < 3:
            raise InputError("a maximum length below 3 tokens leaves no room for text between the special tokens")


def load_late(name: str) -> LateConfig:
    """A preset of ``resources/late_encoders.yaml``; :class:`InputError` lists all names if the name is unknown."""
    return read_preset(LateConfig, "late_encoders.yaml", name, "late-interaction preset")
