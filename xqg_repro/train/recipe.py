"""Recipes: everything that decides a trained encoder, in YAML, and the model card that repeats it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from xqg_repro import __version__
from xqg_repro.config import EncoderConfig, Pooling, parse, read_yaml, resource
from xqg_repro.errors import InputError


@dataclass(frozen=True)
class Architecture:
    """A small BERT trained from scratch, with a byte-pair vocabulary trained on the training texts."""

    vocabulary: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    dropout: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a trained encoder.

    Attributes:
        name: the recipe's name.
        data: ir-datasets id with questions and judgements, or a JSON-lines file in Tevatron's format.
        model: Hugging Face id or folder to start from; empty to start from scratch with ``architecture``.
        architecture: of a model from scratch.
        names_steps: optimiser steps of a first stage on multilingual names (see the model card), before ``data``.
        steps: optimiser steps on ``data``; 0 takes ``epochs``.
        epochs: passes over ``data`` where ``steps`` is 0.
        batch_size: questions a step.
        negatives: given negatives a question (drawn anew each epoch), besides the in-batch ones.
        learning_rate: peak, after a linear warm-up of ``warmup_steps``, then linear decay to 0.
        temperature: τ.
        held_out: share of the passages whose questions are kept out of training, to measure on.
        half_precision_weights: save weights as float16.
        seed: of everything random.
    """

    name: str
    data: str
    model: str = ""
    architecture: Architecture | None = None
    pooling: Pooling = Pooling.CLS
    normalize: bool = False
    title_separator: str = " "
    query_max_length: int = 32
    passage_max_length: int = 128
    names_steps: int = 0
    steps: int = 0
    epochs: float = 1.0
    batch_size: int = 128
    negatives: int = 7
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    weight_decay: float = 0.0
    temperature: float = 1.0
    held_out: float = 0.0
    half_precision_weights: bool = False
    seed: int = 42

    def encoder(self, model: str) -> EncoderConfig:
        """The settings with which the trained model must be used."""
        return EncoderConfig(
            model,
            self.pooling,
            self.normalize,
            title_separator=self.title_separator,
            query_max_length=self.query_max_length,
            passage_max_length=self.passage_max_length,
        )


def load_recipe(name_or_path: str, *, steps: int | None = None, seed: int | None = None) -> Recipe:
    """A recipe that ships with the package (by name) or a YAML file; ``steps`` and ``seed`` override it."""
    path = resource("recipes", f"{name_or_path}.yaml")
    if not path.exists():
        path = Path(name_or_path)
        if not path.exists():
            known = sorted(p.stem for p in resource("recipes").glob("*.yaml"))
            raise InputError(f"there is no recipe {name_or_path!r}", mend=f"choose from: {', '.join(known)}")
    recipe = parse(Recipe, read_yaml(path), path)
    if not recipe.model and recipe.architecture is None:
        raise InputError("names neither a model to start from nor an architecture", path=path)
    changes = {key: value for key, value in (("steps", steps), ("seed", seed)) if value is not None}
    return dataclasses.replace(recipe, **changes)


def model_card(recipe: Recipe, parameters: int, trained: int, held_out: int, score: float | None) -> str:
    """The README of a model folder: how it was made, what was measured, how to use it."""
    import jinja2

    source = resource("templates", "model_card.md").read_text(encoding="utf-8")
    settings = {key: value for key, value in json.loads(json.dumps(dataclasses.asdict(recipe))).items() if value != ""}
    template = jinja2.Template(source, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return template.render(
        recipe=recipe,
        settings=settings,
        version=__version__,
        parameters=parameters,
        trained=trained,
        held_out=held_out,
        score=score,
    )
