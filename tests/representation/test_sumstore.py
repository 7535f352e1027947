from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from xqg_repro.core.errors import InputError
from xqg_repro.representation import sumstore
from xqg_repro.representation.sumstore import StoredSums, write_sums

ELEMENTS = st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, 1e-45, 1e-38, 1000.0])
ARRAYS = st.integers(1, 4).flatmap(lambda ranks: arrays(np.float32, (2, 2, ranks, 3), elements=ELEMENTS))


@settings(max_examples=40)
@given(ARRAYS)
def test_int8_comes_back_to_within_half_a_step(tmp_path_factory: pytest.TempPathFactory, sums: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("any") / "00000.npy"
    write_sums(path, sums, "int8")
    rows, (_, groups, ranks, _) = np.array([1, 0, 1]), sums.shape
    taken = [[StoredSums.open(path).take(rows, g, r) for r in range(ranks)] for g in range(groups)]
    after, before = np.moveaxis(np.array(taken), 2, 0), sums[rows]
    assert after.dtype == np.float32
    np.testing.assert_array_equal(after[:, :, -1], before[:, :, -1].astype(np.float16))
    scales = np.load(path.with_suffix(".scales.npy"))[rows] if ranks > 1 else np.zeros((3, groups, 0))
    rounding = np.abs(before).max(axis=(2, 3), keepdims=True) * 1e-6
    errors = np.abs(after[:, :, :-1].astype(float) - before[:, :, :-1])
    assert (errors <= scales[..., None] * 0.5 + rounding).all()


def test_int8_of_identical_queries_is_as_good_as_float16(tmp_path: Path) -> None:
    ranks = np.arange(1, 5, dtype=np.float32)[:, None]
    sums = (ranks * np.array([0.5, -2, 0], dtype=np.float32))[None, None]
    write_sums(tmp_path / "00000.npy", sums, "int8")
    stored = StoredSums.open(tmp_path / "00000.npy")
    assert stored.codes is not None and not stored.codes.any()
    for rank in range(4):
        np.testing.assert_array_equal(stored.take(np.array([0]), 0, rank), sums[0, :, rank])


def test_only_the_last_rank_must_fit_into_float16(tmp_path: Path) -> None:
    sums = np.array([70000.0, 1.0], dtype=np.float32)[None, None, :, None]
    write_sums(tmp_path / "00000.npy", sums, "int8")
    np.testing.assert_allclose(StoredSums.open(tmp_path / "00000.npy").take(np.array([0]), 0, 0), [[70000]])
    with pytest.raises(InputError, match="the sums do not fit into float16"):
        write_sums(tmp_path / "00001.npy", sums[:, :, ::-1], "int8")
    assert {path.name for path in tmp_path.iterdir()} == {"00000.npy", "00000.codes.npy", "00000.scales.npy"}


def test_the_file_of_the_sums_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(sumstore, "write_array", lambda path, array: written.append(path.name))
    write_sums(tmp_path / "00000.npy", np.ones((1, 1, 2, 3), np.float32), "int8")
    assert written == ["00000.codes.npy", "00000.scales.npy", "00000.npy"]


def test_five_ranks_of_all_of_wikipedia_take_less_than_90_gigabytes(tmp_path: Path) -> None:
    write_sums(tmp_path / "00000.npy", np.ones((10, 1, 5, 768), dtype=np.float32), "int8")
    header, count, docid = 128, 2, len("12345678\n")
    size = sum(path.stat().st_size - header for path in tmp_path.iterdir()) / 10
    assert size == 2 * 768 + 4 * (768 + 4)
    assert 18_003_200 * (size + 5 * count + docid) < 90e9
