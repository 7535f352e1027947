"""Recipes of DR.DECR's four stages (Li et al., NAACL 2022), each of which writes an ordinary model folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums
from xqg_repro.models.late_settings import LateConfig, TokenSettings
from xqg_repro.models.maxsim import Similarity
from xqg_repro.train.base_recipe import Recipe, Schedule


class Stage(StrEnum):
    """The stages, in order: A makes the teacher; B, C and D make the student.

    A and B learn to rank a positive above a negative, from English questions and from questions in all languages. C
    brings the student's token vectors of a text near to the teacher's of its English translation. D brings the
    student's scores near to the teacher's, which reads the question in English.
    """

    A = "A"
    B = "B"
    C = "C"
    D = "D"


@dataclass(frozen=True, kw_only=True)
class DecrRecipe(TokenSettings, Recipe):
    """A recipe of one stage. The defaults are DR.DECR's.

    ``batch_size`` counts the triples, or pairs of texts, of one part; ``accumulation`` parts make a step.

    Attributes:
        stage: see :class:`Stage`. Its ``data`` are questions with positives and negatives in A, B and D (in D a
            ``.jsonl`` file), and in C lines of language, text and English text, separated by tabs, or
            ``xor-mini/parallel``.
        teacher: folder of the model of stage A, for C and D.
        twins: for D, a file with the lines of ``data``, but with the questions in English.
        projection: dimension of a token's vector, of a model that has none yet.
        similarity: of two tokens, in the scores of A, B and D. See :class:`~xqg_repro.models.maxsim.Similarity` for
            what it means to the temperature.
        query_prefix, passage_prefix, title_separator, query_max_length, passage_max_length: as in
            :class:`~xqg_repro.models.late_settings.LateConfig`.
        pad_queries, mask_punctuation: as there.
        query_weight: w of stage C.
        temperature: τ of stage D.
    """

    KIND: ClassVar[str] = "decr"

    stage: Stage
    teacher: str = ""
    twins: str = ""
    projection: int = 128
    similarity: Similarity = Similarity.COSINE
    query_weight: float = 0.5
    temperature: float = 2.0
    batch_size: int = 32
    accumulation: int = 6
    learning_rate: float = 6e-6
    schedule: Schedule = Schedule.CONSTANT
    max_grad_norm: float = 2.0
    seed: int = 12345

    _NEWER: ClassVar[tuple[str, ...]] = ()
    _MINIMA: ClassVar[dict[str, int]] = {"projection": 1, "query_max_length": 3, "passage_max_length": 3}
    _SHARES: ClassVar[tuple[str, ...]] = ("query_weight",)

    def __post_init__(self) -> None:
        convert_enums(self, stage=Stage, similarity=Similarity)
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}", hint="it must be above 0")
        needed = {"teacher": self.stage in (Stage.C, Stage.D), "twins": self.stage is Stage.D}
        for name, is_needed in needed.items():
            if bool(getattr(self, name)) != is_needed:
                problem = f"stage {self.stage} {'needs' if is_needed else 'has no'} {name}"
                raise InputError(problem, hint=f"{'add' if is_needed else 'leave out'} {name}")
        if self.held_out and self.stage in (Stage.C, Stage.D):
            problem = f"stage {self.stage} holds out no share of its data"
            raise InputError(problem, hint="name held_out_data instead")

    def late(self, model: str) -> LateConfig:
        """The settings to use the trained model with."""
        names = [field.name for field in dataclasses.fields(TokenSettings)]
        return LateConfig(model, **{name: getattr(self, name) for name in names})
