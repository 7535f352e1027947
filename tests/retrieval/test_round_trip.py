from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from xqg_repro.core.embeddings import Shard, open_shards
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import shard_path, write_shard
from xqg_repro.retrieval import round_trip
from xqg_repro.retrieval.round_trip import RoundTrip, round_trips


def write(folder: Path, vectors: np.ndarray, sizes: Sequence[int]) -> list[Shard]:
    """Shards of these sizes."""
    ends = np.cumsum(sizes)
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        places = range(end - size, end)
        write_shard(shard_path(folder, number), [f"d{place}" for place in places], vectors[end - size : end])
    return open_shards(folder)


# the second passage of the last shard equals the first of all
PASSAGES = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], np.float32)
BY_HAND = [  # query, its own passage, and the scores 2 1 3 2, 1 -1 0 1 or 0 0 0 0
    ((2, 1), 0, RoundTrip(2, -1.0)),
    ((2, 1), 1, RoundTrip(4, -2.0)),
    ((2, 1), 2, RoundTrip(1, 1.0)),
    ((2, 1), 3, RoundTrip(2, -1.0)),
    ((1, -1), 0, RoundTrip(1, 0.0)),
    ((1, -1), 1, RoundTrip(4, -2.0)),
    ((1, -1), 2, RoundTrip(3, -1.0)),
    ((0, 0), 1, RoundTrip(1, 0.0)),
]


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 11])
def test_ranks_and_margins_are_those_computed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(round_trip, "PASSAGES_PER_BLOCK", size)
    monkeypatch.setattr(round_trip, "QUERIES_PER_BLOCK", size)
    queries = np.array([query for query, _, _ in BY_HAND], np.float32)
    own = np.array([place for _, place, _ in BY_HAND])
    shards = write(tmp_path, PASSAGES, [1, 1, 2])
    assert round_trips(shards, queries, own) == [trip for *_, trip in BY_HAND]


SIZES = st.lists(st.integers(0, 7), min_size=1, max_size=4).filter(any)


@settings(max_examples=30)
@given(
    st.integers(0, 999), st.lists(st.integers(0, 7), min_size=1, max_size=4).filter(any), st.sampled_from(["f2", "f4"])
)
def test_ranks_and_margins_are_those_of_all_scores(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: list[int], dtype: str
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (sum(sizes), 3)).astype(dtype)
    queries = random.integers(-2, 3, (9, 3)).astype(np.float32)
    own = random.integers(0, len(vectors), 9)
    scores = queries @ vectors.astype(np.float32).T
    expected = []
    for row, place in zip(scores, own, strict=True):
        others = np.delete(row, place)
        margin = float(row[place] - others.max()) if len(others) else np.inf
        expected.append(RoundTrip(1 + int((row > row[place]).sum()), margin))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_trip, "PASSAGES_PER_BLOCK", 3)
        patch.setattr(round_trip, "QUERIES_PER_BLOCK", 4)
        assert round_trips(write(tmp_path_factory.mktemp("shards"), vectors, sizes), queries, own) == expected


def test_a_passage_does_not_lose_to_one_with_the_same_printed_score(tmp_path: Path) -> None:
    shards = write(tmp_path, np.array([[1.0], [1 + 2**-21], [1 + 2**-19]], np.float32), [3])
    trips = round_trips(shards, np.ones((3, 1), np.float32), np.arange(3))
    assert [trip.rank for trip in trips] == [2, 2, 1]


def test_no_queries_have_no_round_trips(tmp_path: Path) -> None:
    assert round_trips(write(tmp_path, PASSAGES, [4]), np.empty((0, 2), np.float32), np.empty(0, np.int64)) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused_with_their_file(tmp_path: Path, value: float) -> None:
    vectors = PASSAGES.copy()
    vectors[2, 1] = value
    shards = write(tmp_path, vectors, [2, 2])
    with pytest.raises(InputError, match="infinite or not numbers") as caught:
        round_trips(shards, np.ones((1, 2), np.float32), np.array([0]))
    assert caught.value.path == shards[1].path and caught.value.hint
