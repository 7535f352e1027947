from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xqg_repro.core.embeddings import find_docids, open_shards
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import shard_path, write_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven float16 vectors in shards of 4, 0 and 3."""
    for number, (start, end) in enumerate(((0, 4), (4, 4), (4, 7))):
        vectors = np.arange(14, dtype=np.float16).reshape(7, 2)[start:end]
        write_shard(shard_path(tmp_path, number), [f"d{i}" for i in range(start, end)], vectors)
    return tmp_path


@pytest.mark.parametrize("rows", [1, 3, 4, 100])
def test_blocks_are_the_vectors_in_order(folder: Path, rows: int) -> None:
    shards = open_shards(folder)
    assert [(shard.start, shard.passages, shard.dimension) for shard in shards] == [(0, 4, 2), (4, 0, 2), (4, 3, 2)]
    blocks = [block for shard in shards for block in shard.blocks(rows)]
    assert all(block.dtype == np.float16 and 0 < len(block) <= rows for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks).ravel(), np.arange(14))


@pytest.mark.parametrize("positions", [[], [0], [6], [0, 3, 4, 6], [*range(7)]])
def test_docids_are_found_by_position(folder: Path, positions: list[int]) -> None:
    shards = open_shards(folder)
    assert find_docids(shards, np.array(positions, dtype=np.int64)) == [f"d{position}" for position in positions]


def test_docids_may_have_any_script_and_windows_line_ends(folder: Path) -> None:
    (folder / "00002.docid").write_bytes("é\r\nд\r\n京\r\n".encode())
    shards = open_shards(folder)
    assert [*shards[2].docids()] == find_docids(shards, np.arange(4, 7)) == ["é", "д", "京"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("d4\nd5\nd0\n", "the docid 'd0' occurs 2 times"),
        ("d4\n\nd6\n", "00002.docid:2: '' cannot be an id"),
        ("d4\nd5\nd 6\n", "00002.docid:3: 'd 6' cannot be an id"),
        ("d4\nd5\x1c\nd6\n", "00002.docid:2: .* cannot be an id"),
        (b"d4\nd\xff\nd6\n", "00002.docid:2: is not UTF-8"),
        ("d4\nd5\nd6", "has 2 docids, but 00002.npy has shape"),  # the last line is cut off
        ("", "has 0 docids"),
        (np.zeros((3, 3), np.float16), "00002.npy: has vectors of 3 dimensions, but 00001.npy of 2"),
        (np.zeros((3, 2), np.int64), "00002.npy: holds int64, expected rows of float32 or float16"),
        (np.zeros((3, 2), ">f4"), "00002.npy: holds >f4"),
        (np.asfortranarray(np.zeros((3, 2), np.float16)), "00002.npy: holds float16, expected rows"),
        (np.zeros(3, np.float16), r"but 00002.npy has shape \(3,\)"),
        (np.zeros(()), r"but 00002.npy has shape \(\)"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(folder: Path, content: Any, problem: str) -> None:
    if isinstance(content, np.ndarray):
        np.save(folder / "00002.npy", content)
    else:
        (folder / "00002.docid").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=problem):
        open_shards(folder)


def test_a_shard_that_shrinks_while_it_is_read_is_refused(folder: Path) -> None:
    blocks = open_shards(folder)[0].blocks(2)
    next(blocks)
    path = folder / "00000.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is cut off") as caught:
        next(blocks)
    assert caught.value.path == path


def test_a_folder_without_passages_is_refused(tmp_path: Path) -> None:
    write_shard(shard_path(tmp_path, 0), [], np.empty((0, 2), np.float32))
    with pytest.raises(InputError, match="holds no passages"):
        open_shards(tmp_path)
