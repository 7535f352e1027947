"""Late interaction: exact search."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Mini
from hypothesis import given, settings, strategies as st

from retrieval.conftest import brute_force, same
from xqg_repro.core.embeddings import Shard
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import shard_path
from xqg_repro.models.late import TokenVectors
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.retrieval import late_search
from xqg_repro.retrieval.late_index import build_late_index
from xqg_repro.retrieval.late_search import BestTokens, search_late, search_token_shards
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import Hit, rank, read_run
from xqg_repro.retrieval.token_shards import open_token_shards, write_token_shard


@pytest.mark.parametrize("depth", [7, 60, 100])
def test_a_search_is_a_brute_force_loop(
    mini_data: Mini, late: LateConfig, late_index: Path, tmp_path: Path, depth: int
) -> None:
    search_late(late_index, mini_data.topics, tmp_path / "run.txt", depth=depth, tag="late", device="cpu")
    run = read_run(tmp_path / "run.txt")
    assert [len(hits) for hits in run.values()] == [min(depth, 60)] * 14
    same(run, brute_force(mini_data, late, min(depth, 60)))


def test_queries_without_scored_padding_are_searched_without_it(
    mini_data: Mini, late: LateConfig, tmp_path: Path
) -> None:
    plain = dataclasses.replace(late, pad_queries=False)
    build_late_index(mini_data.docs, plain, tmp_path / "index", device="cpu")
    search_late(tmp_path / "index", mini_data.topics, tmp_path / "run.txt", depth=9, device="cpu")
    same(read_run(tmp_path / "run.txt"), brute_force(mini_data, plain, 9))


def write(folder: Path, passages: Sequence[np.ndarray], sizes: Sequence[int]) -> list[Shard]:
    """Token vectors in shards of these sizes; docids are shuffled numbers."""
    first = 0
    for number, size in enumerate(sizes):
        part = passages[first : first + size]
        offsets = np.cumsum([0, *map(len, part)])
        docids = [str(position * 37 % 1009) for position in range(first, first + size)]
        write_token_shard(shard_path(folder, number), docids, TokenVectors(np.concatenate(part), offsets))
        first += size
    return open_token_shards(folder)


def retrieve(shards: Sequence[Shard], questions: np.ndarray, depth: int) -> list[list[Hit]]:
    best = BestTokens(shards, questions, depth)
    assert sum(search_token_shards(shards, best)) == sum(shard.passages for shard in shards)
    return [rank(hits) for hits in best.hits()]


def expected(passages: Sequence[np.ndarray], questions: np.ndarray, depth: int) -> list[list[Hit]]:
    rows = []
    for question in questions.astype(np.float64):
        scores = [float((question @ tokens.astype(np.float64).T).max(axis=1).sum()) for tokens in passages]
        rows.append(rank(Hit(str(i * 37 % 1009), score) for i, score in enumerate(scores))[:depth])
    return rows


@settings(max_examples=25)
@given(st.integers(0, 99), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 60), st.booleans())
def test_hits_depend_neither_on_shards_nor_on_blocks_nor_on_padding(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: list[int], depth: int, repeated: bool
) -> None:
    draw = np.random.default_rng(seed)
    passages = [draw.standard_normal((draw.integers(1, 12), 4)).astype(np.float16) for _ in range(sum(sizes))]
    if repeated:  # copies are ties, which docids order
        passages = [passages[i] for i in draw.integers(0, 5, len(passages)) % len(passages)]
    questions = draw.standard_normal((5, 3, 4)).astype(np.float32)
    questions[0, 1:] = 0  # tokens that are not scored
    correct = expected(passages, questions, depth)
    assert retrieve(write(tmp_path_factory.mktemp("a"), passages, sizes), questions, depth) == correct
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late_search, "TOKENS_PER_BLOCK", 30)
        patch.setattr(late_search, "_TOKENS_PER_PRODUCT", 16)
        patch.setattr(late_search, "_QUESTIONS_PER_PRODUCT", 2)
        assert retrieve(write(tmp_path_factory.mktemp("b"), passages, [len(passages)]), questions, depth) == correct


def test_no_passage_is_missed_when_float32_cannot_tell_scores_apart(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    base = draw.standard_normal((6, 16)).astype(np.float32)
    passages = [base + np.float32(1e-7) * draw.standard_normal((6, 16)).astype(np.float32) for _ in range(300)]
    questions = draw.standard_normal((4, 8, 16)).astype(np.float32)
    shards = write(tmp_path, passages, [300])
    assert retrieve(shards, questions, 20) == expected(passages, questions, 20)


def test_a_run_is_described_and_reused(mini_data: Mini, late_index: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    search_late(late_index, mini_data.topics, path, tag="mine", depth=5, device="cpu")
    manifest = json.loads((tmp_path / "run.txt.json").read_text())
    assert set(manifest["inputs"]) == {"index", "topics", "model"} and manifest["counts"] == {"questions": 14}
    described = yaml.safe_load(metadata_path(path).read_text())
    assert described["method"]["retrieval"][0]["name"] == "late interaction"
    before = path.stat().st_mtime_ns
    assert search_late(late_index, mini_data.topics, path, tag="mine", depth=5).stat().st_mtime_ns == before
    again = search_late(late_index, mini_data.topics, path, tag="mine", depth=5, force=True).read_bytes()
    assert path.stat().st_mtime_ns != before and again == path.read_bytes()


def test_another_model_is_refused(mini_data: Mini, late_index: Path, late_folder: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was made with another model than"):
        search_late(late_index, mini_data.topics, tmp_path / "run.txt", model=str(late_folder(seed=9)))
