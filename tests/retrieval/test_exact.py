from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
import yaml
from conftest import Mini, together
from hypothesis import given, settings, strategies as st

from xqg_repro.core.embeddings import Shard, open_shards
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import shard_path, write_shard
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.retrieval import best as best_module, jvm
from xqg_repro.retrieval.best import BestPassages
from xqg_repro.retrieval.exact import search_embeddings, search_shards
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import Hit, rank, read_run
from xqg_repro.retrieval.search import search

Draw = np.random.Generator


@pytest.fixture
def draw() -> Draw:
    return np.random.default_rng(1)


def write(folder: Path, vectors: np.ndarray, sizes: Sequence[int], docids: Sequence[str] = ()) -> list[Shard]:
    """Shards of these sizes; docids are shuffled numbers unless they are given."""
    ends = np.cumsum(sizes)
    docids = docids or [str(number * 37 % 1009) for number in range(ends[-1])]
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        write_shard(shard_path(folder, number), docids[end - size : end], vectors[end - size : end])
    return open_shards(folder)


def retrieve(shards: Sequence[Shard], questions: np.ndarray, depth: int) -> list[list[Hit]]:
    """The hits of each question, as a run has them."""
    best = BestPassages(shards, questions, depth)
    assert sum(search_shards(shards, best)) == sum(shard.passages for shard in shards)
    return [rank(hits) for hits in best.hits()]


def expected(shards: Sequence[Shard], vectors: np.ndarray, questions: np.ndarray, depth: int) -> list[list[Hit]]:
    """The same by sorting all passages."""
    docids = [docid for shard in shards for docid in shard.docids()]
    scores = questions.astype(np.float64) @ vectors.astype(np.float64).T
    return [rank(map(Hit, docids, row.tolist()))[:depth] for row in scores]


# the ranking


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("sizes", "depth"), [([900], 10), ([64, 0, 1, 835], 100), ([300, 600], 901), ([900], 900)])
def test_hits_are_those_of_a_flat_index(tmp_path: Path, draw: Draw, dtype: str, sizes: list[int], depth: int) -> None:
    vectors = draw.standard_normal((900, 24), dtype=np.float32).astype(dtype)
    questions = draw.standard_normal((23, 24), dtype=np.float32)
    shards = write(tmp_path, vectors, sizes)
    flat = faiss.IndexFlatIP(24)
    flat.add(vectors.astype(np.float32))
    docids = [docid for shard in shards for docid in shard.docids()]
    for hits, scores, places in zip(
        retrieve(shards, questions, depth), *flat.search(questions, min(depth, 900)), strict=True
    ):
        assert [hit.docid for hit in hits] == [docids[place] for place in places]
        np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [64, 128])
def test_duplicates_and_ties_are_ordered_by_docid_at_the_last_rank_too(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(best_module, "_LEAST_ROWS", rows)
    monkeypatch.setattr(best_module, "SCORES_PER_BLOCK", 1)
    vectors = draw.standard_normal((1000, 16), dtype=np.float32)[draw.integers(0, 30, 1000)]
    vectors[500:] = vectors[3]
    vectors[700:] *= -1  # half of all questions have equal scores only
    questions = draw.standard_normal((11, 16), dtype=np.float32)
    shards = write(tmp_path, vectors, [130, 870])
    for depth in (1, 20, 33, 150, 250):
        assert retrieve(shards, questions, depth) == expected(shards, vectors, questions, depth)


def test_scores_that_differ_beyond_six_decimals_are_ties(tmp_path: Path) -> None:
    vectors = np.array([[1.0], [1.0 + 2**-22], [1 - 2**-22], [0.5]], np.float32)
    shards = write(tmp_path, vectors, [2, 2], ["c", "b", "a", "0"])
    hits = retrieve(shards, np.array([[1.0], [-1.0]], np.float32), 2)
    assert hits == [[Hit("a", 1.0), Hit("b", 1.0)], [Hit("0", -0.5), Hit("a", -1.0)]]


@st.composite
def _searches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int], list[int], int]:
    """Vectors with few different scores, questions, sizes of shards, an order of the shards, and a depth."""
    sizes = draw(st.lists(st.integers(0, 90), min_size=1, max_size=4).filter(any))
    seed, spread = draw(st.integers(0, 99)), draw(st.sampled_from([1, 3, 100]))
    random = np.random.default_rng(seed)
    vectors = random.integers(-spread, spread + 1, (sum(sizes), 3)).astype(draw(st.sampled_from(["f2", "f4"])))
    questions = random.integers(-2, 3, (draw(st.integers(1, 5)), 3)).astype(np.float32)
    return vectors, questions, sizes, draw(st.permutations(range(len(sizes)))), draw(st.integers(1, 100))


