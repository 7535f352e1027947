from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from conftest import together

from xqg_repro.retrieval import factory
from xqg_repro.retrieval.factory import create_index, thread_limit, train_index


@pytest.mark.parametrize(("limit", "positions"), [(7, [0, 8, 17, 25, 34, 42, 51]), (60, range(60)), (90, range(60))])
def test_training_vectors_lie_at_equal_distances_over_all_shards(
    embeddings: Path, monkeypatch: pytest.MonkeyPatch, limit: int, positions: list[int]
) -> None:
    trained = []

    class Index:
        is_trained = False

        def train(self, vectors: np.ndarray) -> None:
            trained.append(vectors)

    monkeypatch.setattr(factory, "_sample_size", lambda index: limit)
    train_index(Index(), embeddings, "SQ8")
    np.testing.assert_array_equal(trained[0], together(embeddings)[1][list(positions)])
    assert trained[0].dtype == np.float32


def test_the_sample_grows_with_the_inverted_lists() -> None:
    sizes = [factory._sample_size(create_index(32, name)) for name in ("SQ8", "IVF16,Flat", "PCA16,IVF4096,Flat,RFlat")]
    assert sizes == [2**18, 2**18, 256 * 4096]


def test_only_some_factories_take_one_thread() -> None:
    faiss.omp_set_num_threads(2)
    for name, threads in (("IVF16,Flat", 2), ("OPQ8,PQ8", 1), ("NSG32", 1)):
        with thread_limit(name):
            assert faiss.omp_get_max_threads() == threads
        assert faiss.omp_get_max_threads() == 2
