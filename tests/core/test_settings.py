from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES, XOR_LANGUAGES
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.evaluation.evaluate import AVERAGE, parse_measures
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models.settings import (
    EncoderConfig,
    GeneratorConfig,
    Pooling,
    Precision,
    load_generator,
    load_preset,
    load_presets,
    load_reader,
)
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Benchmark, Condition, Reading, load_benchmark
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, ReaderRecipe, Recipe, load_recipe

SHIPPED = sorted(path.stem for path in resource("conditions").glob("*.yaml"))
RECIPES = sorted(path.stem for path in resource("recipes").glob("*.yaml"))
GENERATORS = sorted(read_yaml(resource("generators.yaml")))

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
        ("title: A toy", "", "Benchmark lacks the key 'title'"),
        ("encoder: mbert, ", "", "Condition lacks the key 'encoder'"),
        ("[ar, fi]", "[]", "toy has no languages"),
        ("[ar, fi]", "ar", "expected a list"),
        ("name: other", "name: plain", "two conditions are called 'plain'"),
        ("encoder: mbert,", "encoder: mbrt,", "plain: there is no encoder preset 'mbrt'"),
        ("digits: 1", "digits: -1", "-1 digits and a tolerance of 1.0 print no score"),
        ("scale: 100", "scale: 0", "a scale of 0.0"),
        ("title: A toy", "name: again", "toy.yaml:2: repeats the key 'name'"),
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


def test_a_repeated_key_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text("a: 1\nb: {c: 1,\n  c: 2}\n")
    with pytest.raises(InputError, match=r"file.yaml:3: repeats the key 'c'"):
        read_yaml(tmp_path / "file.yaml")


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


GENERATED = "{name: other, title: Other, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.02}}"


def test_a_condition_may_be_augmented(tmp_path: Path) -> None:
    settings = "{alpha: 0, aggregate: mean, languages: [fi, ar], queries: 3, normalize: false}"
    condition = GENERATED.replace("{alpha: 0.02}", settings)
    path = toy(tmp_path, "{name: other, title: Other, encoder: mbert}", condition)
    how = load_benchmark(str(path)).condition("other").augmentation
    assert how == Augmentation(0.0, Aggregate.MEAN, ("fi", "ar"), 3, False)
    assert how is not None and isinstance(how.alpha, float) and how.aggregate is Aggregate.MEAN
    assert load_benchmark(str(path)).condition("plain").augmentation is None


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{alpha: 0.02}", "{alpha: 2}", "α is 2.0 .it must lie between 0 and 1"),
        ("{alpha: 0.02}", "{alpha: -0.1}", "α is -0.1"),
        ("{alpha: 0.02}", "{alpha: .nan}", "α is nan"),
        ("{alpha: 0.02}", "{alpha: '0.02'}", "alpha is '0.02'"),
        ("{alpha: 0.02}", "{alpha: 0.02, aggregate: max}", "aggregate is 'max' .choose from: sum, mean"),
        ("{alpha: 0.02}", "{alpha: 0.02, queries: -1}", "cannot add the first -1 queries"),
        ("{alpha: 0.02}", "{alpha: 0.02, languages: fi}", "languages is 'fi'"),
        ("{alpha: 0.02}", "{alpha: 0.02, normalise: true}", "Augmentation has no key 'normalise'.*normalize"),
        ("{alpha: 0.02}", "0.02", "Augmentation must be a mapping, not float"),
        (", augmentation: {alpha: 0.02}", "", "other needs an augmentation with one source of queries"),
        ("generator: xqg-mini, ", "", "other needs an augmentation with one source of queries"),
        ("generator: xqg-mini", "generator: xqg-mini, corpus: a/b", "other needs an augmentation with one source"),
        ("generator: xqg-mini", "generator: 5", "generator is 5"),
    ],
)
def test_a_bad_augmentation_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GENERATED
    path = toy(tmp_path, "{name: other, title: Other, encoder: mbert}", GENERATED.replace(old, new))
    with pytest.raises(InputError, match=problem):
        load_benchmark(str(path))


