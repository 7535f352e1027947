"""Text files: byte order marks, encodings, blank lines, and values where a text is due."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Outcome, Verb

MARK = b"\xef\xbb\xbf"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
NAME, QUESTIONS = "enwiki_20190201_w100.tsv", "xor_test_retrieve_eng_span_q_only_v1_1.jsonl"


# topics


def test_a_mark_is_no_part_of_the_first_qid(verb: Verb, faults: Path, tmp_path: Path) -> None:
    output = tmp_path / "topics.tsv"
    assert verb("topics", "--topics", faults / "topics_bom.tsv", "--output", output).status == 0
    assert output.read_bytes().startswith(b"q1\t")


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"q1\ta\nq2\tMiss\xe4?\n", ":2", "not UTF-8"),
        ("q1\ta\n".encode("utf-16"), ":1", "not UTF-8"),
        (MARK + b"q1\ta\n" + MARK + b"q2 b\n", ":2", "qid<TAB>text"),
        (b"q1\ta\n\nq1\tb\n\n", ":3", "repeats the id q1"),
        (POINTER, "", "Git LFS pointer"),
        (MARK + b"\r\n\r\n", "", "holds no questions"),
    ],
)
def test_bad_topics_are_named(verb: Verb, tmp_path: Path, data: bytes, line: str, problem: str) -> None:
    (tmp_path / "given.tsv").write_bytes(data)
    verb("topics", "--topics", tmp_path / "given.tsv", "--output", tmp_path / "t.tsv").refused(
        rf"given\.tsv{line}: .*{problem}"
    )


@pytest.mark.parametrize("data", [b"q1\tMiss\xc3\xa4?\n", MARK + b"q1\tMiss\xc3\xa4?\r\n\r\n"])
def test_topics_come_from_standard_input(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert verb("topics", "--topics", "-", "--output", tmp_path / "t.tsv").status == 0
    assert (tmp_path / "t.tsv").read_text(encoding="utf-8") == "q1\tMissä?\n"
    verb("topics", "--topics", "-", "--output", tmp_path / "t.tsv").refused("-: holds no questions")


# a collection's files


@pytest.fixture
def read(verb: Verb, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """``read(folder or bytes, name)`` embeds XOR-TyDi's passages or writes its test questions."""

    def run(source: Path | bytes, name: str = NAME) -> Outcome:
        if isinstance(source, bytes):
            (tmp_path / name).write_bytes(source)
            source = tmp_path
        monkeypatch.setenv("XQG_REPRO_DATA", str(source))
        if name == QUESTIONS:
            return verb("topics", "--topics", "xor-tydi/test", "--output", tmp_path / "out" / "topics.tsv")
        return verb("encode", "--collection", "xor-tydi", "--preset", "xdr-mini", "--output", tmp_path / "out" / "e")

    return run


def test_fields_have_any_length(read: Callable[..., Outcome], faults: Path) -> None:
    assert read(faults / "data_field_limit").status == 0


@pytest.mark.parametrize(
    "data",
    [
        MARK + b"id\ttext\ttitle\r\n1\ta\tT\r\n\r\n",
        b'id\ttext\ttitle\n1\t"%s"\tT\n2\ta "b" c\t\0\n\n \n' % (b"long " * 40_000),
    ],
)
def test_unusual_passages_are_read(read: Callable[..., Outcome], data: bytes) -> None:
    assert read(data).status == 0


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (b"1\tcaf\xe9\tT\n", ":2: is not UTF-8"),
        (b'1\t"two\nlines"\tT\n', ":2: a quoted field does not end on its line"),
        (b'1\t"open\tT\n2\ta\tT\n', ":2: a quoted field does not end on its line"),
        (b"1\ta\tT\n\n2\tb\tT\n", ":3: is a blank line"),
        (b"1\ta\tT\n1\tb\tT\n", ":3: expected the id 2, got '1'"),
        (b"one\ta\tT\n", ":2: expected the id 1"),
        (b"1\ta\tT\textra\n", ":2: expected 3 columns"),
        (b"", ": holds no passages"),
    ],
)
def test_bad_passages_are_named(read: Callable[..., Outcome], rows: bytes, problem: str) -> None:
    read(b"id\ttext\ttitle\n" + rows).refused(f"{NAME}{problem}")


