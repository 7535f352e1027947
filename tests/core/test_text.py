"""Files that people give: each kind of damage is named with file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.text import Record, read_json, read_lines, read_records, read_text

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize("name", ["file.txt", "file.txt.gz"])
def test_lines_have_no_ends_and_no_byte_order_mark(tmp_path: Path, name: str) -> None:
    data = "\ufeffä\r\nb\n\nlast".encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(read_lines(tmp_path / name)) == [(1, "ä"), (2, "b"), (3, ""), (4, "last")]
    assert read_text(tmp_path / name) == "ä\nb\n\nlast"


def test_a_mark_within_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a\n\ufeffb\n")
    assert list(read_lines(tmp_path / "file")) == [(1, "a"), (2, "\ufeffb")]


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"a\nb\xff\n", 2, "0xff"),
        ("a\n\u00e4\n".encode("latin-1"), 2, "UTF-8"),
        ("a\n".encode("utf-16"), 1, "UTF-8"),
        (POINTER.encode(), None, "Git LFS pointer"),
    ],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, data: bytes, line: int | None, problem: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    for read in (read_text, lambda path: list(read_lines(path))):
        with pytest.raises(InputError, match=problem) as caught:
            read(path)
        assert (caught.value.path, caught.value.line) == (path, line)


def test_missing_truncated_and_mislabelled_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"text" * 1000)[:-20])
    (tmp_path / "plain.gz").write_text("text\n")
    (tmp_path / "folder").mkdir()
    for name, problem in {
        "missing": "no such run",
        "cut.gz": "cannot be read",
        "plain.gz": "cannot be read",
        "folder": "cannot be read: Is a directory",
    }.items():
        with pytest.raises(InputError, match=problem):
            read_text(tmp_path / name, "run")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('{"a": 1,}', 1, "not JSON"),
        ('{"a":\n}', 2, "not JSON"),
        ('{"a": 1, "a": 2}', None, "repeats the key 'a'"),
        ('{"a": "\\ud83d"}', None, "half a character"),
        ("[" * 100_000, None, "not JSON"),
        ("", 1, "not JSON"),
    ],
)
def test_json_is_checked(tmp_path: Path, text: str, line: int | None, problem: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"{problem}.*needs a list") as caught:
        read_json(path, hint="needs a list")
    assert (caught.value.path, caught.value.line) == (path, line)


def test_a_whole_character_in_two_escapes_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('"\\ud83d\\ude00"')
    assert read_json(tmp_path / "file") == "\U0001f600"


def test_records_skip_blank_lines_and_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('{"id": 7}\n\n{"id": "b"}\n[]\n')
    records = read_records(path, hint="an object per line")
    assert [(next(records).id("id"), 1), (next(records).line, 3)] == [("7", 1), (3, 3)]
    with pytest.raises(InputError, match="not an object") as caught:
        next(records)
    assert caught.value.line == 4


@pytest.mark.parametrize(
    ("value", "read", "problem"),
    [
        ({}, lambda r: r.text("q"), "lacks the field 'q'"),
        ({"q": None}, lambda r: r.text("q"), "q is None, expected text"),
        ({"q": ["a"]}, lambda r: r.text("q"), "expected text"),
        ({"q": "Finland"}, lambda r: r.texts("q"), "q is 'Finland', expected a list of texts"),
        ({"q": ["a", 1]}, lambda r: r.texts("q"), "expected a list of texts"),
        ({"q": True}, lambda r: r.id("q"), "expected text or a whole number"),
        ({"q": {}}, lambda r: r.records("q"), "q is {}, expected a list"),
        ({"q": [{"a": 1}]}, lambda r: r.records("q")[0].text("a"), r"q\[0\]\.a is 1, expected text"),
        ({"q": ["a"]}, lambda r: r.records("q"), r"q\[0\] is 'a', not an object"),
    ],
)
def test_fields_of_another_type_are_refused(value: dict, read, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read(Record(value, Path("file"), 3))
    assert caught.value.line == 3


def test_fields_can_have_defaults() -> None:
    record = Record({"q": "a"}, Path("file"))
    assert (record.text("q"), record.text("r", ""), record.texts("s", ()), record.id("t", "0")) == ("a", "", (), "0")
