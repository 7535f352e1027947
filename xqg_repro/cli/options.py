"""Options that several verbs share, and the settings that they stand for."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import logging
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from xqg_repro.cli.arguments import InputFile, InputPath, OutputFile, OutputFolder
from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    from xqg_repro.core.cluster import Distribution
    from xqg_repro.models.settings import EncoderConfig

S = TypeVar("S")

COLLECTION = "ir-datasets id, such as xor-mini; a folder in BEIR's layout; a .jsonl or .tsv file of passages"
GENERATED = "generated queries: folder or file of JSON lines, or hub dataset such as ielab/xor-tydi-xqg-augmented"
TOPICS = "ir-datasets id, such as xor-mini/dev; FOLDER/SPLIT in BEIR's layout; a .jsonl or .tsv file"


@contextmanager
def messages_on_stderr(wanted: Callable[[str], bool] = lambda message: True) -> Iterator[None]:
    """Show the package's log messages on standard error as plain lines, or only the ``wanted`` ones."""
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
    """Declare a verb that ``handler`` runs, and return the parser for its options."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(run=handler)
    return verb


def add_stage_options(
    verb: argparse.ArgumentParser, output: str = "stage folder to write", *, device: bool = True, file: bool = False
) -> None:
    """Add ``--output``, a folder or a ``file``, ``--force`` and ``--device``; :func:`stage_settings` reads them."""
    verb.add_argument("--output", type=OutputFile if file else OutputFolder, required=True, help=output)
    if device:
        verb.add_argument("--device", help="torch device (default: a GPU if there is one)")
    verb.add_argument("--force", action="store_true", help="rebuild even if an existing output matches")


def add_distribution_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of a Ray cluster; :func:`stage_settings` reads them."""
    group = verb.add_argument_group("distribution", "workers, which give the same bytes; see docs/guides/scale-out.md")
    group.add_argument("--distribute", choices=["ray"], help="let workers do the work on shards")
    text = "host:port of the cluster, or auto for that of this machine (default: start Ray on this machine)"
    group.add_argument("--ray-address", metavar="ADDRESS", help=text)
    group.add_argument("--workers", type=int, metavar="N", help="how many (default: as many as have room)")
    text = "GPUs of each, or a fraction of one to share it (default: 0, they compute on CPUs)"
    group.add_argument("--gpus-per-worker", type=float, metavar="G", help=text)


def _distribution(args: argparse.Namespace) -> Distribution | None:
    from xqg_repro.core.cluster import Distribution

    given = {"--ray-address": args.ray_address, "--workers": args.workers, "--gpus-per-worker": args.gpus_per_worker}
    if not args.distribute:
        if options := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{options[0]} needs a cluster", hint="add --distribute ray")
        return None
    if args.device:
        raise InputError("--device is of this machine, not of the workers", hint="use --gpus-per-worker 1 for GPUs")
    return Distribution(args.ray_address, args.workers, args.gpus_per_worker or 0)


def stage_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of a stage's function for the options of a stage and of its distribution."""
    settings = {name: getattr(args, name) for name in ("device", "force") if hasattr(args, name)}
    if hasattr(args, "distribute") and (distribution := _distribution(args)):
        settings["distribute"] = distribution
    return settings