@pytest.mark.parametrize(
    ("generator", "corpus", "augmented", "possible"),
    [
        ("", "", False, True),
        ("g", "", True, True),
        ("", "c", True, True),
        ("g", "c", True, False),
        ("g", "c", False, False),
        ("g", "", False, False),
        ("", "c", False, False),
        ("", "", True, False),
    ],
)
def test_an_augmentation_has_one_source_of_queries(
    generator: str, corpus: str, augmented: bool, possible: bool
) -> None:
    settings = {"generator": generator, "corpus": corpus, "augmentation": Augmentation() if augmented else None}
    if possible:
        assert Condition("n", "t", "e", **settings).generator == generator  # type: ignore[arg-type]
    else:
        with pytest.raises(InputError, match="n needs an augmentation with one source of queries, or none of these"):
            Condition("n", "t", "e", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"languages": ["fi", "xx"]}, "unknown language 'xx' .choose from: ar bn de"),
        ({"languages": []}, "at least one language, one query and one token"),
        ({"queries": 0}, "at least one language, one query and one token"),
        ({"prompt_max_length": 0}, "at least one language, one query and one token"),
        ({"query_max_length": 0}, "at least one language, one query and one token"),
        ({"top_k": -1}, "top_k must be 0 or more"),
        ({"top_p": 0}, r"top_p in \(0, 1\]"),
        ({"top_p": 1.1}, r"top_p in \(0, 1\]"),
        ({"temperature": 0}, "the temperature above 0"),
        ({"temperature": float("nan")}, "the temperature above 0"),
        ({"precision": "int8"}, "precision is 'int8' .choose from: float32, bfloat16, float16"),
        ({"queries": 5.0}, "queries is 5.0"),
        ({"seed": "now"}, "seed is 'now'"),
        ({"beams": 4}, "GeneratorConfig has no key 'beams'"),
    ],
)
def test_bad_generator_settings_are_named(data: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse(GeneratorConfig, data, "generators.yaml")


@pytest.mark.parametrize("text", ["{alpha: 2}", "{queries: -1}"])
def test_settings_out_of_range_name_their_file(tmp_path: Path, text: str) -> None:
    path = toy(tmp_path, "{name: other, title: Other, encoder: mbert}", GENERATED.replace("{alpha: 0.02}", text))
    with pytest.raises(InputError) as caught:
        load_benchmark(str(path))
    assert caught.value.path == path


def test_generator_settings_in_plain_strings_are_understood() -> None:
    config = parse(GeneratorConfig, {"languages": ["fi"], "precision": "bfloat16", "temperature": 2, "top_k": 0}, "x")
    assert config == GeneratorConfig(languages=("fi",), precision=Precision.BFLOAT16, temperature=2.0, top_k=0)
    assert config.precision is Precision.BFLOAT16 and parse(GeneratorConfig, {"precision": None}, "x").precision is None
    assert Augmentation(aggregate="mean").aggregate is Aggregate.MEAN


@pytest.mark.parametrize("language", LANGUAGE_NAMES)
def test_a_prompt_names_the_language_in_english_and_the_passage(language: str) -> None:
    config = GeneratorConfig(languages=(language,), prompt="{language}: {title} / {text}")
    assert config.prompt_for(language, "{Turku}", "{text}") == f"{LANGUAGE_NAMES[language]}: {{Turku}} / {{text}}"
    assert config.prompt_for(language, None, "a") == f"{LANGUAGE_NAMES[language]}:  / a"


HOW = "reading: {reader: reader-mini, depth: 3, weight: 0.5}\n"
READ = f"{HOW}measures:\n  EM: {{scale: 100, digits: 1}}\n"


def test_answers_may_be_read_and_measured(tmp_path: Path) -> None:
    benchmark = load_benchmark(str(toy(tmp_path, "measures:\n", READ)))
    assert benchmark.reading == Reading("reader-mini", 3, 0.5)
    assert (benchmark.answer_measures, benchmark.run_measures) == (("EM",), ("R@1",))
    plain = load_benchmark(str(toy(tmp_path)))
    assert (plain.reading, plain.answer_measures, plain.run_measures) == (None, (), ("R@1",))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (HOW, "", r"EM can only be measured of answers.*reading: {"),
        ("  EM: {scale: 100, digits: 1}\n", "", "reads answers, but measures none .add EM or F1"),
        ("depth: 3", "depth: 0", "a depth of 0 reads nothing"),
        ("depth: 3", "depth: 1.5", "depth is 1.5"),
        ("weight: 0.5", "weight: -1", "the weight of the retrieval score is -1.0 .it must be 0 or more"),
        ("weight: 0.5", "weight: .nan", "the weight of the retrieval score is nan"),
        ("reader: reader-mini, ", "", "Reading lacks the key 'reader'"),
        ("weight: 0.5", "wait: 0.5", "Reading has no key 'wait'.*known: depth, reader, weight"),
        ("{reader: reader-mini, depth: 3, weight: 0.5}", "reader-mini", "Reading must be a mapping, not str"),
    ],
)
def test_a_bad_reading_is_named_with_its_file(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in READ
    path = toy(tmp_path, "measures:\n", READ.replace(old, new))
    with pytest.raises(InputError, match=problem) as caught:
        load_benchmark(str(path))
    assert caught.value.path == path


def test_an_unknown_preset_names_the_others() -> None:
    with pytest.raises(InputError, match=r"'nope' .*mbert.*e5-small"):
        load_preset("nope")
    with pytest.raises(InputError, match=r"generator preset 'nope' .*xqg-mt5-base.*xqg-mini"):
        load_generator("nope")


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
    assert {"xdr-mbert", "xdr-mini", "zs-mini", "xqg-mini", "xqg-mt5-base"} <= set(RECIPES)


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


def test_shipped_conditions_name_generator_presets_and_a_published_corpus(shipped: Benchmark) -> None:
    assert {condition.generator for condition in shipped.conditions} <= {"", *GENERATORS}
    assert {condition.corpus for condition in shipped.conditions} <= {"", "ielab/xor-tydi-xqg-augmented"}


def test_shipped_readings_name_a_reader_preset_and_passages_that_are_retrieved(shipped: Benchmark) -> None:
    if shipped.reading:
        assert load_reader(shipped.reading.reader).model
        assert shipped.reading.depth <= shipped.depth


def test_shipped_augmentations_can_be_made_of_what_is_generated(shipped: Benchmark) -> None:
    for condition in shipped.conditions:
        if condition.augmentation:
            assert condition.augmentation.queries <= shipped.queries
            assert set(condition.augmentation.languages) <= set(XOR_LANGUAGES)
        if condition.generator:
            generator = load_generator(condition.generator)
            assert generator.queries >= shipped.queries
            assert generator.languages == XOR_LANGUAGES


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


def kind_of(recipe: str) -> type[Recipe]:
    kinds = {"xqg": GeneratorRecipe, "reader": ReaderRecipe}
    return kinds.get(recipe.partition("-")[0], EncoderRecipe)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_named_as_its_file(name: str) -> None:
    assert load_recipe(name, kind_of(name)).name == name


@pytest.mark.parametrize(("name", "kind"), [("xqg-mini", EncoderRecipe), ("xdr-mini", GeneratorRecipe)])
def test_a_recipe_of_another_kind_of_model_is_refused(name: str, kind: type[Recipe]) -> None:
    with pytest.raises(InputError, match=r"is a recipe of train .*, not of train") as caught:
        load_recipe(name, kind)
    assert caught.value.path == resource("recipes", f"{name}.yaml")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("-mini")])
