"""A minute of fuzzing: every good input is accepted, and no damaged one ends in anything but a refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


@pytest.mark.integration
def test_a_minute_of_fuzzing_finds_nothing() -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "60", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert " 0 findings" in done.stdout
