"""Data files: the checksum of a file without a published one is recorded once the file has been read whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faults.conftest import Verb

NAME = "enwiki_20190201_w100.tsv"
WHOLE = 'id\ttext\ttitle\n1\tTurku is a city.\tTurku\n2\t"The ""old"" town."\tTurku\n3\tOulu is a city.\tOulu\n'
QUESTIONS = "xor_test_retrieve_eng_span_q_only_v1_1.jsonl"


@pytest.fixture
def encode(verb: Verb, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch):
    """``encode(text or folder)`` embeds XOR-TyDi's passages, which are this text or in this folder."""

    def run(source: str | Path):
        folder = tmp_path / "data"
        if isinstance(source, str):
            folder.mkdir(exist_ok=True)
            (folder / NAME).write_text(source)
            source = folder
        monkeypatch.setenv("XQG_REPRO_DATA", str(source))
        output = tmp_path / "embeddings"
        return verb("encode", "--collection", "xor-tydi", "--preset", "xdr-mini", "--force", "--output", output)

    return run


def test_a_whole_file_follows_a_cut_one(encode, faults: Path, own_home: Path) -> None:
    encode(faults / "data_cut_download").refused(r"data_cut_download/enwiki.*\.tsv:26: expected 3 columns")
    assert not (own_home / "xqg_repro" / "checksums.json").exists()
    assert encode(faults / "data_whole_download").status == 0
    encode(faults / "data_cut_download").refused("checksums.json records", "doctor --accept .*enwiki")


@pytest.mark.parametrize("cut", ["\tTurku\n2", "u is", "old", '"" town', "u\n", "\n", "Oulu is"])
def test_a_whole_file_follows_one_that_was_cut_anywhere(encode, cut: str) -> None:
    position = WHOLE.rindex(cut)
    outcome = encode(WHOLE[:position])
    assert outcome.status == 0 or NAME in outcome.stderr
    assert encode(WHOLE).status == 0
    encode(WHOLE.replace("Oulu is", "Oulu was")).refused(NAME, "checksums.json records")


def test_a_file_without_a_last_line_end_is_warned_about(encode, own_home: Path) -> None:
    outcome = encode(WHOLE[:-2])
    assert outcome.status == 0
    assert outcome.stderr.count("does not end with a line end; was it cut off?") == 1
    assert not (own_home / "xqg_repro" / "checksums.json").exists()


def test_another_version_can_be_accepted(encode, verb: Verb, tmp_path: Path, own_home: Path) -> None:
    assert encode(WHOLE).status == 0
    other = WHOLE.replace("old", "new")
    encode(other).refused(str(own_home / "xqg_repro" / "checksums.json"))
    assert "accepted" in verb("doctor", "--accept", tmp_path / "data" / NAME).stdout
    assert encode(other).status == 0
    encode(WHOLE).refused("doctor --accept")
    assert verb("doctor", "--accept", NAME).status == 0
    assert encode(WHOLE).status == 0


def test_what_cannot_be_accepted_is_named(verb: Verb, own_home: Path, tmp_path: Path) -> None:
    verb("doctor", "--accept", "enwiki.tsv").refused("no data file is named 'enwiki.tsv'", f"did you mean {NAME}")
    verb("doctor", "--accept", NAME).refused(f"{NAME}: no such file")
    (tmp_path / "xquad.en.json").write_text("{}")
    verb("doctor", "--accept", tmp_path / "xquad.en.json").refused("published MD5 checksum 4d2e89")


@pytest.mark.parametrize("record", ["", "{", "[1]", "null", '"text"', '{"a": []}', "\0"])
def test_a_damaged_record_stops_nothing(encode, verb: Verb, own_home: Path, record: str) -> None:
    path = own_home / "xqg_repro" / "checksums.json"
    path.parent.mkdir(parents=True)
    path.write_text(record)
    assert verb("doctor").status in (0, 1)
    outcome = encode(WHOLE)
    assert outcome.status == 0 and str(path) in outcome.stderr
    assert len(json.loads(path.read_text())) == 1


def test_cut_questions_are_not_recorded(
    verb: Verb, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f'{{"id": "{i}", "question": "Missä?", "lang": "fi"}}\n' for i in range(3))
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    for length in (60, len(lines) - 5, len(lines) - 1, lines.index("\n") + 1):
        (tmp_path / QUESTIONS).write_text(lines[:length])
        outcome = verb("topics", "--topics", "xor-tydi/test", "--output", tmp_path / "topics.tsv")
        assert outcome.status == 0 or outcome.refused(f"{QUESTIONS}:[123]: is not JSON") is None
    (tmp_path / QUESTIONS).write_text(lines)
    assert verb("topics", "--topics", "xor-tydi/test", "--output", tmp_path / "topics.tsv").status == 0
