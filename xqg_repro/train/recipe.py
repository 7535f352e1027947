"""Recipes: all settings of a training, in YAML, and the model card that lists them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from xqg_repro import __version__
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums, parse, read_yaml, resource
from xqg_repro.core.stages import MANIFEST, open_stage
from xqg_repro.core.templates import template
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.scorer_settings import Normalise, ScorerConfig
from xqg_repro.models.settings import GeneratorConfig, ReaderConfig
from xqg_repro.train.answerer_recipe import AnswererRecipe
from xqg_repro.train.architecture import Seq2SeqArchitecture
from xqg_repro.train.base_recipe import Recipe
from xqg_repro.train.decr_recipe import DecrRecipe
from xqg_repro.train.encoder_recipe import EncoderRecipe, ParallelRecipe


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
        unseen_names: whether names of entities that no training question is about are learnt and exchanged, too.
        shortened: share of the questions whose passage is cut to a few sentences, to save time; drawn again in each
            epoch.
        label_smoothing: share of a token's target probability that is spread evenly over the vocabulary. The held-out
            loss is without, so that trainings can be compared.
    """

    KIND: ClassVar[str] = "xqg"

    architecture: Seq2SeqArchitecture | None = None
    prompt: str = GeneratorConfig.prompt
    prompt_max_length: int = 128
    query_max_length: int = 128
    adafactor: bool = False
    names_epochs: int = 0
    exchanged: float = 0.0
    unseen_names: bool = True
    shortened: float = 0.0
    label_smoothing: float = 0.0
    learning_rate: float = 1e-4

    _MINIMA: ClassVar[dict[str, int]] = {"prompt_max_length": 1, "query_max_length": 1, "names_epochs": 0}
    _SHARES: ClassVar[tuple[str, ...]] = ("exchanged", "shortened", "label_smoothing")
    _NEWER: ClassVar[tuple[str, ...]] = (*Recipe._NEWER, "unseen_names", "label_smoothing")


@dataclass(frozen=True, kw_only=True)
class ContrastiveRecipe(Recipe):
    """A recipe for a generator that tells a question's passage from others, see :mod:`xqg_repro.train.xqg_contrastive`.

    Attributes:
        prompt, prompt_max_length, query_max_length, adafactor: as in :class:`GeneratorRecipe`.
        negatives: passages per question besides its positive, drawn again in each epoch; fewer if it has fewer.
        temperature: τ, which divides the log-likelihoods.
        normalise: the log-likelihood of a question is the mean or the sum over its tokens.
    """

    KIND: ClassVar[str] = "xqg-contrastive"

    prompt: str = GeneratorConfig.prompt
    prompt_max_length: int = 128
    query_max_length: int = 128
    adafactor: bool = False
    negatives: int = 7
    temperature: float = 1.0
    normalise: Normalise = Normalise.MEAN
    batch_size: int = 8
    learning_rate: float = 1e-4

    _MINIMA: ClassVar[dict[str, int]] = {"prompt_max_length": 1, "query_max_length": 1, "negatives": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        convert_enums(self, normalise=Normalise)
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}", hint="it must be above 0")

    def scorer(self, model: str) -> ScorerConfig:
        """The settings to score with the trained model."""
        return ScorerConfig(model, self.prompt, self.prompt_max_length, self.query_max_length, self.normalise)


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

NO_CHANGES: Mapping[str, object] = MappingProxyType({})

KINDS: dict[str, type[Recipe]] = {
    recipe.KIND: recipe
    for recipe in (
        EncoderRecipe,
        ParallelRecipe,
        DecrRecipe,
        GeneratorRecipe,
        ContrastiveRecipe,
        CausalRecipe,
        AnswererRecipe,
        ReaderRecipe,
    )
}
"""The kinds of recipes by what a recipe's file has under ``train:``; ``xqg-repro train xdr`` also trains a kind
``xdr-…``, and ``train xqg`` a kind ``xqg-…``."""


def load_recipe(name_or_path: str, kind: type[R], changes: Mapping[str, object] = NO_CHANGES, **overrides: Any) -> R:
    """Load a packaged recipe by name, or a recipe from a YAML file.

    Args:
        changes: settings to replace, as a file has them.
        overrides: further ones, such as ``steps``; those that are ``None`` are ignored.

    Raises:
        InputError: there is no such recipe, it has unknown or invalid settings, or it names nothing to start from.
    """
    path, settings = read_recipe(name_or_path, kind.KIND)
    recipe = parse(kind, {**settings, **changes} if isinstance(settings, dict) else settings, path)
    recipe = dataclasses.replace(recipe, **{key: value for key, value in overrides.items() if value is not None})
    if not recipe.model and recipe.architecture is None:
        raise InputError("needs a model to start from or an architecture", path=path)
    return recipe


def read_recipe(name_or_path: str, kind: str) -> tuple[Path, Any]:
    """The file of a recipe, and its settings; :class:`InputError` if it is missing, or names another kind of model."""
    path, settings, trains = _read_recipe(name_or_path)
    if trains and trains != kind:
        raise InputError(f"is a recipe of train {trains}, not of train {kind}", path=path)
    return path, settings


def trained_recipe(model: str | Path, kind: type[R]) -> R:
    """The recipe in the manifest of a model folder that a training wrote.

    :class:`InputError` if there is no such folder, no manifest, or another kind of model in it.
    """
    folder = resolve_model(str(model))
    manifest = open_stage(folder, f"train-{kind.KIND}")
    return parse(kind, manifest.parameters["recipe"], folder / MANIFEST)


def generator_kind(name_or_path: str) -> type[GeneratorRecipe] | type[ContrastiveRecipe] | type[CausalRecipe]:
    """The kind of a recipe of ``train xqg``; a file that names none has the oldest one."""
    named: dict[str, Any] = {kind.KIND: kind for kind in (ContrastiveRecipe, CausalRecipe)}
    return named.get(_read_recipe(name_or_path)[2] or "", GeneratorRecipe)


def encoder_kind(name_or_path: str) -> type[EncoderRecipe] | type[ParallelRecipe]:
    """The kind of a recipe of ``train xdr``; a file that names none has the older one."""
    _, _, trains = _read_recipe(name_or_path)
    return ParallelRecipe if trains == ParallelRecipe.KIND else EncoderRecipe


def _read_recipe(name_or_path: str) -> tuple[Path, Any, str | None]:
    """The file of a recipe, its settings, and the kind of model that it names."""
    path = resource("recipes", f"{name_or_path}.yaml")
    if not path.exists():
        path = Path(name_or_path)
        if not path.exists():
            known = sorted(p.stem for p in resource("recipes").glob("*.yaml"))
            raise InputError(f"unknown recipe {name_or_path!r}", hint=f"choose from: {', '.join(known)}")
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        return path, settings, None
    return path, settings, settings.pop("train", None)


def model_card(name: str, recipe: Recipe, **facts: Any) -> str:
    """The README of a model folder: how the model was made, how good it is and how to use it.

    ``name`` is the template's. It lists the recipe in full; ``facts`` are its further variables.
    """
    settings = json.loads(json.dumps(recipe.settings()))
    settings = {key: value for key, value in settings.items() if value != ""}
    share = f"all questions about {recipe.held_out:.0%} of the passages"
    held_out_source = f"`{recipe.held_out_data}`" if recipe.held_out_data else share
    page = template(name)
    return page.render(recipe=recipe, settings=settings, held_out_source=held_out_source, version=__version__, **facts)
