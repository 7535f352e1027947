"""Late interaction: the index of token vectors, its files, and what damages them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini, contents, described_anew
from interrupts import interrupt_call

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.late import LateEncoder
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.retrieval.late_index import build_late_index, is_late, open_late_index
from xqg_repro.retrieval.late_search import BestTokens, search_token_shards
from xqg_repro.retrieval.token_shards import open_token_shards, read_token_blocks


def test_an_index_has_each_passages_token_vectors_in_the_collections_order(
    mini_data: Mini, late: LateConfig, late_index: Path
) -> None:
    docids, titles, texts = zip(*mini_data.passages, strict=True)
    expected = LateEncoder(late, "cpu").encode_passages(titles, texts)
    files = {f"0000{number}.{kind}" for number in range(3) for kind in ("npy", "offsets.npy", "docid")}
    assert set(contents(late_index)) == files | {"manifest.json"}
    stored, names = [], []
    for number in range(3):  # with nothing but NumPy, as another program would
        vectors, offsets = (np.load(late_index / f"0000{number}.{kind}") for kind in ("npy", "offsets.npy"))
        assert (vectors.dtype, offsets.dtype, offsets[-1]) == (np.float16, np.int64, len(vectors))
        stored += np.split(vectors, offsets[1:-1])
        names += (late_index / f"0000{number}.docid").read_text().split()
    assert names == list(docids)
    for position, vectors in enumerate(stored):
        np.testing.assert_allclose(vectors, expected.of(position), atol=1e-3)
    counts = Manifest.read(late_index).counts
    assert counts == {"passages": 60, "tokens": len(expected.vectors), "dimension": 8}


def test_an_interrupted_index_resumes_to_the_same_bytes_and_is_then_reused(
    mini_data: Mini,
    late: LateConfig,
    late_index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def build() -> None:
        build_late_index(mini_data.docs, late, tmp_path / "index", shard_size=25, device="cpu")

    calls = interrupt_call(monkeypatch, LateEncoder, "encode_passages", 2)
    with pytest.raises(KeyboardInterrupt):
        build()
    build()
    assert [len(texts) for _, _, texts in calls] == [25, 25, 25, 10]
    assert contents(tmp_path / "index") == contents(late_index)
    build()
    assert len(calls) == 4 and caplog.messages[-1].endswith("is up to date")


def test_other_settings_rebuild_an_index(
    mini_data: Mini, late: LateConfig, late_index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(late_index, tmp_path / "index")
    changed = dataclasses.replace(late, mask_punctuation=False)
    build_late_index(mini_data.docs, changed, copy, shard_size=25, dtype="float32", device="cpu")
    assert f"index: {copy} is rebuilt (changed: dtype, encoder)" in caplog.messages
    assert open_late_index(copy)[1] == changed
    assert Manifest.read(copy).counts["tokens"] > Manifest.read(late_index).counts["tokens"]
    assert np.load(copy / "00000.npy").dtype == np.float32


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def change(path: Path, array: np.ndarray) -> None:
    np.save(path, array)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: cut(f / "00001.npy"), "00001.npy: .*cannot be read"),
        (lambda f: cut(f / "00001.offsets.npy"), "00001.offsets.npy: .*cannot be read"),
        (lambda f: (f / "00002.offsets.npy").unlink(), "00002.offsets.npy: .*cannot be read"),
        (lambda f: change(f / "00002.offsets.npy", np.arange(11)), "00002.offsets.npy: does not split"),
        (lambda f: change(f / "00002.offsets.npy", np.arange(4.0)), "00002.offsets.npy: holds float64"),
        (lambda f: change(f / "00002.npy", np.ones((4, 8))), "00002.npy: holds float64"),
        (lambda f: (f / "00002.docid").write_text("a\nb\n"), "00002.docid: has 2 docids for 10 passages"),
        (lambda f: shutil.copy(f / "00001.docid", f / "00000.docid"), "the docid '26' occurs 2 times"),
        (lambda f: [path.unlink() for path in f.glob("0*")], "holds no passages"),
    ],
)
def test_a_damaged_index_is_named(
    late_index: Path, tmp_path: Path, damage: Callable[[Path], Any], problem: str
) -> None:
    copy = shutil.copytree(late_index, tmp_path / "index")
    damage(copy)
    described_anew(copy)
    with pytest.raises(InputError, match=problem):
        open_token_shards(copy)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_infinity_and_nan_are_named(late_index: Path, tmp_path: Path, bad: float) -> None:
    copy = shutil.copytree(late_index, tmp_path / "index")
    vectors = np.load(copy / "00001.npy")
    vectors[77, 3] = bad
    change(copy / "00001.npy", vectors)
    shards = open_token_shards(copy)
    with pytest.raises(InputError, match=r"00001\.npy: holds vectors that are infinite or not numbers"):
        list(search_token_shards(shards, BestTokens(shards, np.ones((2, 3, 8), np.float32), 5)))


def test_a_block_holds_so_many_tokens_at_most(late_index: Path) -> None:
    (shard, *_) = open_token_shards(late_index)
    longest = int(np.diff(np.load(late_index / "00000.offsets.npy")).max())
    for limit in (longest, 100, 10**6):
        blocks = list(read_token_blocks(shard, limit))
        assert max(len(block.tokens.vectors) for block in blocks) <= limit
        assert sum(len(block.tokens.offsets) - 1 for block in blocks) == shard.passages
        starts = np.cumsum([0, *(len(block.tokens.offsets) - 1 for block in blocks[:-1])])
        assert [block.start for block in blocks] == starts.tolist()
    assert len(list(read_token_blocks(shard, 1))) == shard.passages


def test_another_index_is_not_late(late_index: Path, embeddings: Path) -> None:
    assert is_late(late_index) and not is_late(embeddings)
    with pytest.raises(InputError, match="is the output of encode, not of index"):
        open_late_index(embeddings)
