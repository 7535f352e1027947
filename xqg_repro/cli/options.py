"""Options that several verbs share, and what they stand for."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    from xqg_repro.models.settings import EncoderConfig


@contextmanager
def messages_on_stderr(wanted: Callable[[str], bool] = lambda message: True) -> Iterator[None]:
    """Show what the package logs on standard error, as plain lines; only the ``wanted`` messages."""
    package, handler = logging.getLogger("xqg_repro"), logging.StreamHandler(sys.stderr)
    level = package.level
    handler.addFilter(lambda record: wanted(record.getMessage()))
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


def add_verb(
    verbs: Any, name: str, handler: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """Declare a verb that ``handler`` runs; the parser for its options."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(run=handler)
    return verb


def add_stage_options(
    verb: argparse.ArgumentParser, again: str, output: str = "stage folder to write", *, device: bool = True
) -> None:
    """``--output``, ``--force`` (which does ``again``) and ``--device``, for :func:`stage_settings`."""
    verb.add_argument("--output", required=True, help=output)
    if device:
        verb.add_argument("--device", help="torch device (default: a GPU if there is one)")
    verb.add_argument("--force", action="store_true", help=again)


def stage_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of a stage's function that :func:`add_stage_options` asks for."""
    return {name: getattr(args, name) for name in ("device", "force") if hasattr(args, name)}


def add_encoder_options(verb: argparse.ArgumentParser) -> None:
    """The options that describe an encoder, for :func:`encoder_config`."""
    from xqg_repro.models.settings import EncoderConfig, Pooling, Precision

    default = EncoderConfig("")
    group = verb.add_argument_group(
        "encoder",
        "a preset's settings, each of which an option overrides; without a preset, the paper's: no prefixes, "
        f"title and text joined by a space, not normalised, {default.query_max_length} tokens of a question and "
        f"{default.passage_max_length} of a passage, float32",
    )
    group.add_argument("--preset", default=argparse.SUPPRESS, help="named settings from resources/encoders.yaml")
    group.add_argument(
        "--encoder",
        dest="model",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="model folder, Hugging Face id or package:NAME",
    )
    group.add_argument(
        "--pooling", choices=[p.value for p in Pooling], default=argparse.SUPPRESS, help="first token or mean"
    )
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
    group.add_argument(
        "--precision", choices=[p.value for p in Precision], default=argparse.SUPPRESS, help="of the encoder's layers"
    )


def given_settings(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings (a dataclass's fields) that options name."""
    import dataclasses

    return {f.name: getattr(args, f.name) for f in dataclasses.fields(settings) if hasattr(args, f.name)}


def encoder_config(args: argparse.Namespace, made_by: EncoderConfig | None = None) -> EncoderConfig | None:
    """The encoder that the options describe; ``None`` where there is nothing to start from.

    Options override a preset, else the settings of the encoder that made an index, else the paper's.
    """
    import dataclasses

    from xqg_repro.core.settings import parse
    from xqg_repro.models.settings import EncoderConfig, load_preset

    given = given_settings(args, EncoderConfig)
    base = load_preset(args.preset) if hasattr(args, "preset") else made_by
    if base is not None:
        return dataclasses.replace(base, **given)
    if "model" in given:
        if "pooling" not in given:
            hint = "--pooling cls or mean, and whatever else its authors say; or a --preset that says it"
            raise InputError(f"how {given['model']} makes one vector of a text is not said", hint=hint)
        return parse(EncoderConfig, given, "command line")
    if given:
        option = "no-title" if given.get("title_separator", "") is None else next(iter(given)).replace("_", "-")
        raise InputError(f"--{option} is given without an encoder", hint="name one with --preset or --encoder")
    return None


def named_encoder(args: argparse.Namespace) -> EncoderConfig:
    """The encoder that the options describe; :class:`InputError` where they name none."""
    config = encoder_config(args)
    if config is None:
        raise InputError("no encoder is named", hint="use --preset or --encoder")
    return config


def add_aggregate_options(verb: argparse.ArgumentParser) -> None:
    """How query embeddings are put together, and whether the result is normalised."""
    from xqg_repro.representation.settings import Aggregate

    verb.add_argument(
        "--aggregate",
        choices=[a.value for a in Aggregate],
        default="sum",
        help="add the sum (as in the paper) or the mean of queries",
    )
    verb.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="L2-normalise the result (default: as the encoder does)",
    )
