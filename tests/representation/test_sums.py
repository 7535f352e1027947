from __future__ import annotations

import dataclasses
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUNT, LANGUAGES, made_up, write_queries
from hypothesis import given, settings, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.representation.sums import Layout, Sums, read_sums, sum_shard

from .conftest import Few


def together(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Docids, stored sums and counts of all shards."""
    paths = sorted(folder.glob("?????.npy"))
    counts = [np.load(path.with_suffix(".counts.npy")) for path in paths]
    return list(read_sums(folder).docids()), np.concatenate([*map(np.load, paths)]), np.concatenate(counts)


def decoded(folder: Path) -> np.ndarray:
    """All sums as they are read back: float32, (passages, groups, ranks, dimension)."""
    sums = read_sums(folder)
    groups, ranks = len(sums.layout.groups), len(sums.layout.ranks)
    places = np.arange(sums.manifest.counts["passages"])
    taken = [[sums.take(places, [group], rank)[0] for rank in range(ranks)] for group in range(groups)]
    return np.moveaxis(np.array(taken), 2, 0)


# the sums


@pytest.mark.parametrize("per_language", [False, True])
@pytest.mark.parametrize("every_rank", [False, True])
def test_sums_are_of_the_encoders_vectors(few: Few, tmp_path: Path, per_language: bool, every_rank: bool) -> None:
    manifest = few.run("sum", tmp_path / "s", per_language=per_language, every_rank=every_rank)
    docids, sums, counts = together(tmp_path / "s")
    groups = few.vectors if per_language else few.vectors.sum(1, keepdims=True)
    expected = groups.cumsum(2) if every_rank else groups.sum(2, keepdims=True)
    assert docids == [passage.doc_id for passage in few.passages]
    assert (sums.dtype, counts.dtype) == (np.float32, np.uint16)
    assert sums.shape == expected.shape  # allclose would broadcast
    np.testing.assert_allclose(sums, expected, atol=1e-5)
    ranks = np.arange(1, COUNT + 1) if every_rank else np.array([COUNT])
    np.testing.assert_array_equal(counts, np.broadcast_to(ranks * (1 if per_language else 3), sums.shape[:3]))
    assert manifest.counts == {"passages": 14, "queries": 14 * 9, "missing": 0, "dimension": 32}


def test_float16_halves_the_files_but_not_the_precision_of_adding(few: Few, tmp_path: Path) -> None:
    few.run("sum", tmp_path / "s", dtype="float16")
    halved, full = together(tmp_path / "s")[1], together(few.output("sum"))[1]
    assert halved.dtype == np.float16
    np.testing.assert_array_max_ulp(halved, full.astype(np.float16), maxulp=1)  # another batch may round otherwise
    assert (tmp_path / "s" / "00000.npy").stat().st_size == 128 + full[:4].size * 2


def test_int8_is_close_to_float32_even_if_queries_are_missing(few: Few, tmp_path: Path) -> None:
    first, second = (passage.queries for passage in few.generated[:2])
    # only one language, fewer queries in one language, none at all
    missing = [{"ru": first["ru"]}, {**second, "fi": second["fi"][:1]}, {}]
    passages = [PassageQueries(str(number), queries) for number, queries in enumerate(missing)] + few.generated[3:]
    queries = write_queries(passages, tmp_path / "q")
    for dtype in ("float32", "int8"):
        few.sum(queries, tmp_path / dtype, dtype=dtype, allow_missing=True)
    before, after = (decoded(tmp_path / dtype) for dtype in ("float32", "int8"))
    scales = np.concatenate([np.load(path) for path in sorted((tmp_path / "int8").glob("*.scales.npy"))])
    assert (np.abs(after - before)[:, :, :-1] <= scales[..., None] / 2 + 1e-5).all()
    assert scales.max() < np.abs(before).max() / 127  # finer than the sums themselves in int8
    np.testing.assert_array_equal(after[~before.any(axis=3)], 0)
    np.testing.assert_array_equal(together(tmp_path / "int8")[2], together(tmp_path / "float32")[2])


class Hashing:
    """An encoder without a model: a text's vector is random, seeded by the text. It records what it encodes."""

    dimension = 4
    config = EncoderConfig("none")

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def vector(self, text: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(4, dtype=np.float32)

    def query_batches(
        self, queries: Iterable[str], languages: Iterable[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        assert set(languages) <= {""}  # which do not matter
        texts = list(queries)
        self.encoded += texts
        backwards = np.arange(len(texts))[::-1]
        for start in range(0, len(texts), 4):
            positions = backwards[start : start + 4]
            yield positions, np.stack([self.vector(texts[position]) for position in positions])


# few letters, so that a text recurs within a passage and between passages; any may be missing
TEXTS = st.lists(st.text("abc", max_size=2), max_size=COUNT).map(tuple)
SHARDS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(LANGUAGES, TEXTS)), min_size=1, max_size=5).map(
    lambda shard: [PassageQueries(str(number), queries) for number, queries in enumerate(shard)]
)
LAYOUTS = st.builds(Layout, st.permutations(LANGUAGES).map(tuple), st.integers(1, COUNT), st.booleans(), st.booleans())


@settings(max_examples=50)
@given(SHARDS, LAYOUTS)
def test_sums_are_those_of_the_plain_definition(shard: list[PassageQueries], layout: Layout) -> None:
    encoder = Hashing()
    sums, counts = sum_shard(shard, encoder, layout)  # type: ignore[arg-type]
    for i, (_, queries) in enumerate(shard):
        for g, group in enumerate(layout.groups):
            for r, rank in enumerate(layout.ranks):
                texts = [text for code in group for text in queries.get(code, ())[:rank]]
                expected = np.sum([np.zeros(4), *map(encoder.vector, texts)], axis=0)
                np.testing.assert_allclose(sums[i, g, r], expected, atol=1e-5)
                assert counts[i, g, r] == len(texts)
    distinct = {text for _, queries in shard for texts in queries.values() for text in texts[: layout.count]}
    assert sorted(encoder.encoded) == sorted(distinct)


# the stage


def test_sums_are_rebuilt_when_queries_or_settings_change(
    few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(few.output("sum"), tmp_path / "s")
    fewer = write_queries(few.generated[1:], tmp_path / "fewer.jsonl")
    mean = dataclasses.replace(few.config, pooling=Pooling.MEAN)
    before = few.vectors[1:].cumsum(2)
    for options, changed in (({}, "queries"), ({"dtype": "float16"}, "dtype"), ({"config": mean}, "dtype, encoder")):
        few.sum(fewer, copy, **options)
        assert caplog.messages[-2] == f"sum: {copy} is rebuilt (changed: {changed})"
        docids, sums, _ = together(copy)
        assert docids[0] == "2"
        assert (np.abs(sums - before).max() > 0.1) == ("encoder" in changed)


def test_missing_queries_are_refused_or_counted(few: Few, tmp_path: Path) -> None:
    second = PassageQueries("2", {"ru": few.generated[1].queries["ru"][:2]})
    path = write_queries([few.generated[0], second, few.generated[2]], tmp_path / "q.jsonl")
    manifest = few.sum(path, tmp_path / "s", allow_missing=True)
    assert manifest.counts == {"passages": 3, "queries": 20, "missing": 7, "dimension": 32}
    _, sums, counts = together(tmp_path / "s")
    assert counts[1].tolist() == [[1, 2, 2], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(sums[1, 0, 2], few.vectors[1, 0, :2].sum(0), atol=1e-5)
    with pytest.raises(InputError, match=r"expected 3 Russian queries, got 2.*--allow-missing") as caught:
        few.sum(path, tmp_path / "s")  # permission once given does not last
    assert (caught.value.path, caught.value.line) == (path, 2)


@pytest.mark.parametrize(("gap", "problem"), [(1, "two lines for the passage 2"), (12, "two lines"), (0, "holds no")])
def test_passage_that_occurs_twice_and_empty_file_are_refused(few: Few, tmp_path: Path, gap: int, problem: str) -> None:
    passages = [*few.generated[: gap + 1], few.generated[1]] if gap else []
    with pytest.raises(InputError, match=problem):
        few.sum(write_queries(passages, tmp_path / "twice.jsonl"), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"languages": ["ru", "xx"]}, "unknown language 'xx'"),
        ({"languages": ["ru", "fi", "ru"]}, "occurs twice: ru fi ru"),
        ({"languages": []}, "3 queries in each of 0 languages"),
        ({"count": 0}, "0 queries in each of 3 languages"),
        ({"count": 21846}, "between 1 and 65,535 queries"),
        ({"dtype": "int4"}, "sums cannot be stored as 'int4'.*float32, float16, int8"),
        ({"languages": ["ru", "ko"]}, "expected 3 Korean queries, got 0"),
    ],
)
def test_sum_refuses(few: Few, tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        few.run("sum", tmp_path / "s", **options)
    assert list(tmp_path.iterdir()) == []


# reading


@pytest.mark.parametrize(
    ("languages", "queries", "layout", "expected"),
    [
        ((), 0, {}, ([0, 1, 2], 2)),
        (("te", "ru"), 2, {}, ([0, 2], 1)),
        (("fi", "fi"), 1, {}, ([1], 0)),
        ((), 3, {"every_rank": False}, ([0, 1, 2], 0)),
        (("te", "ru", "fi"), 0, {"per_language": False, "every_rank": False}, ([0], 0)),
        (("ru", "ko"), 0, {}, r"no sums of queries in 'ko' \(the languages are: ru fi te\)"),
        (("ru",), 0, {"per_language": False}, "only one sum over ru fi te.*--per-language"),
        ((), 4, {}, "sums of 3 queries per language, not 4"),
        ((), 2, {"every_rank": False}, "only the sum of all 3 .*not of the first 2.*without --last-rank"),
    ],
)
def test_select(languages: tuple[str, ...], queries: int, layout: dict[str, Any], expected: Any) -> None:
    parameters = {"languages": list(LANGUAGES), "count": COUNT, "per_language": True, "every_rank": True}
    sums = Sums(Path("sums"), Manifest("sum", parameters | layout))
    if not isinstance(expected, str):
        assert sums.select(languages, queries) == expected
        return
    with pytest.raises(InputError, match=expected) as caught:
        sums.select(languages, queries)
    assert caught.value.path == Path("sums")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2), ("int8", 2e-2)])
