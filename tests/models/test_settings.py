from __future__ import annotations

from typing import Any

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.settings import parse
from xqg_repro.models.settings import (
    EncoderConfig,
    GeneratorConfig,
    Pooling,
    Precision,
    load_generator,
    load_preset,
    load_reader,
    load_translator,
)
from xqg_repro.representation.settings import Aggregate, Augmentation


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        (EncoderConfig, {"model": "m", "pooling": "max"}, "pooling is 'max' .*cls, mean"),
        (EncoderConfig, {"model": "m", "precision": "int4"}, "precision is 'int4' .*float32, bfloat16, float16"),
        (EncoderConfig, {"model": "m", "passage_max_length": 2}, "3 tokens"),
        (GeneratorConfig, {"languages": ["fi", "xx"]}, "unknown language 'xx' .*ar bn de"),
        (GeneratorConfig, {"languages": []}, "one language"),
        (GeneratorConfig, {"queries": 0}, "one query"),
        (GeneratorConfig, {"prompt_max_length": 0}, "one token"),
        (GeneratorConfig, {"query_max_length": 0}, "one token"),
        (GeneratorConfig, {"top_k": -1}, "top_k"),
        (GeneratorConfig, {"top_p": 0}, "top_p"),
        (GeneratorConfig, {"top_p": 1.1}, "top_p"),
        (GeneratorConfig, {"temperature": 0}, "temperature"),
        (GeneratorConfig, {"temperature": float("nan")}, "temperature"),
        (GeneratorConfig, {"precision": "int4"}, "precision is 'int4'"),
        (Augmentation, {"alpha": 2}, "α is 2.0"),
        (Augmentation, {"alpha": -0.1}, "α is -0.1"),
        (Augmentation, {"alpha": float("nan")}, "alpha is .*not a number"),
        (Augmentation, {"aggregate": "max"}, "aggregate is 'max' .*sum, mean"),
        (Augmentation, {"queries": -1}, "-1 queries"),
    ],
)
def test_bad_settings_are_named_with_their_file(kind: type, data: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parse(kind, data, "file.yaml")
    assert caught.value.path == "file.yaml"


def test_plain_strings_are_understood() -> None:
    config = GeneratorConfig(languages=("fi",), precision="bfloat16", temperature=2, top_k=0)  # type: ignore[arg-type]
    assert config.precision is Precision.BFLOAT16 and GeneratorConfig(precision=None).precision is None
    assert EncoderConfig("m", pooling="mean").pooling is Pooling.MEAN  # type: ignore[arg-type]
    assert Augmentation(aggregate="mean").aggregate is Aggregate.MEAN  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["fi", "zh"])
def test_a_prompt_names_the_language_in_english_and_the_passage(language: str) -> None:
    config = GeneratorConfig(languages=(language,), prompt="{language}: {title} / {text}")
    assert config.prompt_for(language, "{Turku}", "{text}") == f"{LANGUAGE_NAMES[language]}: {{Turku}} / {{text}}"
    assert config.prompt_for(language, None, "a") == f"{LANGUAGE_NAMES[language]}:  / a"


@pytest.mark.parametrize(
    ("load", "preset"),
    [
        (load_preset, "encoder preset 'nope' .*mbert.*e5-small"),
        (load_generator, "generator preset 'nope' .*xqg-mt5-base.*xqg-mini"),
        (load_translator, "translator preset 'nope'"),
        (load_reader, "reader preset 'nope'"),
    ],
)
def test_an_unknown_preset_names_the_others(load: Any, preset: str) -> None:
    with pytest.raises(InputError, match=preset):
        load("nope")


def test_the_papers_presets_are_the_papers_settings() -> None:
    paper = load_preset("mbert")
    assert paper == EncoderConfig(paper.model)
    assert load_generator("xqg-mt5-base") == GeneratorConfig()
    large = load_generator("xqg-mt5-large")
    assert large == GeneratorConfig(large.model)
