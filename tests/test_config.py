from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.config import (
    XOR_LANGUAGES,
    Benchmark,
    EncoderConfig,
    MeasureConfig,
    Pooling,
    load_benchmark,
    load_preset,
    load_presets,
    parse,
    read_yaml,
    resource,
)
from xqg_repro.errors import InputError
from xqg_repro.evaluate import AVERAGE, parse_measures
from xqg_repro.train.recipe import load_recipe

SHIPPED = sorted(path.stem for path in resource("conditions").glob("*.yaml"))
RECIPES = sorted(path.stem for path in resource("recipes").glob("*.yaml"))

TOY = """\
name: toy
title: A toy
collection: toy
topics: toy/{language}
languages: [ar, fi]
measures:
  R@1: {scale: 100, digits: 1, tolerance: 1}
conditions:
  - {name: plain, title: Plain, encoder: mbert, expected: {R@1: {ar: 50, average: 55.5}}}
  - {name: other, title: Other, encoder: mbert}
"""


def toy(tmp_path: Path, old: str = "", new: str = "") -> Path:
    """The toy benchmark's file with one replacement."""
    assert old in TOY
    (tmp_path / "toy.yaml").write_text(TOY.replace(old, new, 1) if old else TOY, encoding="utf-8")
    return tmp_path / "toy.yaml"


def test_a_benchmark_is_read_from_a_file(tmp_path: Path) -> None:
    benchmark = load_benchmark(str(toy(tmp_path)))
    assert benchmark.languages == ("ar", "fi")
    assert benchmark.measures == {"R@1": MeasureConfig(100.0, 1, 1.0)}
    assert benchmark.condition("plain").expected == {"R@1": {"ar": 50.0, "average": 55.5}}
    assert benchmark.depth == 100


def test_a_whole_number_is_taken_for_a_float() -> None:
    assert isinstance(parse(MeasureConfig, {"scale": 100}, "x").scale, float)


def test_enums_and_null_are_read() -> None:
    config = parse(EncoderConfig, {"model": "m", "pooling": "mean", "title_separator": None}, "x")
    assert (config.pooling, config.title_separator) == (Pooling.MEAN, None)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("title: A toy", "titel: A toy", "Benchmark has no key 'titel'.*known:.*title"),
        ("encoder: mbert", "encodr: mbert", "Condition has no key 'encodr'.*known:.*encoder"),
        ("tolerance: 1", "margin: 1", "MeasureConfig has no key 'margin'.*known:.*tolerance"),
        ("title: A toy", "", "title"),
        ("encoder: mbert, ", "", "encoder"),
        ("[ar, fi]", "ar", "languages is 'ar'"),
        ("[ar, fi]", "[ar, 1]", "languages is 1"),
        ("name: toy", "name: 3", "name is 3"),
        ("digits: 1", "digits: 1.5", "digits is 1.5"),
        ("digits: 1", "digits: true", "digits is True"),
        ("digits: 1", "digits: '1'", "digits is '1'"),
        ("scale: 100", "scale: true", "scale is True"),
        ("{ar: 50,", "{ar: fifty,", r"expected\.R@1\.ar is 'fifty'"),
        ("{R@1: {ar: 50, average: 55.5}}", "[50]", r"expected is \[50\]"),
        ("  - {name: other, title: Other, encoder: mbert}", "  - other", "Condition must be a mapping, not str"),
    ],
)
def test_a_bad_benchmark_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = toy(tmp_path, old, new)
    with pytest.raises(InputError, match=problem) as caught:
        load_benchmark(str(path))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [("{ar: 50,", "{de: 50,", "de"), ("expected: {R@1:", "expected: {R@9:", "R@9")],
    ids=["language", "measure"],
)
def test_an_expected_score_of_an_unknown_column_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        load_benchmark(str(toy(tmp_path, old, new)))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"model": "m", "pool": "cls"}, "EncoderConfig has no key 'pool'.*known:.*pooling"),
        ({"model": "m", "normalize": "yes"}, "normalize is 'yes'"),
        ({"model": "m", "normalize": 1}, "normalize is 1"),
        ({"model": "m", "query_max_length": True}, "query_max_length is True"),
        ({"model": "m", "query_max_length": 32.0}, "query_max_length is 32.0"),
        ({"model": "m", "title_separator": 5}, "title_separator is 5"),
        ({"model": None}, "model is None"),
        ({"model": "m", "pooling": "max"}, "pooling is 'max' .*cls, mean"),
        ({"model": "m", "pooling": ["cls"]}, "pooling is .*cls, mean"),
        ({"model": "m", "precision": "int8"}, "precision is 'int8' .*float32, bfloat16, float16"),
        ({"pooling": "cls"}, "model"),
        ({"model": "m", "passage_max_length": 2}, "3 tokens"),
        ([], "EncoderConfig must be a mapping, not list"),
        (None, "EncoderConfig must be a mapping, not NoneType"),
        ({1: "x", "pool": "cls"}, "EncoderConfig has no key"),
    ],
)
def test_bad_encoder_settings_are_named(data: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse(EncoderConfig, data, "encoders.yaml")


@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: ]\n", 2), ("a: 1\nb: 'open\n\n", 4), ("a: 1\n\tb: 2\n", 2)])
def test_a_yaml_syntax_error_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match="is not valid YAML") as caught:
        read_yaml(tmp_path / "bad.yaml")
    assert (caught.value.path, caught.value.line) == (tmp_path / "bad.yaml", line)


