"""Queries that are generated in spite of SIGKILL at random moments, byte for byte."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import contents

pytestmark = pytest.mark.integration

COMMAND = "generate --collection xor-mini --preset xqg-mini --languages fi --queries 2 --shard-size 200 --device cpu"


@pytest.mark.parametrize(
    "backend",
    ["--backend torch --precision float32", "--backend ctranslate2 --precision float32", "--precision int8"],
)
def test_queries_after_five_kills_are_those_of_one_run(tmp_path: Path, backend: str) -> None:
    command = [sys.executable, "-m", "xqg_repro", *f"{COMMAND} {backend}".split(), "--output"]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    seconds, moments = time.monotonic() - start, random.Random(backend)
    for _ in range(5):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        time.sleep(moments.uniform(0.2, 0.7) * seconds)
        process.kill()
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
