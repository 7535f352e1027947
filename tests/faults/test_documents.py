"""Documents and questions of ir-datasets that cannot be encoded are refused before the first passage is."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ir_datasets
import pytest

from faults.conftest import Verb


class Untitled(NamedTuple):
    doc_id: Any
    text: Any


class Titled(NamedTuple):
    doc_id: Any
    title: Any
    text: Any


class WebPage(NamedTuple):
    doc_id: str
    url: str
    body: str

    def default_text(self) -> str:
        return self.body


GOOD = [Titled(f"g{i}", None, f"passage {i}") for i in range(5)]
OWN = {
    "number": [*GOOD, Titled("x", "T", 7)],
    "list": [*GOOD, Titled("x", "T", ["a"])],
    "bytestitle": [*GOOD, Titled("x", b"T", "a")],
    "numbertitle": [*GOOD, Titled("x", 0, "a")],
    "half": [*GOOD, Titled("x", "\udc00", "a")],
    "intid": [Untitled(5, "a")],
    "emptyid": [*GOOD, Untitled("", "a")],
    "page": [WebPage("x", "http://example.org", "a body")],
    "twice": [*GOOD, *GOOD[-1:]],
    "untitled": [Untitled(f"u{i}", f"passage {i}") for i in range(3)],
    "nfc": [Untitled("S\u00e3o", "a city")],
}


@pytest.fixture(scope="module", autouse=True)
def datasets(faults: Path) -> None:
    """Register ``toy/…``, those of the folder of faults, and ``own/…``."""
    before, sys.argv = sys.argv, ["toy", "--version"]
    try:
        with pytest.raises(SystemExit):
            toy = runpy.run_path(str(faults / "toy_datasets_cli.py"))
    finally:
        sys.argv = before
    toy = type(ir_datasets.registry["toy/ok"].docs_handler())
    for name, docs in OWN.items():
        ir_datasets.registry.register(f"own/{name}", ir_datasets.Dataset(toy(docs)))


@pytest.mark.parametrize(
    ("collection", "problem"),
    [
        ("toy/notext", r"document '0' has no field 'text' \(NoText: doc_id, title, abstract\)"),
        ("toy/nonetext", "document 'x' has the text None"),
        ("toy/bytes", "document 'x' has the text b'bytes'"),
        ("toy/surr", "text of document 'x' contains half a character"),
        ("toy/spaceid", "docid 'doc 0' .*white space"),
        ("toy/dupid", "docid '0' occurs 2 times"),
        *((f"toy/{name}", "docid 'a.*white space") for name in ("nlid", "crid", "u2028id", "nelid")),
        ("own/number", "document 'x' has the text 7, expected text"),
        ("own/list", r"document 'x' has the text \['a'\], expected text"),
        ("own/bytestitle", "document 'x' has the title b'T', expected text"),
        ("own/numbertitle", "document 'x' has the title 0, expected text"),
        ("own/half", "title of document 'x' contains half a character"),
        ("own/intid", "docid is 5, expected text"),
        ("own/emptyid", "docid '' is empty"),
        ("own/page", r"document 'x' has no field 'text' \(WebPage: doc_id, url, body\)"),
        ("own/twice", "docid 'g4' occurs 2 times"),
    ],
)
def test_documents_are_refused_before_encoding(verb: Verb, tmp_path: Path, collection: str, problem: str) -> None:
    settings = ["--preset", "xdr-mini", "--shard-size", 2, "--output", tmp_path / "e"]
    verb("encode", "--collection", collection, *settings).refused(f"{collection}: .*{problem}")
    assert not list(tmp_path.rglob("*.npy"))


def test_queries_are_not_generated_for_them_either(verb: Verb, tmp_path: Path) -> None:
    settings = ["--generator", "package:xqg-mini", "--shard-size", 1, "--output", tmp_path / "q"]
    for collection in ("toy/nonetext", "own/number"):
        verb("generate", "--collection", collection, *settings).refused("document 'x' has the text")
    assert not list(tmp_path.rglob("*.jsonl"))


def test_untitled_documents_are_encoded(verb: Verb, tmp_path: Path) -> None:
    for name in ("own/untitled", "toy/unicodeid"):
        output = tmp_path / name.replace("/", "-")
        assert verb("encode", "--collection", name, "--preset", "xdr-mini", "--output", output).status == 0


@pytest.mark.parametrize(
    ("topics", "problem"),
    [
        ("toy/noneq", "question 'q0' is None, expected text"),
        ("toy/blankq", "question 'q0' is blank"),
        ("toy/dupq", "the qid 'q0' occurs twice"),
        ("toy/noq", "holds no questions"),
    ],
)
def test_questions_are_refused(verb: Verb, tmp_path: Path, topics: str, problem: str) -> None:
    verb("topics", "--topics", topics, "--output", tmp_path / "t.tsv").refused(f"{topics}: {problem}")
    assert not list(tmp_path.iterdir())


def test_docids_that_look_the_same_are_told_apart() -> None:
    from xqg_repro import collection
    from xqg_repro.core.errors import InputError

    with pytest.raises(InputError, match=r"U\+0061 U\+0303 \(NFD\) where 'S\u00e3o'.* has U\+00E3 \(NFC\)"):
        collection.texts(ir_datasets.load("own/nfc"), ["Sa\u0303o"])
