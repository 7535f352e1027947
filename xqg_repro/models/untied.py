"""Untied encoders: one encodes questions, the other passages.

Their folder has two sub-folders, ``query`` and ``passage``, each an ordinary encoder. Whatever encodes one kind of text
takes the folder, or the sub-folder of that kind. Whatever has use for a single encoder refuses the folder, see
:func:`~xqg_repro.models.loading.resolve_model`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.models.folders import Side, has_sides
from xqg_repro.models.loading import local_folder, model_fingerprint, resolve_model
from xqg_repro.models.settings import EncoderConfig

QUERY_MODEL = "query_model"
"""Input of a manifest: fingerprint of the questions' encoder, if ``model`` is that of the passages alone."""


def is_untied(model: str) -> bool:
    """Whether a model's name is that of a folder with two encoders."""
    folder = local_folder(model)
    return folder is not None and has_sides(folder)


def untied_pair(model: str) -> str | None:
    """The folder of two encoders that a name stands for: its own, or that of the sub-folder; ``None`` if tied."""
    if is_untied(model):
        return model
    parent, name = os.path.split(model.rstrip(os.sep))
    parent = parent or os.curdir
    return parent if name in [*Side] and is_untied(parent) else None


def side_model(model: str, side: Side) -> str:
    """The encoder of one kind of text in a folder of two; any other name stays as it is."""
    return os.path.join(model, side) if is_untied(model) else model


def side_config(config: EncoderConfig, side: Side) -> EncoderConfig:
    """The settings with :func:`side_model`."""
    return dataclasses.replace(config, model=side_model(config.model, side))


def check_side(model: str, side: Side) -> None:
    """Raise :class:`InputError` if a name is that of the encoder of the other kind of text."""
    pair = untied_pair(model)
    if pair and model != pair and os.path.basename(model.rstrip(os.sep)) != side:
        kinds = {Side.QUERY: "questions", Side.PASSAGE: "passages"}
        other = kinds[Side.QUERY if side is Side.PASSAGE else Side.PASSAGE]
        problem = f"is the encoder of {other}, but {kinds[side]} are to be encoded"
        raise InputError(problem, path=model, hint=f"name {pair} or {os.path.join(pair, side)}")


def resolve_encoder(model: str) -> Path:
    """:func:`~xqg_repro.models.loading.resolve_model` of an encoder, or the folder of two, which both must exist."""
    folder = local_folder(model)
    if folder is None or not has_sides(folder):
        return resolve_model(model)
    for side in Side:
        resolve_model(side_model(model, side))
    return folder


def pair_fingerprints(model: str) -> dict[str, str]:
    """The inputs ``model`` and, of an untied encoder, :data:`QUERY_MODEL` of a manifest."""
    pair = untied_pair(model)
    if pair is None:
        return {"model": model_fingerprint(model)}
    sides = {"model": Side.PASSAGE, QUERY_MODEL: Side.QUERY}
    return {name: model_fingerprint(os.path.join(pair, side)) for name, side in sides.items()}


def recorded_fingerprints(inputs: Mapping[str, str]) -> dict[str, str]:
    """Those of a manifest's inputs that :func:`pair_fingerprints` gave it."""
    return {name: version for name, version in inputs.items() if name in ("model", QUERY_MODEL)}


def query_fingerprint(inputs: Mapping[str, str]) -> str:
    """The fingerprint of the encoder of questions among a manifest's inputs."""
    return inputs.get(QUERY_MODEL, inputs["model"])
