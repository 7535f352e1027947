"""FAISS: factories that cannot be used, indexes that do not fit, parameters of a search, and lists that end early."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from conftest import Mini, contents, together

from faults.conftest import Verb
from xqg_repro.core.shards import write_shard
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.retrieval.factory import create_index, train_index
from xqg_repro.retrieval.index import build_index

INNER_PRODUCT = faiss.METRIC_INNER_PRODUCT


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        ("IDMap,Flat", "add does not make sense .*leave out IDMap"),
        ("Flat,IDMap2", "leave out IDMap"),
        ("PCA64,Flat", "PCA matrix cannot output 64 dimensions from 32"),
        ("PQ5", "should be a multiple of the number of subquantizers"),
        ("OPQ7,PQ7", "should be a multiple"),
        ("IVF61,Flat", r"Number of training points \(60\) .*use fewer clusters"),
        ("HNSW32,PQ", "could not parse HNSW code description"),
        ("HNSW8,PQ4x4", "rank by distance, not by inner product"),
        ("ZnLattice2x5_6", "rank by distance"),
        ("LSH", "METRIC_L2"),
        ("BFlat", "could not parse"),
        ("flat", "could not parse"),
        ("", "could not parse"),
        ("Flat\udcff", "no factory string has such characters"),
        ("HNSW0", "HNSW0 is too small|0 is too small"),  # these would abort the process
        ("IVF4_HNSW1,Flat", "HNSW1 is too small"),
        ("PQ8x0", "0 is too small"),
    ],
)
def test_a_factory_that_cannot_be_used_is_named(
    verb: Verb, embeddings: Path, tmp_path: Path, factory: str, problem: str
) -> None:
    outcome = verb("index", "--embeddings", embeddings, "--factory", factory, "--output", tmp_path / "i")
    outcome.refused(f"'{factory}'" if factory.isascii() else "udcff", problem)
    assert "/faiss/" not in outcome.stderr and not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    "factory", ["IVF4,Flat", "L2norm,PCA16,IVF4,SQ8", "HNSW8", "IVF4_HNSW4,Flat,RFlat", "PCA16,PQ4x4"]
)
def test_the_same_vectors_give_the_same_index(embeddings: Path, verb: Verb, tmp_path: Path, factory: str) -> None:
    written = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        line = ["index", "--embeddings", embeddings, "--factory", factory, "--output", tmp_path / "i", "--force"]
        assert verb(*line).status == 0
        written.append(contents(tmp_path / "i"))
    assert written[0] == written[1]


def test_faiss_warnings_are_logged_once(
    embeddings: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    build_index(embeddings, tmp_path / "i", factory="PQ4x4")  # four clusterings
    assert caplog.text.count("warning: clustering 60 points to 16 centroids") == 1
    assert "WARNING" not in capfd.readouterr().err


def test_all_shards_are_trained_on(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, int]:
        for number, vector in enumerate(np.eye(4, dtype=np.float32)):
            docids = [f"{number}-{position}" for position in range(50)]
            write_shard(folder / f"{number:05d}.npy", docids, np.tile(vector, (50, 1)))
        return {"passages": 200}

    build_stage(tmp_path / "e", Manifest("encode", {"collection": "x"}), build)
    index = create_index(4, "IVF1,Flat")
    train_index(index, tmp_path / "e", "IVF1,Flat")
    np.testing.assert_allclose(index.quantizer.reconstruct(0), [0.5] * 4, atol=1e-6)  # their mean, normalised


def test_an_index_of_another_training_is_rebuilt(embeddings: Path, verb: Verb, tmp_path: Path) -> None:
    for factory, has_training in (("Flat", False), ("SQfp16", False), ("SQ8", True)):
        verb("index", "--embeddings", embeddings, "--factory", factory, "--output", tmp_path / factory)
        assert ("training" in Manifest.read(tmp_path / factory).parameters) is has_training


# searching


Make = Callable[..., Path]


@pytest.fixture
def foreign(embeddings: Path, tmp_path: Path) -> Make:
    """``foreign(index)``: an index folder of another program with the small collection's docids."""
    docids, vectors = together(embeddings)

    def make(index: faiss.Index, ids: np.ndarray | None = None, dimension: int = 32, text: str = "") -> Path:
        part = np.ascontiguousarray(vectors[:, :dimension])
        if not index.is_trained:
            index.train(part)
        if ids is None:
            index.add(part)
        else:
            index.add_with_ids(part, ids)
        folder = tmp_path / "foreign"
        folder.mkdir()
        faiss.write_index(index, str(folder / "index"))
        (folder / "docid").write_text(text + "".join(f"{docid}\n" for docid in docids), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def search(verb: Verb, mini_data: Mini, tiny_model: Path, tmp_path: Path):
    """``search(index, options…)`` with the encoder named."""

    def once(index: Path, *options: object):
        encoder = ["--encoder", tiny_model, "--pooling", "cls", "--device", "cpu", "--depth", 20]
        topics = ["--topics", mini_data.topics, "--output", tmp_path / "run.txt"]
        return verb("search", "--index", index, *topics, *encoder, *options)

    return once


def test_an_index_of_another_dimension_is_refused(foreign: Make, search, tmp_path: Path) -> None:
    search(foreign(faiss.IndexFlatIP(16), dimension=16)).refused("has vectors of 16 dimensions, but .* gives 32")
    assert not (tmp_path / "run.txt").exists()


def test_a_replaced_index_is_refused(embeddings: Path, foreign: Make, search, verb: Verb, tmp_path: Path) -> None:
    verb("index", "--embeddings", embeddings, "--output", tmp_path / "i")
    shutil.copy(foreign(faiss.IndexFlatIP(8), dimension=8) / "index", tmp_path / "i" / "index")
    search(tmp_path / "i").refused("has vectors of 8 dimensions, but .* gives 32")


def test_an_index_that_ranks_by_distance_is_refused(foreign: Make, search) -> None:
    search(foreign(faiss.index_factory(32, "PCA8,IVF4,Flat"))).refused("foreign/index: ranks by distance")


@pytest.mark.parametrize("first", [1, -1, 1000])
def test_an_index_with_ids_of_its_own_is_refused(foreign: Make, search, first: int) -> None:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(32))
    search(foreign(index, np.arange(first, first + 60))).refused("has its own ids.*without IDMap")


