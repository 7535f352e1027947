"""Stage folders of the version before the package had folders: their identities hold, and they are reused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from xqg_repro.core.stages import MANIFEST, Manifest
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.encode import encode
from xqg_repro.retrieval.index import build_index

ENCODER = {"model": "/models/tiny", "normalize": False, "passage_max_length": 128, "title_separator": " "}
ENCODER |= {"passage_prefix": "", "pooling": "cls", "precision": "float32", "query_max_length": 32, "query_prefix": ""}
PARAMETERS = {"collection": "xor-tydi", "dtype": "float32", "encoder": ENCODER, "shard_size": 16}
INPUTS = {
    "collection": "f9dba76d791ec317d66890064fffe584",
    "model": "3e5b3dcac2deac79be0637f42ef67361482902d41145572d8154cc2bca33f8eb",
}
EMBEDDINGS = {"embeddings": "9779d244ed25eb6472584574fc6913c875899b8c2dff95e4918cfb8bebe5eda8"}
ENCODE = Manifest("encode", PARAMETERS, INPUTS)
INDEX = Manifest("index", PARAMETERS | {"factory": "Flat"}, INPUTS | EMBEDDINGS)
IDENTITIES = {  # computed by that version
    "encode": "fd21e497b24353e7037abab60510cf65566285a006319b38972fd21d6720d34e",
    "index": "e56a84b43d3d68fdf4e209e7dcd90448ebbc6bb5fc9582b46699f529cf9a6cfa",
}


def test_identities_are_those_of_the_old_version() -> None:
    assert {manifest.stage: manifest.identity for manifest in (ENCODE, INDEX)} == IDENTITIES


def make_old(folder: Path, parameters: dict[str, Any]) -> bytes:
    """Write a folder's manifest as the old version did, with that version's parameters; return the file's content."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for newer in ("docids", "digest"):
        manifest.pop(newer, None)
    manifest["parameters"] = parameters
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    return (folder / MANIFEST).read_bytes()


def test_old_folders_are_reused(
    mini_data: Mini, embeddings: Path, config: EncoderConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, index = shutil.copytree(embeddings, tmp_path / "embeddings"), tmp_path / "index"
    encoder = {"encoder": ENCODER | {"model": config.model}}
    old = make_old(folder, ENCODE.parameters | encoder)
    build_index(folder, index)
    old_index = make_old(index, INDEX.parameters | encoder)

    caplog.clear()
    encode(mini_data.docs, config, folder, shard_size=16, device="cpu")
    build_index(folder, index)
    assert caplog.messages == [f"encode: {folder} is up to date", f"index: {index} is up to date"]
    assert (folder / MANIFEST).read_bytes() == old
    assert (index / MANIFEST).read_bytes() == old_index
