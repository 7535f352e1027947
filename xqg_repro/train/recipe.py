"""Recipes: everything that decides a trained model, in YAML, and the model card that repeats it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro import __version__
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.models.settings import EncoderConfig, GeneratorConfig, Pooling, Precision, ReaderConfig


class Family(StrEnum):
    """Whose manner a small encoder from scratch follows, in its vocabulary and its model."""

    BERT = "bert"
    XLM_ROBERTA = "xlm-roberta"


@dataclass(frozen=True)
class Architecture:
    """A small model trained from scratch, with a vocabulary trained on the training texts."""

    vocabulary: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.hidden_size % self.heads:
            raise InputError(f"{self.heads} heads cannot share a hidden size of {self.hidden_size} evenly")


@dataclass(frozen=True, kw_only=True)
class EncoderArchitecture(Architecture):
    """A small encoder, see :mod:`xqg_repro.train.mini.scratch`."""

    family: Family = Family.BERT


@dataclass(frozen=True, kw_only=True)
class Seq2SeqArchitecture(Architecture):
    """A small T5 trained from scratch; ``layers`` are the encoder's."""

    decoder_layers: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What recipes of encoders and generators share.

    Attributes:
        name: the recipe's name.
        data: ir-datasets id with questions and judgements, or a training file (see :mod:`xqg_repro.train.data`).
        model: Hugging Face id or folder to start from; empty to start from scratch with ``architecture``.
        architecture: of a model from scratch.
        steps: optimiser steps on ``data``; 0 takes ``epochs``.
        epochs: passes over ``data`` where ``steps`` is 0.
        batch_size: questions a batch.
        accumulation: batches whose gradients are added up for a step, where the memory does not hold them at once.
        learning_rate: peak, after a linear warm-up of ``warmup_steps``, then linear decay to 0.
        held_out: share of the passages whose questions are kept out of training, to measure on.
        held_out_data: questions to measure on, named as ``data`` is, in place of a share of it.
        evaluation_steps: measure the loss on the held-out questions every so many steps; 0 does not.
        keep_best: end with the weights of the lowest held-out loss; otherwise with the last ones.
        checkpoint_steps: save the state of the training every so many steps, for a killed training to go on from.
        precision: ``bfloat16`` for mixed precision.
        frozen_embeddings: leave the word embeddings as they are, which saves memory and time where there are many.
        half_precision_weights: save weights as float16.
        seed: of everything random.
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
        if self.precision is Precision.FLOAT16:
            raise InputError("nothing is trained in float16 here", hint="take bfloat16, or float32")
        at_least = {"batch_size": 1, "accumulation": 1, "steps": 0, "warmup_steps": 0, "weight_decay": 0}
        at_least |= {"evaluation_steps": 0, "checkpoint_steps": 0}
        for name, least in (at_least | self._at_least()).items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}", hint=f"{least} is the least")
        for name in ("learning_rate", "epochs"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}", hint="it must be above 0")
        for name in ("held_out", *self._shares()):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}", hint="it is a share, from 0 to 1")

    def _at_least(self) -> dict[str, int]:
        """Settings of a kind of recipe, with the least that each can be."""
        return {}

    def _shares(self) -> tuple[str, ...]:
        """Settings of a kind of recipe that are shares."""
        return ()


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe(Recipe):
    """Everything that decides a trained encoder.

    Attributes:
        pooling, normalize, query_prefix, passage_prefix, title_separator, query_max_length, passage_max_length: as in
            :class:`~xqg_repro.models.settings.EncoderConfig`.
        names_steps: optimiser steps of a first stage on multilingual names (see the model card), before ``data``.
        negatives: given negatives a question (drawn anew each epoch), besides the in-batch ones.
        temperature: τ.
        chunk_size: texts embedded at a time, for batches larger than the memory holds; 0 embeds a batch at once.
    """

    architecture: EncoderArchitecture | None = None
    pooling: Pooling = Pooling.CLS
    normalize: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    title_separator: str | None = " "
    query_max_length: int = 32
    passage_max_length: int = 128
    names_steps: int = 0
    negatives: int = 7
    learning_rate: float = 1e-5
    temperature: float = 1.0
    chunk_size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}", hint="it must be above 0")

    def _at_least(self) -> dict[str, int]:
        return {"query_max_length": 3, "passage_max_length": 3, "names_steps": 0, "negatives": 0, "chunk_size": 0}

    def encoder(self, model: str) -> EncoderConfig:
        """The settings with which the trained model must be used."""
        return EncoderConfig(
            model,
            self.pooling,
            self.normalize,
            self.query_prefix,
            self.passage_prefix,
            title_separator=self.title_separator,
            query_max_length=self.query_max_length,
            passage_max_length=self.passage_max_length,
        )


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe(Recipe):
    """Everything that decides a trained query generator. The defaults are the paper's.

    Attributes:
        prompt: as in :class:`~xqg_repro.models.settings.GeneratorConfig`.
        prompt_max_length, query_max_length: in tokens, special tokens included.
        adafactor: optimise with Adafactor, relative to the size of each weight, in place of AdamW.
        names_epochs: passes over the names for each pass over ``data``, mixed into it.
        exchanged: share of the questions whose entity is exchanged, see :mod:`xqg_repro.train.mini.names`, anew each
            epoch.
        shortened: share of the questions whose passage is cut to a few sentences, anew each epoch, to save time.
    """

    architecture: Seq2SeqArchitecture | None = None
    prompt: str = GeneratorConfig.prompt
    prompt_max_length: int = 128
    query_max_length: int = 128
    adafactor: bool = False
    names_epochs: int = 0
    exchanged: float = 0.0
    shortened: float = 0.0
    learning_rate: float = 1e-4

    def _at_least(self) -> dict[str, int]:
        return {"prompt_max_length": 1, "query_max_length": 1, "names_epochs": 0}

    def _shares(self) -> tuple[str, ...]:
        return ("exchanged", "shortened")


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe(Recipe):
    """Everything that decides a trained reader, which starts from an encoder's folder.

    Attributes:
        max_length, stride, question_max_length, answer_max_length: as in
            :class:`~xqg_repro.models.settings.ReaderConfig`.
        negatives: passages a question, drawn anew each epoch, that do not hold its answer and teach to give none.
    """

    max_length: int = 384
    stride: int = 128
    question_max_length: int = 64
    answer_max_length: int = 30
    negatives: int = 0
    batch_size: int = 16
    learning_rate: float = 5e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reader("")  # which checks the lengths

    def _at_least(self) -> dict[str, int]:
        return {"negatives": 0}

    def reader(self, model: str) -> ReaderConfig:
        """The settings with which the trained model must be used."""
        return ReaderConfig(model, self.max_length, self.stride, self.question_max_length, self.answer_max_length)


