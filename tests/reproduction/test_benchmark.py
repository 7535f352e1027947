from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE, XOR_LANGUAGES
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.measures.parse import parse_measures
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models.settings import load_generator, load_reader
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Condition, Reading, load_benchmark
from xqg_repro.retrieval.fusion import Fusion, Method

SHIPPED = sorted(path.stem for path in resource("conditions").glob("*.yaml"))

OTHER = "{name: other, title: Other, encoder: mbert}"
AUGMENTED = OTHER.replace("}", ", generator: xqg-mini, augmentation: {alpha: 0, aggregate: mean, languages: [fi]}}")
FILTERED = AUGMENTED.replace("generator:", "filter: {keep: 2, of: 8}, generator:")
SPARSE = "{name: other, title: Other, sparse: true}"
FUSED = (
    SPARSE.replace("other", "words")
    + """
  - {name: mixed, title: Mixed, fuses: [plain, words], fusion: {method: rrf, k: 9}}"""
)
LATE = f"{OTHER}\n  - {{name: late, title: Late, late: decr-mini, reranks: other}}"
READING = "reading: {reader: reader-mini, depth: 3, weight: 0.5}\n"
TOY = f"""\
name: toy
title: A toy
collection: toy
topics: toy/{{language}}
languages: [ar, fi]
{READING}\
measures:
  R@1: {{scale: 100, digits: 1, tolerance: 1}}
  EM: {{scale: 100, digits: 1}}
conditions:
  - {{name: plain, title: Plain, encoder: mbert, expected: {{R@1: {{ar: 50, average: 55.5}}}}}}
  - {OTHER}
"""


def toy(tmp_path: Path, old: str = "", new: str = "") -> Path:
    """The toy benchmark's file with one replacement."""
    assert old in TOY
    (tmp_path / "toy.yaml").write_text(TOY.replace(old, new, 1) if old else TOY, encoding="utf-8")
    return tmp_path / "toy.yaml"


def test_a_benchmark_is_read_from_a_file(tmp_path: Path) -> None:
    benchmark = load_benchmark(str(toy(tmp_path, OTHER, AUGMENTED)))
    assert benchmark.languages == ("ar", "fi")
    assert benchmark.measures == {"R@1": MeasureConfig(100.0, 1, 1.0), "EM": MeasureConfig(100.0, 1)}
    assert benchmark.reading == Reading("reader-mini", 3, 0.5)
    assert (benchmark.answer_measures, benchmark.run_measures) == (("EM",), ("R@1",))
    assert benchmark.condition("plain").expected == {"R@1": {"ar": 50.0, "average": 55.5}}
    assert benchmark.condition("plain").augmentation is None
    assert benchmark.condition("other").augmentation == Augmentation(0.0, Aggregate.MEAN, ("fi",))
    assert benchmark.depth == 100


