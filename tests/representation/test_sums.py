from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUNT, LANGUAGES, contents, killed, made_up, write_queries
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import write_array
from xqg_repro.core.shards import cast_finite, read_shards
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.representation import sumstore
from xqg_repro.representation.augment import augment
from xqg_repro.representation.encode import encode
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import Layout, Sums, read_sums, sum_queries, sum_shard
from xqg_repro.representation.sumstore import StoredSums, write_sums

PASSAGES = 22


def run(queries: Path, config: EncoderConfig, output: Path, **settings: Any) -> Manifest:
    settings = {
        "languages": LANGUAGES,
        "count": COUNT,
        "shard_size": 8,
        "device": "cpu",
    } | settings
    return sum_queries(queries, config, output, **settings)


@pytest.fixture(scope="module")
def passages() -> list[PassageQueries]:
    return made_up(str(number) for number in range(1, PASSAGES + 1))


@pytest.fixture(scope="module")
def queries(passages: list[PassageQueries], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_queries(passages, tmp_path_factory.mktemp("queries") / "queries.jsonl")


@pytest.fixture(scope="module")
def folder(queries: Path, config: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums per language in shards of 8, 8 and 6. Never to be written to."""
    output = tmp_path_factory.mktemp("summed") / "sums"
    run(queries, config, output, per_language=True)
    return output


@pytest.fixture(scope="module")
def vectors(passages: list[PassageQueries], config: EncoderConfig) -> np.ndarray:
    """Each query's embedding: (passages, languages, ranks, dimension)."""
    texts = [text for _, queries in passages for code in LANGUAGES for text in queries[code]]
    return TextEncoder(config, "cpu").encode_queries(texts).reshape(PASSAGES, len(LANGUAGES), COUNT, -1)


def together(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    docids, sums, counts = zip(*read_sums(folder).shards(), strict=True)
    stored = np.concatenate([shard.stored for shard in sums])
    return [docid for shard in docids for docid in shard], stored, np.concatenate(counts)


def decoded(folder: Path) -> np.ndarray:
    """All sums as they are read back: float32, (passages, groups, ranks, dimension)."""
    sums = read_sums(folder)
    (groups, ranks), places = sums.layout.shape, np.arange(sums.manifest.counts["passages"])
    taken = [[sums.take(places, [group], rank)[0] for rank in range(ranks)] for group in range(groups)]
    return np.moveaxis(np.array(taken), 2, 0)


def scales_of(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted(folder.glob("*.scales.npy"))])


# the sums


@pytest.mark.parametrize("per_language", [False, True])
@pytest.mark.parametrize("every_rank", [False, True])
def test_sums_are_of_the_encoders_vectors(
    queries: Path, config: EncoderConfig, vectors: np.ndarray, tmp_path: Path, per_language: bool, every_rank: bool
) -> None:
    manifest = run(queries, config, tmp_path / "s", per_language=per_language, every_rank=every_rank)
    docids, sums, counts = together(tmp_path / "s")
    groups = vectors if per_language else vectors.sum(1, keepdims=True)
    expected = groups.cumsum(2) if every_rank else groups.sum(2, keepdims=True)
    assert docids == [str(number) for number in range(1, PASSAGES + 1)]
    assert (sums.dtype, counts.dtype) == (np.float32, np.uint16)
    assert sums.shape == expected.shape  # allclose would broadcast
    np.testing.assert_allclose(sums, expected, atol=1e-5)
    ranks = np.arange(1, COUNT + 1) if every_rank else np.array([COUNT])
    np.testing.assert_array_equal(counts, np.broadcast_to(ranks * (1 if per_language else 3), counts.shape))
    assert manifest.counts == {"passages": 22, "queries": 22 * 9, "missing": 0, "dimension": 32}
    assert counts.shape == sums.shape[:3]


def test_only_the_first_queries_in_the_languages_asked_for_are_summed(
    queries: Path, config: EncoderConfig, vectors: np.ndarray, tmp_path: Path
) -> None:
    run(queries, config, tmp_path / "s", languages=["te", "ru"], count=2)
    sums = together(tmp_path / "s")[1]
    np.testing.assert_allclose(sums[:, 0, -1], vectors[:, [0, 2], :2].sum((1, 2)), atol=1e-5)


def test_several_shards_equal_one_shard(queries: Path, config: EncoderConfig, folder: Path, tmp_path: Path) -> None:
    run(queries, config, tmp_path / "s", per_language=True, shard_size=100)
    assert sorted(contents(folder)) == sorted(
        ["manifest.json", *(f"0000{n}.{kind}" for n in range(3) for kind in ("npy", "counts.npy", "docid"))]
    )
    assert len(list((tmp_path / "s").iterdir())) == 4
    for one, several in zip(together(tmp_path / "s"), together(folder), strict=True):
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(several, float), atol=1e-5)


def test_float16_halves_the_files_and_not_the_precision_of_adding_up(
    queries: Path, config: EncoderConfig, folder: Path, tmp_path: Path
) -> None:
    run(queries, config, tmp_path / "s", per_language=True, dtype="float16")
    sums, expected = together(tmp_path / "s")[1], together(folder)[1]
    assert sums.dtype == np.float16
    np.testing.assert_array_equal(sums, expected.astype(np.float16))
    header = 128
    sizes = [(path / "00000.npy").stat().st_size - header for path in (tmp_path / "s", folder)]
    assert sizes[0] * 2 == sizes[1]


def test_numbers_beyond_float16_are_refused() -> None:
    array = np.array([1.0, 70000.0], dtype=np.float32)
    assert cast_finite(array, "float32", "the sums") is array
    with pytest.raises(InputError, match="the sums do not fit into float16"):
        cast_finite(array, "float16", "the sums")


# int8


def assert_close(after: np.ndarray, before: np.ndarray, scales: np.ndarray) -> None:
    """Sums read back from int8 are off by half a scale, and by float rounding; those of the last rank are float16."""
    assert after.dtype == np.float32
    np.testing.assert_array_equal(after[:, :, -1], before[:, :, -1].astype(np.float16))
    largest = np.abs(before).max(axis=(2, 3), keepdims=True)
    errors = np.abs(after[:, :, :-1].astype(float) - before[:, :, :-1])
    assert (errors <= scales[..., None] * 0.5 + largest * 1e-6).all()


@pytest.mark.parametrize("per_language", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_int8_comes_back_to_within_half_a_step(
    passages: list[PassageQueries], config: EncoderConfig, tmp_path: Path, per_language: bool, missing: bool
) -> None:
    # one language only, fewer queries in one of them, none at all
    few = [{"ru": passages[0].queries["ru"]}, {**passages[1].queries, "fi": passages[1].queries["fi"][:1]}, {}]
    held = [PassageQueries(str(number), queries) for number, queries in enumerate(few)] if missing else passages
    queries, settings = write_queries(held, tmp_path / "q"), {"per_language": per_language, "allow_missing": missing}
    for dtype in ("float32", "int8"):
        run(queries, config, tmp_path / dtype, dtype=dtype, **settings)
    before, after = (decoded(tmp_path / dtype) for dtype in ("float32", "int8"))
    assert_close(after, before, scales_of(tmp_path / "int8"))
    assert scales_of(tmp_path / "int8").max() < np.abs(before).max() / 127  # finer than the sums themselves in int8
    np.testing.assert_array_equal(after[~before.any(axis=3)], 0)
    np.testing.assert_array_equal(together(tmp_path / "int8")[2], together(tmp_path / "float32")[2])


ELEMENTS = st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, 1e-45, 1e-38, 1000.0])
ARRAYS = st.integers(1, 4).flatmap(lambda ranks: arrays(np.float32, (2, 2, ranks, 3), elements=ELEMENTS))


