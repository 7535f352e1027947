from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from conftest import Mini, described_anew, together

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.representation.encode import encode, encoder_of
from xqg_repro.retrieval.index import build_index, open_index


@pytest.fixture
def damaged(embeddings: Path, tmp_path: Path) -> Path:
    """A copy of the embeddings that a test may damage."""
    return shutil.copytree(embeddings, tmp_path / "damaged")


@pytest.fixture
def index(embeddings: Path, tmp_path: Path) -> Path:
    build_index(embeddings, tmp_path / "i")
    return tmp_path / "i"


def test_index_holds_the_vectors_and_docids_in_order(embeddings: Path, index: Path) -> None:
    stored = faiss.read_index(str(index / "index"))
    docids, vectors = together(embeddings)
    assert stored.metric_type == faiss.METRIC_INNER_PRODUCT
    np.testing.assert_array_equal(stored.reconstruct_n(0, 60), vectors)
    assert (index / "docid").read_text().splitlines() == docids
    assert Manifest.read(index).counts == {"passages": 60, "dimension": 32}
    assert open_index(index).ntotal == 60


def test_float16_embeddings_are_indexed(
    mini_data: Mini, config: EncoderConfig, embeddings: Path, tmp_path: Path
) -> None:
    encode(mini_data.docs, config, tmp_path / "e", shard_size=16, dtype="float16", device="cpu")
    build_index(tmp_path / "e", tmp_path / "i")
    stored = faiss.read_index(str(tmp_path / "i" / "index"))
    np.testing.assert_array_equal(stored.reconstruct_n(0, 60), together(embeddings)[1].astype(np.float16))
    assert encoder_of(Manifest.read(tmp_path / "i")) == config


def test_float16_index_is_smaller_and_near(embeddings: Path, index: Path, tmp_path: Path) -> None:
    build_index(embeddings, tmp_path / "half", factory="SQfp16")
    vectors = together(embeddings)[1]
    half = faiss.read_index(str(tmp_path / "half" / "index"))
    np.testing.assert_allclose(half.reconstruct_n(0, 60), vectors, rtol=1e-3, atol=1e-3)
    assert (tmp_path / "half" / "index").stat().st_size < 0.55 * (index / "index").stat().st_size
    np.testing.assert_array_equal(half.search(vectors, 1)[1][:, 0], (-(vectors @ vectors.T)).argmin(1))


@pytest.mark.parametrize(
    ("docids", "problem"),
    [("1\n", "'1' occurs 2 times"), ("\n", "docid:1: '' cannot be an id"), (" 2\n", "docid:1: ' 2' cannot be an id")],
)
def test_an_invalid_docid_is_refused(damaged: Path, tmp_path: Path, docids: str, problem: str) -> None:
    path = damaged / "00003.docid"
    path.write_text(docids + path.read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match=problem):
        build_index(described_anew(damaged), tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_missing_shard_is_no_smaller_index(damaged: Path, tmp_path: Path) -> None:
    for end in ("npy", "docid"):
        (damaged / f"00001.{end}").unlink()
    with pytest.raises(InputError, match=r"00001\.docid: is missing"):
        build_index(damaged, tmp_path / "i")


def test_other_stages_outputs_are_no_embeddings(index: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the output of index, not of encode or augment"):
        build_index(index, tmp_path / "again")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        build_index(tmp_path / "empty", tmp_path / "again")


@pytest.mark.parametrize("lines", [59, 61])
def test_index_with_another_number_of_docids_names_the_file(index: Path, lines: int) -> None:
    (index / "docid").write_text("".join(f"{i}\n" for i in range(lines)))
    with pytest.raises(InputError, match=f"{lines} docids") as caught:
        open_index(index)
    assert caught.value.path == index / "docid"


def test_incomplete_index_is_refused(index: Path) -> None:
    path = index / "index"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cannot be read as a FAISS index") as caught:
        open_index(index)
    assert caught.value.path == path
    for name in ("docid", "index"):
        (index / name).unlink()
        with pytest.raises(InputError, match=f"'{name}'"):
            open_index(index)
        (index / name).touch()


def test_unknown_factory_is_refused(embeddings: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NoSuchFactory"):
        build_index(embeddings, tmp_path / "i", factory="NoSuchFactory")


@pytest.mark.parametrize("free", [500, 7700])
def test_full_disk_ends_index_with_nothing_under_the_final_name(
    embeddings: Path, tmp_path: Path, disk_of: Callable[[int], Any], free: int
) -> None:
    # a short write may show only when the file is closed, so the end of the file is tried too (it has 7,725 bytes)
    with disk_of(free), pytest.raises(InputError, match=r"index: could not be written.*free some space"):
        build_index(embeddings, tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_index_follows_its_embeddings(
    mini_data: Mini, damaged: Path, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(damaged, tmp_path / "i")
    config = EncoderConfig(str(tiny_model), Pooling.MEAN)
    encode(mini_data.docs, config, damaged, shard_size=16, device="cpu")
    caplog.clear()
    for _ in range(2):
        build_index(damaged, tmp_path / "i")
    lines = caplog.messages
    assert "is rebuilt" in lines[0] and "wrote" in lines[1] and lines[2].endswith("is up to date")
    assert encoder_of(Manifest.read(tmp_path / "i")) == config