def test_a_mark_before_the_first_docid_is_refused(foreign: Make, search) -> None:
    search(foreign(faiss.IndexFlatIP(32), text="\ufeff")).refused("foreign/docid: begins with a byte order mark")


@pytest.mark.parametrize(
    ("line", "problem"),
    [(b"a b", "docid:2: 'a b' cannot be an id"), (b"", "docid:2: '' "), (b"\xff", "docid:2: is not UTF-8")],
)
def test_lines_that_are_no_docids_are_named(foreign: Make, search, line: bytes, problem: str) -> None:
    index = foreign(faiss.IndexFlatIP(32))
    lines = (index / "docid").read_bytes().splitlines()
    (index / "docid").write_bytes(b"\n".join([lines[0], line, *lines[2:]]) + b"\n")
    search(index).refused(problem)


def test_a_docid_that_an_index_lists_twice_is_refused(foreign: Make, search) -> None:
    index = foreign(faiss.IndexFlatIP(32))
    (index / "docid").write_text("same\n" * len((index / "docid").read_text().splitlines()))
    search(index).refused("docid: lists a docid twice")


@pytest.mark.parametrize("content", [b"", b"text\n", b"version https://git-lfs.github.com/spec/v1\n", bytes(5_000)])
def test_what_is_no_index_is_refused(foreign: Make, search, content: bytes) -> None:
    folder = foreign(faiss.IndexFlatIP(32))
    (folder / "index").write_bytes(content)
    outcome = search(folder)
    outcome.refused("foreign/index: (cannot be read as a FAISS index|is a Git LFS pointer)")
    assert "/faiss/" not in outcome.stderr


@pytest.mark.parametrize(
    ("factory", "options", "problem"),
    [
        ("Flat", ["--nprobe", 4], "has no inverted lists .*leave out --nprobe"),
        ("Flat", ["--ef-search", 4], "has no HNSW graph"),
        ("HNSW8", ["--nprobe", 4], "has no inverted lists"),
        ("IVF4,Flat", ["--ef-search", 4], "has no HNSW graph"),
        ("IVF4,Flat", ["--nprobe", 5], "has 4 inverted lists, so --nprobe cannot be 5"),
        ("PCA8,IVF4,Flat,RFlat", ["--nprobe", 5], "has 4 inverted lists"),
        ("IVF4,Flat", ["--nprobe", 0], "--nprobe cannot be 0"),
        ("HNSW8", ["--ef-search", -1], "--ef-search cannot be -1"),
        ("HNSW8", ["--ef-search", 10**12], "--ef-search cannot be 10+"),
    ],
)
def test_a_parameter_that_the_index_lacks_is_refused(
    foreign: Make, search, factory: str, options: list[object], problem: str
) -> None:
    search(foreign(faiss.index_factory(32, factory, INNER_PRODUCT)), *options).refused(problem)


@pytest.mark.integration
def test_short_lists_are_counted_and_grow_with_the_parameters(
    embeddings: Path, verb: Verb, mini_data: Mini, tmp_path: Path
) -> None:
    """Through Pyserini; the wrapped index is searched with the parameter too."""
    run = tmp_path / "run.txt"
    rows = {}
    for factory in ("Flat", "IVF20,Flat", "PCA16,IVF20,Flat"):
        verb("index", "--embeddings", embeddings, "--factory", factory, "--output", tmp_path / "i")
        for nprobe in ([], ["--nprobe", 5], ["--nprobe", 20]):
            if factory == "Flat" and nprobe:
                continue
            line = ["search", "--index", tmp_path / "i", "--topics", mini_data.topics, "--output", run, "--depth", 20]
            outcome = verb(*line, "--device", "cpu", *nprobe)
            assert outcome.status == 0, outcome
            parameters = json.loads((tmp_path / "run.txt.json").read_text())["parameters"]
            assert parameters.get("nprobe") == (nprobe[1] if nprobe else None)
            found = rows[factory, *nprobe[1:]] = len(run.read_text().splitlines())
            said = f"questions have fewer than 20 passages ({found:,} of 280); raise --nprobe" in outcome.stderr
            assert said is (found < 280)
        if factory == "IVF20,Flat":
            exact = run.read_text()
    assert rows["Flat",] == rows["IVF20,Flat", 20] == 280
    assert rows["IVF20,Flat",] < rows["IVF20,Flat", 5] < 280 > rows["PCA16,IVF20,Flat",]
    verb("index", "--embeddings", embeddings, "--output", tmp_path / "flat")
    line = ["search", "--index", tmp_path / "flat", "--topics", mini_data.topics, "--output", run, "--device", "cpu"]
    assert "warning" not in verb(*line, "--depth", 100).stderr  # all 60 passages were found
    assert verb(*line, "--depth", 20).status == 0 and run.read_text() == exact
