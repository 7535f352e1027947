"""Late interaction: the index of token vectors, exact search, and reranking."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Mini, contents, described_anew
from hypothesis import given, settings, strategies as st

from xqg_repro import cli
from xqg_repro.core.embeddings import Shard
from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import shard_path
from xqg_repro.core.stages import Manifest
from xqg_repro.models.late import LateEncoder, TokenVectors
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.retrieval import late_rerank, late_search
from xqg_repro.retrieval.late_index import build_late_index, is_late, open_late_index
from xqg_repro.retrieval.late_rerank import rerank_late
from xqg_repro.retrieval.late_search import BestTokens, search_late, search_token_shards
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import Hit, rank, read_run, write_run
from xqg_repro.retrieval.token_shards import open_token_shards, read_token_blocks, write_token_shard


@pytest.fixture(scope="module")
def late(tiny_late: Path) -> LateConfig:
    return LateConfig(str(tiny_late), query_max_length=16, passage_max_length=60)


@pytest.fixture(scope="module")
def index(mini_data: Mini, late: LateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini collection in shards of 25, 25 and 10. Never to be written to."""
    folder = tmp_path_factory.mktemp("late") / "index"
    build_late_index(mini_data.docs, late, folder, shard_size=25, device="cpu")
    return folder


def brute_force(mini: Mini, config: LateConfig, depth: int) -> dict[str, list[Hit]]:
    """Each question's best passages, by loops over questions, passages and tokens."""
    encoder = LateEncoder(config, "cpu")
    questions = encoder.encode_queries([question["question"] for question in mini.questions]).astype(np.float64)
    docids, titles, texts = zip(*mini.passages, strict=True)
    encoded = encoder.encode_passages(titles, texts)
    run = {}
    for question, vectors in zip(mini.questions, questions, strict=True):
        hits = []
        for position, docid in enumerate(docids):
            tokens = encoded.of(position).astype(np.float16).astype(np.float64)
            hits.append(Hit(docid, sum(max(float(t @ u) for u in tokens) for t in vectors)))
        run[question["id"]] = rank(hits)[:depth]
    return run


def same(run: dict[str, list[Hit]], other: dict[str, list[Hit]]) -> None:
    """Assert that runs are equal, except for the last digit of scores, which may swap near scores."""
    assert list(run) == list(other)
    for qid, hits in run.items():
        scores = dict(other[qid])
        assert {hit.docid for hit in hits} == {*scores}
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.docid], abs=3e-5)


# the index


def test_an_index_has_each_passages_token_vectors_in_the_collections_order(
    mini_data: Mini, late: LateConfig, index: Path
) -> None:
    docids, titles, texts = zip(*mini_data.passages, strict=True)
    expected = LateEncoder(late, "cpu").encode_passages(titles, texts)
    files = {f"0000{number}.{kind}" for number in range(3) for kind in ("npy", "offsets.npy", "docid")}
    assert set(contents(index)) == files | {"manifest.json"}
    stored, names = [], []
    for number in range(3):  # with nothing but NumPy, as another program would
        vectors, offsets = (np.load(index / f"0000{number}.{kind}") for kind in ("npy", "offsets.npy"))
        assert (vectors.dtype, offsets.dtype, offsets[-1]) == (np.float16, np.int64, len(vectors))
        stored += np.split(vectors, offsets[1:-1])
        names += (index / f"0000{number}.docid").read_text().split()
    assert names == list(docids)
    for position, vectors in enumerate(stored):
        np.testing.assert_allclose(vectors, expected.of(position), atol=1e-3)
    counts = Manifest.read(index).counts
    assert counts == {"passages": 60, "tokens": len(expected.vectors), "dimension": 8}


