"""XQuAD with a real encoder, multilingual-e5-small, against scores measured independently of this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

LANGUAGE, EXPECTED = "ar", {"R@1": 0.652, "R@5": 0.896, "RR@10": 0.756}  # the last was measured without a cut-off


def test_the_two_click_command_gives_the_expected_scores(e5: Path, shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xqg_repro.2cr.xquad", "--condition", "e5-small", "--encoder", str(e5)]
    command += ["--language", LANGUAGE, "--directory", str(tmp_path)]
    environment = {**os.environ, "XQG_REPRO_DATA": str(shared / "data")}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    assert "[FAIL]" not in process.stdout
    scores = json.loads((tmp_path / "scores" / f"scores.xquad.e5-small.en.{LANGUAGE}.json").read_text(encoding="utf-8"))
    for measure, expected in EXPECTED.items():
        assert scores["summary"][measure]["questions"] == 1190
        assert scores["summary"][measure]["means"][LANGUAGE] == pytest.approx(expected, abs=0.005)
