from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Mini

from xqg_repro.collection.topics import read_topics, write_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import read_shards
from xqg_repro.models.encoder import QueryEncoder, TextEncoder
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.representation.encode import encode
from xqg_repro.retrieval import search as search_module
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run
from xqg_repro.retrieval.search import open_searcher, search


@pytest.fixture(scope="module")
def index(mini_data: Mini, config: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the mini collection, beside its embeddings. Never to be written to."""
    folder = tmp_path_factory.mktemp("indexed")
    encode(mini_data.docs, config, folder / "embeddings", shard_size=16, device="cpu")
    build_index(folder / "embeddings", folder / "index")
    return folder / "index"


@pytest.fixture
def own_index(index: Path, tmp_path: Path) -> Path:
    """A copy of the index that a test may change."""
    return shutil.copytree(index, tmp_path / "index")


class Brute:
    """Pyserini's searcher in numpy, without its ten seconds of import."""

    def __init__(self, index: Path, encoder: QueryEncoder) -> None:
        import faiss

        self._ids = (index / "docid").read_text().splitlines()
        stored = faiss.read_index(str(index / "index"))
        self._vectors, self._encoder = stored.reconstruct_n(0, stored.ntotal), encoder

    def batch_search(self, queries: list[str], qids: list[str], k: int, threads: int) -> Run:
        import faiss

        faiss.omp_set_num_threads(threads)  # as Pyserini does
        scores = self._encoder.encode_batch(queries) @ self._vectors.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rows = zip(qids, scores, best, strict=True)
        return {qid: [Hit(self._ids[i], float(row[i])) for i in top] for qid, row, top in rows}


@pytest.fixture
def brute(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Puts :class:`Brute` in Pyserini's place; returns the indexes searched, in order."""
    searched: list[Path] = []

    def open_brute(index: Path, encoder: QueryEncoder) -> Brute:
        searched.append(Path(index))
        return Brute(Path(index), encoder)

    monkeypatch.setattr(search_module, "open_searcher", open_brute)
    return searched


@pytest.fixture
def run(mini_data: Mini, tmp_path: Path) -> Callable[..., Path]:
    """``run(index)``: search the mini questions, five passages each."""

    def once(index: Path, **options: Any) -> Path:
        settings = {"depth": 5, "device": "cpu", **options}
        return search(index, mini_data.topics, tmp_path / "run.txt", **settings)

    return once


def expected_run(mini: Mini, index: Path, config: EncoderConfig, depth: int) -> Run:
    """The exact ranking, straight from the shards."""
    shards = list(read_shards(index.parent / "embeddings"))
    docids = [docid for ids, _ in shards for docid in ids]
    vectors = np.concatenate([block for _, block in shards])
    found = {}
    for question in mini.questions:
        scores = vectors @ TextEncoder(config, "cpu").encode_queries([question["question"]])[0]
        found[question["id"]] = rank(Hit(d, s) for d, s in zip(docids, scores, strict=True))[:depth]
    return found


def assert_equal_runs(found: Run, expected: Run) -> None:
    assert list(found) == list(expected)
    for qid, hits in expected.items():
        assert [hit.docid for hit in found[qid]] == [hit.docid for hit in hits]
        np.testing.assert_allclose([hit.score for hit in found[qid]], [hit.score for hit in hits], atol=1e-4)


# the ranking


@pytest.mark.integration
@pytest.mark.parametrize("depth", [5, 60, 100])
def test_run_equals_brute_force(
    mini_data: Mini, index: Path, config: EncoderConfig, tmp_path: Path, depth: int
) -> None:
    path = search(index, mini_data.topics, tmp_path / "run.txt", depth=depth, device="cpu")
    assert_equal_runs(read_run(path), expected_run(mini_data, index, config, depth))


@pytest.mark.integration
def test_pyserinis_searcher_takes_our_query_encoder(mini_data: Mini, index: Path, config: EncoderConfig) -> None:
    searcher = open_searcher(index, QueryEncoder(config, "cpu"))
    expected = expected_run(mini_data, index, config, 10)
    for question in mini_data.questions[:3]:
        hits = searcher.search(question["question"], k=10)
        assert [hit.docid for hit in hits] == [hit.docid for hit in expected[question["id"]]]


@pytest.mark.integration
def test_threads_change_nothing(index: Path, run: Callable[..., Path]) -> None:
    one = run(index).read_bytes()
    assert run(index, threads=2, force=True).read_bytes() == one


def test_later_stages_have_all_threads_again(index: Path, run: Callable[..., Path], brute: list[Path]) -> None:
    torch.set_num_threads(2)
    run(index, threads=1)
    assert brute and torch.get_num_threads() == 2


# reuse


def test_matching_run_is_reused(index: Path, run: Callable[..., Path], brute: list[Path]) -> None:
    before = run(index).stat().st_mtime_ns
    assert run(index).stat().st_mtime_ns == before
    assert len(brute) == 1


def test_force_searches_again(index: Path, run: Callable[..., Path], brute: list[Path]) -> None:
    run(index)
    run(index, force=True)
    assert len(brute) == 2


@pytest.mark.parametrize("options", [{"depth": 6}, {"tag": "other"}])
def test_other_settings_search_again(
    index: Path, run: Callable[..., Path], brute: list[Path], options: dict[str, Any]
) -> None:
    run(index)
    run(index, **options)
    assert len(brute) == 2


def test_truncated_run_is_made_anew(index: Path, run: Callable[..., Path], brute: list[Path]) -> None:
    path = run(index)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert run(index).read_bytes() == whole
    assert len(brute) == 2


def test_run_without_its_note_is_made_anew(index: Path, run: Callable[..., Path], brute: list[Path]) -> None:
    path = run(index)
    path.with_name("run.txt.json").unlink()
    run(index)
    assert len(brute) == 2


def test_changed_index_is_searched_again(
    mini_data: Mini, own_index: Path, tmp_path: Path, tiny_model: Path, run: Callable[..., Path], brute: list[Path]
) -> None:
    before = run(own_index).read_bytes()
    mean = EncoderConfig(str(tiny_model), Pooling.MEAN)
    encode(mini_data.docs, mean, tmp_path / "embeddings", device="cpu")
    build_index(tmp_path / "embeddings", own_index)
    assert run(own_index).read_bytes() != before
    assert len(brute) == 2


def test_changed_index_without_a_manifest_is_searched_again(
    own_index: Path, config: EncoderConfig, run: Callable[..., Path], brute: list[Path]
) -> None:
    (own_index / "manifest.json").unlink()
    run(own_index, encoder=config)
    docids = (own_index / "docid").read_text().splitlines()
    (own_index / "docid").write_text("".join(f"{docid}\n" for docid in reversed(docids)))
    run(own_index, encoder=config)
    assert len(brute) == 2


def test_changed_topics_are_searched_again(index: Path, tmp_path: Path, brute: list[Path]) -> None:
    for text in ("ban", "der"):
        (tmp_path / "topics.tsv").write_text(f"1\t{text}\n")
        search(index, str(tmp_path / "topics.tsv"), tmp_path / "run.txt", depth=5, device="cpu")
    assert len(brute) == 2


# refusals


def test_index_of_another_model_is_refused(
    index: Path, model_folder: Callable[..., Path], run: Callable[..., Path], brute: list[Path]
) -> None:
    with pytest.raises(InputError, match="was made with another model"):
        run(index, encoder=EncoderConfig(str(model_folder("bert", seed=2))))
    assert brute == []


def test_same_model_in_another_folder_is_accepted(
    index: Path, tiny_model: Path, tmp_path: Path, run: Callable[..., Path], brute: list[Path]
) -> None:
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    assert run(index, encoder=EncoderConfig(str(moved))).exists()


def test_index_without_a_manifest_needs_a_named_encoder(own_index: Path, run: Callable[..., Path]) -> None:
    (own_index / "manifest.json").unlink()
    with pytest.raises(InputError, match="does not say which encoder made it"):
        run(own_index)


def test_index_with_a_docid_too_few_is_refused(own_index: Path, run: Callable[..., Path], brute: list[Path]) -> None:
    path = own_index / "docid"
    path.write_text(path.read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match="59 docids for 60 vectors"):
        run(own_index)


def test_depth_of_zero_is_refused(index: Path, run: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="depth of 0"):
        run(index, depth=0)


# topics


def test_topics_of_a_dataset_come_with_their_ids(mini_data: Mini) -> None:
    queries, _ = read_topics(mini_data.topics)
    assert queries == {question["id"]: question["question"] for question in mini_data.questions}


def test_topics_survive_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    assert write_topics({"1": "one\ttwo \n three", "2": "Мир?"}, path) == 2
    assert read_topics(str(path))[0] == {"1": "one two three", "2": "Мир?"}


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("1\ta\nb\n", "is not qid<TAB>text", 2),
        ("1\ta\tb\n", "is not qid<TAB>text", 1),
        ("1\ta\n2\t \n", "is not qid<TAB>text", 2),
        ("1\ta\n1\tb\n", "repeats the id 1", 2),
        ("", "holds no questions", None),
    ],
)
def test_bad_topics_name_file_and_line(tmp_path: Path, text: str, problem: str, line: int | None) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        read_topics(str(path))
    assert (str(caught.value.path), caught.value.line) == (str(path), line)


