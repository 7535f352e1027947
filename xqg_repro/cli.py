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
        epilog="In order: encode, index, search, evaluate. All in one go: python -m xqg_repro.2cr.xor_mini --all",
    )
    top.add_argument("--version", action="version", version=f"xqg_repro {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for name, add in (
        ("encode", _add_encode),
        ("index", _add_index),
        ("search", _add_search),
        ("evaluate", _add_evaluate),
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


def _encoder_config(asked: argparse.Namespace, made_by: EncoderConfig | None = None) -> EncoderConfig | None:
    """The encoder that the options describe; ``None`` where there is nothing to start from.

    Options override a preset, else the settings of the encoder that made an index, else the paper's.
    """
    import dataclasses

    from xqg_repro.config import EncoderConfig, load_preset, parse

    given = {f.name: getattr(asked, f.name) for f in dataclasses.fields(EncoderConfig) if hasattr(asked, f.name)}
    base = load_preset(asked.preset) if hasattr(asked, "preset") else made_by
    if base is not None:
        return dataclasses.replace(base, **given)
    if "model" in given:
        return parse(EncoderConfig, given, "command line")
    if given:
        option = "no-title" if given.get("title_separator", "") is None else next(iter(given)).replace("_", "-")
        raise InputError(f"--{option} is given without an encoder", mend="name one with --preset or --encoder")
    return None


def _add_encode(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _encode, "embed a collection's passages into shards")
    verb.add_argument("--collection", required=True, help="ir-datasets id, such as xor-mini")
    verb.add_argument("--output", required=True, help="stage folder to write")
    verb.add_argument("--shard-size", type=int, default=50_000, help="passages a shard (default: %(default)s)")
    verb.add_argument("--device", help="torch device (default: a GPU if there is one)")
    verb.add_argument("--force", action="store_true", help="encode again even if the folder matches")
    _add_encoder_options(verb)


def _encode(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.encode import encode

    config = _encoder_config(asked)
    if config is None:
        raise InputError("no encoder is named", mend="use --preset or --encoder")
    encode(
        asked.collection,
        config,
        asked.output,
        shard_size=asked.shard_size,
        device=asked.device,
        force=asked.force,
        log=log,
    )


def _add_index(verbs: Any, name: str) -> None:
    verb = _verb(verbs, name, _index, "build a FAISS index that Pyserini opens")
    verb.add_argument("--embeddings", required=True, help="folder that encode wrote")
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
    verb.add_argument("--device", help="torch device (default: a GPU if there is one)")
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
    xdr = _verb(kinds, "xdr", _train_xdr, "train a dual encoder contrastively")
    xdr.add_argument(
        "--recipe",
        default="xdr-mini",
        help="name of a recipe in resources/recipes, or a YAML file (default: %(default)s)",
    )
    xdr.add_argument("--output", required=True, help="model folder to write")
    xdr.add_argument("--steps", type=int, help="optimiser steps in place of the recipe's")
    xdr.add_argument("--seed", type=int, help="seed in place of the recipe's")
    xdr.add_argument("--force", action="store_true", help="train again even if the folder matches")


def _train_xdr(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.train.recipe import load_recipe
    from xqg_repro.train.xdr import train

    train(load_recipe(asked.recipe, steps=asked.steps, seed=asked.seed), asked.output, force=asked.force, log=log)