def test_encodings_are_named(read: Callable[..., Outcome], faults: Path) -> None:
    read(faults / "data_not_utf8").refused(rf"{NAME}:2: is not UTF-8 text")
    read(faults / "data_latin1", QUESTIONS).refused(rf"{QUESTIONS}:1: is not UTF-8 text")
    read(POINTER).refused(rf"{NAME}: is a Git LFS pointer")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"question": None}, "question is None, expected text"),
        ({"question": ["a"]}, "question is .*expected text"),
        ({"question": 5}, "question is 5"),
        ({"question": " "}, "question is blank"),
        ({"question": "\ud83d"}, "half a character"),
        ({"answers": "Finland"}, "answers is 'Finland', expected a list of texts"),
        ({"answers": None}, "answers is None"),
        ({"answers": [["a"]]}, "answers is .*expected a list of texts"),
        ({"answers": ["a", " "]}, "a blank answer"),
        ({"lang": None}, "lang is None"),
        ({"id": True}, "id is True"),
        ({"id": "q 1"}, "white space"),
        ({"id": None}, "id is None"),
    ],
)
def test_bad_questions_are_named(read: Callable[..., Outcome], change: dict[str, Any], problem: str) -> None:
    good = {"id": "1", "question": "a?", "lang": "fi", "answers": ["a"]}
    lines = [json.dumps(item) for item in (good, {**good, "id": 2, **change})]
    read("\n".join([*lines, ""]).encode(), QUESTIONS).refused(rf"{QUESTIONS}:2: .*{problem}")


def test_marks_and_blank_lines_among_questions_are_left_out(read: Callable[..., Outcome], tmp_path: Path) -> None:
    line = b'{"id": %d, "question": "a?", "lang": "fi"}\r\n'
    assert read(MARK + line % 1 + b"\r\n" + line % 2 + b"\r\n", QUESTIONS).status == 0
    assert (tmp_path / "out" / "topics.tsv").read_text() == "1\ta?\n2\ta?\n"


# training data

