"""Late interaction: reranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Mini

from retrieval.conftest import brute_force, same
from xqg_repro.core.errors import InputError
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.retrieval import late_rerank
from xqg_repro.retrieval.late_rerank import rerank_late
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import Hit, read_run, write_run


@pytest.mark.parametrize("block", [7, 1000])
def test_a_run_is_ordered_by_the_scores_of_the_search(
    mini_data: Mini,
    late: LateConfig,
    late_index: Path,
    dense_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
) -> None:
    monkeypatch.setattr(late_rerank, "PASSAGES_PER_BLOCK", block)
    everything = brute_force(mini_data, late, 60)
    correct = {}
    for qid, hits in read_run(dense_run).items():
        docids = {hit.docid for hit in hits[:10]}
        correct[qid] = [hit for hit in everything[qid] if hit.docid in docids]
    for name, source in (("index", {"index": late_index}), ("encoder", {"encoder": late})):
        output = rerank_late(dense_run, mini_data.topics, tmp_path / name, depth=10, tag="late", device="cpu", **source)
        same(read_run(output), correct)
        described = yaml.safe_load(metadata_path(output).read_text())["method"]["retrieval"][0]
        assert (described["name"], described["reranks"]) == ("late interaction", "dense.txt")
        before = output.stat().st_mtime_ns
        rerank_late(dense_run, mini_data.topics, output, depth=10, tag="late", device="cpu", **source)
        assert output.stat().st_mtime_ns == before
    same(read_run(tmp_path / "index"), read_run(tmp_path / "encoder"))


def test_a_rerank_names_what_is_wrong(
    mini_data: Mini, late: LateConfig, late_index: Path, dense_run: Path, tmp_path: Path
) -> None:
    def rerank(run: Path, **source: Any) -> None:
        rerank_late(run, mini_data.topics, tmp_path / "out.txt", device="cpu", **source)

    for source in ({}, {"index": late_index, "encoder": late}):
        with pytest.raises(InputError, match="name either a late-interaction index or an encoder"):
            rerank(dense_run, **source)
    with pytest.raises(InputError, match="no such run"):
        rerank(tmp_path / "nothing.txt", index=late_index)
    write_run({"q1": [Hit("999", 1.0)]}, tmp_path / "other.txt", "other")
    for source in ({"index": late_index}, {"encoder": late}):
        with pytest.raises(InputError, match=r"other.txt: .*the? .*'999'"):
            rerank(tmp_path / "other.txt", **source)
    assert not (tmp_path / "out.txt").exists()
