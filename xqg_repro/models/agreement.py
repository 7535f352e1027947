"""What a model folder says, beside an encoder's settings: defaults, prompts by name, and the check that they agree."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.text import Record
from xqg_repro.models.folders import CONFIG, MODULES, Side, read_config, transformer_folder
from xqg_repro.models.layout import POOLER, POOLER_CONFIG, Layout, refuse
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.sentence_transformers import read_sentence_transformers
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.models.untied import side_model
from xqg_repro.models.vocabulary import lower_case

logger = logging.getLogger(__name__)

PROMPTS = "config_sentence_transformers.json"
_LENGTH = "max_seq_length in sentence_bert_config.json"
_PROMPT = re.compile(r"prompt:(\S+)")


def read_layout(folder: Path) -> Layout:
    """What a model folder says; :class:`InputError` if that is malformed or not supported."""
    has_pooler = (folder / POOLER).exists() or (folder / POOLER_CONFIG).exists()
    if (folder / MODULES).exists():
        if has_pooler:
            problem = f"has both {MODULES} and Tevatron's {POOLER}"
            raise InputError(problem, path=folder, hint="delete the one that does not belong to the weights")
        layout = read_sentence_transformers(folder)
    elif has_pooler:
        layout = _read_tevatron(folder)
    else:
        path = transformer_folder(folder) / CONFIG
        is_dpr = Record(read_config(path), path).get("model_type", None) == "dpr"
        layout = Layout(path, Pooling.CLS if is_dpr else None)  # its vector is always the first token's
    return _add_prompts(layout, folder)


def apply_layout(folder: Path, tokenizer: Any) -> Layout:
    """:func:`read_layout`, and let the folder's tokenizer lower-case texts if the layout says so."""
    layout = read_layout(folder)
    if layout.lower_case:
        lower_case(tokenizer)
    return layout


def _read_tevatron(folder: Path) -> Layout:
    for name in (POOLER, POOLER_CONFIG):
        if not (folder / name).exists():
            problem = f"has no {name}, which belongs to {POOLER if name == POOLER_CONFIG else POOLER_CONFIG}"
            raise InputError(problem, path=folder, hint="copy or download the model again")
    path = folder / POOLER_CONFIG
    config = Record(read_config(path), path)
    if unknown := sorted({*config.value} - {"input_dim", "output_dim", "tied", "normalize"}):
        refuse(path, f"sets {unknown[0]}")
    normalize = config.get("normalize", False) is True
    return Layout(path, normalize=normalize, usual_pooling=Pooling.CLS, pooler=folder)


def _add_prompts(layout: Layout, folder: Path) -> Layout:
    path = folder / PROMPTS
    if not path.exists():
        return layout
    config = Record(read_config(path), path)
    prompts = Record(config.get("prompts", None) or {}, path, name="prompts")
    texts = {name: text for name in prompts.value if (text := prompts.get(name)) is not None}
    for name in texts:
        prompts.text(name)
    default = config.get("default_prompt_name", None)
    if default is not None and default not in texts:
        raise config.error(f"default_prompt_name is {quote(default)}, which is none of its prompts")
    return replace(layout, prompts=texts, default_prompt=default)


def complete_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings of an encoder, with what its folder says where nothing is given.

    A folder that cannot be found says nothing, if a pooling is given: whatever opens the model then explains it.

    >>> complete_settings({"model": "package:xdr-mini", "pooling": "mean"})
    {'model': 'package:xdr-mini', 'pooling': 'mean'}
    """
    try:
        folder = resolve_model(side_model(given["model"], Side.QUERY))
    except InputError:
        if "pooling" not in given:
            raise
        return dict(given)
    layout = read_layout(folder)
    if any(layout.prompts.values()) and not {"query_prefix", "passage_prefix"} & {*given}:
        used = f"that of {layout.default_prompt} is used" if layout.default_prompt else "none is used"
        names = ", ".join(layout.prompts)
        logger.info(f"{given['model']} has prompts ({names}); {used} without --query-prefix prompt:NAME")
    settings: dict[str, Any] = {"pooling": layout.pooling or layout.usual_pooling, "normalize": layout.normalize}
    settings |= dict.fromkeys(("query_max_length", "passage_max_length"), layout.max_length)
    if layout.default_prompt is not None:
        settings |= dict.fromkeys(("query_prefix", "passage_prefix"), layout.prompts[layout.default_prompt])
    return {name: value for name, value in settings.items() if value is not None} | dict(given)


def resolve_prompts(config: EncoderConfig) -> EncoderConfig:
    """The settings with the text of each prefix ``prompt:NAME``, which names a prompt of the model's folder."""
    texts: dict[str, Any] = {}
    for name, side in (("query_prefix", Side.QUERY), ("passage_prefix", Side.PASSAGE)):
        if match := _PROMPT.fullmatch(getattr(config, name)):
            folder = resolve_model(side_model(config.model, side))
            prompts = read_layout(folder).prompts
            if match[1] not in prompts:
                hint = f"it has: {', '.join(prompts)}" if prompts else "it has none; give the text itself"
                raise InputError(f"has no prompt {match[1]!r}", path=folder, hint=hint)
            texts[name] = prompts[match[1]]
    return replace(config, **texts) if texts else config


def check_settings(config: EncoderConfig, layout: Layout) -> None:
    """Raise :class:`InputError` unless an encoder's settings agree with what its folder says."""
    for name in ("pooling", "normalize"):
        said, given = getattr(layout, name), getattr(config, name)
        if said is not None and said != given:
            problem = f"says {name} {str(said).lower()}, but the settings say {str(given).lower()}"
            hint = f"leave the setting out, or give --{'' if said else 'no-'}{name}"
            raise InputError(problem, path=layout.source, hint=hint + (f" {said}" if name == "pooling" else ""))
    for name in ("query_max_length", "passage_max_length"):
        if layout.max_length is not None and getattr(config, name) > layout.max_length:
            problem = f"belongs to a model of at most {layout.max_length} tokens, but {name} is {getattr(config, name)}"
            raise InputError(problem, path=layout.source, hint=f"lower {name}, or raise {_LENGTH}")
