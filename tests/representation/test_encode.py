from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from conftest import PASSAGES_FILE, Mini, contents, described_anew, together, write_passages

from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest
from xqg_repro.models import encoder as encoders
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.representation.encode import encode, encoder_of
from xqg_repro.retrieval.index import build_index, check_index


@pytest.fixture
def damaged(embeddings: Path, tmp_path: Path) -> Path:
    """A copy of the embeddings that a test may damage."""
    return shutil.copytree(embeddings, tmp_path / "damaged")


# encode


def test_shards_hold_the_collection_in_order(mini_data: Mini, embeddings: Path) -> None:
    assert [len(ids) for ids, _ in read_shards(embeddings)] == [16, 16, 16, 12]
    assert together(embeddings)[0] == [docid for docid, *_ in mini_data.passages]


def test_shards_hold_the_encoders_vectors(mini_data: Mini, embeddings: Path, config: EncoderConfig) -> None:
    expected = TextEncoder(config, "cpu").encode_passages(*zip(*[row[1:] for row in mini_data.passages], strict=True))
    vectors = together(embeddings)[1]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_several_shards_equal_one_shard(
    mini_data: Mini, embeddings: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    encode(mini_data.docs, config, tmp_path / "one", device="cpu")
    (ids, vectors), *more = read_shards(tmp_path / "one")
    assert not more
    assert ids == together(embeddings)[0]
    np.testing.assert_allclose(vectors, together(embeddings)[1], atol=1e-6)


def test_manifest_says_what_the_embeddings_are(embeddings: Path, config: EncoderConfig) -> None:
    manifest = Manifest.read(embeddings)
    assert manifest.counts == {"passages": 60, "dimension": 32}
    assert encoder_of(manifest) == config
    assert len(manifest.files) == 8


def test_matching_embeddings_are_reused(mini_data: Mini, damaged: Path, config: EncoderConfig) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in damaged.iterdir()}
    encode(mini_data.docs, config, damaged, shard_size=16, device="cpu")
    assert {path.name: path.stat().st_mtime_ns for path in damaged.iterdir()} == before