def given_options(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that are on the command line, or have a default, by name."""
    values = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def refuse_options(args: argparse.Namespace, where: str, *names: str) -> None:
    """Raise :class:`InputError` if one of the options is given, which has no effect ``where``."""
    for name in given_options(args, *names):
        option = f"--{name.replace('_', '-')}"
        raise InputError(f"{option} has no effect {where}", hint=f"leave out {option}")


def add_settings(verb: argparse.ArgumentParser, settings: type, model: str, presets: str, note: str = "") -> Any:
    """Add ``--preset`` and one option per field of a settings class; :func:`given_settings` reads them.

    Types come from the annotations and help texts from the docstring's "Attributes".

    Args:
        verb: where to add the options.
        settings: a dataclass whose field ``model`` names the model.
        model: the option for that field, such as ``--encoder``; also the name of the options' group.
        presets: file of the presets.
        note: what holds without a preset.

    Returns:
        the group of options.
    """
    description = f"settings; options override a preset's{f'; {note}' if note else ''}"
    group = verb.add_argument_group(model.lstrip("-"), description)
    group.add_argument("--preset", default=argparse.SUPPRESS, help=f"named settings from resources/{presets}")
    hints, helps = typing.get_type_hints(settings), attribute_docs(settings)
    for field in dataclasses.fields(settings):
        option = model if field.name == "model" else f"--{field.name.replace('_', '-')}"
        how = {"type": InputPath, "metavar": "MODEL"} if field.name == "model" else _argument(hints[field.name])
        group.add_argument(option, dest=field.name, default=argparse.SUPPRESS, help=helps[field.name], **how)
    return group


def _argument(hint: Any) -> dict[str, Any]:
    """How argparse reads a value of an annotated type."""
    members = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    origin = typing.get_origin(hint)
    if origin is tuple:
        return {"nargs": "+", "metavar": "LANG"}
    if origin is Mapping:
        return {"nargs": "+", "metavar": "LANG=CODE", "type": _language_code}
    kind = members[0] if members else hint
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if issubclass(kind, StrEnum):
        return {"choices": [member.value for member in kind]}
    return {"type": kind, "metavar": kind.__name__.upper()} if kind is not str else {"metavar": "TEXT"}


def _language_code(text: str) -> tuple[str, str]:
    language, _, code = text.partition("=")
    if not (language and code):
        raise InputError(f"--codes: cannot read {text!r}", hint="write LANG=CODE, such as ar=arb_Arab")
    return language, code


def attribute_docs(cls: type) -> dict[str, str]:
    """Field → its text in the "Attributes" section of a class's docstring, without markup."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
    docs = {}
    for names, text in re.findall(r"^ {4}([\w, ]+): ((?:.+\n?(?: {8})?)+?)(?=^ {4}\w|\Z)", section, re.MULTILINE):
        plain = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", " ".join(text.split())).replace("``", "")
        for name in names.split(", "):
            docs[name] = plain.removesuffix(".").replace("%", "%%")
    return docs


def given_settings(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings that options on the command line name."""
    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(settings) if hasattr(args, f.name)}
    for name, hint in typing.get_type_hints(settings).items():
        if name in given and typing.get_origin(hint) is tuple:
            given[name] = tuple(given[name])
        if name in given and typing.get_origin(hint) is Mapping:
            given[name] = dict(given[name])
    return given


def chosen_settings(
    args: argparse.Namespace, settings: type[S], load: Callable[[str], S], option: str, base: S | None = None
) -> S | None:
    """The settings that the options describe.

    Args:
        args: the command line.
        settings: the settings class.
        load: loads a preset.
        option: the option that names the model.
        base: what the options override without a preset.

    Returns:
        ``None`` if no option of the group is given and there is no base.
    """
    given = given_settings(args, settings)
    base = load(args.preset) if hasattr(args, "preset") else base
    if base is not None:
        return dataclasses.replace(base, **given)  # type: ignore[type-var]
    if "model" in given:
        return settings(**given)
    if given:
        name = next(iter(given)).replace("_", "-")
        raise InputError(f"--{name} needs a model", hint=f"name one with --preset or {option}")
    return None


def required_settings(args: argparse.Namespace, settings: type[S], load: Callable[[str], S], option: str) -> S:
    """The settings that the options describe; :class:`InputError` if they name no model."""
    chosen = chosen_settings(args, settings, load, option)
    if chosen is None:
        raise InputError(f"no {option.lstrip('-')} given", hint=f"use --preset or {option}")
    return chosen


def add_encoder_options(verb: argparse.ArgumentParser) -> None:
    """Add the options that describe an encoder; :func:`encoder_config` reads them."""
    from xqg_repro.models.settings import EncoderConfig

    note = "without a preset, those of the paper; --pooling is then required"
    group = add_settings(verb, EncoderConfig, "--encoder", "encoders.yaml", note)
    text = "leave the title out"
    group.add_argument(
        "--no-title", dest="title_separator", action="store_const", const=None, default=argparse.SUPPRESS, help=text
    )


def encoder_config(args: argparse.Namespace, base: EncoderConfig | None = None) -> EncoderConfig | None:
    """The encoder that the options describe; ``base`` are the settings that made an index.

    Raises:
        InputError: ``--encoder`` without ``--pooling``, which its folder does not say either: pooling is never guessed.
    """
    from xqg_repro.models.agreement import complete_settings, resolve_prompts
    from xqg_repro.models.settings import EncoderConfig, load_preset

    if hasattr(args, "model") and not hasattr(args, "preset") and base is None:
        vars(args).update(complete_settings(given_settings(args, EncoderConfig)))
        if not hasattr(args, "pooling"):
            hint = "--pooling cls or mean, and whatever else the model's authors say; or use a --preset"
            raise InputError("--pooling is required with --encoder", hint=hint)
    config = chosen_settings(args, EncoderConfig, load_preset, "--encoder", base)
    return config and resolve_prompts(config)


def required_encoder(args: argparse.Namespace) -> EncoderConfig:
    """The encoder that the options describe; :class:`InputError` if they name none."""
    config = encoder_config(args)
    if config is None:
        raise InputError("no encoder given", hint="use --preset or --encoder")
    return config


def add_collection_option(verb: argparse.ArgumentParser) -> None:
    """Add the option that names the passages of topics which have none."""
    text = "the collection that was searched, if the topics are a file, which has no passages"
    verb.add_argument("--collection", type=InputFile, default="", help=text)


def add_augmentation_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of an augmentation other than α and the number of queries."""
    from xqg_repro.representation.settings import Aggregate

    verb.add_argument("--languages", nargs="+", metavar="LANG", default=[], help="whose queries (default: all)")
    verb.add_argument(
        "--aggregate",
        choices=[aggregate.value for aggregate in Aggregate],
        default=Aggregate.SUM.value,
        help="add the sum of the queries (as in the paper) or their mean",
    )
    text = "L2-normalise the result (default: as the encoder does)"
    verb.add_argument("--normalize", action=argparse.BooleanOptionalAction, help=text)
    verb.add_argument("--allow-missing", action="store_true", help="leave passages without queries as they are")