def test_a_filter_says_how_many_queries_are_generated_and_added(tmp_path: Path) -> None:
    for text, generated, added in ((FILTERED, 8, 2), (FILTERED.replace(", of: 8", ""), 5, 2), (AUGMENTED, 5, 5)):
        benchmark = load_benchmark(str(toy(tmp_path, OTHER, text)))
        condition = benchmark.condition("other")
        assert (benchmark.generated_queries(condition), benchmark.added_queries(condition)) == (generated, added)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("title: A toy", "titel: A toy", "Benchmark has no key 'titel'"),
        ("encoder: mbert", "encodr: mbert", "Condition has no key 'encodr'"),
        ("title: A toy", "name: again", "toy.yaml:2: repeats the key 'name'"),
        ("[ar, fi]", "[]", "toy has no languages"),
        ("name: other", "name: plain", "'plain'"),
        ("encoder: mbert,", "encoder: mbrt,", "plain: .*encoder preset 'mbrt'"),
        ("digits: 1", "digits: -1", "-1 digits"),
        ("scale: 100", "scale: 0", "a scale of 0.0"),
        ("title: A toy", "title: A toy\nsum_precision: int4", "sum_precision is 'int4'.*int8"),
        ("title: A toy", "title: A toy\nsum_precision: int8\nkeep_sums: false", "sum_precision needs sums"),
        ("{ar: 50,", "{de: 50,", "'de'"),
        ("expected: {R@1:", "expected: {R@9:", "'R@9'"),
        (OTHER, OTHER.replace("}", ", baseline: none}"), "baseline 'none'"),
        (OTHER, AUGMENTED.replace("alpha: 0", "alpha: 2"), "α is 2.0"),
        (OTHER, AUGMENTED.replace("generator: xqg-mini, ", ""), "other: expected an augmentation"),
        (OTHER, FILTERED.replace("keep: 2", "keep: 0"), "keep is 0"),
        (OTHER, FILTERED.replace("of: 8", "of: -1"), "of is -1"),
        (OTHER, FILTERED.replace("keep: 2", "keep: 9"), "other: keeps 9 queries per language of 8"),
        (OTHER, FILTERED.replace("keep: 2, of: 8", "keep: 6"), "other: keeps 6 queries per language of 5"),
        (OTHER, FILTERED.replace("alpha: 0", "alpha: 0, queries: 3"), "other: adds 3 queries per language of 2"),
        (OTHER, OTHER.replace("}", ", filter: {keep: 2}}"), "other: only queries that augment embeddings are filtered"),
        (READING, "", "EM .*reading: {"),
        ("  EM: {scale: 100, digits: 1}\n", "", "add EM or F1"),
        ("depth: 3", "depth: 0", "depth is 0"),
        (OTHER, SPARSE.replace("sparse: true", "sparse: false"), "other: expected an encoder, late, sparse: true, "),
        (OTHER, SPARSE.replace("sparse", "encoder: mbert, sparse"), "other: expected an encoder, late, sparse: true, "),
        (
            OTHER,
            SPARSE.replace("}", ", random: 2}"),
            "other: expected an encoder.*random rankings",
        ),
        (OTHER, SPARSE.replace("sparse: true", "random: 2, corpus: c"), "other: random rankings have no queries"),
        (OTHER, SPARSE.replace("sparse: true", "random: -1"), "random is -1"),
        (OTHER, SPARSE.replace("}", ", augmentation: {}}"), "other: only embeddings are augmented"),
        (OTHER, SPARSE.replace("}", ", generator: xqg-mini, corpus: c}"), "exclude each other"),
        (OTHER, FUSED.replace("[plain, words]", "[plain]"), "one run cannot be fused"),
        (OTHER, FUSED.replace("k: 9", "weights: [0.5, 0.5]"), "--weights has no effect with --method rrf"),
        (OTHER, FUSED.replace("rrf", "best"), "method is 'best'.*interpolation"),
        (OTHER, FUSED.replace(", fusion: {method: rrf, k: 9}", ""), "both fuses and fusion"),
        (OTHER, SPARSE.replace("}", ", fusion: {method: rrf}}"), "both fuses and fusion"),
        (OTHER, FUSED.replace("words]", "nope]"), "mixed: .*unknown condition 'nope'.*plain, words, mixed"),
        (OTHER, FUSED.replace("words]", "mixed]"), "mixed: fuses 'mixed', which does not search.*plain"),
        (
            OTHER,
            f"{FUSED}\n  - {{name: t, title: T, late: decr-mini, reranks: mixed}}\n",
            "t: reranks 'mixed', which does",
        ),
        (OTHER, LATE.replace("other}", "nope}"), "late: .*unknown condition 'nope'"),
        (OTHER, LATE.replace("late: decr-mini", "encoder: mbert"), "late: only late interaction reranks"),
        (OTHER, LATE.replace("decr-mini", "nope"), "late: unknown late-interaction preset 'nope'"),
        (OTHER, LATE.replace("reranks: other}", "generator: xqg-mini}"), "late: late interaction has no queries"),
        (OTHER, FUSED.replace(", fusion", ", generator: xqg-mini, fusion"), "mixed: a fusion has no queries"),
        ("weight: 0.5", "weight: -1", "-1.0"),
        ("weight: 0.5", "weight: .nan", "weight is .*not a number"),
        ("reader: reader-mini, ", "", "Reading lacks the key 'reader'"),
    ],
)
def test_a_bad_benchmark_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = toy(tmp_path, old, new)
    with pytest.raises(InputError, match=problem) as caught:
        load_benchmark(str(path))
    assert caught.value.path == path