LINE = {
    "query_id": "1",
    "query": "Where?",
    "answers": ["Turku"],
    "positive_passages": [{"docid": "1", "title": "T", "text": "a"}],
    "negative_passages": [],
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of xor-mini."""
    from xqg_repro.models.settings import load_preset
    from xqg_repro.representation.encode import encode
    from xqg_repro.retrieval.index import build_index

    folder = tmp_path_factory.mktemp("index")
    encode("xor-mini", load_preset("xdr-mini"), folder / "e")
    build_index(folder / "e", folder / "i")
    return folder / "i"


@pytest.fixture
def mine(verb: Verb, index: Path, tmp_path: Path) -> Callable[[Path], Outcome]:
    settings = ["--collection", "xor-mini", "--index", index, "--depth", 5, "--negatives", 2]
    return lambda data: verb("train", "mine", "--data", data, *settings, "--output", tmp_path / "mined.jsonl")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("train_answers_as_text", ":3: answers is 'Finland', expected a list of texts"),
        ("train_empty_query", ":3: query is blank"),
        ("train_lone_surrogate", ":4: contains half a character"),
    ],
)
def test_bad_training_data_are_named(
    mine: Callable[[Path], Outcome], faults: Path, tmp_path: Path, name: str, problem: str
) -> None:
    mine(faults / f"{name}.jsonl").refused(rf"faults/{name}\.jsonl{problem}")
    assert not (tmp_path / "mined.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"query": None}, "query is None"),
        ({"query": "\u3000\t"}, "query is blank"),
        ({"answers": {"Turku": 1}}, "answers is"),
        ({"answers": [None]}, "answers is"),
        ({"query_id": ["2"]}, "query_id is"),
        ({"query_id": "a b"}, "white space"),
        ({"query_id": "1"}, "repeats the id 1"),
        ({"positive_passages": "a"}, "positive_passages is 'a', expected a list"),
        ({"positive_passages": ["a"]}, r"positive_passages\[0\] is 'a', not an object"),
        ({"positive_passages": [{"docid": "1", "title": "T", "text": ["a"]}]}, r"\[0\]\.text is"),
        ({"positive_passages": [{"docid": 1.5, "title": "T", "text": "a"}]}, r"\[0\]\.docid is 1\.5"),
        ({"positive_passages": [{"docid": "1", "title": "T", "text": "a\udc00"}]}, "half a character"),
    ],
)
def test_values_of_another_type_are_named(
    mine: Callable[[Path], Outcome], tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    lines = [json.dumps(item) for item in (LINE, {**LINE, "query_id": 2, **change})]
    (tmp_path / "given.jsonl").write_text("\n".join(lines))
    mine(tmp_path / "given.jsonl").refused(rf"{tmp_path}/given\.jsonl:2: .*{problem}")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (POINTER, ": is a Git LFS pointer"),
        (b"[1]\n", r":1: the line is \[1\], not an object"),
        (b'{"query_id": "1", "query": "Miss\xe4?"}\n', ":1: is not UTF-8"),
        (b"\n" + json.dumps(LINE).encode()[:-9], ":2: is not JSON"),
    ],
)
def test_files_that_are_no_training_data_are_named(
    mine: Callable[[Path], Outcome], tmp_path: Path, data: bytes, problem: str
) -> None:
    (tmp_path / "given.jsonl").write_bytes(data)
    mine(tmp_path / "given.jsonl").refused(rf"given\.jsonl{problem}")


def test_a_mark_and_blank_lines_are_accepted(mine: Callable[[Path], Outcome], tmp_path: Path) -> None:
    (tmp_path / "given.jsonl").write_bytes(MARK + json.dumps(LINE).encode() + b"\r\n\r\n \n")
    assert mine(tmp_path / "given.jsonl").status == 0


# settings


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("title: My", "title: [\x00"), ":2: is not valid YAML"),
        (("title: My", "title:\t- a: My"), ":2: is not valid YAML"),
        (("title: My bench", "title: caf\udce9"), ":2: is not UTF-8"),
        (("title: My bench", "title: 2020-01-01"), ": title is 2020-01-01, expected text"),
        (("title: My bench", "title: 2020-13-01"), ": is not valid YAML: month"),
        (("title: My bench", '"\\ud83d": x'), ":2: contains half a character"),
        (("[fi, ko]", "[no]"), ": languages is False, expected text"),
        (("[fi, ko]", "&a [*a]"), ": has more than 100,000 values"),
        (("R2kt:", "[R2kt]:"), ":.: is not valid YAML: found unhashable key"),
        (("R2kt:", "~:"), ": measures has the key None"),
        (("1.0", ".nan"), ": tolerance is infinite, not a number"),
        (("digits: 1", f"digits: 1{'0' * 30}"), ": digits is .*too large"),
        (("digits: 1", f"digits: 0x1{'0' * 5000}"), ": digits is .*too large"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, problem: str) -> None:
    from xqg_repro.cli import two_click

    text = """name: my-bench
title: My bench
collection: xor-mini
topics: xor-mini/held-out
languages: [fi, ko]
measures:
  R2kt: {scale: 100, digits: 1, tolerance: 1.0}
conditions:
  - {name: plain, title: Plain, encoder: xdr-mini}
"""
    path = tmp_path / "bench.yaml"
    for old, new, status in (("1.0", "1.0", 0), ("1.0", "1e-01", 0), (*change, 2)):
        path.write_bytes(MARK + text.replace(old, new).encode("utf-8", "surrogateescape"))
        assert two_click.main(str(path), ["--all", "--dry-run", "--directory", str(tmp_path / "out")]) == status
    Outcome(2, "", capsys.readouterr().err).refused(rf"bench\.yaml{problem}")


# generated queries


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"docid": "1", "generated_queries": {"fi": ["Miss\xe4?"]}}\n', ":1: .*codec can't decode byte 0xe4"),
        (b'\n{"docid": true, "generated_queries": {"fi": ["a"]}}\n', ":2: .*invalid docid True"),
        (b'{"docid": "1", "generated_queries": {"fi": "Finland"}}\n', ":1: .*not a list of strings"),
        (b'{"docid": "1", "generated_queries": {"fi": ["a\\ud83d"]}}\n', ":1: .*half a character"),
        (POINTER, ": is a Git LFS pointer"),
        (MARK + b'{"docid": "1", "generated_queries": {"fi": ["a"]}}\r\n\r\n', ""),
    ],
)
def test_generated_queries_are_read_or_named(verb: Verb, tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "given.jsonl").write_bytes(data)
    settings = ["--preset", "xdr-mini", "--languages", "fi", "--queries", 1, "--output", tmp_path / "s"]
    outcome = verb("sum", "--generated", tmp_path / "given.jsonl", *settings)
    if problem:
        outcome.refused(rf"given\.jsonl{problem}")
    else:
        assert outcome.status == 0
