from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import together

from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import Pooling
from xqg_repro.representation.encode import encode, encoder_of

from .conftest import Few


def test_shards_hold_the_encoders_vectors_in_the_collections_order(few: Few) -> None:
    folder = few.output("encode")
    assert [len(ids) for ids, _ in read_shards(folder)] == [4, 4, 4, 2]
    docids, vectors = together(folder)
    assert docids == [passage.doc_id for passage in few.passages]
    titles, texts = zip(*[(passage.title, passage.text) for passage in few.passages], strict=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, TextEncoder(few.config, "cpu").encode_passages(titles, texts), atol=1e-5)
    manifest = Manifest.read(folder)
    assert manifest.counts == {"passages": 14, "dimension": 32}
    assert encoder_of(manifest) == few.config
    assert len(manifest.files) == 8


def test_other_settings_rebuild_the_embeddings(few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = shutil.copytree(few.output("encode"), tmp_path / "copy")
    mean = dataclasses.replace(few.config, pooling=Pooling.MEAN)
    for config, dtype, changed in ((mean, "float32", "encoder"), (few.config, "float16", "dtype, encoder")):
        encode("few", config, copy, shard_size=4, dtype=dtype, device="cpu")
        assert caplog.messages[-2] == f"encode: {copy} is rebuilt (changed: {changed})"
        assert encoder_of(Manifest.read(copy)) == config
    (docids, vectors), (before, full) = together(copy), together(few.output("encode"))
    assert docids == before and vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors, full.astype(np.float16))
    assert (copy / "00000.npy").stat().st_size == 128 + 4 * 32 * 2


def test_the_same_model_in_another_folder_is_the_same(
    few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(few.output("encode"), tmp_path / "copy")
    model = shutil.copytree(few.config.model, tmp_path / "model")
    moved = dataclasses.replace(few.config, model=str(model))
    encode("few", moved, copy, shard_size=4, device="cpu")
    assert caplog.messages == [f"encode: {copy} is up to date"]
    assert encoder_of(Manifest.read(copy)) == moved  # so that later stages find it
    shutil.copy(model / "config.json", model / "vocab.txt")
    encode("few", moved, copy, shard_size=4, device="cpu")
    assert "is rebuilt (changed: model)" in caplog.messages[-2]


@pytest.mark.parametrize(
    ("dataset", "settings", "problem"),
    [
        ("xor-tidy", {}, "no dataset 'xor-tidy'"),
        ("few", {"dtype": "int8"}, r"cannot be stored as 'int8' \(choose from: float32, float16\)"),
    ],
)
def test_encode_refuses(few: Few, tmp_path: Path, dataset: str, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        encode(dataset, few.config, tmp_path / "e", **settings)
    assert list(tmp_path.iterdir()) == []


def test_embeddings_beyond_float16_are_refused(few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = TextEncoder.encode_passages
    monkeypatch.setattr(TextEncoder, "encode_passages", lambda *texts: 1e5 * original(*texts))
    with pytest.raises(InputError, match=r"the embeddings do not fit into float16"):
        few.run("encode", tmp_path / "e", dtype="float16")
    assert not (tmp_path / "e").exists() and not list(tmp_path.rglob("*.npy"))