@given(ARRAYS)
def test_int8_of_any_numbers_comes_back_to_within_half_a_step(
    tmp_path_factory: pytest.TempPathFactory, sums: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("any") / "00000.npy"
    write_sums(path, sums, "int8")
    rows, (_, groups, ranks, _) = np.array([1, 0, 1]), sums.shape
    taken = [[StoredSums.open(path).take(rows, g, r) for r in range(ranks)] for g in range(groups)]
    scales = np.load(path.with_suffix(".scales.npy")) if ranks > 1 else np.zeros((2, groups, 0))
    assert_close(np.moveaxis(np.array(taken), 2, 0), sums[rows], scales[rows])


def test_int8_of_queries_that_are_all_the_same_is_as_good_as_float16(tmp_path: Path) -> None:
    ranks = np.arange(1, 5, dtype=np.float32)[:, None]
    sums = (ranks * np.array([0.5, -2, 0], dtype=np.float32))[None, None]
    write_sums(tmp_path / "00000.npy", sums, "int8")
    held = StoredSums.open(tmp_path / "00000.npy")
    assert held.codes is not None and not held.codes.any()
    for rank in range(4):
        np.testing.assert_array_equal(held.take(np.array([0]), 0, rank), sums[0, :, rank])


def test_only_the_last_rank_must_fit_into_float16(tmp_path: Path) -> None:
    sums = np.array([70000.0, 1.0], dtype=np.float32)[None, None, :, None]
    write_sums(tmp_path / "00000.npy", sums, "int8")
    np.testing.assert_allclose(StoredSums.open(tmp_path / "00000.npy").take(np.array([0]), 0, 0), [[70000]])
    with pytest.raises(InputError, match="the sums do not fit into float16"):
        write_sums(tmp_path / "00001.npy", sums[:, :, ::-1], "int8")
    assert {path.name for path in tmp_path.iterdir()} == {"00000.npy", "00000.codes.npy", "00000.scales.npy"}


def test_five_ranks_of_all_of_wikipedia_take_less_than_90_gigabytes(tmp_path: Path) -> None:
    write_sums(tmp_path / "00000.npy", np.ones((10, 1, 5, 768), dtype=np.float32), "int8")
    header, count, docid = 128, 2, len("12345678\n")
    room = sum(path.stat().st_size - header for path in tmp_path.iterdir()) / 10
    assert room == 2 * 768 + 4 * (768 + 4)
    assert 18_003_200 * (room + 5 * count + docid) < 90e9


def test_int8_of_the_last_rank_alone_is_float16(queries: Path, config: EncoderConfig, tmp_path: Path) -> None:
    for dtype in ("float16", "int8"):
        run(queries, config, tmp_path / dtype, every_rank=False, dtype=dtype)
    one, other = (contents(tmp_path / dtype) for dtype in ("float16", "int8"))
    assert one.pop("manifest.json") != other.pop("manifest.json")
    assert one == other


def test_augmentation_by_int8_is_close_to_that_by_float32(
    embeddings: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    docids = [docid for ids, _ in read_shards(embeddings) for docid in ids]
    generated, results = write_queries(made_up(docids), tmp_path / "q"), {}
    for dtype in ("float32", "int8"):
        run(generated, config, tmp_path / dtype, per_language=True, dtype=dtype)
        how = Augmentation(0.1, languages=("ru", "te"), queries=2)
        augment(embeddings, tmp_path / dtype, tmp_path / f"a {dtype}", how)
        results[dtype] = np.concatenate([vectors for _, vectors in read_shards(tmp_path / f"a {dtype}")])
    # α times half a scale for each of two languages
    bound = 0.1 * scales_of(tmp_path / "int8")[:, [0, 2], 1].sum(1, keepdims=True) / 2 + 1e-5
    assert (np.abs(results["int8"] - results["float32"]) <= bound).all()
    assert (results["int8"] != results["float32"]).any()


def test_interrupted_int8_shard_is_written_again(
    queries: Path, config: EncoderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(queries, config, tmp_path / "whole", dtype="int8")
    written: list[str] = []

    def failing(path: Path, array: np.ndarray) -> None:
        if path.name == "00001.npy" and path.name not in written:
            written.append(path.name)
            raise KeyboardInterrupt
        written.append(path.name)
        write_array(path, array)

    monkeypatch.setattr(sumstore, "write_array", failing)
    with pytest.raises(KeyboardInterrupt):
        run(queries, config, tmp_path / "s", dtype="int8")
    run(queries, config, tmp_path / "s", dtype="int8")
    assert written == [f"0000{n}.{kind}npy" for n in (0, 1, 1, 2) for kind in ("codes.", "scales.", "")]
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_embeddings_cannot_be_stored_as_int8(tmp_path: Path, config: EncoderConfig) -> None:
    with pytest.raises(InputError, match="embeddings cannot be stored as 'int8'"):
        encode("xor-mini", config, tmp_path / "e", dtype="int8")


# properties, with an encoder that needs no model


class Hashing:
    """An encoder whose vectors are random numbers seeded by the text; it notes what it was given."""

    dimension = 4

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def vector(self, text: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(4, dtype=np.float32)

    def query_batches(self, queries: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        texts = list(queries)
        self.encoded += texts
        backwards = np.arange(len(texts))[::-1]
        for start in range(0, len(texts), 4):
            positions = backwards[start : start + 4]
            yield positions, np.stack([self.vector(texts[position]) for position in positions])


def add_up(passages: Sequence[PassageQueries], **layout: Any) -> tuple[np.ndarray, np.ndarray]:
    return sum_shard(passages, Hashing(), Layout(**{"languages": LANGUAGES, "count": COUNT} | layout))


# few letters, so that the same text comes again within a passage and between passages; any may be missing
TEXTS = st.lists(st.text("abc", max_size=2), max_size=COUNT).map(tuple)
SHARDS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(LANGUAGES, TEXTS)), min_size=1, max_size=5).map(
    lambda shard: [PassageQueries(str(number), queries) for number, queries in enumerate(shard)]
)


@given(SHARDS, st.randoms(use_true_random=False), st.booleans())
def test_order_of_lines_and_languages_does_not_matter(
    shard: list[PassageQueries], draw: Any, per_language: bool
) -> None:
    order, columns = list(range(len(shard))), list(range(len(LANGUAGES)))
    draw.shuffle(order)
    draw.shuffle(columns)
    mixed = [
        PassageQueries(shard[i].docid, dict(draw.sample([*shard[i].queries.items()], len(shard[i].queries))))
        for i in order
    ]
    languages = tuple(LANGUAGES[column] for column in columns)
    before = add_up(shard, per_language=per_language)
    after = add_up(mixed, languages=languages, per_language=per_language)
    for one, other in zip(before, after, strict=True):
        one = one[order][:, columns] if per_language else one[order]
        np.testing.assert_allclose(other, one, atol=1e-5)


@given(SHARDS)
def test_each_rank_adds_the_queries_of_that_rank(shard: list[PassageQueries]) -> None:
    sums, counts = add_up(shard)
    for i, (_, queries) in enumerate(shard):
        for rank in range(COUNT):
            texts = [queries[code][rank] for code in LANGUAGES if len(queries.get(code, ())) > rank]
            before = (sums[i, 0, rank - 1], counts[i, 0, rank - 1]) if rank else (np.zeros(4), 0)
            expected = np.sum([Hashing().vector(text) for text in texts], axis=0) if texts else np.zeros(4)
            np.testing.assert_allclose(sums[i, 0, rank] - before[0], expected, atol=1e-5)
            assert counts[i, 0, rank] - before[1] == len(texts)


@given(SHARDS)
def test_languages_apart_add_up_to_all_together(shard: list[PassageQueries]) -> None:
    (apart, numbers), (sums, counts) = add_up(shard, per_language=True), add_up(shard)
    np.testing.assert_allclose(apart.sum(1, keepdims=True), sums, atol=1e-5)
    np.testing.assert_array_equal(numbers.sum(1, keepdims=True), counts)


@given(SHARDS, st.booleans())
def test_last_rank_alone_is_the_last_of_every_rank(shard: list[PassageQueries], per_language: bool) -> None:
    every, last = (add_up(shard, per_language=per_language, every_rank=every) for every in (True, False))
    np.testing.assert_allclose(last[0], every[0][:, :, -1:], atol=1e-5)
    np.testing.assert_array_equal(last[1], every[1][:, :, -1:])


@given(SHARDS, st.booleans())
def test_fewer_queries_are_the_first_ranks(shard: list[PassageQueries], every_rank: bool) -> None:
    (few, _), (every, _) = add_up(shard, count=2, every_rank=every_rank), add_up(shard)
    np.testing.assert_allclose(few, every[:, :, :2] if every_rank else every[:, :, 1:2], atol=1e-5)


@given(SHARDS)
def test_each_text_is_encoded_once(shard: list[PassageQueries]) -> None:
    encoder = Hashing()
    sum_shard(shard, encoder, Layout(LANGUAGES, COUNT))  # type: ignore[arg-type]
    assert sorted(encoder.encoded) == sorted({text for _, queries in shard for few in queries.values() for text in few})


# the stage


def test_matching_sums_are_reused_and_others_made_anew(
    queries: Path, passages: list[PassageQueries], config: EncoderConfig, folder: Path, tmp_path: Path
) -> None:
    copy, lines = shutil.copytree(folder, tmp_path / "s"), []
    run(queries, config, copy, per_language=True)
    assert lines == [f"sum: {copy} is up to date"]
    changed = write_queries(passages[1:], tmp_path / "changed.jsonl")
    run(changed, config, copy, per_language=True)
    assert lines[1] == f"sum: {copy} is rebuilt (changed: queries)"
    assert together(copy)[0][0] == "2"
    run(changed, config, copy, per_language=True, dtype="float16")
    assert lines[3] == f"sum: {copy} is rebuilt (changed: dtype)"


def test_missing_queries_are_refused_or_counted(
    passages: list[PassageQueries], config: EncoderConfig, vectors: np.ndarray, tmp_path: Path
) -> None:
    few = [passages[0], PassageQueries("2", {"ru": passages[1].queries["ru"][:2]}), passages[2]]
    path = write_queries(few, tmp_path / "few.jsonl")
    with pytest.raises(InputError, match=r"has 2 Russian queries where 3 are due.*--allow-missing") as caught:
        run(path, config, tmp_path / "s")
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert {child.name for child in tmp_path.iterdir()} == {"few.jsonl"}
    manifest = run(path, config, tmp_path / "s", allow_missing=True)
    assert manifest.counts == {"passages": 3, "queries": 20, "missing": 7, "dimension": 32}
    _, sums, counts = together(tmp_path / "s")
    np.testing.assert_array_equal(counts[1, 0], [1, 2, 2])
    np.testing.assert_allclose(sums[1, 0, 2], vectors[1, 0, :2].sum(0), atol=1e-5)
    with pytest.raises(InputError, match="has 2 Russian queries"):
        run(path, config, tmp_path / "s")  # what was allowed once is not for ever


@pytest.mark.parametrize("gap", [1, 20])
def test_passage_that_occurs_twice_is_refused(
    passages: list[PassageQueries], config: EncoderConfig, tmp_path: Path, gap: int
) -> None:
    path = write_queries([*passages[: gap + 1], passages[1]], tmp_path / "twice.jsonl")
    with pytest.raises(InputError, match="has queries for the passage 2 twice"):
        run(path, config, tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"languages": ["ru", "xx"]}, "unknown language 'xx'"),
        ({"languages": ["ru", "fi", "ru"]}, "named twice: ru fi ru"),
        ({"languages": []}, "3 queries in each of 0 languages"),
        ({"count": 0}, "0 queries in each of 3 languages"),
        ({"count": 21846}, "between 1 and 65,535 queries"),
        ({"dtype": "int4"}, "sums cannot be stored as 'int4'.*float32, float16, int8"),
        ({"shard_size": 0}, "cannot hold 0 passages"),
        ({"languages": ["ru", "ko"]}, "no Korean queries where 3 are due"),
    ],
)
def test_sum_refuses(
    queries: Path, config: EncoderConfig, tmp_path: Path, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        run(queries, config, tmp_path / "s", **settings)
    assert list(tmp_path.iterdir()) == []


def test_empty_file_is_refused(config: EncoderConfig, tmp_path: Path) -> None:
    path = write_queries([], tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no generated queries"):
        run(path, config, tmp_path / "s")


def test_failed_run_goes_on_behind_its_last_whole_shard(
    queries: Path, config: EncoderConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards: list[int] = []
    original = TextEncoder.query_batches

    def counting(self: TextEncoder, queries: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if len(shards) == 2 and stop:
            raise KeyboardInterrupt
        shards.append(len(list(queries)))
        return original(self, queries)

    monkeypatch.setattr(TextEncoder, "query_batches", counting)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        run(queries, config, tmp_path / "s", per_language=True)
    assert not (tmp_path / "s").exists()
    stop = False
    run(queries, config, tmp_path / "s", per_language=True)
    # 8 passages have 2 queries of their own in each language, and one in common
    assert shards == [8 * 2 * 3 + 3, 8 * 2 * 3 + 3, 6 * 2 * 3 + 3]
    assert contents(tmp_path / "s") == contents(folder)


@pytest.mark.parametrize(
    ("free", "file"), [(200, "00000.counts.npy"), (1000, "00000.npy"), (8 * 9 * 32 * 4 + 100, "00000.npy")]
)
def test_full_disk_ends_sum_with_nothing_half_written(
    queries: Path,
    config: EncoderConfig,
    folder: Path,
    tmp_path: Path,
    disk_of: Callable[[int], Any],
    free: int,
    file: str,
) -> None:
    with disk_of(free), pytest.raises(InputError, match=rf"{file}: could not be written.*free some space"):
        run(queries, config, tmp_path / "s", per_language=True)
    whole = {".identity", "00000.docid"} | ({"00000.counts.npy"} if file == "00000.npy" else set())
    assert {path.name for path in (tmp_path / "s.partial").iterdir()} == whole
    assert not (tmp_path / "s").exists()
    run(queries, config, tmp_path / "s", per_language=True)
    assert contents(tmp_path / "s") == contents(folder)


@pytest.mark.integration
def test_killed_run_ends_with_the_bytes_of_an_undisturbed_one(config: EncoderConfig, tmp_path: Path) -> None:
    queries = write_queries(made_up(str(number) for number in range(80)), tmp_path / "queries.jsonl")
    program = (
        "from xqg_repro.core.settings import EncoderConfig; from xqg_repro.representation.sums import sum_queries\n"
        f"sum_queries({str(queries)!r}, EncoderConfig({config.model!r}), {str(tmp_path / 'killed')!r},"
        f" languages={LANGUAGES}, count={COUNT}, shard_size=1, device='cpu')"
    )
    killed(program, tmp_path / "killed")
    for output in ("killed", "whole"):
        run(queries, config, tmp_path / output, shard_size=1)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not (tmp_path / "killed.partial").exists()


# reading


def opened(**layout: Any) -> Sums:
    """Sums without files, as far as their manifest goes."""
    settings = {"languages": list(LANGUAGES), "count": COUNT, "per_language": True, "every_rank": True}
    return Sums(Path("sums"), Manifest("sum", settings | layout))


@pytest.mark.parametrize(
    ("languages", "queries", "layout", "expected"),
    [
        ((), 0, {}, ([0, 1, 2], 2)),
        (("te", "ru"), 2, {}, ([0, 2], 1)),
        (("fi", "fi"), 1, {}, ([1], 0)),
        ((), 3, {"every_rank": False}, ([0, 1, 2], 0)),
        ((), 1, {"per_language": False}, ([0], 0)),
        (("te", "ru", "fi"), 0, {"per_language": False, "every_rank": False}, ([0], 0)),
    ],
)
def test_select_finds(
    languages: tuple[str, ...], queries: int, layout: dict[str, Any], expected: tuple[list[int], int]
) -> None:
    assert opened(**layout).select(languages, queries) == expected


@pytest.mark.parametrize(
    ("languages", "queries", "layout", "problem"),
    [
        (("ru", "ko"), 0, {}, r"no sums of queries in 'ko' \(the languages are: ru fi te\)"),
        (("ru",), 0, {"per_language": False}, "one sum over ru fi te together.*--per-language"),
        ((), 4, {}, "sums of 3 queries a language, not 4"),
        (
            (),
            2,
            {"every_rank": False},
            "sum of all 3 queries a language alone, not of the first 2.*without --last-rank",
        ),
    ],
)
def test_select_refuses(languages: tuple[str, ...], queries: int, layout: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        opened(**layout).select(languages, queries)
    assert caught.value.path == Path("sums")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2), ("int8", 2e-2)])
def test_take_gives_the_sums_of_any_passages(
    queries: Path, config: EncoderConfig, vectors: np.ndarray, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    run(queries, config, tmp_path / "s", per_language=True, dtype=dtype)
    places = np.array([21, -1, 0, 8, 7, 0])
    totals, counts = read_sums(tmp_path / "s").take(places, [0, 2], 1)
    expected = vectors[places][:, [0, 2], :2].sum((1, 2))
    expected[1] = 0
    assert totals.dtype == np.float32
    np.testing.assert_allclose(totals, expected, atol=tolerance)
    np.testing.assert_array_equal(counts, [4, 0, 4, 4, 4, 4])


def test_folder_that_holds_no_sums_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read_sums(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "s")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "stage": "encode"}))
    with pytest.raises(InputError, match="is the output of encode, not query sums"):
        read_sums(copy)


@pytest.mark.parametrize("file", ["00001.npy", "00001.counts.npy", "00001.docid"])
@pytest.mark.parametrize("damage", ["removed", "cut off"])
def test_damaged_sums_name_the_file(folder: Path, tmp_path: Path, file: str, damage: str) -> None:
    path = shutil.copytree(folder, tmp_path / "s") / file
    path.unlink() if damage == "removed" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="rerun the stage") as caught:
        read_sums(tmp_path / "s")
    assert caught.value.path == path


def test_sums_follow_the_encoders_settings(queries: Path, tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    run(queries, EncoderConfig(str(tiny_model), Pooling.MEAN), tmp_path / "s", per_language=True)
    assert np.abs(together(tmp_path / "s")[1] - together(folder)[1]).max() > 0.1
