"""Recipes for encoders: of questions and passages, with or without a teacher, and of parallel questions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import check_languages
from xqg_repro.core.settings import convert_enums
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.train.architecture import EncoderArchitecture
from xqg_repro.train.base_recipe import Recipe


class Scope(StrEnum):
    """The passages among which the student's scores of a question are turned into probabilities.

    Those of the question's ``own`` list, or all passages of the ``batch``, where the teacher's are 0 outside the list.
    """

    OWN = "own"
    BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How an encoder learns a teacher's scores, see :mod:`xqg_repro.train.distil`.

    Attributes:
        weight, contrastive_weight: of the teacher's loss, and of the contrastive one.
        teacher_temperature, student_temperature: divide the scores of the teacher and of the student.
        scope: the passages over which the student's probabilities are.
        factor: c, which multiplies the divergence; with one temperature τ on both sides, τ² keeps the size of the
            gradient.
    """

    weight: float = 1.0
    contrastive_weight: float = 0.0
    teacher_temperature: float = 1.0
    student_temperature: float = 1.0
    scope: Scope = Scope.OWN
    factor: float = 1.0

    def __post_init__(self) -> None:
        convert_enums(self, scope=Scope)
        check_above(self, "weight", "teacher_temperature", "student_temperature", "factor")
        check_weights(self, "contrastive_weight")


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How generated queries in other languages come near to the questions, see :mod:`xqg_repro.train.distil`.

    Attributes:
        queries: folder or file of generated queries of the positives, see :mod:`xqg_repro.train.generated`.
        share: of the questions that have a generated query, in the last step; it rises linearly from 0 in the first.
        weight: of the loss, which is added to the others.
        temperature: τ, which divides the scores of question and query.
        unseen: ir-datasets ids of questions that no generated query may repeat; held-out questions are added.
    """

    queries: str
    share: float = 0.5
    weight: float = 1.0
    temperature: float = 1.0
    unseen: tuple[str, ...] = ("xor-tydi/dev",)

    def __post_init__(self) -> None:
        check_above(self, "share", "weight", "temperature")
        if self.share > 1:
            raise InputError(f"share is {self.share}", hint="it must be at most 1")

    def share_at(self, step: int, steps: int) -> float:
        """The share in a step, counted from 0.

        >>> [Alignment(queries="", share=0.5).share_at(step, 3) for step in range(3)]
        [0.0, 0.25, 0.5]
        """
        return self.share * step / max(steps - 1, 1)


def check_above(settings: object, *names: str) -> None:
    """Raise :class:`InputError` unless these settings are above 0."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise InputError(f"{name} is {getattr(settings, name)}", hint="it must be above 0")


