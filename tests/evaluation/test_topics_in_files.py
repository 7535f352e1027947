"""Runs of topics in files, which have no passages: every verb that reads passages takes --collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xqg_repro.cli import main
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

PASSAGES = {"d1": "A city in Finland.", "d2": "An island."}
QUESTIONS = [("q1", "fi", ["Finland"]), ("q2", "ja", ["island"]), ("q3", "ja", ["1229"])]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a collection, questions and a run."""
    lines = [json.dumps({"_id": docid, "text": text}) for docid, text in PASSAGES.items()]
    (tmp_path / "c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    lines = [json.dumps({"_id": q, "text": "?", "lang": lang, "answers": answers}) for q, lang, answers in QUESTIONS]
    (tmp_path / "q.jsonl").write_text("\n".join(lines), encoding="utf-8")
    write_run({"q1": [Hit("d1", 2.0), Hit("d2", 1.0)], "q2": [Hit("d1", 1.0)]}, tmp_path / "run.txt", "tag")
    (tmp_path / "answers.json").write_text('{"q1": "Finland", "q2": "island"}', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = ["--run", "run.txt", "--topics", "q.jsonl"]
READ = ["read", *RUN, "--preset", "reader-mini", "--output", "out.json"]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", *RUN],
        ["compare", "run.txt", "--topics", "q.jsonl"],
        ["submit", *RUN, "--output", "out.json"],
        READ,
    ],
)
def test_the_collection_is_named(folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    assert "q.jsonl has no passages (name their collection with --collection)" in capsys.readouterr().err
    assert main([*command, "--collection", "c.jsonl"]) == 0


def test_scores_by_language(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *RUN, "--collection", "c.jsonl", "--measures", "R2kt"]) == 0
    assert capsys.readouterr().out.split()[-5:] == ["R2kt", "1.0000", "0.0000", "0.5000", "3"]
    assert main(["evaluate", "--answers", "answers.json", "--topics", "q.jsonl/ja", "--measures", "EM"]) == 0
    assert capsys.readouterr().out.split()[-4:] == ["EM", "0.5000", "0.5000", "2"]


def test_a_submission_and_back(folder: Path) -> None:
    collection = ["--topics", "q.jsonl", "--collection", "c.jsonl"]
    assert main(["submit", "--run", "run.txt", *collection, "--output", "out.json"]) == 0
    assert main(["submit", "--convert", "out.json", *collection, "--output", "again.txt"]) == 0
    assert {qid: [hit.docid for hit in hits] for qid, hits in read_run(folder / "again.txt").items()} == {
        "q1": ["d1", "d2"],
        "q2": ["d1"],
    }


def test_what_was_read_is_part_of_the_answers_identity(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, stage in (("", "wrote"), ("", "is up to date"), ("\n", "wrote")):
        with open("c.jsonl", "a", encoding="utf-8") as file:
            file.write(text)
        assert main([*READ, "--collection", "c.jsonl"]) == 0
        assert stage in capsys.readouterr().err
