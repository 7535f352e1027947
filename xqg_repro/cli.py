"""``xqg-repro``: one verb a stage, each a thin shell over a typed function.

Nothing heavy is imported before a verb is chosen, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xqg_repro import __version__
from xqg_repro.errors import InputError, exit_status

if TYPE_CHECKING:
    from xqg_repro.config import EncoderConfig

Log = Callable[[str], None]

_DEVICE = "torch device (default: a GPU if there is one)"
_GENERATED = "generated queries: folder or file of JSON lines, or hub dataset such as ielab/xor-tydi-xqg-augmented"
_STORED = "number format of the files (default: %(default)s)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, or 2 after an input error."""

    def action() -> int:
        run(sys.argv[1:] if arguments is None else arguments, lambda message: print(message, file=sys.stderr))
        return 0

    return exit_status(action)


def run(arguments: Sequence[str], log: Log) -> None:
    """Parse a command line and run it; raises :class:`InputError`. ``log`` receives progress messages."""
    asked = parser().parse_args(arguments)
    asked.run(asked, log)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="xqg-repro",
        description="Cross-lingual dense retrieval with query-augmented passages, stage by stage.",
        epilog="In order: generate, encode, sum, augment, index, search, evaluate. "
        "All in one go: python -m xqg_repro.2cr.xor_mini --all",
    )
    top.add_argument("--version", action="version", version=f"xqg_repro {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for name, add in (
        ("generate", _add_generate),
        ("encode", _add_encode),
        ("sum", _add_sum),
        ("augment", _add_augment),
        ("index", _add_index),
        ("search", _add_search),
        ("evaluate", _add_evaluate),
        ("ablate", _add_ablate),
        ("topics", _add_topics),
        ("train", _add_train),
    ):
        add(verbs, name)
    return top


def _verb(
    verbs: Any, name: str, handler: Callable[[argparse.Namespace, Log], None], text: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(run=handler)
    return verb


def _add_encoder_options(verb: argparse.ArgumentParser) -> None:
    from xqg_repro.config import Pooling, Precision

    group = verb.add_argument_group("encoder", "a preset's settings, each of which an option overrides")
    group.add_argument("--preset", default=argparse.SUPPRESS, help="named settings from resources/encoders.yaml")
    group.add_argument(
        "--encoder",
        dest="model",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="model folder, Hugging Face id or package:NAME",
    )
    group.add_argument("--pooling", choices=[*Pooling], default=argparse.SUPPRESS, help="first token or mean")
    group.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help="L2-normalise embeddings"
    )
    group.add_argument("--query-prefix", default=argparse.SUPPRESS, help="put before each question")
    group.add_argument("--passage-prefix", default=argparse.SUPPRESS, help="put before each passage")
    group.add_argument("--title-separator", default=argparse.SUPPRESS, help="between title and text")
    group.add_argument(
        "--no-title",
        dest="title_separator",
        action="store_const",
        const=None,
        default=argparse.SUPPRESS,
        help="leave the title out",
    )
    group.add_argument("--query-max-length", type=int, default=argparse.SUPPRESS, help="tokens of a question")
    group.add_argument("--passage-max-length", type=int, default=argparse.SUPPRESS, help="tokens of a passage")
    group.add_argument("--precision", choices=[*Precision], default=argparse.SUPPRESS, help="of the encoder's layers")