def check_weights(settings: object, *names: str) -> None:
    """Raise :class:`InputError` unless these settings are 0 or more."""
    for name in names:
        if not getattr(settings, name) >= 0:
            raise InputError(f"{name} is {getattr(settings, name)}", hint="it must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class UsedEncoder(Recipe):
    """The settings of a recipe that the trained encoder is used with.

    Attributes:
        pooling, normalize, query_prefix, passage_prefix, title_separator, query_max_length, passage_max_length: as in
            :class:`~xqg_repro.models.settings.EncoderConfig`.
        query_suffix: as there; a question's language is that of the data, never guessed.
    """

    architecture: EncoderArchitecture | None = None
    pooling: Pooling = Pooling.CLS
    normalize: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    title_separator: str | None = " "
    query_max_length: int = 32
    passage_max_length: int = 128
    query_suffix: str = ""
    learning_rate: float = 1e-5

    _MINIMA: ClassVar[dict[str, int]] = {"query_max_length": 3, "passage_max_length": 3}
    _NEWER: ClassVar[tuple[str, ...]] = (*Recipe._NEWER, "query_suffix")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.encoder("")  # checks the suffix

    def encoder(self, model: str) -> EncoderConfig:
        """The settings to use the trained model with."""
        return EncoderConfig(
            model,
            self.pooling,
            self.normalize,
            self.query_prefix,
            self.passage_prefix,
            title_separator=self.title_separator,
            query_max_length=self.query_max_length,
            passage_max_length=self.passage_max_length,
            query_suffix=self.query_suffix,
        )


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe(UsedEncoder):
    """A recipe for an encoder of questions and passages.

    Attributes:
        tied: one encoder for both; otherwise one of questions and one of passages, which start from the same weights.
            See :mod:`xqg_repro.models.untied`.
        names_steps: optimiser steps of a first stage on multilingual names, before ``data``.
        negatives: negatives per question, drawn again in each epoch, besides the in-batch ones.
        temperature: τ.
        chunk_size: texts embedded at a time, for batches that do not fit into memory; 0 embeds a whole batch at once.
        distillation: how to learn the scores that ``data``, a file in Tevatron's format, gives its passages; ``None``
            learns from the positives alone. The held-out loss is the contrastive one in any case, so that trainings can
            be compared.
        alignment: how to learn that generated queries of a passage in other languages mean the same; ``None`` does not.
    """

    KIND: ClassVar[str] = "xdr"

    tied: bool = True
    names_steps: int = 0
    negatives: int = 7
    temperature: float = 1.0
    chunk_size: int = 0
    distillation: Distillation | None = None
    alignment: Alignment | None = None

    _MINIMA: ClassVar[dict[str, int]] = {**UsedEncoder._MINIMA, "names_steps": 0, "negatives": 0, "chunk_size": 0}
    _NEWER: ClassVar[tuple[str, ...]] = (*UsedEncoder._NEWER, "distillation", "alignment", "tied")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above(self, "temperature")
        for name in ("distillation", "alignment"):
            if getattr(self, name) and not self.negatives:
                raise InputError(f"{name} compares a question's passages, but negatives is 0", hint="set negatives")

    @property
    def needs_scores(self) -> bool:
        """Whether the passages of ``data`` need a teacher's scores."""
        return self.distillation is not None


class Reduction(StrEnum):
    """How the squared differences of two vectors become one number: their sum, or their mean."""

    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True, kw_only=True)
class ParallelRecipe(UsedEncoder):
    """A recipe for an encoder that learns a teacher's vectors of questions, see :mod:`xqg_repro.train.parallel`.

    Attributes:
        data: folder of parallel questions or ``xor-mini/parallel``, see
            :func:`~xqg_repro.train.parallel_data.load_pairs`.
        teacher: Hugging Face id or folder of an encoder, used with the same settings; empty for ``model``.
        languages: of the questions; empty for all of the folder's.
        unseen: ir-datasets ids of questions never to train on. Pairs with one of them are left out.
        weight, english_weight: of the distances of the student's question and of its English translation to the
            teacher's vector of the translation.
        reduction: a distance is the sum or the mean of the squared differences.
        contrastive_weight: of the cross-entropy of a question's own translation among those of its batch.
        temperature: τ of the cross-entropy.
        chunk_size: as in :class:`EncoderRecipe`.
        held_out: share of the English questions whose pairs are held out.
    """

    KIND: ClassVar[str] = "xdr-parallel"

    teacher: str = ""
    languages: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ("xor-tydi/dev",)
    weight: float = 1.0
    english_weight: float = 1.0
    reduction: Reduction = Reduction.MEAN
    contrastive_weight: float = 0.0
    temperature: float = 0.05
    chunk_size: int = 0
    batch_size: int = 32
    learning_rate: float = 5e-5
    held_out: float = 0.1

    _MINIMA: ClassVar[dict[str, int]] = {**UsedEncoder._MINIMA, "chunk_size": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        convert_enums(self, reduction=Reduction)
        check_languages(self.languages)
        check_above(self, "weight", "temperature")
        check_weights(self, "english_weight", "contrastive_weight")
        if self.held_out_data:
            raise InputError("parallel questions have no held_out_data", hint="set held_out, a share of the questions")
