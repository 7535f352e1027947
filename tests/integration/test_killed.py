"""Stages that are complete in spite of SIGKILL at random moments, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import contents

pytestmark = pytest.mark.integration

GENERATE = "generate --collection xor-mini --preset xqg-mini --languages fi --queries 2 --shard-size 100"
ENCODE = "encode --collection xor-mini --preset xdr-mini --shard-size 100"
SUM = "sum --generated {} --preset xdr-mini --languages fi --queries 2 --shard-size 100"
TORCH, CTRANSLATE2, INT8 = "--backend torch --precision float32", "--backend ctranslate2", "--precision int8"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "queries"
    subprocess.run(command(f"{GENERATE} {INT8}", folder), check=True)
    return folder


@pytest.mark.parametrize("backend", [TORCH, CTRANSLATE2, INT8])
def test_queries_after_five_kills_are_those_of_one_run(tmp_path: Path, backend: str) -> None:
    check_killed(f"{GENERATE} {backend}", tmp_path, backend)


@pytest.mark.parametrize("backend", [TORCH, INT8])
def test_embeddings_after_five_kills_are_those_of_one_run(tmp_path: Path, backend: str) -> None:
    check_killed(f"{ENCODE} {backend}", tmp_path, backend)


@pytest.mark.parametrize("backend", [TORCH, INT8])
def test_sums_after_five_kills_are_those_of_one_run(tmp_path: Path, backend: str, generated: Path) -> None:
    check_killed(f"{SUM.format(generated)} {backend}", tmp_path, backend)


def check_killed(options: str, folder: Path, seed: str) -> None:
    """A command that is killed five times, each time soon after it has written a file, ends like one in one run."""
    start = time.monotonic()
    subprocess.run(command(options, folder / "whole"), check=True)
    seconds, moments = time.monotonic() - start, random.Random(seed)
    for _ in range(5):
        before = count_files(folder)
        process = subprocess.Popen(command(options, folder / "killed"))
        while count_files(folder) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.05) * seconds)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command(options, folder / "killed"), check=True)
    assert contents(folder / "killed") == contents(folder / "whole")


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def command(options: str, output: Path) -> list[str]:
    return [sys.executable, "-m", "xqg_repro", *options.split(), "--device", "cpu", "--output", str(output)]
