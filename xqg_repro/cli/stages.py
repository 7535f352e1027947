"""The stages from passages to a run: generate, translate, encode, sum, augment, index, search."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli.options import (
    add_aggregate_options,
    add_encoder_options,
    add_stage_options,
    add_verb,
    encoder_config,
    given_settings,
    named_encoder,
    stage_settings,
)
from xqg_repro.core.errors import InputError

_GENERATED = "generated queries: folder or file of JSON lines, or hub dataset such as ielab/xor-tydi-xqg-augmented"
_MODEL = "model folder, Hugging Face id or package:NAME"
_STORED = "number format of the files (default: %(default)s)"


def add_generate(verbs: Any, name: str) -> None:
    """Declare the verb ``generate``."""
    from xqg_repro.models.settings import Precision

    verb = add_verb(verbs, name, _generate, "write queries in several languages for a collection's passages")
    verb.add_argument("--collection", required=True, help="ir-datasets id, such as xor-mini")
    verb.add_argument("--shard-size", type=int, default=1_000, help="passages a shard (default: %(default)s)")
    add_stage_options(verb, "generate again even if the folder matches")
    group = verb.add_argument_group("generator", "a preset's settings, each of which an option overrides")
    for option, kind, text in (
        ("--preset", str, "named settings from resources/generators.yaml (default: xqg-mt5-base, the paper's)"),
        ("--queries", int, "queries a language for each passage"),
        ("--prompt", str, "may hold {language}, {title} and {text}"),
        ("--prompt-max-length", int, "tokens of a prompt"),
        ("--query-max-length", int, "new tokens of a query"),
        ("--top-k", int, "sample among the k likeliest tokens; 0 for all"),
        ("--top-p", float, "sample among the likeliest tokens of this probability"),
        ("--temperature", float, "divides the logits"),
        ("--seed", int, "of the sampling"),
    ):
        group.add_argument(option, type=kind, default=argparse.SUPPRESS, help=text)
    group.add_argument("--generator", dest="model", metavar="MODEL", default=argparse.SUPPRESS, help=_MODEL)
    group.add_argument("--languages", nargs="+", metavar="LANG", default=argparse.SUPPRESS, help="to generate in")
    group.add_argument("--precision", choices=[*Precision], default=argparse.SUPPRESS, help="of the model's layers")


def _generate(args: argparse.Namespace) -> None:
    import dataclasses

    from xqg_repro.models.settings import GeneratorConfig, load_generator
    from xqg_repro.representation.generate import generate

    given = given_settings(args, GeneratorConfig)
    if "languages" in given:
        given["languages"] = tuple(given["languages"])
    config = dataclasses.replace(load_generator(getattr(args, "preset", "xqg-mt5-base")), **given)
    generate(
        args.collection,
        config,
        args.output,
        shard_size=args.shard_size,
        **stage_settings(args),
    )


def add_translate(verbs: Any, name: str) -> None:
    """Declare the verb ``translate``."""
    from xqg_repro.models.settings import Precision

    verb = add_verb(verbs, name, _translate, "translate a collection's passages by a machine")
    verb.add_argument("--collection", required=True, help="ir-datasets id, such as xquad/en")
    verb.add_argument("--languages", nargs="+", metavar="LANG", required=True, help="to translate into")
    verb.add_argument("--shard-size", type=int, default=50, help="passages a shard (default: %(default)s)")
    add_stage_options(verb, "translate again even if the folder matches")
    group = verb.add_argument_group("translator", "a preset's settings, each of which an option overrides")
    for option, kind, text in (
        ("--preset", str, "named settings from resources/translators.yaml"),
        ("--prompt", str, "may hold {language}, {code} and {text}"),
        ("--source", str, "language of the passages (default: en)"),
        ("--text-max-length", int, "tokens of a prompt; longer sentences are translated in parts"),
        ("--translation-max-length", int, "new tokens of a sentence"),
        ("--beams", int, "of beam search; 1 takes the likeliest token at each step"),
    ):
        group.add_argument(option, type=kind, default=argparse.SUPPRESS, help=text)
    group.add_argument("--translator", dest="model", metavar="MODEL", default=argparse.SUPPRESS, help=_MODEL)
    group.add_argument(
        "--codes", nargs="+", metavar="LANG=CODE", default=argparse.SUPPRESS, help="the model's own codes of languages"
    )
    group.add_argument("--precision", choices=[*Precision], default=argparse.SUPPRESS, help="of the model's layers")


def _translate(args: argparse.Namespace) -> None:
    import dataclasses

    from xqg_repro.models.settings import TranslatorConfig, load_translator
    from xqg_repro.representation.translate import translate

    given = given_settings(args, TranslatorConfig)
    if "codes" in given:
        pairs = [pair.partition("=") for pair in given["codes"]]
        if wrong := [language + sign + code for language, sign, code in pairs if not (language and code)]:
            raise InputError(f"--codes has {wrong[0]!r}", hint="write LANG=CODE, such as ar=arb_Arab")
        given["codes"] = {language: code for language, _, code in pairs}
    if hasattr(args, "preset"):
        config = dataclasses.replace(load_translator(args.preset), **given)
    elif "model" in given:
        config = TranslatorConfig(**given)
    else:
        raise InputError("no translator is named", hint="use --preset or --translator")
    translate(
        args.collection,
        args.languages,
        config,
        args.output,
        shard_size=args.shard_size,
        **stage_settings(args),
    )


def add_encode(verbs: Any, name: str) -> None:
    """Declare the verb ``encode``."""
    verb = add_verb(verbs, name, _encode, "embed a collection's passages into shards")
    verb.add_argument("--collection", required=True, help="ir-datasets id, such as xor-mini")
    verb.add_argument("--shard-size", type=int, default=50_000, help="passages a shard (default: %(default)s)")
    verb.add_argument("--dtype", choices=["float32", "float16"], default="float32", help=_STORED)
    add_stage_options(verb, "encode again even if the folder matches")
    add_encoder_options(verb)


def _encode(args: argparse.Namespace) -> None:
    from xqg_repro.representation.encode import encode

    encode(
        args.collection,
        named_encoder(args),
        args.output,
        shard_size=args.shard_size,
        dtype=args.dtype,
        **stage_settings(args),
    )


def add_sum(verbs: Any, name: str) -> None:
    """Declare the verb ``sum``."""
    verb = add_verb(verbs, name, _sum, "embed generated queries and add them up for each passage")
    _add_queries_options(verb)
    verb.add_argument("--per-language", action="store_true", help="a sum for each language, not one over all")
    verb.add_argument("--last-rank", action="store_true", help="keep the sum of all queries, not of the first 1, 2, …")
    verb.add_argument(
        "--dtype",
        choices=["float32", "float16", "int8"],
        default="float32",
        help=f"{_STORED}; int8 stores the sums of the first 1, 2, … queries as differences from the float16 sum of all",
    )
    verb.add_argument("--shard-size", type=int, default=10_000, help="passages a shard (default: %(default)s)")
    add_stage_options(verb, "sum again even if the folder matches")
    add_encoder_options(verb)


def _add_queries_options(verb: argparse.ArgumentParser) -> None:
    from xqg_repro.core.languages import XOR_LANGUAGES

    verb.add_argument(
        "--generated",
        required=True,
        help=_GENERATED,
    )
    verb.add_argument("--languages", nargs="+", metavar="LANG", default=[*XOR_LANGUAGES], help="whose queries")
    verb.add_argument("--queries", type=int, default=5, help="queries a language (default: %(default)s)")
    verb.add_argument("--allow-missing", action="store_true", help="passages may have fewer queries; count them")


def _sum(args: argparse.Namespace) -> None:
    from xqg_repro.representation.sums import sum_queries

    sum_queries(
        args.generated,
        named_encoder(args),
        args.output,
        languages=args.languages,
        count=args.queries,
        per_language=args.per_language,
        every_rank=not args.last_rank,
        dtype=args.dtype,
        allow_missing=args.allow_missing,
        shard_size=args.shard_size,
        **stage_settings(args),
    )


def add_augment(verbs: Any, name: str) -> None:
    """Declare the verb ``augment``."""
    verb = add_verb(verbs, name, _augment, "add query sums to passage embeddings: (1-α)·p + α·Σq")
    verb.add_argument("--embeddings", required=True, help="folder that encode wrote")
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--sums", help="folder that sum wrote")
    source.add_argument("--generated", help=f"instead, {_GENERATED}; their sums are not stored")
    verb.add_argument("--alpha", type=float, default=0.01, help="α in [0, 1] (default: %(default)s, the paper's)")
    verb.add_argument("--languages", nargs="+", metavar="LANG", default=[], help="whose queries (default: all)")
    verb.add_argument("--queries", type=int, default=0, help="the first so many a language (default: all)")
    verb.add_argument("--allow-missing", action="store_true", help="leave passages without queries as they are")
    add_stage_options(verb, "augment again even if the folder matches")
    add_aggregate_options(verb)


def _augment(args: argparse.Namespace) -> None:
    from xqg_repro.representation.augment import augment, augment_streaming
    from xqg_repro.representation.settings import Aggregate, Augmentation

    how = Augmentation(args.alpha, Aggregate(args.aggregate), tuple(args.languages), args.queries, args.normalize)
    settings = stage_settings(args) | {"allow_missing": args.allow_missing}
    if args.sums:
        del settings["device"]  # nothing is encoded
        augment(args.embeddings, args.sums, args.output, how, **settings)
    else:
        augment_streaming(args.embeddings, args.generated, args.output, how, **settings)


def add_index(verbs: Any, name: str) -> None:
    """Declare the verb ``index``."""
    verb = add_verb(verbs, name, _index, "build a FAISS index that Pyserini opens")
    verb.add_argument("--embeddings", required=True, help="folder that encode or augment wrote")
    verb.add_argument("--factory", default="Flat", help="FAISS factory string (default: Flat, exact search)")
    add_stage_options(verb, "index again even if the folder matches", device=False)


def _index(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.index import build_index

    build_index(args.embeddings, args.output, factory=args.factory, **stage_settings(args))


def add_search(verbs: Any, name: str) -> None:
    """Declare the verb ``search``."""
    verb = add_verb(verbs, name, _search, "retrieve passages and write a TREC run")
    verb.add_argument("--index", required=True, help="index folder")
    verb.add_argument(
        "--topics", required=True, help="ir-datasets id, such as xor-mini/dev, or a TSV file of qid and text"
    )
    verb.add_argument("--tag", default="xqg_repro", help="last column of the run (default: %(default)s)")
    verb.add_argument("--depth", "--hits", type=int, default=100, help="passages a question (default: %(default)s)")
    verb.add_argument("--threads", type=int, default=1, help="FAISS threads (default: %(default)s)")
    add_stage_options(verb, "search again even if the run matches", "run file to write or to replace")
    add_encoder_options(verb)


def _search(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.search import index_encoder, search

    encoder = encoder_config(args, index_encoder(args.index))
    search(
        args.index,
        args.topics,
        args.output,
        tag=args.tag,
        depth=args.depth,
        encoder=encoder,
        threads=args.threads,
        **stage_settings(args),
    )
