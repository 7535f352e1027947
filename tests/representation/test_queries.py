from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.models.generator import PassageQueries
from xqg_repro.representation.queries import queries_fingerprint, query_files, read_queries

from .conftest import Few

FIVE = [f"запрос {number}?" for number in range(5)]


def item(docid: Any = "1", **queries: Any) -> dict[str, Any]:
    return {"docid": docid, "generated_queries": queries}


def write_items(path: Path, *items: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in items), encoding="utf-8")
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The published corpus' format: data/shard_0.jsonl … shard_18.jsonl, one passage with 5 × 7 queries per line."""
    for number in range(19):
        queries = {language: [f"{language} {number} {rank}" for rank in range(5)] for language in XOR_LANGUAGES}
        passage = {"docid": number, "title": "Turku", "text": "Turku is a city.", "generated_queries": queries}
        write_items(tmp_path / "corpus" / "data" / f"shard_{number}.jsonl", passage)
    return tmp_path / "corpus"


def test_published_corpus_is_read_as_it_is(published: Path) -> None:
    passages = list(read_queries(published, ("te", "fi"), 2))
    assert [passage.docid for passage in passages] == [str(number) for number in range(19)]
    assert list(passages[11].queries.items()) == [("te", ("te 11 0", "te 11 1")), ("fi", ("fi 11 0", "fi 11 1"))]


def test_all_that_a_line_has_is_read_without_languages_and_a_number(tmp_path: Path) -> None:
    lines = (item("1", fi=FIVE, xx=["?"]), item("2", te=[]))
    path = write_items(tmp_path / "q.jsonl", *lines)
    assert list(read_queries(path, None, None)) == [
        PassageQueries("1", {"fi": tuple(FIVE), "xx": ("?",)}),
        PassageQueries("2", {}),
    ]
    with pytest.raises(InputError, match="expected 2 xx queries, got 1"):
        list(read_queries(path, None, 2))


def test_line_is_read_back_even_without_its_end(tmp_path: Path) -> None:
    passage = PassageQueries("7", {"ja": ("首都は?", 'a "b"\n'), "ar": ("ما؟", "")})
    (tmp_path / "q.jsonl").write_text(f"{passage.line()}\n{passage.line()}", encoding="utf-8")
    assert list(read_queries(tmp_path / "q.jsonl", ("ja", "ar"), 2)) == [passage, passage]
    assert passage.line().startswith('{"docid": "7", "generated_queries": {"ja": ["首都は?"')


def test_a_file_and_a_folder_and_its_data_are_found(published: Path) -> None:
    inside = [published / "data" / f"shard_{number}.jsonl" for number in range(19)]
    assert query_files(published) == inside == query_files(str(published / "data"))
    assert query_files(inside[3]) == [inside[3]]
    shutil.copy(inside[0], published / "own.jsonl")
    assert query_files(published) == [published / "own.jsonl"]


@pytest.mark.parametrize("name", ["./none", "/no/where", "none", "queries/none.jsonl", "a/b/c"])
def test_missing_source_is_refused_without_asking_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match="no such file or folder") as caught:
        query_files(name)
    assert caught.value.path == name


def test_folder_without_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no generated queries"):
        query_files(tmp_path)


def test_dataset_is_downloaded_from_the_hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def download(name: str, **options: Any) -> str:
        calls.append((name, options))
        if name == "a/b":
            raise OSError("no connection\nat all")
        return str(published)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert len(query_files("ielab/xor-tydi-xqg-augmented")) == 19
    assert calls == [("ielab/xor-tydi-xqg-augmented", {"repo_type": "dataset", "allow_patterns": "data/*.jsonl"})]
    with pytest.raises(InputError, match=r"'a/b'.*: no connection \(name a folder"):
        query_files("a/b")