def test_a_shipped_model_is_used_as_its_recipe_trains_it(name: str) -> None:
    recipe = load_recipe(name, kind_of(name))
    if isinstance(recipe, EncoderRecipe):
        assert load_preset(name) == recipe.encoder(f"package:{name}")
    elif isinstance(recipe, ReaderRecipe):
        assert load_reader(name) == recipe.reader(f"package:{name}")
    else:
        assert isinstance(recipe, GeneratorRecipe)
        preset = load_generator(name)
        assert (preset.model, preset.prompt) == (f"package:{name}", recipe.prompt)
        assert preset.prompt_max_length == recipe.prompt_max_length


def test_the_papers_presets_are_the_papers_settings() -> None:
    paper = load_preset("mbert")
    assert paper == EncoderConfig(paper.model)
    assert load_generator("xqg-mt5-base") == GeneratorConfig()
    large = load_generator("xqg-mt5-large")
    assert large == GeneratorConfig(large.model)
    augmented = [c.augmentation for c in load_benchmark("xor-tydi").conditions if c.augmentation]
    assert augmented == [Augmentation()] * 3


@pytest.mark.parametrize("name", ["xdr-xlmr", "zs-mbert"])
def test_models_that_are_to_be_trained_are_used_as_their_recipes_train_them(name: str) -> None:
    assert load_preset(name) == load_recipe(name).encoder(f"./models/{name}")


def test_the_papers_generator_is_trained_as_the_paper_does() -> None:
    recipe = load_recipe("xqg-mt5-base", GeneratorRecipe)
    assert recipe == GeneratorRecipe(
        name="xqg-mt5-base",
        data="gp_squad_train_data.json",
        model="google/mt5-base",
        steps=2000,
        batch_size=128 // recipe.accumulation,
        accumulation=recipe.accumulation,
        evaluation_steps=100,
        checkpoint_steps=recipe.checkpoint_steps,
        held_out=recipe.held_out,
        learning_rate=1e-4,
        precision=Precision.BFLOAT16,
    )
    assert recipe.batch_size * recipe.accumulation == 128 and 0 < recipe.held_out < 0.2


def test_the_xor_languages_are_the_papers_seven() -> None:
    assert XOR_LANGUAGES == ("ar", "bn", "fi", "ja", "ko", "ru", "te")


def test_encoder_settings_in_plain_strings_are_understood() -> None:
    assert EncoderConfig("m", pooling="mean").pooling is Pooling.MEAN
    with pytest.raises(InputError, match=r"precision is 'int8' \(choose from: float32, bfloat16, float16\)"):
        EncoderConfig("m", precision="int8")
