"""Architectures of small models that are trained from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xqg_repro.core.errors import InputError


class Family(StrEnum):
    """Family of a small encoder trained from scratch: its model class and kind of vocabulary."""

    BERT = "bert"
    XLM_ROBERTA = "xlm-roberta"


@dataclass(frozen=True)
class Architecture:
    """A small model to train from scratch, with a vocabulary trained on the training texts."""

    vocabulary: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.hidden_size % self.heads:
            raise InputError(f"hidden_size {self.hidden_size} is not divisible by {self.heads} heads")


@dataclass(frozen=True, kw_only=True)
class EncoderArchitecture(Architecture):
    """A small encoder, see :mod:`xqg_repro.train.mini.scratch`."""

    family: Family = Family.BERT


@dataclass(frozen=True, kw_only=True)
class Seq2SeqArchitecture(Architecture):
    """A small T5 to train from scratch; ``layers`` is for its encoder."""

    decoder_layers: int
