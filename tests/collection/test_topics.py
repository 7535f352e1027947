from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from xqg_repro.collection.topics import read_topics, write_topics
from xqg_repro.core.errors import InputError


@pytest.mark.parametrize("name", ["topics.tsv", "topics.txt", "topics"])
def test_topics_keep_their_order_and_their_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("q2\tMikä on pääkaupunki?\nq1\t首都はどこ？", encoding="utf-8")
    queries, _ = read_topics(str(tmp_path / name))
    assert list(queries.items()) == [("q2", "Mikä on pääkaupunki?"), ("q1", "首都はどこ？")]


@pytest.mark.parametrize("ends", ["\n\n", "\r\n \r\n", "\n\t\n"])
def test_marks_and_blank_lines_are_left_out(tmp_path: Path, ends: str) -> None:
    (tmp_path / "topics.tsv").write_bytes(f"\ufeffq1\ta{ends}q2\tb{ends}".encode())
    assert read_topics(str(tmp_path / "topics.tsv"))[0] == {"q1": "a", "q2": "b"}


def test_topics_are_read_from_standard_input_and_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, pipe = "q1\tmissä?\n", tmp_path / "pipe"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=[text], kwargs={"encoding": "utf-8"})
    writer.start()
    assert read_topics("-") == read_topics(str(pipe))
    writer.join()
    with pytest.raises(InputError, match="-: holds no questions"):
        read_topics("-")


def test_written_topics_read_back_with_single_spaces(tmp_path: Path) -> None:
    assert write_topics({"b": "কখন?", "a": " two\tcolumns\nand  lines\u2028"}, tmp_path / "topics.tsv") == 2
    assert read_topics(str(tmp_path / "topics.tsv"))[0] == {"b": "কখন?", "a": "two columns and lines"}


@pytest.mark.parametrize("queries", [{"q\t1": "a"}, {"q\n1": "a"}, {"": "a"}, {"q1": " "}])
def test_topics_that_could_not_be_read_back_are_not_written(tmp_path: Path, queries: dict[str, str]) -> None:
    with pytest.raises(InputError):
        write_topics(queries, tmp_path / "topics.tsv")
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_of_topics_follows_their_text(tmp_path: Path) -> None:
    versions = []
    for text in ("a", "b", "a"):
        write_topics({"q1": text}, tmp_path / "topics.tsv")
        versions.append(read_topics(str(tmp_path / "topics.tsv"))[1])
    assert versions[0] == versions[2] != versions[1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q2 no tab", "qid<TAB>text"),
        ("q2\ta\tb", "qid<TAB>text"),
        ("q2\t", "qid<TAB>text"),
        ("\ta question", "qid<TAB>text"),
        ("q2\t \t", "qid<TAB>text"),
        ("\ufeffq2", "qid<TAB>text"),
        ("q1\tagain", "repeats the id q1"),
        ("q 2\ttext", "white space"),
        ("q2\u00a0\ttext", "white space"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "topics.tsv").write_text(f"q1\tfine\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=problem) as caught:
        read_topics(str(tmp_path / "topics.tsv"))
    assert (caught.value.path, caught.value.line) == (tmp_path / "topics.tsv", 2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\n\n", "holds no questions"),
        ("q1\tpää\n".encode("latin-1"), "UTF-8"),
        (None, "no such topics file"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "topics.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_topics(str(path))
    assert str(caught.value.path) == str(path)


def test_unknown_topics_name_similar_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean .*xquad/en/ar"):
        read_topics("xquad/en/arr")