def test_other_settings_make_the_embeddings_anew(
    mini_data: Mini, damaged: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mean = EncoderConfig(str(tiny_model), Pooling.MEAN)
    encode(mini_data.docs, mean, damaged, shard_size=16, device="cpu")
    assert caplog.messages[0] == f"encode: {damaged} is rebuilt (changed: encoder)"
    assert encoder_of(Manifest.read(damaged)) == mean


def test_failed_run_goes_on_behind_its_last_whole_shard(
    mini_data: Mini, embeddings: Path, config: EncoderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    original = TextEncoder.encode_passages

    def failing(self: TextEncoder, titles: Any, texts: Any) -> np.ndarray:
        if len(encoded) == 2:
            raise KeyboardInterrupt
        encoded.append(len(texts))
        return original(self, titles, texts)

    monkeypatch.setattr(TextEncoder, "encode_passages", failing)
    with pytest.raises(KeyboardInterrupt):
        encode(mini_data.docs, config, tmp_path / "e", shard_size=16, device="cpu")
    assert not (tmp_path / "e").exists()

    def counting(self: TextEncoder, titles: Any, texts: Any) -> np.ndarray:
        encoded.append(len(texts))
        return original(self, titles, texts)

    monkeypatch.setattr(TextEncoder, "encode_passages", counting)
    encode(mini_data.docs, config, tmp_path / "e", shard_size=16, device="cpu")
    assert encoded == [16, 16, 16, 12]
    assert contents(tmp_path / "e") == contents(embeddings)


@pytest.mark.parametrize(
    ("dataset", "settings", "problem"),
    [
        ("xor-tydi", {"shard_size": 0}, "cannot hold 0"),
        ("xor-tidy", {}, "no dataset 'xor-tidy'"),
        ("xor-tydi", {"dtype": "int8"}, r"cannot be stored as 'int8' \(choose from: float32, float16\)"),
        ("xor-tydi", {"dtype": "float64"}, "cannot be stored as 'float64'"),
    ],
)
def test_encode_refuses(
    mini_data: Mini, config: EncoderConfig, tmp_path: Path, dataset: str, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        encode(dataset, config, tmp_path / "e", **settings)
    assert list(tmp_path.iterdir()) == []


def test_float16_halves_the_files_and_rounds_the_vectors(
    mini_data: Mini, embeddings: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    manifest = encode(mini_data.docs, config, tmp_path / "e", shard_size=16, dtype="float16", device="cpu")
    docids, vectors = together(tmp_path / "e")
    assert vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors, together(embeddings)[1].astype(np.float16))
    assert docids == together(embeddings)[0]
    sizes = [(folder / "00000.npy").stat().st_size for folder in (tmp_path / "e", embeddings)]
    assert sizes == [128 + 16 * 32 * 2, 128 + 16 * 32 * 4]
    assert manifest.parameters["dtype"] == "float16" != Manifest.read(embeddings).parameters["dtype"]


def test_another_number_format_makes_the_embeddings_anew(
    mini_data: Mini, embeddings: Path, damaged: Path, config: EncoderConfig, caplog: pytest.LogCaptureFixture
) -> None:
    for dtype in ("float16", "float32"):
        encode(mini_data.docs, config, damaged, shard_size=16, dtype=dtype, device="cpu")
        assert caplog.messages[-2] == f"encode: {damaged} is rebuilt (changed: dtype)"
    assert contents(damaged) == contents(embeddings)


def test_embeddings_beyond_float16_are_refused(
    mini_data: Mini, config: EncoderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TextEncoder.encode_passages
    monkeypatch.setattr(TextEncoder, "encode_passages", lambda *texts: 1e5 * original(*texts))
    with pytest.raises(InputError, match=r"the embeddings do not fit into float16 \(store them as float32\)"):
        encode(mini_data.docs, config, tmp_path / "e", dtype="float16", device="cpu")
    assert not (tmp_path / "e").exists()
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("free", [100, 1000])
def test_full_disk_ends_encode_with_nothing_half_written(
    mini_data: Mini, config: EncoderConfig, tmp_path: Path, disk_of: Callable[[int], Any], free: int
) -> None:
    with disk_of(free), pytest.raises(InputError, match=r"00000\.npy: could not be written.*free some space"):
        encode(mini_data.docs, config, tmp_path / "e", shard_size=16, device="cpu")
    assert {path.name for path in (tmp_path / "e.partial").iterdir()} == {".identity", "00000.docid"}
    assert not (tmp_path / "e").exists()


@pytest.mark.integration
def test_killed_run_ends_with_the_bytes_of_an_undisturbed_one(tiny_model: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_passages(home / "xqg_repro" / "xor-tydi" / PASSAGES_FILE, 400)
    environment = {**os.environ, "IR_DATASETS_HOME": str(home), "OMP_NUM_THREADS": "1"}

    def start(output: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "xqg_repro", "encode", "--collection", "xor-tydi", "--device", "cpu"]
        command += ["--encoder", str(tiny_model), "--pooling", "cls", "--shard-size", "1", "--output", str(output)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    delays = random.Random(11)
    for _ in range(2):
        started = set((tmp_path / "killed.partial").glob("*.npy"))
        process = start(tmp_path / "killed")
        while set((tmp_path / "killed.partial").glob("*.npy")) == started and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delays.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed").exists()
    assert start(tmp_path / "killed").wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not (tmp_path / "killed.partial").exists()


# shards


@pytest.mark.parametrize("lines", [15, 17])
def test_shard_with_another_number_of_docids_names_the_file(damaged: Path, lines: int) -> None:
    (damaged / "00001.docid").write_text("".join(f"x{i}\n" for i in range(lines)))
    with pytest.raises(InputError, match=rf"has {lines} docids for an array of shape \(16, 32\)") as caught:
        list(read_shards(damaged))
    assert caught.value.path == damaged / "00001.docid"


def test_shard_without_docids_names_the_file(damaged: Path) -> None:
    (damaged / "00002.docid").unlink()
    with pytest.raises(InputError, match="missing beside its vectors") as caught:
        list(read_shards(damaged))
    assert caught.value.path == damaged / "00002.docid"


def test_truncated_shard_names_the_file(damaged: Path) -> None:
    path = damaged / "00001.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as caught:
        list(read_shards(damaged))
    assert caught.value.path == path


def test_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no embeddings"):
        list(read_shards(tmp_path))


# index


def test_index_holds_the_vectors_and_docids_in_order(embeddings: Path, tmp_path: Path) -> None:
    manifest = build_index(embeddings, tmp_path / "i")
    index = faiss.read_index(str(tmp_path / "i" / "index"))
    docids, vectors = together(embeddings)
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    np.testing.assert_array_equal(index.reconstruct_n(0, 60), vectors)
    assert (tmp_path / "i" / "docid").read_text().splitlines() == docids
    assert manifest.counts == {"passages": 60, "dimension": 32}
    assert check_index(tmp_path / "i") == 60


def test_float16_embeddings_are_indexed(
    mini_data: Mini, config: EncoderConfig, embeddings: Path, tmp_path: Path
) -> None:
    encode(mini_data.docs, config, tmp_path / "e", shard_size=16, dtype="float16", device="cpu")
    build_index(tmp_path / "e", tmp_path / "i")
    index = faiss.read_index(str(tmp_path / "i" / "index"))
    np.testing.assert_array_equal(index.reconstruct_n(0, 60), together(embeddings)[1].astype(np.float16))
    assert encoder_of(Manifest.read(tmp_path / "i")) == config


def test_float16_index_is_smaller_and_near(embeddings: Path, tmp_path: Path) -> None:
    for factory in ("Flat", "SQfp16"):
        build_index(embeddings, tmp_path / factory, factory=factory)
    vectors = together(embeddings)[1]
    half = faiss.read_index(str(tmp_path / "SQfp16" / "index"))
    np.testing.assert_allclose(half.reconstruct_n(0, 60), vectors, rtol=1e-3, atol=1e-3)
    sizes = [(tmp_path / factory / "index").stat().st_size for factory in ("Flat", "SQfp16")]
    assert sizes[1] < 0.55 * sizes[0]
    expected = (-(vectors @ vectors.T)).argmin(1)
    np.testing.assert_array_equal(half.search(vectors, 1)[1][:, 0], expected)


@pytest.mark.parametrize(
    ("docids", "problem"), [("1\n", "'1' occurs twice"), ("\n", "'' is blank"), (" 2\n", "' 2' is blank or holds")]
)
def test_docid_that_cannot_be_is_refused(damaged: Path, tmp_path: Path, docids: str, problem: str) -> None:
    path = damaged / "00003.docid"
    path.write_text(docids + path.read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match=problem):
        build_index(described_anew(damaged), tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_missing_shard_is_no_smaller_index(damaged: Path, tmp_path: Path) -> None:
    for end in ("npy", "docid"):
        (damaged / f"00001.{end}").unlink()
    with pytest.raises(InputError, match=r"00001\.docid: is missing from its stage folder"):
        build_index(damaged, tmp_path / "i")


def test_other_stages_outputs_are_no_embeddings(embeddings: Path, tmp_path: Path) -> None:
    build_index(embeddings, tmp_path / "i")
    with pytest.raises(InputError, match="is the output of index, not of encode or augment"):
        build_index(tmp_path / "i", tmp_path / "again")


def test_an_embedding_that_is_no_number_names_the_text(
    mini_data: Mini, config: EncoderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = mini_data.passages[8][2]
    pooled = encoders.pool

    def spoilt(states: Any, mask: Any, config: EncoderConfig) -> Any:
        found = pooled(states, mask, config)
        found[int(found[:, 0].argmax())] = float("nan")
        return found

    monkeypatch.setattr(encoders, "pool", spoilt)
    with pytest.raises(InputError, match="an embedding that is infinite or not a number"):
        encode(mini_data.docs, config, tmp_path / "e", device="cpu")
    with pytest.raises(InputError, match=re.escape(repr(f"T {text}")[:20])):
        encoders.TextEncoder(config, "cpu").encode_passages(["T"], [text])


def test_the_same_model_elsewhere_is_the_same(
    mini_data: Mini, config: EncoderConfig, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    moved = dataclasses.replace(config, model=str(copy))
    for how in (config, moved):
        encode(mini_data.docs, how, tmp_path / "e", device="cpu")
    assert caplog.messages[-1] == f"encode: {tmp_path / 'e'} is up to date"
    assert encoder_of(Manifest.read(tmp_path / "e")) == moved  # so that later stages find it
    shutil.copy(copy / "config.json", copy / "vocab.txt")
    encode(mini_data.docs, moved, tmp_path / "e", device="cpu")
    assert any("is rebuilt (changed: model)" in line for line in caplog.messages)


@pytest.mark.parametrize("lines", [59, 61])
def test_index_with_another_number_of_docids_names_the_file(embeddings: Path, tmp_path: Path, lines: int) -> None:
    build_index(embeddings, tmp_path / "i")
    (tmp_path / "i" / "docid").write_text("".join(f"{i}\n" for i in range(lines)))
    with pytest.raises(InputError, match=f"has {lines} docids for 60 vectors") as caught:
        check_index(tmp_path / "i")
    assert caught.value.path == tmp_path / "i" / "docid"


@pytest.mark.parametrize("name", ["index", "docid"])
def test_index_without_a_file_is_refused(embeddings: Path, tmp_path: Path, name: str) -> None:
    build_index(embeddings, tmp_path / "i")
    (tmp_path / "i" / name).unlink()
    with pytest.raises(InputError, match=f"has no file '{name}'"):
        check_index(tmp_path / "i")


def test_truncated_index_is_refused(embeddings: Path, tmp_path: Path) -> None:
    build_index(embeddings, tmp_path / "i")
    path = tmp_path / "i" / "index"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cannot be read as a FAISS index") as caught:
        check_index(tmp_path / "i")
    assert caught.value.path == path


def test_unknown_factory_is_refused(embeddings: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NoSuchFactory"):
        build_index(embeddings, tmp_path / "i", factory="NoSuchFactory")


@pytest.mark.parametrize("free", [500, 4096, 7700])
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


def test_index_of_a_folder_that_is_no_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        build_index(tmp_path, tmp_path / "i")