@settings(max_examples=40)
@given(_searches())
def test_shards_may_be_searched_apart_and_merged_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, np.ndarray, list[int], list[int], int]
) -> None:
    vectors, questions, sizes, order, depth = case
    shards = write(tmp_path_factory.mktemp("shards"), vectors, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_module, "_LEAST_ROWS", 64)
        patch.setattr(best_module, "SCORES_PER_BLOCK", 1)
        whole = retrieve(shards, questions, depth)
        merged = BestPassages(shards, questions, depth)
        for number in order:
            part = BestPassages(shards, questions, depth)
            list(search_shards([shards[number]], part))
            merged.add(part.entries())
    assert whole == [rank(hits) for hits in merged.hits()] == expected(shards, vectors, questions, depth)


def test_scores_do_not_depend_on_blocks_and_threads(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = 30 * draw.standard_normal((3000, 100), dtype=np.float32)
    questions = draw.standard_normal((40, 100), dtype=np.float32)
    shards, torch_threads = write(tmp_path, vectors, [3000], [f"{i}" for i in range(3000)]), torch.get_num_threads()
    runs = []
    for rows in (64, 192, 1 << 14):
        monkeypatch.setattr(best_module, "_LEAST_ROWS", rows)
        monkeypatch.setattr(best_module, "SCORES_PER_BLOCK", 1)
        best = BestPassages(shards, questions, 50)
        list(search_shards(shards, best))
        runs.append([{hit.docid: hit.score for hit in hits} for hits in best.hits()])
    assert runs[0] == runs[1] == runs[2]  # to the last bit
    assert torch.get_num_threads() == torch_threads


@pytest.mark.parametrize("offset", [0, 1])
def test_rounded_products_miss_no_passage_even_at_the_floor(
    draw: Draw, monkeypatch: pytest.MonkeyPatch, offset: float
) -> None:
    used: set[torch.dtype] = set()

    class Recorded(BestPassages):
        def _multiply(self, queries: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
            used.add(queries.dtype)
            return super()._multiply(queries, *rest)

    monkeypatch.setattr(best_module, "has_bfloat16", lambda device: True)
    vectors = draw.standard_normal((4000, 16), dtype=np.float32) + np.float32(offset)
    questions = draw.standard_normal((300, 16), dtype=np.float32) + np.float32(offset)
    scores = questions.astype(np.float64) @ vectors.T.astype(np.float64)
    best = Recorded([], questions, 5)
    best._floors = np.sort(scores, axis=1)[:, -5] - 1e-9
    best.add_block(vectors, 0)
    found = np.sort(best.entries()["position"].reshape(300, 5), axis=1)
    np.testing.assert_array_equal(found, np.sort(np.argpartition(-scores, 4)[:, :5], axis=1))
    assert used == {torch.bfloat16}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_shard_with_infinity_or_nan_is_named(tmp_path: Path, draw: Draw, bad: float) -> None:
    vectors = draw.standard_normal((90, 8)).astype(np.float16)
    vectors[70, 3] = bad
    shards = write(tmp_path, vectors, [60, 30])
    with pytest.raises(InputError, match="infinite or not numbers") as caught:
        retrieve(shards, np.ones((2, 8), np.float32), 5)
    assert caught.value.path == shards[1].path


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from xqg_repro.core.shards import shard_path, write_shard
from xqg_repro.core.embeddings import open_shards
from xqg_repro.retrieval.best import BestPassages
from xqg_repro.retrieval.exact import search_shards

questions = np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32)
for folder in map(Path, sys.argv[1:]):
    best = BestPassages(shards := open_shards(folder), questions, 100)
    assert sum(search_shards(shards, best)) and len(best.hits()) == 8
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))  # unlike getrusage, not the parent's
"""


def test_memory_does_not_grow_with_the_embeddings(tmp_path: Path, draw: Draw) -> None:
    """50 and 800 thousand passages; the latter have 205 MB of vectors, and docids of 40 MB as Python's strings."""
    shard = draw.standard_normal((50_000, 64), dtype=np.float32)
    for name, count in (("small", 1), ("large", 16)):
        (tmp_path / name).mkdir()
        for number in range(count):
            write_shard(shard_path(tmp_path / name, number), [f"{number}-{i}" for i in range(50_000)], shard)
    command = [sys.executable, "-c", MEMORY, tmp_path / "small", tmp_path / "large"]
    small, large = map(int, subprocess.check_output(command, text=True).split())
    assert large - small < 30_000, "KiB more"


