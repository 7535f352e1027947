"""Stock Pyserini, in a process of its own, over the folder that our ``index`` wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Mini

from xqg_repro.collection.topics import read_topics, write_topics
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.encode import encode
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.runfile import Run, read_run
from xqg_repro.retrieval.search import search

pytestmark = pytest.mark.integration


@pytest.fixture
def stock(tmp_path: Path) -> Callable[..., Run]:
    """``stock(index, topics, encoder)``: the run of Pyserini's own command, without a key and without JAVA_HOME."""

    def run(index: Path, topics: Path, encoder: Path, *options: str) -> Run:
        environment = {k: v for k, v in os.environ.items() if k not in ("OPENAI_API_KEY", "JAVA_HOME")}
        command = [sys.executable, "-m", "xqg_repro.retrieval.jvm", "pyserini.search.faiss", "--index", str(index)]
        command += ["--topics", str(topics), "--encoder", str(encoder), "--encoder-class", "auto", "--device", "cpu"]
        command += ["--output", str(tmp_path / "stock.txt"), "--hits", "20", *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return read_run(tmp_path / "stock.txt")

    return run


@pytest.mark.parametrize("factory", ["Flat", "SQfp16"])
def test_stock_pyserini_gives_our_run(
    mini_data: Mini, tiny_model: Path, tmp_path: Path, stock: Callable[..., Run], factory: str
) -> None:
    encode(mini_data.docs, EncoderConfig(str(tiny_model)), tmp_path / "e", shard_size=16, device="cpu")
    build_index(tmp_path / "e", tmp_path / "i", factory=factory)
    queries, _ = read_topics(mini_data.topics)
    write_topics(queries, tmp_path / "topics.tsv")
    ours = read_run(search(tmp_path / "i", mini_data.topics, tmp_path / "ours.txt", depth=20, device="cpu"))
    theirs = stock(tmp_path / "i", tmp_path / "topics.tsv", tiny_model, "--pooling", "cls")
    assert theirs.keys() == ours.keys() == queries.keys()
    for qid, hits in ours.items():
        assert [hit.docid for hit in theirs[qid]] == [hit.docid for hit in hits]
        assert [hit.score for hit in theirs[qid]] == pytest.approx([hit.score for hit in hits], abs=1e-4)
