from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from conftest import QUOTED, Mini

from xqg_repro import collection
from xqg_repro.collection import docstore
from xqg_repro.collection.files import DataFile
from xqg_repro.collection.handlers import Questions
from xqg_repro.collection.passages import TsvPassages
from xqg_repro.collection.records import read_questions
from xqg_repro.core.errors import InputError


def test_passages_are_read_in_order_and_at_random(mini_data: Mini) -> None:
    dataset = collection.load("xor-tydi")
    assert [tuple(doc) for doc in dataset.docs_iter()] == mini_data.passages
    store = dataset.docs_store()
    assert [tuple(store.get(docid)) for docid, *_ in reversed(mini_data.passages)] == mini_data.passages[::-1]
    assert dataset.docs_count() == 60


def test_a_quoted_field_is_unquoted_everywhere(mini_data: Mini) -> None:
    assert '""Keep out""' in mini_data.passages_path.read_text(encoding="utf-8")
    dataset = collection.load("xor-tydi")
    assert dataset.docs_store().get("5").text == list(dataset.docs_iter())[4].text == QUOTED


def test_unknown_passages_are_missing(mini_data: Mini) -> None:
    store = collection.load("xor-tydi").docs_store()
    assert set(store.get_many(["3", "nothing", "60", "01"])) == {"3", "60"}
    for docid in ("0", "61", "-1", "01", "1.0", "²", "", "place"):
        with pytest.raises(KeyError):
            store.get(docid)


@pytest.mark.parametrize("large", [False, True])
def test_only_a_large_files_offsets_are_stored(
    mini_data: Mini, local: Callable[..., DataFile], own_home: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setattr(docstore, "_LARGE_FILE", 100 if large else 100_000)
    file = local(mini_data.passages_path.read_text(encoding="utf-8"))
    for _ in range(2):
        assert TsvPassages(file, "test").docs_store().get("60").doc_id == "60"
    written = {path.name for path in own_home.parent.rglob("*") if path.is_file()}
    offsets = {f"{file.fingerprint()}.npy"} if large else set()
    assert written == {"file"} | offsets
    assert sum(1 for _ in TsvPassages(file, "test").docs_iter()) == 60
    assert (own_home / "xqg_repro" / "checksums.json").exists()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"2\ttext", "got 2"),
        (b"2\ta\tb\tc", "got 4"),
        (b"3\ttext\ttitle", "expected the id 2"),
        (b'2\t"two\nlines"\ttitle', "a quoted field does not end on its line"),
        (b'2\t"open\ttitle', "a quoted field does not end on its line"),
        (b'2\t"a\rb" c\rd\ttitle', "not a row of a TSV file"),
        (b"2\tcaf\xe9\ttitle", "UTF-8"),
        (b"\0" * 40, "expected 3 columns"),
    ],
)
def test_a_bad_passage_names_file_and_line(local: Callable[..., DataFile], line: bytes, problem: str) -> None:
    passages = TsvPassages(local(b"id\ttext\ttitle\n1\ttext\ttitle\n%s\n" % line), "test")
    for read in (lambda: list(passages.docs_iter()), lambda: passages.docs_store().get("2")):
        with pytest.raises(InputError, match=problem) as caught:
            read()
        assert (Path(str(caught.value.path)).name, caught.value.line) == ("file", 3)


def test_marks_line_ends_blank_last_lines_and_long_fields_are_read(local: Callable[..., DataFile]) -> None:
    long = "long " * 40_000
    text = f'\ufeffid\ttext\ttitle\r\n1\t"a ""b""\tc"\tT\r\n2\t{long}\tbare "quote"\r\n3\t"{long}"\t\0\r\n\r\n \n'
    passages = TsvPassages(local(text), "test")
    expected = [("1", "T", 'a "b"\tc'), ("2", 'bare "quote"', long), ("3", "\0", long)]
    assert [tuple(doc) for doc in passages.docs_iter()] == expected
    assert [tuple(passages.docs_store().get(docid)) for docid in "123"] == expected
    assert passages.docs_count() == 3


def test_a_blank_line_within_the_file_is_named(local: Callable[..., DataFile]) -> None:
    with pytest.raises(InputError, match=r"file:3: is a blank line"):
        list(TsvPassages(local("id\ttext\ttitle\n1\ta\tb\n\n2\ta\tb\n"), "test").docs_iter())


def test_a_cut_passage_is_not_recorded(local: Callable[..., DataFile], own_home: Path) -> None:
    record, whole = own_home / "xqg_repro" / "checksums.json", "id\ttext\ttitle\n1\ta\tb\n2\ta\tbcd\n"
    for cut in ("1\ta", "bcd\n", "cd\n", "\n", "2\ta\tbcd\n"):
        passages = TsvPassages(local(whole[: whole.index(cut)]), "test")
        with suppress(InputError):
            list(passages.docs_iter())
        assert record.exists() == (cut == "2\ta\tbcd\n")  # whole lines cannot be told from a whole file
    assert len(list(TsvPassages(local(whole), "test").docs_iter())) == 2
    with pytest.raises(InputError, match=r"checksums\.json records"):
        list(TsvPassages(local(whole.replace("a", "A")), "test").docs_iter())


def test_the_fingerprint_of_questions_follows_the_language(mini_data: Mini) -> None:
    read = partial(read_questions, DataFile("xor-tydi", "questions.jsonl", "https://example.org/questions"))
    assert len({Questions(read, "t", language).fingerprint() for language in (None, "ar", "fi")}) == 3
