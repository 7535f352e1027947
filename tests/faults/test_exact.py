"""Search without an index: folders that are damaged or of another stage or model, and options that have no effect."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LANGUAGES, Mini, described_anew, made_up, summed

from faults.conftest import Verb


@pytest.fixture
def search(verb: Verb, mini_data: Mini, tmp_path: Path):
    """``search(folder, options…)``."""

    def once(folder: Path, *options: object):
        topics = ["--topics", mini_data.topics, "--output", tmp_path / "run.txt", "--device", "cpu"]
        return verb("search", "--embeddings", folder, *topics, *options)

    return once


@pytest.fixture
def damaged(embeddings: Path, tmp_path: Path) -> Callable[[str, bytes | np.ndarray], Path]:
    """``damaged(name, content)``: the embeddings with another content of a file, which their manifest describes."""

    def make(name: str, content: bytes | np.ndarray) -> Path:
        folder = shutil.copytree(embeddings, tmp_path / "damaged")
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            np.save(folder / name, content)
        return described_anew(folder)

    return make


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("00001.docid", b"17\n18\n", "00001.docid: has 2 docids, but 00001.npy has shape"),
        ("00003.docid", "".join(f"{i}\n" for i in range(12)).encode(), "damaged: the docid '[1-9]' occurs 2 times"),
        ("00000.docid", b"a b\n" * 16, "00000.docid:1: 'a b' cannot be an id"),
        ("00002.npy", b"\x93NUMPY", "00002.npy: cannot be read as an array"),
        ("00002.npy", np.zeros((16, 8), np.float32), "00002.npy: has vectors of 8 dimensions, but 00001.npy of 32"),
        ("00002.npy", np.full((16, 32), np.nan, np.float32), "00002.npy: holds vectors that are infinite or not numb"),
    ],
)
def test_a_damaged_file_is_named(damaged, search, tmp_path: Path, name: str, content: Any, problem: str) -> None:
    search(damaged(name, content)).refused(problem)
    assert not (tmp_path / "run.txt").exists()


def test_a_shard_that_is_cut_off_or_missing_is_named(damaged, embeddings: Path, search) -> None:
    path = damaged("00002.npy", (embeddings / "00002.npy").read_bytes()[:-4]) / "00002.npy"
    search(path.parent).refused("00002.npy: cannot be read as an array")
    path.write_bytes(path.read_bytes()[:-4])
    search(path.parent).refused("00002.npy: is not the file that its manifest describes")
    path.unlink()
    search(path.parent).refused("00002.npy: is missing")


def test_other_folders_and_models_are_refused(
    mini_data: Mini, config: Any, embeddings: Path, model_folder: Callable[..., Path], search, tmp_path: Path
) -> None:
    sums = summed(made_up((docid for docid, *_ in mini_data.passages), LANGUAGES), config, tmp_path / "sums")
    search(sums).refused("sums: is the output of sum, not of encode or augment")
    (tmp_path / "empty").mkdir()
    search(tmp_path / "empty").refused(r"it has no manifest\.json")
    search(embeddings, "--encoder", model_folder("bert", seed=2)).refused("was made with another model than")
    search(embeddings, "--pooling", "mean").refused("cls pooling, not normalised")
    search(embeddings, "--depth", 0).refused("depth of 0")


@pytest.mark.parametrize("option", ["--nprobe", "--ef-search", "--threads"])
def test_options_of_an_index_are_refused(embeddings: Path, search, option: str) -> None:
    search(embeddings, option, 2).refused(f"{option} has no effect without --index")


def test_an_index_or_embeddings_are_required(verb: Verb, embeddings: Path, search, tmp_path: Path) -> None:
    outcome = verb("search", "--topics", "xor-mini/dev", "--output", tmp_path / "run.txt")
    assert outcome.status == 2 and "one of the arguments --index --embeddings is required" in outcome.stderr
    outcome = search(embeddings, "--index", embeddings)
    assert outcome.status == 2 and "not allowed with argument" in outcome.stderr
