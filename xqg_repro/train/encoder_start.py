"""What the training of an encoder starts from: a model, two untied ones, or random weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any

from xqg_repro.models.agreement import apply_layout
from xqg_repro.models.architectures import check_text_encoder
from xqg_repro.models.folders import Side
from xqg_repro.models.loading import load_model, resolve_model
from xqg_repro.models.untied import is_untied, pair_fingerprints, side_model
from xqg_repro.train.data import Example
from xqg_repro.train.encoder_recipe import EncoderRecipe, ParallelRecipe
from xqg_repro.train.mini import scratch


def start_fingerprints(recipe: EncoderRecipe) -> dict[str, str]:
    """Those of the two encoders that an untied one starts from, if there are two."""
    return pair_fingerprints(recipe.model) if not recipe.tied and is_untied(recipe.model) else {}


def open_start(recipe: EncoderRecipe, examples: Iterable[Example]) -> tuple[Any, Any]:
    """Tokenizer and model before the first step; only random weights read the examples, for their vocabulary."""
    if recipe.tied:
        return _start_tied(recipe, examples)
    from xqg_repro.train.untied import UntiedNetwork, check_same_vocabulary

    if not is_untied(recipe.model):
        tokenizer, network = _start_tied(recipe, examples)
        return tokenizer, UntiedNetwork(network, copy.deepcopy(network))
    sides = [load_start(dataclasses.replace(recipe, model=side_model(recipe.model, side))) for side in Side]
    (tokenizer, query), (other, passage) = sides
    check_same_vocabulary(tokenizer, other, recipe.model)
    return tokenizer, UntiedNetwork(query, passage)


def _start_tied(recipe: EncoderRecipe, examples: Iterable[Example]) -> tuple[Any, Any]:
    """The same for one encoder."""
    if recipe.model:
        return load_start(recipe)
    assert recipe.architecture is not None
    texts: dict[str, None] = {}
    for example in examples:
        passages = (example.positive, *example.negatives)
        texts |= dict.fromkeys([example.query, *(passage.default_text() for passage in passages)])
    longest = max(recipe.query_max_length, recipe.passage_max_length)
    return scratch.encoder(recipe.architecture, list(texts), longest)


def load_start(recipe: EncoderRecipe | ParallelRecipe) -> tuple[Any, Any]:
    """Tokenizer and model of a recipe that names one; :class:`InputError` if it cannot be trained."""
    import torch

    from xqg_repro.models.projection import refuse_projection

    folder = resolve_model(recipe.model)
    tokenizer, model = load_model(folder, torch.float32)
    longest = max(recipe.query_max_length, recipe.passage_max_length)
    check_text_encoder(tokenizer, model, longest, folder)
    refuse_projection(apply_layout(folder, tokenizer), model, folder)
    return tokenizer, model
