"""A tiny late-interaction index, the runs that it should give, and runs to rerank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Mini

from xqg_repro.models.late import LateEncoder
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.retrieval.late_index import build_late_index
from xqg_repro.retrieval.runfile import Hit, rank, write_run


@pytest.fixture(scope="session")
def late(tiny_late: Path) -> LateConfig:
    return LateConfig(str(tiny_late), query_max_length=16, passage_max_length=60)


@pytest.fixture(scope="session")
def late_index(mini_data: Mini, late: LateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini collection in shards of 25, 25 and 10. Never to be written to."""
    folder = tmp_path_factory.mktemp("late") / "index"
    build_late_index(mini_data.docs, late, folder, shard_size=25, device="cpu")
    return folder


@pytest.fixture
def dense_run(mini_data: Mini, tmp_path: Path) -> Path:
    """Twelve passages per question, in an order that has nothing to do with them; one question has none."""
    draw = np.random.default_rng(2)
    run = {}
    for question in mini_data.questions[1:]:
        docids = draw.permutation([docid for docid, *_ in mini_data.passages])[:12]
        run[question["id"]] = [Hit(str(docid), 12.0 - i) for i, docid in enumerate(docids)]
    write_run(run, tmp_path / "dense.txt", "dense")
    return tmp_path / "dense.txt"


def write_short_run(mini: Mini, path: Path, depth: int) -> Path:
    """A run of ``depth`` passages for every question except the last; retrieval scores the first highest."""
    docids = [docid for docid, *_ in mini.passages]
    run = {
        question["id"]: [Hit(docids[(4 * i + j) % 60], float(depth - j)) for j in range(depth)]
        for i, question in enumerate(mini.questions[:-1])
    }
    write_run(run, path, "test")
    return path


def brute_force(mini: Mini, config: LateConfig, depth: int) -> dict[str, list[Hit]]:
    """Each question's best passages, by loops over questions, passages and tokens."""
    encoder = LateEncoder(config, "cpu")
    questions = encoder.encode_queries([question["question"] for question in mini.questions]).astype(np.float64)
    docids, titles, texts = zip(*mini.passages, strict=True)
    encoded = encoder.encode_passages(titles, texts)
    run = {}
    for question, vectors in zip(mini.questions, questions, strict=True):
        hits = []
        for position, docid in enumerate(docids):
            tokens = encoded.of(position).astype(np.float16).astype(np.float64)
            hits.append(Hit(docid, sum(max(float(t @ u) for u in tokens) for t in vectors)))
        run[question["id"]] = rank(hits)[:depth]
    return run


def same(run: dict[str, list[Hit]], other: dict[str, list[Hit]]) -> None:
    """Assert that runs are equal, except for the last digit of scores, which may swap near scores."""
    assert list(run) == list(other)
    for qid, hits in run.items():
        scores = dict(other[qid])
        assert {hit.docid for hit in hits} == {*scores}
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.docid], abs=3e-5)