def test_an_interrupted_index_resumes_to_the_same_bytes_and_is_then_reused(
    mini_data: Mini,
    late: LateConfig,
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    original, encoded = LateEncoder.encode_passages, []

    def stopping(self: LateEncoder, titles: Sequence[str | None], texts: Sequence[str]) -> TokenVectors:
        encoded.append(len(texts))
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return original(self, titles, texts)

    def build() -> None:
        build_late_index(mini_data.docs, late, tmp_path / "index", shard_size=25, device="cpu")

    monkeypatch.setattr(LateEncoder, "encode_passages", stopping)
    with pytest.raises(KeyboardInterrupt):
        build()
    build()
    assert encoded == [25, 25, 25, 10] and contents(tmp_path / "index") == contents(index)
    build()
    assert len(encoded) == 4 and caplog.messages[-1].endswith("is up to date")


def test_other_settings_rebuild_an_index(
    mini_data: Mini, late: LateConfig, index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    changed = dataclasses.replace(late, mask_punctuation=False)
    build_late_index(mini_data.docs, changed, copy, shard_size=25, dtype="float32", device="cpu")
    assert f"index: {copy} is rebuilt (changed: dtype, encoder)" in caplog.messages
    assert open_late_index(copy)[1] == changed
    assert Manifest.read(copy).counts["tokens"] > Manifest.read(index).counts["tokens"]
    assert np.load(copy / "00000.npy").dtype == np.float32


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def change(path: Path, array: np.ndarray) -> None:
    np.save(path, array)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: cut(f / "00001.npy"), "00001.npy: .*cannot be read"),
        (lambda f: cut(f / "00001.offsets.npy"), "00001.offsets.npy: .*cannot be read"),
        (lambda f: (f / "00002.offsets.npy").unlink(), "00002.offsets.npy: .*cannot be read"),
        (lambda f: change(f / "00002.offsets.npy", np.arange(11)), "00002.offsets.npy: does not split"),
        (lambda f: change(f / "00002.offsets.npy", np.arange(4.0)), "00002.offsets.npy: holds float64"),
        (lambda f: change(f / "00002.npy", np.ones((4, 8))), "00002.npy: holds float64"),
        (lambda f: (f / "00002.docid").write_text("a\nb\n"), "00002.docid: has 2 docids for 10 passages"),
        (lambda f: shutil.copy(f / "00001.docid", f / "00000.docid"), "the docid '26' occurs 2 times"),
        (lambda f: [path.unlink() for path in f.glob("0*")], "holds no passages"),
    ],
)
def test_a_damaged_index_is_named(index: Path, tmp_path: Path, damage: Callable[[Path], Any], problem: str) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    damage(copy)
    described_anew(copy)
    with pytest.raises(InputError, match=problem):
        open_token_shards(copy)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_infinity_and_nan_are_named(index: Path, tmp_path: Path, bad: float) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    vectors = np.load(copy / "00001.npy")
    vectors[77, 3] = bad
    change(copy / "00001.npy", vectors)
    shards = open_token_shards(copy)
    with pytest.raises(InputError, match=r"00001\.npy: holds vectors that are infinite or not numbers"):
        list(search_token_shards(shards, BestTokens(shards, np.ones((2, 3, 8), np.float32), 5)))


# search


@pytest.mark.parametrize("depth", [7, 60, 100])
def test_a_search_is_a_brute_force_loop(
    mini_data: Mini, late: LateConfig, index: Path, tmp_path: Path, depth: int
) -> None:
    search_late(index, mini_data.topics, tmp_path / "run.txt", depth=depth, tag="late", device="cpu")
    run = read_run(tmp_path / "run.txt")
    assert [len(hits) for hits in run.values()] == [min(depth, 60)] * 14
    same(run, brute_force(mini_data, late, min(depth, 60)))


def test_queries_without_scored_padding_are_searched_without_it(
    mini_data: Mini, late: LateConfig, tmp_path: Path
) -> None:
    plain = dataclasses.replace(late, pad_queries=False)
    build_late_index(mini_data.docs, plain, tmp_path / "index", device="cpu")
    search_late(tmp_path / "index", mini_data.topics, tmp_path / "run.txt", depth=9, device="cpu")
    same(read_run(tmp_path / "run.txt"), brute_force(mini_data, plain, 9))


def write(folder: Path, passages: Sequence[np.ndarray], sizes: Sequence[int]) -> list[Shard]:
    """Token vectors in shards of these sizes; docids are shuffled numbers."""
    first = 0
    for number, size in enumerate(sizes):
        part = passages[first : first + size]
        offsets = np.cumsum([0, *map(len, part)])
        docids = [str(position * 37 % 1009) for position in range(first, first + size)]
        write_token_shard(shard_path(folder, number), docids, TokenVectors(np.concatenate(part), offsets))
        first += size
    return open_token_shards(folder)


def retrieve(shards: Sequence[Shard], questions: np.ndarray, depth: int) -> list[list[Hit]]:
    best = BestTokens(shards, questions, depth)
    assert sum(search_token_shards(shards, best)) == sum(shard.passages for shard in shards)
    return [rank(hits) for hits in best.hits()]


def expected(passages: Sequence[np.ndarray], questions: np.ndarray, depth: int) -> list[list[Hit]]:
    rows = []
    for question in questions.astype(np.float64):
        scores = [float((question @ tokens.astype(np.float64).T).max(axis=1).sum()) for tokens in passages]
        rows.append(rank(Hit(str(i * 37 % 1009), score) for i, score in enumerate(scores))[:depth])
    return rows


