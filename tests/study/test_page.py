"""The page's section about machine-made texts, from a stored study and packed texts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from xqg_repro.study.figures import write_figures
from xqg_repro.study.packed import pack_texts
from xqg_repro.study.page import NOT_STORED, machine_section
from xqg_repro.study.settings import Kind
from xqg_repro.study.summary import GainTrend, QuestionAnswer, read_summary

from .made import DOCIDS, query, translation, write_generated, write_translated


def test_without_a_study_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert machine_section() == NOT_STORED


def test_the_page_has_the_answer_figures_tables_and_texts(
    tmp_path: Path, shared_xquad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = read_summary(Path("docs", "study", "en"))
    monkeypatch.chdir(tmp_path)
    ways = ["queries against translations", "queries against none", "translations against none"]
    answers = [QuestionAnswer(way, "RR", "queries-all", "none", 0.02, 0.01, 0.03, 0.001, 1190, None) for way in ways]
    trends = [
        GainTrend(
            "RR", "queries-all", "none", "resources", {"ar": (5.0, 0.1), "th": (3.0, 0.2)}, -0.9, -1.0, -0.5, 0.03
        )
    ]
    summary = dataclasses.replace(stored, answers=tuple(answers), trends=tuple(trends))
    folder = Path("docs", "study", "machine")
    summary.write(folder)
    write_figures(read_summary(folder), folder)
    texts = {Kind.GENERATED: [write_generated(tmp_path / "g")], Kind.TRANSLATED: [write_translated(tmp_path / "t")]}
    pack_texts(texts, [], Path("docs", "study", "generated"))

    section = machine_section()
    lines = section.splitlines()
    assert lines[0].startswith(
        "1. With nothing human in the index, machine-made **queries beat translations**: RR over 6"
    )
    assert "The gain depends on a language's resources" in section
    for name in ("answers.RR", "trends.RR"):
        assert f"![{name}](study/machine/{name}.svg)" in lines and (folder / f"{name}.svg").exists()
    headings = [line for line in lines if line.startswith("### ")]
    assert headings[0] == "### The question, asked in four ways"
    assert headings[-2:] == ["### Queries drawn at random", "### Translations drawn at random"]
    drawn = [line.split(" | ") for line in lines if line.startswith("| ar | ")]
    asked = [row for row in drawn if row[2].startswith("which") and row[2].count("which") == 1]
    known = {docid: {query(docid, "ar", rank) for rank in range(3)} for docid in DOCIDS}
    assert len(asked) == 10 and all(row[2].removesuffix(" |") in known[row[1]] for row in asked)
    assert sum(row[2].removesuffix(" |") == translation(row[1], "ar") for row in drawn) == 2
    assert machine_section() == section
