"""What the embedded collection needs works without a home that can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Mini

VARIABLES = ("HOME", "IR_DATASETS_HOME", "HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "PYSERINI_CACHE")


@pytest.fixture(params=["file", "below a file", "everything below a file", "unset", "nobody"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment without a usable home."""
    (tmp_path / "file").write_text("")
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if request.param == "unset":
        return {**kept, "IR_DATASETS_HOME": str(tmp_path / "file" / "datasets")}
    if request.param == "everything below a file":
        return {**kept, **{name: str(tmp_path / "file" / name) for name in VARIABLES}}
    homes = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "home", "nobody": "/proc/nobody"}
    return {**kept, "HOME": str(homes[request.param])}


def run(words: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xqg_repro", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_embedded_collection_needs_no_home(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(["topics", "--topics", "xor-mini/dev", "--output", "q.tsv"], environment, tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr and (tmp_path / "q.tsv").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "q.tsv"]


@pytest.mark.integration
def test_the_doctor_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, **{name: str(tmp_path / "file" / name) for name in VARIABLES}}
    done = run(["doctor"], environment, tmp_path)
    assert done.returncode == 0 and "xor-mini is ready" in done.stdout
    assert "data home" in done.stdout and "temporary, as ir-datasets' own cannot be written" in done.stdout


@pytest.mark.integration
def test_stages_need_no_home(tmp_path: Path, mini_data: Mini, config: object, tiny_model: Path) -> None:
    from xqg_repro.representation import encode
    from xqg_repro.retrieval import build_index

    encode("xor-tydi", config, tmp_path / "e")  # type: ignore[arg-type]
    build_index(tmp_path / "e", tmp_path / "i")
    (tmp_path / "file").write_text("")
    (tmp_path / "q.tsv").write_text("q1\twhere is it\n")
    environment = {**os.environ, **{name: str(tmp_path / "file" / name) for name in VARIABLES}}
    model = ["--encoder", str(tiny_model), "--pooling", "cls"]
    for words in (
        ["encode", "--collection", "xor-mini", *model, "--passage-max-length", "8", "--output", "new"],
        ["search", "--index", "i", "--topics", "q.tsv", "--output", "run.txt"],
    ):
        done = run(words, environment, tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_what_a_read_only_home_has_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xqg_repro.collection import home

    (tmp_path / "home" / "xqg_repro").mkdir(parents=True)
    (tmp_path / "home" / "xqg_repro" / "data.tsv").write_text("")
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(home, "unwritable", lambda folder: "read-only")
    home.prepare_home()
    stand_in = Path(os.environ["IR_DATASETS_HOME"])
    assert stand_in != tmp_path / "home" and (stand_in / "xqg_repro" / "data.tsv").exists()
    (stand_in / "new").mkdir()
    assert not (tmp_path / "home" / "new").exists()