def test_fingerprint_follows_the_files_and_not_the_place(few: Few, published: Path, tmp_path: Path) -> None:
    before = queries_fingerprint(published)
    assert queries_fingerprint(shutil.copytree(published, tmp_path / "copy")) == before
    assert queries_fingerprint(published / "data") == before
    write_items(published / "data" / "shard_3.jsonl", item(fi=["a"]))
    assert queries_fingerprint(published) != before
    stage = shutil.copytree(few.output("generate"), tmp_path / "stage")
    assert queries_fingerprint(stage) == queries_fingerprint(few.output("generate"))
    (stage / "00001.jsonl").write_text("")
    with pytest.raises(InputError, match="is not the file that its manifest describes"):
        queries_fingerprint(stage)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"docid": "1", "generated_queries": {"ru": ["a", "b"', "the line is truncated"),
        ('{"docid": "1", "generated_queries": {"ru": ["a", "b"\n', "Expecting ',' delimiter"),
        ("\udcff\n", "codec can't decode"),
        ('{"docid": "1", "generated_queries": {"ru": ["a \\ud83d"]}}\n', "half a character"),
        ('{"docid": "\\udc00", "generated_queries": {"ru": ["a"]}}\n', "half a character"),
        ("[1]\n", "no docid"),
        ('{"generated_queries": {"ru": ["a"]}}\n', "no docid"),
        (f"{json.dumps(item(1.5, ru=['a']))}\n", "docid 1.5"),
        (f"{json.dumps(item(True, ru=['a']))}\n", "docid True"),
        (f"{json.dumps(item('a b', ru=['a']))}\n", "docid 'a b'"),
        (f"{json.dumps(item('', ru=['a']))}\n", "docid ''"),
        ('{"docid": "1"}\n', "not a mapping"),
        ('{"docid": "1", "generated_queries": ["a"]}\n', "not a mapping"),
        (f"{json.dumps(item(ru='why'))}\n", "'ru' are not a list of strings"),
        (f"{json.dumps(item(ru=['a', None]))}\n", "'ru' are not a list of strings"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = write_items(tmp_path / "q" / "shard_0.jsonl", item(ru=["a", "b"]), item(ru=["a", "b"]))
    with open(path, "ab") as file:
        file.write(line.encode("utf-8", "surrogateescape"))
    for allow_missing in (False, True):
        reading = read_queries(tmp_path / "q", ["ru"], 1, allow_missing=allow_missing)
        assert [next(reading).docid, next(reading).docid] == ["1", "1"]
        with pytest.raises(InputError, match=problem) as caught:
            next(reading)
        assert (caught.value.path, caught.value.line) == (path, 3)


@pytest.mark.parametrize(
    ("queries", "count", "expected"),
    [({"ru": FIVE[:4]}, 4, {"ru": tuple(FIVE[:4])}), ({"fi": FIVE}, 0, {}), ({"ru": []}, 0, {})],
)
def test_missing_queries_are_refused_unless_allowed(
    tmp_path: Path, queries: dict[str, list[str]], count: int, expected: dict[str, tuple[str, ...]]
) -> None:
    path = write_items(tmp_path / "q.jsonl", item(ru=FIVE), item("2", **queries), item("3", ru=[*FIVE, "6?"]))
    with pytest.raises(InputError, match=rf"expected 5 Russian queries, got {count} \(.*--allow-missing") as caught:
        list(read_queries(path, ["ru"], 5))
    assert (caught.value.path, caught.value.line) == (path, 2)
    passages = list(read_queries(path, ["ru"], 5, allow_missing=True))
    assert [passage.queries for passage in passages] == [{"ru": tuple(FIVE)}, expected, {"ru": tuple(FIVE)}]


def test_other_languages_do_not_matter(tmp_path: Path) -> None:
    path = write_items(tmp_path / "q.jsonl", item(ru=["a"], fi="not a list"))
    assert list(read_queries(path, ["ru"], 1)) == [PassageQueries("1", {"ru": ("a",)})]
