from pathlib import Path

import pytest

from xqg_repro.collection.topics import read_topics, write_topics
from xqg_repro.core.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_topics_keep_their_order_and_their_text(tmp_path: Path) -> None:
    path = write(tmp_path / "topics.tsv", "q2\tMikä on pääkaupunki?\nq1\t首都はどこ？\n")
    queries, _ = read_topics(str(path))
    assert list(queries.items()) == [("q2", "Mikä on pääkaupunki?"), ("q1", "首都はどこ？")]


def test_written_topics_read_back(tmp_path: Path) -> None:
    queries = {"b": "কখন?", "a": "when?"}
    assert write_topics(queries, tmp_path / "topics.tsv") == 2
    assert read_topics(str(tmp_path / "topics.tsv"))[0] == queries


def test_white_space_within_a_text_is_written_as_single_spaces(tmp_path: Path) -> None:
    write_topics({"q": " two\tcolumns\nand  lines\u2028"}, tmp_path / "topics.tsv")
    assert (tmp_path / "topics.tsv").read_text(encoding="utf-8") == "q\ttwo columns and lines\n"


@pytest.mark.parametrize("queries", [{"q\t1": "a"}, {"q\n1": "a"}, {"": "a"}, {"q1": " "}])
def test_topics_that_could_not_be_read_back_are_not_written(tmp_path: Path, queries: dict[str, str]) -> None:
    with pytest.raises(InputError):
        write_topics(queries, tmp_path / "topics.tsv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["topics.tsv", "topics.txt", "topics"])
def test_topics_files_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "q1\ta question")
    assert read_topics(str(path))[0] == {"q1": "a question"}


def test_the_fingerprint_of_topics_follows_their_text(tmp_path: Path) -> None:
    versions = [read_topics(str(write(tmp_path / "t.tsv", f"q1\t{text}\n")))[1] for text in ("a", "b", "a")]
    assert versions[0] == versions[2] != versions[1]


@pytest.mark.parametrize("line", ["q2 no tab", "q2\ta\tb", "q2\t", "\ta question", "q2\t \t", " "], ids=repr)
def test_a_line_without_two_columns_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "topics.tsv", f"q1\tfine\n{line}\n")
    with pytest.raises(InputError, match="qid<TAB>text") as caught:
        read_topics(str(path))
    assert (caught.value.path, caught.value.line) == (path, 2)


def test_a_repeated_id_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "topics.tsv", "q1\ta\nq2\tb\nq1\tc\n")
    with pytest.raises(InputError, match="repeats the id q1") as caught:
        read_topics(str(path))
    assert (caught.value.path, caught.value.line) == (path, 3)


@pytest.mark.parametrize("qid", ["q 1", " q1", "q1\u00a0"])
def test_an_id_that_no_run_can_hold_is_named(tmp_path: Path, qid: str) -> None:
    path = write(tmp_path / "topics.tsv", f"{qid}\ta question\n")
    with pytest.raises(InputError) as caught:
        read_topics(str(path))
    assert (caught.value.path, caught.value.line) == (path, 1)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_topics_without_a_question_are_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "topics.tsv", text)
    with pytest.raises(InputError, match="holds no questions") as caught:
        read_topics(str(path))
    assert str(caught.value.path) == str(path)


def test_a_missing_topics_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such topics file") as caught:
        read_topics(str(tmp_path / "topics.tsv"))
    assert caught.value.path == tmp_path / "topics.tsv"


def test_topics_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    path.write_bytes("q1\tpääkaupunki\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8") as caught:
        read_topics(str(path))
    assert caught.value.path == path


def test_unknown_topics_name_the_nearest_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean .*xquad/en/ar"):
        read_topics("xquad/en/arr")


def test_a_collection_without_questions_is_no_topic_set() -> None:
    with pytest.raises(InputError, match="xquad/en has no questions"):
        read_topics("xquad/en")
