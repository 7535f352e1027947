from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
import yaml
from conftest import Mini, together

from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import QueryEncoder, TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.encode import encode
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run
from xqg_repro.retrieval.search import open_searcher, search

Search = Callable[..., Path]


@pytest.fixture
def own_index(dense_index: Path, tmp_path: Path) -> Path:
    """A copy of the index that a test may change."""
    return shutil.copytree(dense_index, tmp_path / "index")


class FakeSearcher:
    """In place of Pyserini, whose import takes ten seconds: always retrieves passages 1, 2, 3, …."""

    def batch_search(self, queries: list[str], qids: list[str], k: int, threads: int) -> Run:
        faiss.omp_set_num_threads(threads)  # as Pyserini does
        return {qid: [Hit(str(i), -float(i)) for i in range(1, k + 1)] for qid in qids}


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces Pyserini; lists the indexes searched, in order."""
    searched: list[Path] = []

    def open_fake(index: Path, encoder: QueryEncoder) -> FakeSearcher:
        searched.append(index)
        return FakeSearcher()

    monkeypatch.setattr(import_module("xqg_repro.retrieval.search"), "open_searcher", open_fake)
    return searched


@pytest.fixture
def run(mini_data: Mini, tmp_path: Path) -> Search:
    """``run(index)``: search the mini questions, five passages each."""

    def once(index: Path, **options: Any) -> Path:
        settings = {"depth": 5, "device": "cpu", **options}
        return search(index, mini_data.topics, tmp_path / "run.txt", **settings)

    return once


# the ranking


@pytest.mark.integration
def test_pyserinis_run_is_the_exact_ranking(
    mini_data: Mini, dense_index: Path, embeddings: Path, config: EncoderConfig, run: Search
) -> None:
    docids, vectors = together(embeddings)
    encoder = TextEncoder(config, "cpu")
    exact: Run = {}
    for question in mini_data.questions:
        scores = vectors @ encoder.encode_queries([question["question"]])[0]
        exact[question["id"]] = rank(Hit(docid, score) for docid, score in zip(docids, scores, strict=True))

    for depth, threads in ((5, 1), (100, 2)):
        found = read_run(run(dense_index, depth=depth, threads=threads))
        assert list(found) == list(exact)
        for qid, hits in found.items():
            assert [hit.docid for hit in hits] == [hit.docid for hit in exact[qid][:depth]]
            expected = [hit.score for hit in exact[qid][:depth]]
            np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-4)

    searcher = open_searcher(dense_index, QueryEncoder(config, "cpu"))  # one query, through Pyserini's own interface
    hits = searcher.search(mini_data.questions[0]["question"], k=10)
    assert [hit.docid for hit in hits] == [hit.docid for hit in exact[mini_data.questions[0]["id"]][:10]]


def test_later_stages_have_all_threads_again(dense_index: Path, run: Search, searches: list[Path]) -> None:
    torch.set_num_threads(2)
    run(dense_index, threads=1)
    assert searches and torch.get_num_threads() == 2


# reuse


def test_a_matching_run_is_reused(dense_index: Path, run: Search, searches: list[Path]) -> None:
    path = run(dense_index)
    before = path.stat().st_mtime_ns
    assert run(dense_index).stat().st_mtime_ns == before and len(searches) == 1
    manifest = json.loads(path.with_name("run.txt.json").read_text())
    assert manifest["parameters"]["topics"] == "test-mini/dev" and manifest["counts"] == {"questions": 14}


@pytest.mark.parametrize("options", [{"depth": 6}, {"tag": "other"}, {"force": True}])
def test_other_options_search_again(
    dense_index: Path, run: Search, searches: list[Path], options: dict[str, Any]
) -> None:
    run(dense_index)
    run(dense_index, **options)
    assert len(searches) == 2


@pytest.mark.parametrize("name", ["run.txt", "run.txt.json"])
def test_a_damaged_run_is_made_again(dense_index: Path, run: Search, searches: list[Path], name: str) -> None:
    path = run(dense_index)
    whole = path.read_bytes()
    if name == "run.txt":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.with_name(name).unlink()
    assert run(dense_index).read_bytes() == whole
    assert len(searches) == 2


def test_a_changed_index_is_searched_again(
    mini_data: Mini, own_index: Path, tmp_path: Path, config: EncoderConfig, run: Search, searches: list[Path]
) -> None:
    run(own_index)
    encode(mini_data.docs, dataclasses.replace(config, pooling="mean"), tmp_path / "embeddings", device="cpu")
    build_index(tmp_path / "embeddings", own_index)
    run(own_index)
    assert len(searches) == 2


def test_changed_topics_are_searched_again(dense_index: Path, tmp_path: Path, searches: list[Path]) -> None:
    for text in ("ban", "der"):
        (tmp_path / "topics.tsv").write_text(f"1\t{text}\n")
        search(dense_index, str(tmp_path / "topics.tsv"), tmp_path / "run.txt", depth=5, device="cpu")
    assert len(searches) == 2


def test_metadata_lie_beside_a_run_and_stay_while_it_is_reused(
    dense_index: Path, run: Search, searches: list[Path]
) -> None:
    path = metadata_path(run(dense_index, tag="mine"))
    described = yaml.safe_load(path.read_text())
    assert (described["tag"], described["method"]["retrieval"][0]["depth"]) == ("mine", 5)
    changed = path.read_text().replace("date: '", "date: '1")
    path.write_text(changed)
    run(dense_index, tag="mine")
    assert path.read_text() == changed
    run(dense_index, tag="mine", force=True)
    assert path.read_text() != changed
    path.write_text("another: program's\n")
    with pytest.raises(InputError, match="not a run's metadata"):
        run(dense_index, tag="mine", force=True)


# the encoder


def test_the_encoder_must_be_that_of_the_index(
    dense_index: Path,
    config: EncoderConfig,
    model_folder: Callable[..., Path],
    tmp_path: Path,
    run: Search,
    searches: list[Path],
) -> None:
    with pytest.raises(InputError, match="another model"):
        run(dense_index, encoder=EncoderConfig(str(model_folder("bert", seed=2))))
    for change in ({"pooling": "mean"}, {"normalize": True}):
        with pytest.raises(InputError, match="cls pooling, not normalised"):
            run(dense_index, encoder=dataclasses.replace(config, **change))
    assert searches == []
    moved = shutil.copytree(config.model, tmp_path / "moved")
    assert run(dense_index, encoder=EncoderConfig(str(moved))).exists()


def test_an_index_without_a_manifest_needs_a_named_encoder(
    own_index: Path, config: EncoderConfig, run: Search, searches: list[Path]
) -> None:
    (own_index / "manifest.json").unlink()
    with pytest.raises(InputError, match="encoder is unknown"):
        run(own_index)
    run(own_index, encoder=config)
    docids = (own_index / "docid").read_text().splitlines()
    (own_index / "docid").write_text("".join(f"{docid}\n" for docid in reversed(docids)))
    run(own_index, encoder=config)
    assert len(searches) == 2


def test_a_damaged_index_and_a_depth_of_zero_are_refused(own_index: Path, run: Search) -> None:
    with pytest.raises(InputError, match="depth of 0"):
        run(own_index, depth=0)
    path = own_index / "docid"
    path.write_text(path.read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match="59 docids for 60 vectors"):
        run(own_index)
