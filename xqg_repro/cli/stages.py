"""The stages from a collection to answers: generate, translate, encode, sum, augment, index, search, read."""

from __future__ import annotations

import argparse
from typing import Any

from xqg_repro.cli import late
from xqg_repro.cli.arguments import InputFile, InputPath
from xqg_repro.cli.options import (
    COLLECTION,
    GENERATED,
    TOPICS,
    add_augmentation_options,
    add_collection_option,
    add_distribution_options,
    add_encoder_options,
    add_settings,
    add_stage_options,
    add_verb,
    chosen_settings,
    encoder_config,
    given_options,
    given_settings,
    refuse_options,
    required_encoder,
    required_settings,
    stage_settings,
)
from xqg_repro.core.errors import InputError

_SHARD = "passages per shard (default: %(default)s)"
_STORED = "number format of the files (default: %(default)s)"


def add_generate(verbs: Any, name: str) -> None:
    """Declare the verb ``generate``."""
    from xqg_repro.models.settings import GeneratorConfig

    verb = add_verb(verbs, name, _generate, "write queries in several languages for a collection's passages")
    verb.add_argument("--collection", type=InputFile, required=True, help=COLLECTION)
    verb.add_argument("--shard-size", type=int, default=1_000, help=_SHARD)
    add_stage_options(verb)
    add_distribution_options(verb)
    note = "without a preset, those of xqg-mt5-base, the paper's"
    add_settings(verb, GeneratorConfig, "--generator", "generators.yaml", note)


def _generate(args: argparse.Namespace) -> None:
    from xqg_repro.models.settings import GeneratorConfig, load_generator
    from xqg_repro.representation.generate import generate

    paper = load_generator("xqg-mt5-base")
    config = chosen_settings(args, GeneratorConfig, load_generator, "--generator", paper) or paper
    generate(args.collection, config, args.output, shard_size=args.shard_size, **stage_settings(args))


def add_translate(verbs: Any, name: str) -> None:
    """Declare the verb ``translate``."""
    from xqg_repro.models.settings import TranslatorConfig

    verb = add_verb(verbs, name, _translate, "translate a collection's passages with a model")
    verb.add_argument("--collection", type=InputFile, required=True, help=COLLECTION)
    verb.add_argument("--languages", nargs="+", metavar="LANG", required=True, help="to translate into")
    verb.add_argument("--shard-size", type=int, default=50, help=_SHARD)
    add_stage_options(verb)
    add_distribution_options(verb)
    add_settings(verb, TranslatorConfig, "--translator", "translators.yaml")


def _translate(args: argparse.Namespace) -> None:
    from xqg_repro.models.settings import TranslatorConfig, load_translator
    from xqg_repro.representation.translate import translate

    config = required_settings(args, TranslatorConfig, load_translator, "--translator")
    settings = {"shard_size": args.shard_size, **stage_settings(args)}
    translate(args.collection, args.languages, config, args.output, **settings)


def add_encode(verbs: Any, name: str) -> None:
    """Declare the verb ``encode``."""
    verb = add_verb(verbs, name, _encode, "embed a collection's passages")
    verb.add_argument("--collection", type=InputFile, required=True, help=COLLECTION)
    verb.add_argument("--shard-size", type=int, default=50_000, help=_SHARD)
    verb.add_argument("--dtype", choices=["float32", "float16"], default="float32", help=_STORED)
    add_stage_options(verb)
    add_distribution_options(verb)
    add_encoder_options(verb)


def _encode(args: argparse.Namespace) -> None:
    from xqg_repro.representation.encode import encode

    settings = {"shard_size": args.shard_size, "dtype": args.dtype, **stage_settings(args)}
    encode(args.collection, required_encoder(args), args.output, **settings)


def add_sum(verbs: Any, name: str) -> None:
    """Declare the verb ``sum``."""
    from xqg_repro.core.languages import XOR_LANGUAGES

    verb = add_verb(verbs, name, _sum, "embed generated queries and sum them for each passage")
    verb.add_argument("--generated", type=InputPath, required=True, help=GENERATED)
    verb.add_argument("--languages", nargs="+", metavar="LANG", default=[*XOR_LANGUAGES], help="whose queries")
    verb.add_argument("--queries", type=int, default=5, help="queries per language (default: %(default)s)")
    verb.add_argument("--allow-missing", action="store_true", help="accept passages with fewer queries; count them")
    verb.add_argument("--per-language", action="store_true", help="one sum per language instead of one over all")
    text = "keep only the sum of all queries, not those of the first 1, 2, … queries"
    verb.add_argument("--last-rank", action="store_true", help=text)
    text = f"{_STORED}; int8 stores the sums of the first 1, 2, … queries as differences from the float16 sum of all"
    verb.add_argument("--dtype", choices=["float32", "float16", "int8"], default="float32", help=text)
    verb.add_argument("--shard-size", type=int, default=10_000, help=_SHARD)
    add_stage_options(verb)
    add_distribution_options(verb)
    add_encoder_options(verb)