def _given(asked: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings (a dataclass's fields) that options name."""
    import dataclasses

    return {f.name: getattr(asked, f.name) for f in dataclasses.fields(settings) if hasattr(asked, f.name)}


def _encoder_config(asked: argparse.Namespace, made_by: EncoderConfig | None = None) -> EncoderConfig | None:
    """The encoder that the options describe; ``None`` where there is nothing to start from.

    Options override a preset, else the settings of the encoder that made an index, else the paper's.
    """
    import dataclasses

    from xqg_repro.config import EncoderConfig, load_preset, parse

    given = _given(asked, EncoderConfig)
    base = load_preset(asked.preset) if hasattr(asked, "preset") else made_by
    if base is not None:
        return dataclasses.replace(base, **given)
    if "model" in given:
        return parse(EncoderConfig, given, "command line")
    if given:
        option = "no-title" if given.get("title_separator", "") is None else next(iter(given)).replace("_", "-")
        raise InputError(f"--{option} is given without an encoder", mend="name one with --preset or --encoder")
    return None


def _add_generate(verbs: Any, name: str) -> None:
    from xqg_repro.config import Precision

    verb = _verb(verbs, name, _generate, "write queries in several languages for a collection's passages")
    verb.add_argument("--collection", required=True, help="ir-datasets id, such as xor-mini")
    verb.add_argument("--output", required=True, help="stage folder to write")
    verb.add_argument("--shard-size", type=int, default=1_000, help="passages a shard (default: %(default)s)")
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--force", action="store_true", help="generate again even if the folder matches")
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
    group.add_argument(
        "--generator",
        dest="model",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="model folder, Hugging Face id or package:NAME",
    )
    group.add_argument("--languages", nargs="+", metavar="LANG", default=argparse.SUPPRESS, help="to generate in")
    group.add_argument("--precision", choices=[*Precision], default=argparse.SUPPRESS, help="of the model's layers")


def _generate(asked: argparse.Namespace, log: Log) -> None:
    import dataclasses

    from xqg_repro.config import GeneratorConfig, load_generator
    from xqg_repro.generate import generate

    given = _given(asked, GeneratorConfig)
    if "languages" in given:
        given["languages"] = tuple(given["languages"])
    config = dataclasses.replace(load_generator(getattr(asked, "preset", "xqg-mt5-base")), **given)
    generate(
        asked.collection,
        config,
        asked.output,
        shard_size=asked.shard_size,
        device=asked.device,
        force=asked.force,
        log=log,
    )


def _add_encode(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _encode, "embed a collection's passages into shards")
    verb.add_argument("--collection", required=True, help="ir-datasets id, such as xor-mini")
    verb.add_argument("--output", required=True, help="stage folder to write")
    verb.add_argument("--shard-size", type=int, default=50_000, help="passages a shard (default: %(default)s)")
    verb.add_argument("--dtype", choices=["float32", "float16"], default="float32", help=_STORED)
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--force", action="store_true", help="encode again even if the folder matches")
    _add_encoder_options(verb)


def _encode(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.encode import encode

    encode(
        asked.collection,
        _named_encoder(asked),
        asked.output,
        shard_size=asked.shard_size,
        dtype=asked.dtype,
        device=asked.device,
        force=asked.force,
        log=log,
    )


def _named_encoder(asked: argparse.Namespace) -> EncoderConfig:
    config = _encoder_config(asked)
    if config is None:
        raise InputError("no encoder is named", mend="use --preset or --encoder")
    return config


def _add_sum(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _sum, "embed generated queries and add them up for each passage")
    _add_queries_options(verb)
    verb.add_argument("--output", required=True, help="stage folder to write")
    verb.add_argument("--per-language", action="store_true", help="a sum for each language, not one over all")
    verb.add_argument("--last-rank", action="store_true", help="keep the sum of all queries, not of the first 1, 2, …")
    verb.add_argument(
        "--dtype",
        choices=["float32", "float16", "int8"],
        default="float32",
        help=f"{_STORED}; int8 stores the sums of the first 1, 2, … queries as differences from the float16 sum of all",
    )
    verb.add_argument("--shard-size", type=int, default=10_000, help="passages a shard (default: %(default)s)")
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--force", action="store_true", help="sum again even if the folder matches")
    _add_encoder_options(verb)


def _add_queries_options(verb: argparse.ArgumentParser) -> None:
    from xqg_repro.config import XOR_LANGUAGES

    verb.add_argument(
        "--generated",
        required=True,
        help=_GENERATED,
    )
    verb.add_argument("--languages", nargs="+", metavar="LANG", default=[*XOR_LANGUAGES], help="whose queries")
    verb.add_argument("--queries", type=int, default=5, help="queries a language (default: %(default)s)")
    verb.add_argument("--allow-missing", action="store_true", help="passages may have fewer queries; count them")


def _sum(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.sums import sum_queries

    sum_queries(
        asked.generated,
        _named_encoder(asked),
        asked.output,
        languages=asked.languages,
        count=asked.queries,
        per_language=asked.per_language,
        every_rank=not asked.last_rank,
        dtype=asked.dtype,
        allow_missing=asked.allow_missing,
        shard_size=asked.shard_size,
        device=asked.device,
        force=asked.force,
        log=log,
    )


def _add_augment(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _augment, "add query sums to passage embeddings: (1-α)·p + α·Σq")
    verb.add_argument("--embeddings", required=True, help="folder that encode wrote")
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--sums", help="folder that sum wrote")
    source.add_argument("--generated", help=f"instead, {_GENERATED}; their sums are not stored")
    verb.add_argument("--output", required=True, help="stage folder to write")
    verb.add_argument("--alpha", type=float, default=0.01, help="α in [0, 1] (default: %(default)s, the paper's)")
    verb.add_argument("--languages", nargs="+", metavar="LANG", default=[], help="whose queries (default: all)")
    verb.add_argument("--queries", type=int, default=0, help="the first so many a language (default: all)")
    verb.add_argument("--allow-missing", action="store_true", help="leave passages without queries as they are")
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--force", action="store_true", help="augment again even if the folder matches")
    _add_aggregate_options(verb)


def _add_aggregate_options(verb: argparse.ArgumentParser) -> None:
    from xqg_repro.config import Aggregate

    verb.add_argument(
        "--aggregate", choices=[*Aggregate], default="sum", help="add the sum (as in the paper) or the mean of queries"
    )
    verb.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="L2-normalise the result (default: as the encoder does)",
    )


def _augment(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.augment import augment, augment_in_one_stream
    from xqg_repro.config import Aggregate, Augmentation

    how = Augmentation(asked.alpha, Aggregate(asked.aggregate), tuple(asked.languages), asked.queries, asked.normalize)
    common = {"allow_missing": asked.allow_missing, "force": asked.force, "log": log}
    if asked.sums:
        augment(asked.embeddings, asked.sums, asked.output, how, **common)
    else:
        augment_in_one_stream(asked.embeddings, asked.generated, asked.output, how, device=asked.device, **common)


def _add_index(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _index, "build a FAISS index that Pyserini opens")
    verb.add_argument("--embeddings", required=True, help="folder that encode or augment wrote")
    verb.add_argument("--output", required=True, help="stage folder to write")
    verb.add_argument("--factory", default="Flat", help="FAISS factory string (default: Flat, exact search)")
    verb.add_argument("--force", action="store_true", help="index again even if the folder matches")


def _index(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.index import build_index

    build_index(asked.embeddings, asked.output, factory=asked.factory, force=asked.force, log=log)


def _add_search(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _search, "retrieve passages and write a TREC run")
    verb.add_argument("--index", required=True, help="index folder")
    verb.add_argument(
        "--topics", required=True, help="ir-datasets id, such as xor-mini/dev, or a TSV file of qid and text"
    )
    verb.add_argument("--output", required=True, help="run file to write or to replace")
    verb.add_argument("--tag", default="xqg_repro", help="last column of the run (default: %(default)s)")
    verb.add_argument("--depth", "--hits", type=int, default=100, help="passages a question (default: %(default)s)")
    verb.add_argument("--threads", type=int, default=1, help="FAISS threads (default: %(default)s)")
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--force", action="store_true", help="search again even if the run matches")
    _add_encoder_options(verb)


def _search(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.search import index_encoder, search

    encoder = _encoder_config(asked, index_encoder(asked.index))
    search(
        asked.index,
        asked.topics,
        asked.output,
        tag=asked.tag,
        depth=asked.depth,
        encoder=encoder,
        threads=asked.threads,
        device=asked.device,
        force=asked.force,
        log=log,
    )


def _add_evaluate(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _evaluate, "score a TREC run per language and on average")
    verb.add_argument("--run", dest="run_file", required=True, help="TREC run")
    verb.add_argument("--topics", required=True, help="ir-datasets id, such as xor-mini/dev")
    verb.add_argument(
        "--measures", nargs="+", default=["R2kt", "R5kt"], help="R2kt, R5kt (the default) or ir-measures names"
    )
    verb.add_argument(
        "--missing",
        choices=["zero", "skip"],
        default="zero",
        help="questions that the run does not hold score zero (default), or are skipped as the official script does",
    )
    verb.add_argument("--output", help="JSON file for all scores, per question too")


def _evaluate(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.evaluate import Missing, evaluate
    from xqg_repro.tables import Table

    scores = evaluate(asked.run_file, asked.topics, asked.measures, missing=Missing(asked.missing))
    if asked.output:
        scores.write(asked.output)
    if scores.absent:
        log(
            f"evaluate: {len(scores.absent)} questions are not in the run; they "
            f"{'score zero' if scores.missing is Missing.ZERO else 'are skipped, as in the official script'}"
        )
    means = {measure: scores.table(measure) for measure in scores.per_query}
    columns = list(next(iter(means.values())))
    rows = [[measure, *(_shown(means[measure][c]) for c in columns), str(scores.count(measure))] for measure in means]
    print(Table(["measure", *columns, "questions"], rows).text())


def _shown(mean: float) -> str:
    return "–" if mean != mean else f"{mean:.4f}"  # a language without a question has no mean


def _add_ablate(verbs: Any, name: str) -> None:
    text = "score an augmentation for several values of α or numbers of queries"
    verb = verbs.add_parser(name, help=text, description=text)
    kinds = verb.add_subparsers(metavar="WHAT", required=True)
    for kind, text in (("alpha", "vary α"), ("queries", "vary the number of queries a language")):
        what = _verb(kinds, kind, _ablate, text)
        what.set_defaults(vary=kind)
        what.add_argument("--embeddings", required=True, help="folder that encode wrote")
        what.add_argument("--sums", required=True, help="folder that sum wrote")
        what.add_argument("--topics", required=True, help="ir-datasets id, such as xor-mini/dev")
        what.add_argument("--output", required=True, help="stage folder to write: scores.json, table.md, plot.svg")
        if kind == "alpha":
            what.add_argument("--alpha", type=float, nargs="+", default=[], help="values of α (default: a grid)")
            what.add_argument("--queries", type=int, default=0, help="the first so many a language (default: all)")
        else:
            what.add_argument("--queries", type=int, nargs="+", default=[], help="numbers (default: 0 and every one)")
            what.add_argument("--alpha", type=float, default=0.01, help="α (default: %(default)s, the paper's)")
        what.add_argument("--languages", nargs="+", metavar="LANG", default=[], help="whose queries (default: all)")
        what.add_argument("--measures", nargs="+", default=["R2kt", "R5kt"], help="R2kt, R5kt or ir-measures names")
        what.add_argument("--depth", "--hits", type=int, default=100, help="passages a question (default: %(default)s)")
        what.add_argument("--allow-missing", action="store_true", help="leave passages without queries as they are")
        what.add_argument("--device", help=_DEVICE)
        what.add_argument("--force", action="store_true", help="score again even if the folder matches")
        _add_aggregate_options(what)


def _ablate(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.ablate import Vary, ablate
    from xqg_repro.config import Aggregate, Augmentation

    vary = Vary(asked.vary)
    fixed = {"queries": asked.queries} if vary is Vary.ALPHA else {"alpha": asked.alpha}
    how = Augmentation(
        aggregate=Aggregate(asked.aggregate), languages=tuple(asked.languages), normalize=asked.normalize, **fixed
    )
    found = ablate(
        vary,
        asked.embeddings,
        asked.sums,
        asked.topics,
        asked.output,
        values=getattr(asked, vary),
        how=how,
        measures=asked.measures,
        depth=asked.depth,
        allow_missing=asked.allow_missing,
        device=asked.device,
        force=asked.force,
        log=log,
    )
    print(found.text())


def _add_topics(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _topics, "write a topic set as a TSV file, for stock Pyserini and others")
    verb.add_argument("--topics", required=True, help="ir-datasets id, such as xor-mini/dev/ar")
    verb.add_argument("--output", required=True, help="TSV file to write: qid and text")


def _topics(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.search import read_topics, write_topics

    log(f"topics: {write_topics(read_topics(asked.topics)[0], asked.output)} questions in {asked.output}")


def _add_train(verbs: Any, name: str) -> None:
    verb = verbs.add_parser(
        name, help="train a model from a named recipe", description="train a model from a named recipe"
    )
    kinds = verb.add_subparsers(metavar="MODEL", required=True)
    for kind, handler, text in (
        ("xdr", _train_xdr, "train a dual encoder contrastively"),
        ("xqg", _train_xqg, "train a query generator, from passages to questions"),
    ):
        model = _verb(kinds, kind, handler, text)
        model.add_argument(
            "--recipe",
            default=f"{kind}-mini",
            help="name of a recipe in resources/recipes, or a YAML file (default: %(default)s)",
        )
        model.add_argument("--output", required=True, help="model folder to write")
        model.add_argument("--steps", type=int, help="optimiser steps in place of the recipe's")
        model.add_argument("--seed", type=int, help="seed in place of the recipe's")
        model.add_argument("--force", action="store_true", help="train again even if the folder matches")


def _train_xdr(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.train.recipe import EncoderRecipe, load_recipe
    from xqg_repro.train.xdr import train

    recipe = load_recipe(asked.recipe, EncoderRecipe, steps=asked.steps, seed=asked.seed)
    train(recipe, asked.output, force=asked.force, log=log)


def _train_xqg(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.train.recipe import GeneratorRecipe, load_recipe
    from xqg_repro.train.xqg import train

    recipe = load_recipe(asked.recipe, GeneratorRecipe, steps=asked.steps, seed=asked.seed)
    train(recipe, asked.output, force=asked.force, log=log)
