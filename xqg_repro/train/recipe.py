"""Recipes: all settings of a training, in YAML, and the model card that lists them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from xqg_repro import __version__
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.core.templates import template
from xqg_repro.models.settings import EncoderConfig, GeneratorConfig, Pooling, Precision, ReaderConfig


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
        learning_rate: peak, after a linear warm-up of ``warmup_steps``, followed by linear decay to 0.
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
        if self.precision not in (Precision.FLOAT32, Precision.BFLOAT16):
            raise InputError(f"training in {self.precision} is not supported", hint="use bfloat16 or float32")
        minima = {"batch_size": 1, "accumulation": 1, "steps": 0, "warmup_steps": 0, "weight_decay": 0}
        minima |= {"evaluation_steps": 0, "checkpoint_steps": 0}
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


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe(Recipe):
    """A recipe for an encoder.

    Attributes:
        pooling, normalize, query_prefix, passage_prefix, title_separator, query_max_length, passage_max_length: as in
            :class:`~xqg_repro.models.settings.EncoderConfig`.
        names_steps: optimiser steps of a first stage on multilingual names, before ``data``.
        negatives: negatives per question, drawn again in each epoch, besides the in-batch ones.
        temperature: τ.
        chunk_size: texts embedded at a time, for batches that do not fit into memory; 0 embeds a whole batch at once.
    """

    KIND: ClassVar[str] = "xdr"

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

    _MINIMA: ClassVar[dict[str, int]] = {
        "query_max_length": 3,
        "passage_max_length": 3,
        "names_steps": 0,
        "negatives": 0,
        "chunk_size": 0,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}", hint="it must be above 0")

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
        )


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe(Recipe):
    """A recipe for a query generator. The defaults are the paper's.

    Attributes:
        prompt: as in :class:`~xqg_repro.models.settings.GeneratorConfig`.
        prompt_max_length, query_max_length: in tokens, special tokens included.
        adafactor: use Adafactor, whose steps are relative to the size of each weight, instead of AdamW.
        names_epochs: passes over the names, mixed into each pass over ``data``.
        exchanged: share of the questions whose entity is exchanged, see :mod:`xqg_repro.train.mini.names`; drawn again
            in each epoch.
        shortened: share of the questions whose passage is cut to a few sentences, to save time; drawn again in each
            epoch.
    """

    KIND: ClassVar[str] = "xqg"

    architecture: Seq2SeqArchitecture | None = None
    prompt: str = GeneratorConfig.prompt
    prompt_max_length: int = 128
    query_max_length: int = 128
    adafactor: bool = False
    names_epochs: int = 0
    exchanged: float = 0.0
    shortened: float = 0.0
    learning_rate: float = 1e-4

    _MINIMA: ClassVar[dict[str, int]] = {"prompt_max_length": 1, "query_max_length": 1, "names_epochs": 0}
    _SHARES: ClassVar[tuple[str, ...]] = ("exchanged", "shortened")


@dataclass(frozen=True, kw_only=True)
class CausalRecipe(Recipe):
    """A recipe for a causal language model that writes questions and translations, see :mod:`xqg_repro.train.causal`.

    ``data`` has the questions; ``batch_size`` is the number of texts, each with several targets.

    Attributes:
        translations: file of sentences and their translations, as ``xqg-repro train folds --parallel`` writes it; empty
            to learn questions alone.
        held_out_translations: the same, to measure on.
        translation_share: share of the texts that are sentences to translate, if there are ``translations``.
        prompt: what the model reads before a question; ``{language}``, the language's English name, must be behind
            ``{text}``, since the questions about a passage share what is before it.
        translation_prompt: what it reads before a translation; ``{text}`` is the sentence.
        prompt_max_length, target_max_length: in tokens, special tokens included.
        targets: questions or translations per text and step.
        held_out_texts: passages, and sentences, to measure on: the first ones of a random order.
    """

    KIND: ClassVar[str] = "xqg-causal"

    translations: str = ""
    held_out_translations: str = ""
    translation_share: float = 0.5
    prompt: str = "{title}\n{text}\nQuestion in {language}:\n"
    translation_prompt: str = "{text}\nIn {language}:\n"
    prompt_max_length: int = 512
    target_max_length: int = 96
    targets: int = 12
    held_out_texts: int = 20
    batch_size: int = 4
    learning_rate: float = 1e-4

    _MINIMA: ClassVar[dict[str, int]] = {
        "prompt_max_length": 2,
        "target_max_length": 2,
        "targets": 1,
        "held_out_texts": 1,
    }
    _SHARES: ClassVar[tuple[str, ...]] = ("translation_share",)


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe(Recipe):
    """A recipe for a reader, which starts from an encoder's folder.

    Attributes:
        max_length, stride, question_max_length, answer_max_length: as in
            :class:`~xqg_repro.models.settings.ReaderConfig`.
        negatives: passages per question without its answer, drawn again in each epoch, which teach to give none.
    """

    KIND: ClassVar[str] = "reader"

    max_length: int = 384
    stride: int = 128
    question_max_length: int = 64
    answer_max_length: int = 30
    negatives: int = 0
    batch_size: int = 16
    learning_rate: float = 5e-5

    _MINIMA: ClassVar[dict[str, int]] = {"negatives": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reader("")  # checks the lengths

    def reader(self, model: str) -> ReaderConfig:
        """The settings to use the trained model with."""
        return ReaderConfig(model, self.max_length, self.stride, self.question_max_length, self.answer_max_length)


R = TypeVar("R", bound=Recipe)

KINDS: dict[type[Recipe], str] = {
    recipe: recipe.KIND for recipe in (EncoderRecipe, GeneratorRecipe, CausalRecipe, ReaderRecipe)
}
"""Kind of recipe → the kind of model, as in ``xqg-repro train KIND``; ``train xqg`` also trains ``xqg-causal``."""


def load_recipe(name_or_path: str, kind: type[R], **overrides: Any) -> R:
    """Load a packaged recipe by name, or a recipe from a YAML file.

    Args:
        overrides: settings to replace, such as ``steps``; those that are ``None`` are ignored.

    Raises:
        InputError: there is no such recipe, it has unknown or invalid settings, or it names nothing to start from.
    """
    path, settings, trains = _read_recipe(name_or_path)
    if trains and trains != kind.KIND:
        raise InputError(f"is a recipe of train {trains}, not of train {kind.KIND}", path=path)
    recipe = parse(kind, settings, path)
    recipe = dataclasses.replace(recipe, **{key: value for key, value in overrides.items() if value is not None})
    if not recipe.model and recipe.architecture is None:
        raise InputError("needs a model to start from or an architecture", path=path)
    return recipe


def generator_kind(name_or_path: str) -> type[GeneratorRecipe] | type[CausalRecipe]:
    """The kind of a recipe of ``train xqg``; a file that names none has the older one."""
    _, _, trains = _read_recipe(name_or_path)
    return CausalRecipe if trains == CausalRecipe.KIND else GeneratorRecipe


def _read_recipe(name_or_path: str) -> tuple[Path, Any, str | None]:
    """The file of a recipe, its settings, and the kind of model that it names."""
    path = resource("recipes", f"{name_or_path}.yaml")
    if not path.exists():
        path = Path(name_or_path)
        if not path.exists():
            known = sorted(p.stem for p in resource("recipes").glob("*.yaml"))
            raise InputError(f"unknown recipe {name_or_path!r}", hint=f"choose from: {', '.join(known)}")
    settings = read_yaml(path)
    return path, settings, settings.pop("train", None) if isinstance(settings, dict) else None


def model_card(name: str, recipe: Recipe, **facts: Any) -> str:
    """The README of a model folder: how the model was made, how good it is and how to use it.

    ``name`` is the template's. It lists the recipe in full; ``facts`` are its further variables.
    """
    settings = json.loads(json.dumps(dataclasses.asdict(recipe)))
    settings = {key: value for key, value in settings.items() if value != ""}
    share = f"all questions about {recipe.held_out:.0%} of the passages"
    held_out_source = f"`{recipe.held_out_data}`" if recipe.held_out_data else share
    page = template(name)
    return page.render(recipe=recipe, settings=settings, held_out_source=held_out_source, version=__version__, **facts)
