from __future__ import annotations

import argparse
import dataclasses
import logging
from typing import Any

import pytest

from xqg_repro import cli
from xqg_repro.cli import options
from xqg_repro.core.errors import InputError
from xqg_repro.models.settings import (
    Backend,
    EncoderConfig,
    GeneratorConfig,
    Precision,
    ReaderConfig,
    TranslatorConfig,
    load_preset,
)
from xqg_repro.reproduction.tasks import Task

CT2 = Backend.CTRANSLATE2


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        (EncoderConfig("m", "mean", True, "query: ", "text: ", "; ", 7, 9, "float16", "torch", " [{lang}]"), "encoder"),  # type: ignore[arg-type]
        (
            GeneratorConfig("m", ("fi", "ru"), 3, "{language}?", 9, 8, 7, 0.6, 0.5, Precision.BFLOAT16, 4, CT2, True),
            "generator",
        ),
        (
            TranslatorConfig("m", "{code}", "fi", {"ru": "rus", "te": "tel"}, 9, 8, 2, Precision.FLOAT16, CT2, True),
            "translator",
        ),
        (ReaderConfig("m", 99, 9, 19, 3, Precision.BFLOAT16), "reader"),
    ],
)
def test_every_setting_has_an_option(settings: Any, option: str) -> None:
    kind = type(settings)
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    assert all(values[field.name] != field.default for field in dataclasses.fields(settings))
    values[option] = values.pop("model")
    if "codes" in values:
        values["codes"] = tuple(f"{language}={code}" for language, code in values["codes"].items())
    parser = argparse.ArgumentParser()
    options.add_settings(parser, kind, f"--{option}", "presets.yaml")
    args = parser.parse_args(Task("", values).argv())
    assert options.required_settings(args, kind, load_preset, f"--{option}") == settings


def encoder(line: str, base: EncoderConfig | None = None) -> EncoderConfig | None:
    """The encoder that options of ``search`` describe."""
    args = cli.parser().parse_args(["search", "--index", "i", "--topics", "t", "--output", "o", *line.split()])
    return options.encoder_config(args, base)


def test_options_override_a_preset_or_the_index() -> None:
    changed = encoder("--preset mbert --encoder m --pooling mean --normalize --no-title --query-prefix q:")
    settings = {"model": "m", "pooling": "mean", "normalize": True, "title_separator": None, "query_prefix": "q:"}
    assert changed == dataclasses.replace(load_preset("mbert"), **settings)
    index = EncoderConfig("model", pooling="mean", query_prefix="query: ")  # type: ignore[arg-type]
    assert encoder("--encoder moved", index) == dataclasses.replace(index, model="moved")
    assert encoder("", index) == index
    assert encoder("") is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [("--encoder package:xdr-mini", "--pooling is required"), ("--pooling mean", "--pooling needs a model")],
)
def test_settings_without_their_model_or_pooling_are_refused(line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        encoder(line)


def test_logging_is_as_before_after_a_command() -> None:
    package = logging.getLogger("xqg_repro")
    before = (package.level, list(package.handlers))
    with pytest.raises(SystemExit), options.messages_on_stderr():
        assert package.handlers != before[1]
        raise SystemExit
    assert (package.level, package.handlers) == before