def test_a_missing_yaml_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        read_yaml(tmp_path / "none.yaml")
    assert caught.value.path == tmp_path / "none.yaml"


@pytest.mark.parametrize("text", [b"title: caf\xe9\n", b"title: \x00\n"], ids=["latin-1", "NUL"])
def test_a_yaml_file_that_is_no_text_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bad.yaml").write_bytes(text)
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / "bad.yaml")
    assert caught.value.path == tmp_path / "bad.yaml"


def test_an_unknown_preset_names_the_others() -> None:
    with pytest.raises(InputError, match=r"'nope' .*mbert.*e5-small"):
        load_preset("nope")


def test_an_unknown_benchmark_names_the_others() -> None:
    with pytest.raises(InputError, match=r"nope.*xquad"):
        load_benchmark("nope")


def test_an_unknown_recipe_names_the_others() -> None:
    with pytest.raises(InputError, match=r"'nope' .*xdr-mbert, xdr-mini"):
        load_recipe("nope")


def test_an_unknown_condition_names_the_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"toy has no condition 'nope' .*plain, other"):
        load_benchmark(str(toy(tmp_path))).condition("nope")


def test_an_unknown_language_names_the_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"toy has no questions in de, xx .*ar fi"):
        load_benchmark(str(toy(tmp_path))).topic_sets(("ar", "de", "xx"))


def test_topics_of_one_language_each(tmp_path: Path) -> None:
    benchmark = load_benchmark(str(toy(tmp_path)))
    assert benchmark.topic_sets() == {"toy/ar": ("ar",), "toy/fi": ("fi",)}
    assert benchmark.topic_sets(("fi",)) == {"toy/fi": ("fi",)}


def test_topics_of_all_languages_together(tmp_path: Path) -> None:
    benchmark = load_benchmark(str(toy(tmp_path, "toy/{language}", "toy/dev")))
    assert benchmark.topic_sets() == {"toy/dev": ("ar", "fi")}
    assert benchmark.topic_sets(("fi",)) == {"toy/dev": ("fi",)}


# --- what ships with the package


def test_benchmarks_and_recipes_ship() -> None:
    assert {"xquad"} <= set(SHIPPED)
    assert {"xdr-mbert", "xdr-mini"} <= set(RECIPES)


@pytest.fixture(params=SHIPPED)
def shipped(request: pytest.FixtureRequest) -> Benchmark:
    return load_benchmark(request.param)


def test_a_shipped_benchmark_is_named_as_its_file_and_has_its_module(shipped: Benchmark) -> None:
    assert shipped.name in SHIPPED
    assert find_spec(f"xqg_repro.2cr.{shipped.name.replace('-', '_')}")


def test_shipped_conditions_have_names_of_their_own(shipped: Benchmark) -> None:
    names = [condition.name for condition in shipped.conditions]
    assert names and len(set(names)) == len(names)


def test_shipped_conditions_name_encoder_presets(shipped: Benchmark) -> None:
    assert {condition.encoder for condition in shipped.conditions} <= set(load_presets())


def test_shipped_expected_scores_are_of_the_benchmarks_measures_and_languages(shipped: Benchmark) -> None:
    for condition in shipped.conditions:
        assert set(condition.expected) <= set(shipped.measures)
        for scores in condition.expected.values():
            assert set(scores) <= {*shipped.languages, AVERAGE}


def test_shipped_expected_scores_are_in_printed_units(shipped: Benchmark) -> None:
    for condition in shipped.conditions:
        for measure, scores in condition.expected.items():
            assert all(0 <= score <= shipped.measures[measure].scale for score in scores.values())


def test_shipped_measures_are_known(shipped: Benchmark) -> None:
    assert list(parse_measures(list(shipped.measures))) == list(shipped.measures)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_named_as_its_file(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_papers_preset_encodes_as_the_paper_does() -> None:
    paper = load_preset("mbert")
    assert paper == EncoderConfig(paper.model)


def test_the_xor_languages_are_the_papers_seven() -> None:
    assert XOR_LANGUAGES == ("ar", "bn", "fi", "ja", "ko", "ru", "te")


def test_encoder_settings_in_plain_strings_are_understood() -> None:
    assert EncoderConfig("m", pooling="mean").pooling is Pooling.MEAN
    with pytest.raises(InputError, match=r"precision is 'int8' \(choose from: float32, bfloat16, float16\)"):
        EncoderConfig("m", precision="int8")
