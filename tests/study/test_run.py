"""The study from the command line, with made-up files and a tiny encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import contents

from xqg_repro import cli
from xqg_repro.collection.files import DataFile
from xqg_repro.core.errors import InputError
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.study import run as run_module
from xqg_repro.study.run import StudyInputs, run_study
from xqg_repro.study.settings import load_study
from xqg_repro.study.summary import read_summary
from xqg_repro.study.tables import part, part_names

from .conftest import CODES
from .made import DOCIDS

METHODS = ("none", "queries-all", "passages-all", "sentences", "generated-all")


def run(folder: Path, encoder: Path, queries: Path) -> int:
    command = ["study", "--encoder", str(encoder), "--pooling", "cls", "--languages", *CODES, "--passages", "en", "ar"]
    options = ["--methods", *METHODS, "--generated", str(queries), "--output", str(folder), "--device", "cpu"]
    return cli.main(command + options)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "queries.jsonl"
    lines = []
    for docid in DOCIDS:
        first = {"en": ["which?", " "], "ar": [], "th": ["there", "here"], "fi": ["no"]}
        lines.append({"docid": docid, "generated_queries": first if docid == "1-0" else {"ar": ["which?"]}})
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(shared_xquad: Path, encoder: Path, queries: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    folder = tmp_path_factory.mktemp("study") / "out"
    assert run(folder, encoder, queries) == 0
    return folder


def test_the_results_are_complete(folder: Path) -> None:
    summary = read_summary(folder / "results")
    assert summary.encoder == "tiny"
    assert (summary.counts["articles"], summary.counts["paragraphs"], summary.counts["alone"]) == (6, 12, 6)
    assert {cost.method: cost.vectors for cost in summary.costs}["generated-all"] == 3 + 11
    assert set(summary.means["RR"]) == {f"{passages}/{asked}" for passages in ("en", "ar") for asked in CODES}
    assert all(0 < mean <= 1 for by_method in summary.means["RR"].values() for mean in by_method.values())
    files = contents(folder / "results")
    assert {"study.json", "report.md", "scores.csv", "ranks.npy"} <= files.keys()
    for name in part_names(summary):
        assert f"## {name}\n" in files["report.md"].decode()
    with pytest.raises(InputError, match=r"no part 'nope'.*scores-R@1"):
        part(summary, "nope")


def test_figures_are_drawn(folder: Path) -> None:
    figures = {path.stem: path for path in (folder / "results").glob("*.R1*.svg")}
    maps = [*METHODS, *(f"{method}.none" for method in METHODS[1:])]
    maps += ["queries-all.passages-all", "queries-all.generated-all", "generated-all.sentences"]
    names = ["answers.R1", "methods.R1", "alpha.R1", "alpha-languages.R1", *(f"pairs.R1.{name}" for name in maps)]
    assert sorted(figures) == sorted(names)
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in figures.values())


def test_results_and_embeddings_are_reused_and_give_the_same_bytes(
    folder: Path, encoder: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    assert run(folder, encoder, queries) == 0
    assert f"study: {folder / 'results'} is up to date" in caplog.messages
    monkeypatch.setattr(run_module, "write_figures", lambda summary, folder: None)
    shutil.copytree(folder / "embeddings", tmp_path / "embeddings")
    assert run(tmp_path, encoder, queries) == 0
    assert [message.split()[2] for message in caplog.messages if "wrote" in message] == [str(tmp_path / "results")]
    before, after = contents(folder / "results"), contents(tmp_path / "results")
    assert all(before[name] == content for name, content in after.items() if name != "manifest.json")


def test_a_missing_file_is_named_before_anything_is_encoded(
    changed_xquad: Callable[..., None], own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: DataFile, target: Path) -> None:
        raise InputError(f"{self.name} could not be downloaded")

    monkeypatch.setattr(DataFile, "_download", unreachable)
    changed_xquad(lambda parsed: parsed.pop("th"))
    with pytest.raises(InputError, match=r"xquad\.th\.json could not be downloaded"):
        run_study(load_study(CODES), EncoderConfig("none"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_queries_about_other_paragraphs_are_refused(folder: Path, encoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"docid": "77", "generated_queries": {"en": ["ebe"]}}\n', encoding="utf-8")
    with pytest.raises(InputError, match="has queries for 77, which is not a paragraph of xquad"):
        run_study(load_study(CODES, ("en",)), EncoderConfig(str(encoder)), folder, StudyInputs([path]), device="cpu")
