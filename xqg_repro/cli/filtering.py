"""The quality filter of generated queries."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.arguments import InputPath
from xqg_repro.cli.options import (
    GENERATED,
    add_encoder_options,
    add_stage_options,
    add_verb,
    encoder_config,
    stage_settings,
)


def add_filter(verbs: Any, name: str) -> None:
    """Declare the verb ``filter``."""
    verb = add_verb(verbs, name, _filter, "keep the generated queries that best find the passage they were written for")
    verb.add_argument("--queries", "--generated", type=InputPath, required=True, metavar="FOLDER", help=GENERATED)
    text = "folder that encode wrote: the passages of the queries, and all others"
    verb.add_argument("--embeddings", type=InputPath, required=True, help=text)
    text = "queries to keep per passage and language; a passage without more keeps all"
    verb.add_argument("--keep", type=int, required=True, metavar="M", help=text)
    verb.add_argument("--of", type=int, metavar="N", help="compare the first N queries per language (default: all)")
    text = "drop queries whose own passage ranks lower than R; for training, as some passages are left without queries"
    verb.add_argument("--rank", type=int, metavar="R", help=text)
    verb.add_argument("--languages", nargs="+", metavar="LANG", help="whose queries (default: all)")
    verb.add_argument("--allow-missing", action="store_true", help="accept passages with fewer queries than --of")
    verb.add_argument("--shard-size", type=int, default=1_000, help="passages per shard (default: %(default)s)")
    add_stage_options(verb)
    add_encoder_options(verb)


def _filter(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.filter import filter_queries
    from xqg_repro.retrieval.selection import language_table
    from xqg_repro.retrieval.stage import stored_encoder

    manifest = filter_queries(
        args.queries,
        args.embeddings,
        args.output,
        args.keep,
        of=args.of,
        rank=args.rank,
        languages=args.languages,
        allow_missing=args.allow_missing,
        encoder=encoder_config(args, stored_encoder(args.embeddings)),
        shard_size=args.shard_size,
        **stage_settings(args),
    )
    print(language_table(manifest).text())
