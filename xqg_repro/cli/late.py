"""Late interaction: index --late, search and rerank late."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import (
    add_settings,
    chosen_settings,
    given_options,
    given_settings,
    refuse_options,
    stage_settings,
)
from xqg_repro.core.errors import InputError


def add_late_options(verb: argparse.ArgumentParser) -> None:
    """Add the options that describe a late-interaction encoder; :func:`late_config` reads them."""
    from xqg_repro.models.late_settings import LateConfig

    note = "of late interaction; without a preset, those of DR.DECR"
    group = add_settings(verb, LateConfig, "--encoder", "late_encoders.yaml", note)
    how: dict[str, Any] = {"dest": "title_separator", "action": "store_const", "const": None}
    group.add_argument("--no-title", default=argparse.SUPPRESS, help="leave the title out", **how)


def late_config(args: argparse.Namespace) -> Any:
    """The late-interaction encoder that the options describe; ``None`` if none is given."""
    from xqg_repro.models.late_settings import LateConfig, load_late

    return chosen_settings(args, LateConfig, load_late, "--encoder")


def refuse_late_options(args: argparse.Namespace, where: str) -> None:
    """Raise :class:`InputError` if an option of a late-interaction encoder is given."""
    from xqg_repro.models.late_settings import LateConfig

    if hasattr(args, "preset") or given_settings(args, LateConfig):
        raise InputError(f"an encoder's options have no effect {where}", hint="leave them out")


def index_late(args: argparse.Namespace) -> None:
    """Run ``index --late``."""
    from xqg_repro.retrieval.late_index import build_late_index

    config = late_config(args)
    if config is None:
        raise InputError("--late needs a model", hint="add --encoder or --preset")
    given = given_options(args, "shard_size", "dtype")
    build_late_index(args.collection, config, args.output, **given, **stage_settings(args))


def search_late_index(args: argparse.Namespace) -> None:
    """Run ``search`` on a late-interaction index."""
    from xqg_repro.models.settings import EncoderConfig
    from xqg_repro.retrieval.late_search import search_late

    others = {*given_settings(args, EncoderConfig)} - {"model"}
    if hasattr(args, "preset") or others:
        problem = "a late-interaction index knows its encoder's settings"
        raise InputError(problem, hint="leave them out; --encoder may name another place of the model")
    refuse_options(args, "on a late-interaction index", "threads", "nprobe", "ef_search", "k1", "b", "language")
    given = given_options(args, "tag", "depth", "model")
    search_late(args.index, args.topics, args.output, **given, **stage_settings(args))


def rerank_with_late(args: argparse.Namespace) -> None:
    """Run ``rerank late``."""
    from xqg_repro.models.late_settings import LateConfig
    from xqg_repro.retrieval.late_rerank import rerank_late

    settings = {**given_options(args, "tag", "depth"), **stage_settings(args)}
    if args.index:
        if hasattr(args, "preset") or {*given_settings(args, LateConfig)} - {"model"}:
            problem = "a late-interaction index knows its encoder's settings"
            raise InputError(problem, hint="leave them out; --encoder may name another place of the model")
        settings |= {"index": args.index, **given_options(args, "model")}
    else:
        settings |= {"encoder": late_config(args), "passages": args.collection}
    rerank_late(args.run_file, args.topics, args.output, **settings)
