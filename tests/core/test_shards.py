from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import cast_finite, read_shards, shard_path, split_shards, write_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five vectors in shards of 2, 2 and 1."""
    for path, numbers in split_shards(range(5), tmp_path, 2):
        write_shard(path, map(str, numbers), np.array([[number, -1.0] for number in numbers], np.float32))
    return tmp_path


def test_shards_are_read_back_in_order(folder: Path) -> None:
    shards = list(read_shards(folder))
    assert [docids for docids, _ in shards] == [["0", "1"], ["2", "3"], ["4"]]
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in shards])[:, 0], np.arange(5))
    assert shard_path(folder, 2).exists() and not shard_path(folder, 3).exists()


@pytest.mark.parametrize("lines", [1, 3])
def test_another_number_of_docids_names_the_file(folder: Path, lines: int) -> None:
    (folder / "00001.docid").write_text("".join(f"x{i}\n" for i in range(lines)))
    with pytest.raises(InputError, match=rf"has {lines} docids, but 00001\.npy has shape \(2, 2\)") as caught:
        list(read_shards(folder))
    assert caught.value.path == folder / "00001.docid"


def test_missing_docids_and_truncated_vectors_name_the_file(folder: Path) -> None:
    path = folder / "00001.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="cannot be read as an array") as caught:
        list(read_shards(folder))
    assert caught.value.path == path
    (folder / "00000.docid").unlink()
    with pytest.raises(InputError, match="is missing") as caught:
        list(read_shards(folder))
    assert caught.value.path == folder / "00000.docid"


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no embeddings"):
        list(read_shards(tmp_path))


def test_numbers_beyond_float16_are_refused() -> None:
    array = np.array([1.0, 70000.0], dtype=np.float32)
    assert cast_finite(array, "float32", "the sums") is array
    with pytest.raises(InputError, match="the sums do not fit into float16"):
        cast_finite(array, "float16", "the sums")