def _sum(args: argparse.Namespace) -> None:
    from xqg_repro.representation.sums import sum_queries

    sum_queries(
        args.generated,
        required_encoder(args),
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
    verb.add_argument("--embeddings", type=InputPath, required=True, help="folder that encode wrote")
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--sums", type=InputPath, help="folder that sum wrote")
    source.add_argument("--generated", type=InputPath, help=f"{GENERATED}; their sums are not stored")
    verb.add_argument("--alpha", type=float, default=0.01, help="α in [0, 1] (default: %(default)s, the paper's)")
    verb.add_argument("--queries", type=int, default=0, help="the first N queries per language (default: all)")
    add_augmentation_options(verb)
    add_stage_options(verb)


def _augment(args: argparse.Namespace) -> None:
    from xqg_repro.representation.augment import augment, augment_streaming
    from xqg_repro.representation.settings import Aggregate, Augmentation

    how = Augmentation(args.alpha, Aggregate(args.aggregate), tuple(args.languages), args.queries, args.normalize)
    settings = {**stage_settings(args), "allow_missing": args.allow_missing}
    if args.sums:
        del settings["device"]  # nothing is encoded
        augment(args.embeddings, args.sums, args.output, how, **settings)
    else:
        augment_streaming(args.embeddings, args.generated, args.output, how, **settings)


def add_index(verbs: Any, name: str) -> None:
    """Declare the verb ``index``."""
    text = "build an index: FAISS or Lucene (BM25), which Pyserini opens too, or the vectors of all tokens"
    verb = add_verb(verbs, name, _index, text)
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--embeddings", type=InputPath, help="folder that encode or augment wrote")
    source.add_argument("--sparse", action="store_true", help="index a collection's words, for BM25")
    text = "index the vectors of a collection's tokens, for late interaction"
    source.add_argument("--late", action="store_true", help=text)
    verb.add_argument("--factory", help="FAISS factory string, with --embeddings (default: Flat, exact search)")
    verb.add_argument("--collection", type=InputFile, help=f"with --sparse or --late: {COLLECTION}")
    verb.add_argument("--shard-size", type=int, help="with --late: passages per shard (default: 2000)")
    text = "with --late: number format of the files (default: float16)"
    verb.add_argument("--dtype", choices=["float16", "float32"], help=text)
    add_stage_options(verb)
    group = verb.add_argument_group("BM25", "options with --sparse")
    group.add_argument("--generated", type=InputPath, help=f"append these to the passages; {GENERATED}")
    group.add_argument("--languages", nargs="+", metavar="LANG", help="whose queries, one index each (default: all)")
    group.add_argument("--queries", type=int, help="queries per language (default: 5)")
    group.add_argument("--allow-missing", action="store_true", help="accept passages with fewer queries or none")
    text = "Lucene's analyzer (default: en, or that of each language's queries)"
    group.add_argument("--analyzer", metavar="LANG", help=text)
    late.add_late_options(verb)


def _index(args: argparse.Namespace) -> None:
    from xqg_repro.retrieval.index import build_index
    from xqg_repro.retrieval.sparse import build_sparse_index

    of_queries = ("languages", "queries", "allow_missing")
    kind = "--sparse" if args.sparse else "--late"
    if not args.sparse:
        refuse_options(args, "without --sparse", "generated", "analyzer", *of_queries)
    if args.embeddings:
        refuse_options(args, "without --sparse or --late", "collection")
    else:
        refuse_options(args, f"with {kind}", "factory")
        if not args.collection:
            raise InputError(f"{kind} needs passages to index", hint="add --collection")
    if args.late:
        late.index_late(args)
        return
    refuse_options(args, "without --late", "shard_size", "dtype", "device")
    late.refuse_late_options(args, "without --late")
    settings = {"force": args.force}
    if args.embeddings:
        build_index(args.embeddings, args.output, **given_options(args, "factory"), **settings)
        return
    if not args.generated:
        refuse_options(args, "without --generated", *of_queries)
    given = given_options(args, "generated", "analyzer", *of_queries)
    build_sparse_index(args.collection, args.output, **given, **settings)


def add_search(verbs: Any, name: str) -> None:
    """Declare the verb ``search``."""
    verb = add_verb(verbs, name, _search, "retrieve passages and write a TREC run")
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--index", type=InputPath, help="index folder")
    text = "folder that encode or augment wrote, searched exactly without an index"
    source.add_argument("--embeddings", type=InputPath, help=text)
    text = f"{TOPICS}; - for TSV on standard input"
    verb.add_argument("--topics", type=InputFile, required=True, help=text)
    verb.add_argument("--tag", default="xqg_repro", help="last column of the run (default: %(default)s)")
    verb.add_argument("--depth", "--hits", type=int, default=100, help="passages per question (default: %(default)s)")
    verb.add_argument("--nprobe", type=int, help="inverted lists to search, in an IVF index (default: the index's)")
    verb.add_argument("--ef-search", type=int, help="breadth of the search, in an HNSW index (default: the index's)")
    verb.add_argument("--threads", type=int, help="FAISS or Java threads, with --index (default: 1)")
    add_stage_options(verb, "run file to write or replace; - for standard output", file=True)
    group = verb.add_argument_group("BM25", "options for an index that index --sparse wrote")
    group.add_argument("--k1", type=float, help="BM25's k1 (default: 0.9, Pyserini's)")
    group.add_argument("--b", type=float, help="BM25's b (default: 0.4, Pyserini's)")
    text = "of all questions (default: as the topics say); for an index of queries in several languages"
    group.add_argument("--language", metavar="LANG", help=text)
    add_distribution_options(verb)
    add_encoder_options(verb)


def _search(args: argparse.Namespace) -> None:
    from xqg_repro.models.settings import EncoderConfig
    from xqg_repro.retrieval.bm25 import is_sparse, search_sparse
    from xqg_repro.retrieval.exact import search_embeddings
    from xqg_repro.retrieval.late_index import is_late
    from xqg_repro.retrieval.search import search
    from xqg_repro.retrieval.stage import stored_encoder

    of_faiss, of_bm25 = ("nprobe", "ef_search"), ("k1", "b", "language")
    if args.index and args.distribute:
        raise InputError("--distribute has no effect with --index", hint="search the --embeddings instead")
    if args.index and is_late(args.index):
        late.search_late_index(args)
        return
    if args.index and is_sparse(args.index):
        if hasattr(args, "preset") or given_settings(args, EncoderConfig):
            raise InputError("an index for BM25 needs no encoder", hint="leave out the encoder's options")
        refuse_options(args, "on an index for BM25", "device", *of_faiss)
        given = given_options(args, "tag", "depth", "force", "threads", *of_bm25)
        search_sparse(args.index, args.topics, args.output, **given)
        return
    refuse_options(args, "without an index for BM25", *of_bm25)
    encoder = encoder_config(args, stored_encoder(args.index or args.embeddings))
    settings = {"tag": args.tag, "depth": args.depth, "encoder": encoder, **stage_settings(args)}
    if args.index:
        given = given_options(args, "threads", *of_faiss)
        search(args.index, args.topics, args.output, **settings, **given)
    else:
        refuse_options(args, "without --index", "threads", *of_faiss)
        search_embeddings(args.embeddings, args.topics, args.output, **settings)


def add_read(verbs: Any, name: str) -> None:
    """Declare the verb ``read``."""
    from xqg_repro.models.settings import ReaderConfig

    verb = add_verb(verbs, name, _read, "answer each question from a run's passages with a reader")
    verb.add_argument("--run", type=InputPath, dest="run_file", required=True, help="TREC run")
    verb.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
    add_collection_option(verb)
    verb.add_argument("--depth", type=int, default=1, help="passages to read per question (default: %(default)s)")
    text = "weight of the retrieval score, added to the answer's score (default: %(default)s)"
    verb.add_argument("--weight", type=float, default=0.0, help=text)
    add_stage_options(verb, "file of answers (.json) to write; - for standard output", file=True)
    add_settings(verb, ReaderConfig, "--reader", "readers.yaml")


def _read(args: argparse.Namespace) -> None:
    from xqg_repro.models.settings import ReaderConfig, load_reader
    from xqg_repro.retrieval.read import read

    config = required_settings(args, ReaderConfig, load_reader, "--reader")
    settings = {"depth": args.depth, "weight": args.weight, "passages": args.collection, **stage_settings(args)}
    read(args.run_file, args.topics, config, args.output, **settings)