R = TypeVar("R", bound=Recipe)

KINDS: dict[type[Recipe], str] = {EncoderRecipe: "xdr", GeneratorRecipe: "xqg", ReaderRecipe: "reader"}
"""Kind of recipe → what is trained by it, the key ``train`` of its file."""


def load_recipe(name_or_path: str, kind: type[R] = EncoderRecipe, **overrides: Any) -> R:
    """A recipe that ships with the package (by name) or a YAML file.

    Args:
        name_or_path: of the recipe.
        kind: of recipe.
        overrides: settings in place of the recipe's, such as ``steps``; one that is ``None`` leaves the recipe's.

    Raises:
        InputError: there is no such recipe, it has unknown or wrong settings, or there is nothing to start from.
    """
    path = resource("recipes", f"{name_or_path}.yaml")
    if not path.exists():
        path = Path(name_or_path)
        if not path.exists():
            known = sorted(p.stem for p in resource("recipes").glob("*.yaml"))
            raise InputError(f"there is no recipe {name_or_path!r}", hint=f"choose from: {', '.join(known)}")
    settings = read_yaml(path)
    trains = settings.pop("train", None) if isinstance(settings, dict) else None
    if trains and trains != (wanted := KINDS[kind]):
        raise InputError(f"is a recipe of train {trains}, not of train {wanted}", path=path)
    recipe = parse(kind, settings, path)
    recipe = dataclasses.replace(recipe, **{key: value for key, value in overrides.items() if value is not None})
    if not recipe.model and recipe.architecture is None:
        raise InputError("names neither a model to start from nor an architecture", path=path)
    return recipe


def model_card(template: str, recipe: Recipe, **facts: Any) -> str:
    """The README of a model folder: how it was made, what was measured, how to use it.

    Args:
        template: file of ``resources/templates``.
        recipe: named and repeated in full.
        facts: what else the template speaks of.
    """
    import jinja2

    source = resource("templates", template).read_text(encoding="utf-8")
    settings = {key: value for key, value in json.loads(json.dumps(dataclasses.asdict(recipe))).items() if value != ""}
    page = jinja2.Template(source, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return page.render(recipe=recipe, settings=settings, version=__version__, **facts)