# the stage


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: str) -> None:
        raise AssertionError("a JVM was to be started")

    monkeypatch.setattr(jvm, "load", refuse)


@pytest.fixture
def run(mini_data: Mini, embeddings: Path, tmp_path: Path) -> Callable[..., Path]:
    """``run()``: search the mini questions in the mini embeddings, five passages each."""

    def once(folder: Path = embeddings, **options: Any) -> Path:
        settings = {"depth": 5, "device": "cpu", **options}
        return search_embeddings(folder, mini_data.topics, tmp_path / "run.txt", **settings)

    return once


def test_a_run_has_the_exact_ranking(
    mini_data: Mini, embeddings: Path, config: EncoderConfig, run: Callable[..., Path]
) -> None:
    questions = TextEncoder(config, "cpu").encode_queries([question["question"] for question in mini_data.questions])
    shards = open_shards(embeddings)
    for depth in (5, 100):
        found = read_run(run(depth=depth, tag="mine"))
        exact = expected(shards, together(embeddings)[1], questions, depth)
        assert found == {question["id"]: hits for question, hits in zip(mini_data.questions, exact, strict=True)}


def test_a_run_is_described_and_reused(run: Callable[..., Path]) -> None:
    path = run(tag="mine")
    manifest = json.loads(path.with_name("run.txt.json").read_text())
    assert set(manifest["inputs"]) == {"embeddings", "topics", "model"} and manifest["counts"] == {"questions": 14}
    described = yaml.safe_load(metadata_path(path).read_text())
    assert (described["tag"], described["method"]["indexing"]["dtype"]) == ("mine", "float32")
    before = path.stat().st_mtime_ns
    assert run(tag="mine").stat().st_mtime_ns == before
    assert run(tag="mine", depth=6).stat().st_mtime_ns != before


@pytest.mark.integration
def test_xor_mini_has_the_hits_of_pyserinis_flat_index(
    reproduction: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    embeddings = reproduction.folder / "out" / "embeddings" / "xor-mini.xdr-mini-xqg"
    build_index(embeddings, tmp_path / "index")
    runs = [tmp_path / "flat.txt", tmp_path / "exact.txt"]
    search(tmp_path / "index", "xor-mini/dev", runs[0], device="cpu")
    search_embeddings(embeddings, "xor-mini/dev", runs[1], device="cpu")
    flat, exact = map(read_run, runs)
    assert list(flat) == list(exact)
    for qid, hits in flat.items():
        score_of, last = dict(exact[qid]), exact[qid][-1].score
        for hit, other in zip(hits, exact[qid], strict=True):
            assert hit.score == pytest.approx(other.score, rel=1e-6, abs=1e-5)
            # FAISS rounds to float32, after which the last digits of near scores can be equal or swapped, also those of
            # the last passage and of the next one, which is no hit
            assert hit.docid == other.docid or score_of.get(hit.docid, last) == pytest.approx(other.score, rel=1e-6)