def test_take_gives_the_sums_of_any_passages(few: Few, tmp_path: Path, dtype: str, tolerance: float) -> None:
    few.run("sum", tmp_path / "s", dtype=dtype)
    places = np.array([13, -1, 0, 8, 7, 0])
    totals, counts = read_sums(tmp_path / "s").take(places, [0, 2], 1)
    expected = few.vectors[places][:, [0, 2], :2].sum((1, 2))
    expected[1] = 0
    assert totals.dtype == np.float32
    np.testing.assert_allclose(totals, expected, atol=tolerance)
    assert counts.tolist() == [4, 0, 4, 4, 4, 4]


def test_has_queries_tells_the_passages_with_queries_in_a_group(few: Few, tmp_path: Path) -> None:
    passages = made_up(["1", "2"], ["ru"]) + made_up(["3"], ["fi"])
    few.sum(write_queries(passages, tmp_path / "q"), tmp_path / "s", allow_missing=True)
    sums = read_sums(tmp_path / "s")
    assert sums.has_queries([0], 2).tolist() == [True, True, False]
    assert sums.has_queries([1, 2], 0).tolist() == [False, False, True]


@pytest.mark.parametrize("file", ["00001.npy", "00001.counts.npy", "00001.docid"])
def test_damaged_sums_name_the_file(few: Few, tmp_path: Path, file: str) -> None:
    path = shutil.copytree(few.output("sum"), tmp_path / "s") / file
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(InputError, match="rerun the stage") as caught:
            read_sums(tmp_path / "s")
        assert caught.value.path == path
        path.unlink(missing_ok=True)
