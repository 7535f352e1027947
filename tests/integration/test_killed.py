"""Stages that are complete in spite of SIGKILL at random moments, byte for byte.

Each run is a process of its own, forked from one that has imported the large libraries.
"""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from conftest import contents, write_queries
from train.processes import run_verb, start

from xqg_repro.core.settings import resource
from xqg_repro.models.generator import PassageQueries

pytestmark = pytest.mark.integration

PASSAGES = resource("xor_mini") / "passages.tsv"
GENERATE = "generate --collection {} --preset xqg-mini --languages fi --queries 2 --shard-size {}"
ENCODE = "encode --collection xor-mini --preset xdr-mini --shard-size 100"
SUM = "sum --generated {} --preset xdr-mini --languages fi --queries 2 --shard-size 100"
TORCH, CTRANSLATE2, INT8 = "--backend torch --precision float32", "--backend ctranslate2", "--precision int8"


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    """Has imported the libraries before the first run is timed."""
    finish(start(run_verb, "--version"))


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two queries for each passage of xor-mini, in the passage's own words."""
    passages = []
    for line in PASSAGES.read_text(encoding="utf-8").splitlines()[1:]:
        docid, text, _ = line.split("\t")
        words = text.split()
        passages.append(PassageQueries(docid, {"fi": (" ".join(words[:12]), " ".join(words[12:24]))}))
    return write_queries(passages, tmp_path_factory.mktemp("killed") / "queries.jsonl")


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    """The first 600 passages of xor-mini."""
    lines = PASSAGES.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "passages.tsv").write_text("".join(lines[: 600 + 1]), encoding="utf-8")
    return tmp_path / "passages.tsv"


@pytest.mark.parametrize("backend", [TORCH, CTRANSLATE2, INT8])
def test_queries_after_five_kills_are_those_of_one_run(tmp_path: Path, passages: Path, backend: str) -> None:
    check_killed(f"{GENERATE.format(passages, 25)} {backend}", tmp_path, backend)


@pytest.mark.parametrize("backend", [TORCH, INT8])
def test_embeddings_after_five_kills_are_those_of_one_run(tmp_path: Path, backend: str) -> None:
    check_killed(f"{ENCODE} {backend}", tmp_path, backend)


@pytest.mark.parametrize("backend", [TORCH, INT8])
def test_sums_after_five_kills_are_those_of_one_run(tmp_path: Path, backend: str, queries: Path) -> None:
    check_killed(f"{SUM.format(queries)} {backend}", tmp_path, backend)


def check_killed(options: str, folder: Path, seed: str) -> None:
    """A command that is killed five times, each time soon after it has written a file, ends like one in one run."""
    began = time.monotonic()
    finish(launch(options, folder / "whole"))
    seconds, moments = time.monotonic() - began, random.Random(seed)
    for _ in range(5):
        before = count_files(folder)
        process = launch(options, folder / "killed")
        while count_files(folder) == before and process.is_alive():
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.05) * seconds)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    finish(launch(options, folder / "killed"))
    assert contents(folder / "killed") == contents(folder / "whole")


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def launch(options: str, output: Path) -> BaseProcess:
    return start(run_verb, *options.split(), "--device", "cpu", "--output", str(output))


def finish(process: BaseProcess) -> None:
    process.join()
    assert process.exitcode == 0
