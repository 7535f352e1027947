"""Models by name: from another directory, from the home folder, and after their folder is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Mini

from faults.conftest import Verb
from xqg_repro.core.settings import resource
from xqg_repro.core.stages import Manifest

SEARCH = ("search", "--topics", "test-mini/dev", "--output")


def index(verb: Verb, model: object, folder: Path) -> Path:
    settings = ("--pooling", "cls", "--encoder", model)
    assert verb("encode", "--collection", "xor-tydi", *settings, "--output", folder / "e").status == 0
    assert verb("index", "--embeddings", folder / "e", "--output", folder / "i").status == 0
    return folder / "i"


@pytest.mark.parametrize("name", ["model", "./model", "~/model"])
def test_an_index_is_searched_from_another_directory(
    verb: Verb, mini_data: Mini, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(tiny_model, tmp_path / "home" / "model")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    folder = index(verb, name, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert verb(*SEARCH, "run.txt", "--index", folder).status == 0


@pytest.mark.parametrize("recorded", ["/nothing/here", "m/gone", "gone"])
def test_the_packaged_model_takes_the_place_of_a_folder_that_is_gone(
    verb: Verb, mini_data: Mini, tmp_path: Path, recorded: str
) -> None:
    folder = index(verb, shutil.copytree(resource("models", "xdr-mini"), tmp_path / "copy"), tmp_path)
    shutil.rmtree(tmp_path / "copy")
    manifest = Manifest.read(folder)
    manifest.parameters["encoder"]["model"] = recorded  # as older versions recorded it, too
    manifest.write(folder)
    run = tmp_path / "run.txt"
    assert verb(*SEARCH, run, "--index", folder).status == 0
    assert json.loads((tmp_path / "run.txt.json").read_text())["parameters"]["encoder"]["model"] == "package:xdr-mini"


def test_a_folder_that_is_gone_is_named(verb: Verb, mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    folder = index(verb, shutil.copytree(tiny_model, tmp_path / "copy"), tmp_path)
    (tmp_path / "copy").rename(tmp_path / "moved")
    verb(*SEARCH, tmp_path / "run.txt", "--index", folder).refused(f"{tmp_path / 'copy'}: no such model folder")
    assert verb(*SEARCH, tmp_path / "run.txt", "--index", folder, "--encoder", tmp_path / "moved").status == 0