@pytest.mark.parametrize("generator", ["", "g"])
@pytest.mark.parametrize("corpus", ["", "c"])
@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_an_augmentation_has_one_source_of_queries(
    generator: str, corpus: str, augmentation: Augmentation | None
) -> None:
    if len(generator + corpus) == (augmentation is not None):
        assert Condition("n", "t", "e", generator, corpus, augmentation).generator == generator
    else:
        with pytest.raises(InputError, match="n: expected an augmentation"):
            Condition("n", "t", "e", generator, corpus, augmentation)


def test_a_condition_may_be_sparse_or_a_fusion_of_others(tmp_path: Path) -> None:
    benchmark = load_benchmark(str(toy(tmp_path, OTHER, FUSED)))
    plain, words, mixed = benchmark.conditions
    assert (plain.sparse, words.sparse, words.encoder) == (False, True, "")
    assert mixed.fusion == Fusion(Method.RRF, k=9)
    assert benchmark.parts(mixed) == [plain, words]
    assert benchmark.parts(words) == [words]


def test_unknown_names_name_the_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope.*xquad"):
        load_benchmark("nope")
    benchmark = load_benchmark(str(toy(tmp_path)))
    with pytest.raises(InputError, match=r"toy: unknown condition 'nope' .*plain, other"):
        benchmark.condition("nope")
    with pytest.raises(InputError, match=r"toy has no questions in de, xx .*ar fi"):
        benchmark.topic_sets(("ar", "de", "xx"))


def test_topics_are_of_one_language_each_or_of_all_together(tmp_path: Path) -> None:
    separate = load_benchmark(str(toy(tmp_path)))
    assert separate.topic_sets() == {"toy/ar": ("ar",), "toy/fi": ("fi",)}
    assert separate.topic_sets(("fi",)) == {"toy/fi": ("fi",)}
    together = load_benchmark(str(toy(tmp_path, "toy/{language}", "toy/dev")))
    assert together.topic_sets() == {"toy/dev": ("ar", "fi")}
    assert together.topic_sets(("fi",)) == {"toy/dev": ("fi",)}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_benchmark_is_consistent(name: str) -> None:
    benchmark = load_benchmark(name)
    assert benchmark.name == name
    assert find_spec(f"xqg_repro.2cr.{name.replace('-', '_')}")
    assert list(parse_measures(list(benchmark.measures))) == list(benchmark.measures)
    if benchmark.reading:
        assert load_reader(benchmark.reading.reader).model
        assert benchmark.reading.depth <= benchmark.depth
    for condition in benchmark.conditions:
        assert condition.corpus in ("", "ielab/xor-tydi-xqg-augmented")
        for measure, scores in condition.expected.items():
            assert set(scores) <= {*benchmark.languages, AVERAGE}
            assert all(0 <= score <= benchmark.measures[measure].scale for score in scores.values())
        if condition.augmentation:
            assert condition.augmentation.queries <= benchmark.queries
            assert set(condition.augmentation.languages) <= set(XOR_LANGUAGES)
        if condition.generator:
            generator = load_generator(condition.generator)
            assert generator.queries >= benchmark.queries
            assert generator.languages == XOR_LANGUAGES


def test_the_papers_conditions_augment_as_the_paper_does() -> None:
    augmented = [c.augmentation for c in load_benchmark("xor-tydi").conditions if c.augmentation]
    assert augmented == [Augmentation()] * 3