@pytest.mark.parametrize(
    ("topics", "problem"),
    [("nothing.tsv", "no such topics file"), ("xor-tydi", "has no questions"), ("xor-tidy/dev", "no dataset")],
)
def test_unknown_topics_are_refused(mini_data: Mini, topics: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_topics(topics)


def test_note_beside_the_run_says_what_it_was_made_from(index: Path, run: Callable[..., Path], brute: Any) -> None:
    note = json.loads(run(index).with_name("run.txt.json").read_text())
    assert note["parameters"]["topics"] == "test-mini/dev"
    assert note["counts"] == {"questions": 14}


@pytest.mark.parametrize("change", [{"pooling": "mean"}, {"normalize": True}])
def test_questions_embedded_unlike_the_passages_are_refused(
    index: Path, config: EncoderConfig, run: Callable[..., Path], brute: list[Path], change: dict
) -> None:
    with pytest.raises(InputError, match="was made with cls pooling, not normalised"):
        run(index, encoder=dataclasses.replace(config, **change))
    assert brute == []


def test_metadata_lie_beside_a_run_and_stay_while_it_is_reused(
    index: Path, run: Callable[..., Path], brute: list[Path]
) -> None:
    described = metadata_path(run(index, tag="mine"))
    found = yaml.safe_load(described.read_text())
    assert (found["tag"], found["method"]["retrieval"][0]["depth"]) == ("mine", 5)
    described.write_text("kept: true\n")
    run(index, tag="mine")
    assert described.read_text() == "kept: true\n"
    run(index, tag="mine", force=True)
    assert yaml.safe_load(described.read_text())["tag"] == "mine"
