"""Recipes of answer generators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xqg_repro.core.errors import InputError
from xqg_repro.models.answerer_settings import AnswererConfig
from xqg_repro.train.architecture import Seq2SeqArchitecture
from xqg_repro.train.base_recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class AnswererRecipe(Recipe):
    """A recipe for an answer generator, see :mod:`xqg_repro.train.answerer`. The defaults are CORA's.

    Attributes:
        language, prompt_max_length, answer_max_length: as in
            :class:`~xqg_repro.models.answerer_settings.AnswererConfig`.
        passages: passages per question; fewer if it has fewer.
        holders: at most this many of them answer the question.
        adafactor: use Adafactor, whose steps are relative to the size of each weight, instead of AdamW.
        label_smoothing: share of the target's probability that is spread over all tokens.
    """

    KIND: ClassVar[str] = "answerer"

    architecture: Seq2SeqArchitecture | None = None
    language: str = AnswererConfig.language
    passages: int = 10
    holders: int = 3
    prompt_max_length: int = AnswererConfig.prompt_max_length
    answer_max_length: int = AnswererConfig.answer_max_length
    adafactor: bool = False
    label_smoothing: float = 0.0
    batch_size: int = 32
    learning_rate: float = 3e-5

    _MINIMA: ClassVar[dict[str, int]] = {"passages": 1, "holders": 1}
    _SHARES: ClassVar[tuple[str, ...]] = ("label_smoothing",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.answerer("")  # checks the language and the lengths
        if self.holders > self.passages:
            problem = f"{self.passages} passages cannot include {self.holders} that answer the question"
            raise InputError(problem, hint="lower holders, or raise passages")

    def answerer(self, model: str) -> AnswererConfig:
        """The settings to use the trained model with."""
        return AnswererConfig(model, self.language, self.prompt_max_length, self.answer_max_length)
