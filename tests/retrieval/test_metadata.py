"""A run's metadata: what they say, and that they can be read back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.retrieval import metadata
from xqg_repro.retrieval.metadata import Measurement, commit, metadata_path, read_measurement, write_metadata

SEARCH = Manifest("search", {"topics": "xor-mini/dev", "depth": 7, "tag": "mine", "encoder": {"model": "m"}})
INDEX = Manifest("index", {"collection": "xor-mini", "factory": "Flat", "alpha": 0.05, "encoder": {"model": "m"}})


def test_metadata_describe_system_data_and_machine(tmp_path: Path) -> None:
    path = write_metadata(tmp_path / "run.txt", SEARCH, INDEX)
    assert path == tmp_path / "run.txt.yaml"
    described = yaml.safe_load(path.read_text())
    assert list(described) == ["tag", "date", "platform", "implementation", "method", "data"]
    assert described["tag"] == "mine"
    assert described["method"]["indexing"] == {"factory": "Flat", "alpha": 0.05, "encoder": {"model": "m"}}
    assert described["method"]["retrieval"] == [{"name": "dense", "depth": 7, "encoder": {"model": "m"}}]
    assert described["data"]["test collection"] == {"ir_datasets": "xor-mini", "topics": "xor-mini/dev"}
    assert any(name.startswith("torch==") for name in described["platform"]["software"]["libraries"]["python"])


def test_a_measurement_is_read_back_for_a_compressed_run_too(tmp_path: Path) -> None:
    assert read_measurement(tmp_path / "run.txt") == Measurement("", "", "")
    write_metadata(tmp_path / "run.txt", SEARCH)
    measurement = read_measurement(tmp_path / "run.txt.gz")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", measurement.date)
    assert re.fullmatch(r"([0-9a-f]{7,}(-dirty)?)?", measurement.commit)
    assert re.search(r"\d+ cores$", measurement.hardware)


@pytest.mark.parametrize("text", ["date: 2026-01-01\n", "[]", "platform: {hardware: 3}\ndate: x\n"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    metadata_path(tmp_path / "run.txt").write_text(text)
    with pytest.raises(InputError, match=r"run.txt.yaml: .*metadata"):
        read_measurement(tmp_path / "run.txt")


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit() == ""


def test_changed_files_make_a_commit_dirty_except_in_the_folder_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    code, weights = tmp_path / "package" / "retrieval" / "metadata.py", tmp_path / "package" / "models" / "weights"
    code.parent.mkdir(parents=True)
    weights.parent.mkdir()
    monkeypatch.setattr(metadata, "__file__", str(code))
    assert commit() == ""  # outside a checkout
    git("init")
    assert commit() == ""  # before the first commit
    code.write_text("1")
    weights.write_text("1")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-m", "first")
    clean = commit()
    assert re.fullmatch(r"[0-9a-f]{7,}", clean)
    weights.write_text("2")
    assert (commit(), commit(apart_from="package/models")) == (f"{clean}-dirty", clean)
    code.write_text("2")
    assert commit(apart_from="package/models") == f"{clean}-dirty"
