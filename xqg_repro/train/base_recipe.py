"""The settings that all recipes share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums
from xqg_repro.models.settings import Precision
from xqg_repro.train.architecture import Architecture


class Schedule(StrEnum):
    """The learning rate after the warm-up: it falls linearly to 0, or stays."""

    LINEAR = "linear"
    CONSTANT = "constant"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings that all recipes share.

    Attributes:
        name: the recipe's name.
        data: ir-datasets id with questions and judgements, or a training file (see :mod:`xqg_repro.train.data`).
        model: Hugging Face id or folder to start from; empty to train ``architecture`` from scratch.
        architecture: of a model from scratch.
        steps: optimiser steps on ``data``; 0 uses ``epochs``.
        epochs: passes over ``data``, if ``steps`` is 0.
        batch_size: questions per batch.
        accumulation: batches per optimiser step; their gradients are averaged.
        learning_rate: peak, after a linear warm-up of ``warmup_steps``; ``schedule`` says what follows.
        schedule: ``linear`` decay of the learning rate to 0, or ``constant``.
        max_grad_norm: a longer gradient is scaled down to this length; 0 leaves it as it is.
        held_out: share of the passages whose questions are held out of training, to measure on.
        held_out_data: questions to measure on instead of such a share; same values as ``data``.
        evaluation_steps: steps between measurements of the held-out loss; 0 disables them.
        keep_best: end with the weights of the lowest held-out loss instead of the last ones.
        checkpoint_steps: steps between checkpoints, from which an interrupted training resumes.
        precision: ``bfloat16`` for mixed precision.
        frozen_embeddings: do not train the word embeddings, which saves memory and time if there are many.
        half_precision_weights: save the weights as float16.
        seed: of all random numbers.
    """

    name: str
    data: str
    model: str = ""
    architecture: Architecture | None = None
    steps: int = 0
    epochs: float = 1.0
    batch_size: int = 128
    accumulation: int = 1
    learning_rate: float
    warmup_steps: int = 0
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.LINEAR
    max_grad_norm: float = 1.0
    held_out: float = 0.0
    held_out_data: str = ""
    evaluation_steps: int = 0
    keep_best: bool = True
    checkpoint_steps: int = 0
    precision: Precision = Precision.FLOAT32
    frozen_embeddings: bool = False
    half_precision_weights: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        convert_enums(self, schedule=Schedule)
        if self.precision not in (Precision.FLOAT32, Precision.BFLOAT16):
            raise InputError(f"training in {self.precision} is not supported", hint="use bfloat16 or float32")
        minima = {"batch_size": 1, "accumulation": 1, "steps": 0, "warmup_steps": 0, "weight_decay": 0}
        minima |= {"evaluation_steps": 0, "checkpoint_steps": 0, "max_grad_norm": 0}
        for name, minimum in (minima | self._MINIMA).items():
            if getattr(self, name) < minimum:
                raise InputError(f"{name} is {getattr(self, name)}", hint=f"it must be at least {minimum}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}", hint="it must be from 0 to 2**32 - 1")
        for name in ("learning_rate", "epochs"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}", hint="it must be above 0")
        for name in ("held_out", *self._SHARES):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}", hint="it must be a share from 0 to 1")

    KIND: ClassVar[str] = ""
    """The kind of model, as under ``train:`` in a recipe's file and in a model folder's stage."""

    _MINIMA: ClassVar[dict[str, int]] = {}
    """Further settings of a kind of recipe, with their minima."""

    _SHARES: ClassVar[tuple[str, ...]] = ()
    """Further settings of a kind of recipe that are shares."""

    _NEWER: ClassVar[tuple[str, ...]] = ("schedule", "max_grad_norm")
    """Settings that older model folders do not have; their defaults are what was done before."""

    @property
    def needs_scores(self) -> bool:
        """Whether the passages of ``data`` need a teacher's scores."""
        return False

    def settings(self) -> dict[str, Any]:
        """The settings as manifests and model cards record them, without newer ones that have their default value."""
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.name in self._NEWER}
        settings = dataclasses.asdict(self)
        return {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}