@settings(max_examples=25)
@given(st.integers(0, 99), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 60), st.booleans())
def test_hits_depend_neither_on_shards_nor_on_blocks_nor_on_padding(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: list[int], depth: int, repeated: bool
) -> None:
    draw = np.random.default_rng(seed)
    passages = [draw.standard_normal((draw.integers(1, 12), 4)).astype(np.float16) for _ in range(sum(sizes))]
    if repeated:  # copies are ties, which docids order
        passages = [passages[i] for i in draw.integers(0, 5, len(passages)) % len(passages)]
    questions = draw.standard_normal((5, 3, 4)).astype(np.float32)
    questions[0, 1:] = 0  # tokens that are not scored
    correct = expected(passages, questions, depth)
    assert retrieve(write(tmp_path_factory.mktemp("a"), passages, sizes), questions, depth) == correct
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late_search, "TOKENS_PER_BLOCK", 30)
        patch.setattr(late_search, "_TOKENS_PER_PRODUCT", 16)
        patch.setattr(late_search, "_QUESTIONS_PER_PRODUCT", 2)
        assert retrieve(write(tmp_path_factory.mktemp("b"), passages, [len(passages)]), questions, depth) == correct


def test_no_passage_is_missed_when_float32_cannot_tell_scores_apart(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    base = draw.standard_normal((6, 16)).astype(np.float32)
    passages = [base + np.float32(1e-7) * draw.standard_normal((6, 16)).astype(np.float32) for _ in range(300)]
    questions = draw.standard_normal((4, 8, 16)).astype(np.float32)
    shards = write(tmp_path, passages, [300])
    assert retrieve(shards, questions, 20) == expected(passages, questions, 20)


def test_a_block_holds_so_many_tokens_at_most(index: Path) -> None:
    (shard, *_) = open_token_shards(index)
    longest = int(np.diff(np.load(index / "00000.offsets.npy")).max())
    for limit in (longest, 100, 10**6):
        blocks = list(read_token_blocks(shard, limit))
        assert max(len(block.tokens.vectors) for block in blocks) <= limit
        assert sum(len(block.tokens.offsets) - 1 for block in blocks) == shard.passages
        starts = np.cumsum([0, *(len(block.tokens.offsets) - 1 for block in blocks[:-1])])
        assert [block.start for block in blocks] == starts.tolist()
    assert len(list(read_token_blocks(shard, 1))) == shard.passages


def test_a_run_is_described_and_reused(mini_data: Mini, index: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    search_late(index, mini_data.topics, path, tag="mine", depth=5, device="cpu")
    manifest = json.loads((tmp_path / "run.txt.json").read_text())
    assert set(manifest["inputs"]) == {"index", "topics", "model"} and manifest["counts"] == {"questions": 14}
    described = yaml.safe_load(metadata_path(path).read_text())
    assert described["method"]["retrieval"][0]["name"] == "late interaction"
    before = path.stat().st_mtime_ns
    assert search_late(index, mini_data.topics, path, tag="mine", depth=5).stat().st_mtime_ns == before
    again = search_late(index, mini_data.topics, path, tag="mine", depth=5, force=True).read_bytes()
    assert path.stat().st_mtime_ns != before and again == path.read_bytes()


def test_another_model_is_refused(mini_data: Mini, index: Path, late_folder: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was made with another model than"):
        search_late(index, mini_data.topics, tmp_path / "run.txt", model=str(late_folder(seed=9)))


def test_another_index_is_not_late(index: Path, embeddings: Path) -> None:
    assert is_late(index) and not is_late(embeddings)
    with pytest.raises(InputError, match="is the output of encode, not of index"):
        open_late_index(embeddings)


# reranking


@pytest.fixture
def run_file(mini_data: Mini, tmp_path: Path) -> Path:
    """Twelve passages per question, in an order that has nothing to do with them; one question has none."""
    draw = np.random.default_rng(2)
    run = {}
    for question in mini_data.questions[1:]:
        docids = draw.permutation([docid for docid, *_ in mini_data.passages])[:12]
        run[question["id"]] = [Hit(str(docid), 12.0 - i) for i, docid in enumerate(docids)]
    write_run(run, tmp_path / "dense.txt", "dense")
    return tmp_path / "dense.txt"


@pytest.mark.parametrize("block", [7, 1000])
def test_a_run_is_ordered_by_the_scores_of_the_search(
    mini_data: Mini,
    late: LateConfig,
    index: Path,
    run_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
) -> None:
    monkeypatch.setattr(late_rerank, "PASSAGES_PER_BLOCK", block)
    everything = brute_force(mini_data, late, 60)
    correct = {}
    for qid, hits in read_run(run_file).items():
        docids = {hit.docid for hit in hits[:10]}
        correct[qid] = [hit for hit in everything[qid] if hit.docid in docids]
    for name, source in (("index", {"index": index}), ("encoder", {"encoder": late})):
        output = rerank_late(run_file, mini_data.topics, tmp_path / name, depth=10, tag="late", device="cpu", **source)
        same(read_run(output), correct)
        described = yaml.safe_load(metadata_path(output).read_text())["method"]["retrieval"][0]
        assert (described["name"], described["reranks"]) == ("late interaction", "dense.txt")
        before = output.stat().st_mtime_ns
        rerank_late(run_file, mini_data.topics, output, depth=10, tag="late", device="cpu", **source)
        assert output.stat().st_mtime_ns == before
    same(read_run(tmp_path / "index"), read_run(tmp_path / "encoder"))


def test_a_rerank_names_what_is_wrong(
    mini_data: Mini, late: LateConfig, index: Path, run_file: Path, tmp_path: Path
) -> None:
    def rerank(run: Path, **source: Any) -> None:
        rerank_late(run, mini_data.topics, tmp_path / "out.txt", device="cpu", **source)

    for source in ({}, {"index": index, "encoder": late}):
        with pytest.raises(InputError, match="name either a late-interaction index or an encoder"):
            rerank(run_file, **source)
    with pytest.raises(InputError, match="no such run"):
        rerank(tmp_path / "nothing.txt", index=index)
    write_run({"q1": [Hit("999", 1.0)]}, tmp_path / "other.txt", "other")
    for source in ({"index": index}, {"encoder": late}):
        with pytest.raises(InputError, match=r"other.txt: .*the? .*'999'"):
            rerank(tmp_path / "other.txt", **source)
    assert not (tmp_path / "out.txt").exists()


# the command line


def test_commands_index_search_and_rerank(
    mini_data: Mini, late: LateConfig, index: Path, tmp_path: Path, run_file: Path
) -> None:
    settings = f"--encoder {late.model} --query-max-length 16 --passage-max-length 60 --device cpu"
    built = tmp_path / "index"
    line = f"index --late --collection {mini_data.docs} --output {built} --shard-size 25 {settings}"
    assert cli.main(line.split()) == 0
    assert contents(built) == contents(index)
    assert (
        cli.main(f"search --index {built} --topics {mini_data.topics} --output {tmp_path}/run.txt --depth 5".split())
        == 0
    )
    search_late(index, mini_data.topics, tmp_path / "expected.txt", depth=5)
    assert (tmp_path / "run.txt").read_bytes() == (tmp_path / "expected.txt").read_bytes()
    rerank = f"rerank late --run {run_file} --topics {mini_data.topics} --output {tmp_path}"
    assert cli.main(f"{rerank}/stored.txt --index {built} --encoder {late.model} --device cpu".split()) == 0
    assert cli.main(f"{rerank}/computed.txt {settings}".split()) == 0
    same(read_run(tmp_path / "stored.txt"), read_run(tmp_path / "computed.txt"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("index --late --output o --encoder m", "--late needs passages to index"),
        ("index --late --collection xor-mini --output o", "--late needs a model"),
        ("index --late --collection xor-mini --output o --encoder m --factory Flat", "--factory has no effect"),
        ("index --late --collection xor-mini --output o --encoder m --analyzer en", "--analyzer has no effect"),
        ("index --sparse --collection xor-mini --output o --encoder m", "no effect without --late"),
        ("index --sparse --collection xor-mini --output o --dtype float16", "--dtype has no effect without --late"),
        ("index --embeddings {index} --output o --device cpu", "--device has no effect without --late"),
        ("search --index {index} --topics t --output o --k1 1", "--k1 has no effect on a late-interaction index"),
        ("search --index {index} --topics t --output o --pooling cls", "knows its encoder's settings"),
        (
            "rerank late --run {run} --index {index} --topics t --output o --query-max-length 9",
            "knows its encoder's settings",
        ),
        ("rerank late --run {run} --topics t --output o", "name either a late-interaction index or an encoder"),
    ],
)
def test_options_without_effect_are_refused(
    index: Path, run_file: Path, capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    assert cli.main(line.format(index=index, run=run_file).split()) == 2
    assert problem in capsys.readouterr().err
    assert not Path("o").exists()
