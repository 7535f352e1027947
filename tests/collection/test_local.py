"""Collections and topics in files."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xqg_repro import collection
from xqg_repro.collection import docstore
from xqg_repro.collection.documents import check_documents
from xqg_repro.collection.local import expand
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError

DOCS = [("d1", "Turku", "A city in Finland."), ("d2", None, "A second text."), ("7", "Only a title", "")]
CORPUS = [{"_id": docid, "title": title or "", "text": text} for docid, title, text in DOCS]
QUERIES = [
    {"_id": "q1", "text": "Missä?", "lang": "fi", "answers": ["Finland"]},
    {"_id": "q2", "text": "どこ？", "metadata": {"language": "ja", "answers": ["Finland", 1229]}},
    {"_id": "q3", "text": "Where?"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n"


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


Beir = Callable[..., Path]


@pytest.fixture
def beir(tmp_path: Path) -> Beir:
    """``beir(corpus=…, qrels=…)``: a folder in BEIR's layout."""

    def make(corpus: str = lines(CORPUS), queries: str = lines(QUERIES), qrels: str = QRELS, end: str = "") -> Path:
        folder = tmp_path / "beir"
        write(folder / f"corpus.jsonl{end}", corpus)
        write(folder / f"queries.jsonl{end}", queries)
        write(folder / f"qrels/test.tsv{end}", qrels)
        return folder

    return make


@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_folder_in_beirs_layout(beir: Beir, end: str) -> None:
    folder = beir(end=end)
    dataset = collection.load(str(folder / "test"), needs=["docs", "queries", "qrels"])
    check_documents(dataset)
    assert [tuple(doc) for doc in dataset.docs_iter()] == DOCS and dataset.docs_count() == 3
    store = dataset.docs_store()
    assert [tuple(store.get(docid)) for docid, *_ in reversed(DOCS)] == DOCS[::-1]
    assert store.get_many(["d1", "nothing", "\ud800"]).keys() == {"d1"}
    questions = [(q.query_id, q.lang, q.answers) for q in dataset.queries_iter()]
    assert questions == [("q1", "fi", ("Finland",)), ("q2", "ja", ("Finland", "1229"))]  # no judgement, no question
    assert [(q.query_id, q.doc_id, q.relevance) for q in dataset.qrels_iter()][:2] == [("q1", "d1", 2), ("q1", "d2", 0)]
    japanese = collection.load(f"{folder}/test/ja")
    assert [q.query_id for q in japanese.queries_iter()] == [q.query_id for q in japanese.qrels_iter()] == ["q2"]
    assert collection.subsets(str(folder)) == ["test"] and collection.subsets(f"{folder}/test") == ["fi", "ja"]


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.jsonl", '\ufeff{"id": "a", "contents": "T\\nx"}\r\n{"docid": 2, "title": null, "text": "y"}\n\n'),
        ("c.json", '{"_id": "a", "text": "T\\nx", "url": 1}\n{"id": "2", "title": " ", "text": "y"}'),
        ("c.tsv", '\ufeffid\ttext\ttitle\na\t"T\nx"\t\n2\ty\t\n'.replace("T\n", "T ").replace('"', "")),
    ],
)
def test_a_file_of_passages(tmp_path: Path, name: str, text: str, end: str) -> None:
    path = write(tmp_path / f"{name}{end}", text)
    dataset = collection.load(str(path), needs=["docs"])
    first = "T x" if name == "c.tsv" else "T\nx"
    assert [tuple(doc) for doc in dataset.docs_iter()] == [("a", None, first), ("2", None, "y")]
    assert [doc.text for doc in dataset.docs_store().get_many(["a", "2", "1"]).values()] == [first, "y"]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path, versions = tmp_path / "c.jsonl", []
    for text in ("one", "two", "one"):
        write(path, lines([{"_id": "a", "text": text}, {"_id": "b", "text": text}]))
        dataset = collection.load(str(path), needs=["docs"])
        assert dataset.docs_store().get("b").text == text
        versions.append(collection.fingerprint(dataset, "docs"))
    assert versions[0] == versions[2] != versions[1]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, own_home: Path, end: str) -> None:
    path = write(tmp_path / f"c.jsonl{end}", lines([{"_id": str(i), "text": f"{i} " * 3000} for i in range(1000)]))
    tracemalloc.start()
    try:
        dataset = collection.load(str(path), needs=["docs"])
        check_documents(dataset)
        assert dataset.docs_store().get("999").text.startswith("999 ")
        assert tracemalloc.get_traced_memory()[1] < 3_000_000 < len(path.read_text() if not end else path.name * 10**6)
    finally:
        tracemalloc.stop()
    assert not own_home.exists() or not list(own_home.rglob("*.npy"))


def test_the_offsets_of_a_large_file_are_kept(beir: Beir, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstore, "_LARGE_FILE", 10)
    passages = collection.load(str(beir()), needs=["docs"]).docs_handler()
    for _ in range(2):
        assert docstore.LineDocstore(passages, passages._file.path(), passages.fingerprint()).get("d2").title is None
    assert len(list(own_home.rglob("*.docids.npy"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "languages"),
    [
        ("q.jsonl", lines(QUERIES), ["fi", "ja"]),
        ("q.json.gz", '{"id": 1, "question": "Missä?", "lang": " fi", "answers": [], "split": "dev"}\n', ["fi"]),
        ("q.tsv", "q1\tMissä?\n", []),
        ("q.tsv.gz", "q1\tMissä?\n", []),
    ],
)
def test_a_file_of_questions(tmp_path: Path, name: str, text: str, languages: list[str]) -> None:
    topics = str(write(tmp_path / name, text))
    dataset = collection.load(topics, needs=["queries"])
    queries, version = read_topics(topics)
    assert queries == {q.query_id: q.text for q in dataset.queries_iter()} and "Missä?" in queries.values()
    assert version == collection.fingerprint(dataset, "queries")
    assert collection.subsets(topics) == languages
    for language in languages:
        assert {q.lang for q in collection.load(f"{topics}/{language}").queries_iter()} == {language}


def test_the_fingerprint_of_a_split_follows_its_files(beir: Beir) -> None:
    versions = []
    for change in ({}, {"qrels": QRELS + "q3\td1\t1\n"}, {"queries": lines(QUERIES).replace("Where", "When")}, {}):
        versions.append(collection.fingerprint(collection.load(f"{beir(**change)}/test"), "queries"))
    assert versions[0] == versions[3] and len(set(versions)) == 3


def test_an_id_may_begin_with_a_variable_or_a_home(beir: Beir, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = beir()
    monkeypatch.setenv("XQG_REPRO_DATA", str(folder.parent))
    monkeypatch.setenv("HOME", str(folder.parent))
    for start in ("$XQG_REPRO_DATA", "${XQG_REPRO_DATA}", "~"):
        assert expand(f"{start}/beir") == str(folder)
        dataset = collection.load(f"{start}/beir/test", needs=["docs"])
        assert dataset.dataset_id() == f"{start}/beir/test" and dataset.docs_count() == 3
        assert len(read_topics(f"{start}/beir/queries.jsonl")[0]) == 3
    monkeypatch.delenv("XQG_REPRO_DATA")
    for read in (collection.load, read_topics):
        with pytest.raises(InputError, match=r"is not set .set XQG_REPRO_DATA to the folder .* beir/test"):
            read("$XQG_REPRO_DATA/beir/test")


def test_registered_ids_come_first(beir: Beir, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = beir()
    folder.rename(folder.with_name("xor-mini"))
    monkeypatch.chdir(folder.parent)
    assert collection.load("xor-mini").docs_count() > 3 == collection.load("./xor-mini", ["docs"]).docs_count()
    Path("beir").mkdir()
    with pytest.raises(InputError, match=r"beir has no passages .write ./beir for the file or folder of this name"):
        collection.load("beir", needs=["docs"])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"_id": "b", "text"', "is not JSON"),
        ('["b"]', "not an object"),
        ('{"text": "x"}', "lacks the field '_id' or 'docid' or 'id' .expected one object per line"),
        ('{"_id": "b", "id": "b", "text": "x"}', "has both '_id' and 'id'"),
        ('{"_id": "b", "title": "x"}', "lacks the field 'text' or 'contents'"),
        ('{"_id": "b", "text": "x", "contents": "x"}', "has both 'text' and 'contents'"),
        ('{"_id": "b", "text": " "}', "the document 'b' has no text"),
        ('{"_id": "b", "text": ["x"]}', r"text is \['x'\], expected text"),
        ('{"_id": "b", "text": "x", "title": 1}', "title is 1, expected text"),
        ('{"_id": 1.5, "text": "x"}', "_id is 1.5, expected text or a whole number"),
        ('{"_id": "b c", "text": "x"}', "'b c' cannot be an id"),
        ('{"_id": "b", "text": "\\ud83d"}', "half a character"),
        ('{"_id": "a", "text": "y"}', "repeats the docid 'a' of line 1"),
        ("", "is a blank line within the file"),
    ],
)
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_bad_document_names_file_and_line(tmp_path: Path, line: str, problem: str, end: str) -> None:
    text = f'{{"_id": "a", "text": "x"}}\n{line}\n{{"_id": "z", "text": "x"}}\n'
    path = write(tmp_path / f"c.jsonl{end}", text)
    dataset = collection.load(str(path), needs=["docs"])
    reads = [lambda: check_documents(dataset), lambda: dataset.docs_store().get("z")]
    for read in reads[: 1 if not line else 2]:
        with pytest.raises(InputError, match=problem) as caught:
            read()
        assert (caught.value.path, caught.value.line) == (path, 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("q1\td1\t1\n", "begins with 'q1.* .expected the header line query-id<TAB>corpus-id<TAB>score"),
        ("q1 0 d1 1\n", "TREC's judgements"),
        ("", "holds no judgements"),
        (QRELS + "q1\td9\n", ":5: expected 3 columns, got 2"),
        (QRELS + "q1\td9\t0.5\n", ":5: the score is '0.5', expected a whole number"),
        (QRELS + "q1\td1\t0\n", ":5: judges d1 for q1 a second time"),
        (QRELS + "q9\td1\t1\n", ":5: judges the question 'q9', which .*queries.jsonl does not have"),
        (QRELS + "q 1\td1\t1\n", ":5: 'q 1' cannot be an id"),
    ],
)
def test_bad_judgements_name_file_and_line(beir: Beir, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        collection.load(f"{beir(qrels=text)}/test", needs=["qrels"])


@pytest.mark.parametrize(
    ("rest", "needs", "problem"),
    [
        ("", "queries", "one of its splits is needed .choose from: .*beir/test"),
        ("/tset", "queries", "beir: has no split 'tset' .did you mean test"),
        ("/test/fr", "queries", "test: has no questions in 'fr' .choose from: fi, ja|did you mean fi"),
        ("/corpus.json", "docs", "no such file or folder .did you mean .*corpus.jsonl"),
        ("/qrels", "queries", "a folder without splits"),
        ("/qrels", "docs", "has no corpus.jsonl .BEIR's layout is"),
        ("/qrels/test.tsv", "docs", "begins with 'query-id.*expected the header line id<TAB>text<TAB>title"),
        ("/queries.jsonl", "docs,queries", "has no passages .name their collection with --collection"),
        ("/queries.jsonl/xx", "queries", "has no questions in 'xx'"),
    ],
)
def test_what_is_not_there_is_named(beir: Beir, rest: str, needs: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        collection.load(f"{beir()}{rest}", needs=needs.split(","))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("corpus.csv", "a,b", "does not say what it contains"),
        ("corpus.jsonl", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("corpus.jsonl.gz", None, "cannot be read"),
        ("corpus.jsonl", "", "holds no passages"),
        ("corpus.tsv", "id\ttext\ttitle\n1\ta\n", "corpus.tsv:2: expected 3 columns"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, text: str | None, problem: str) -> None:
    path = write(tmp_path / name, text or "")
    if text is None:
        path.write_bytes(b"no gzip")
    with pytest.raises(InputError, match=problem) as caught:
        check_documents(collection.load(str(path), needs=["docs"]))
    assert caught.value.path == path


def test_a_misspelt_file_names_a_similar_one(beir: Beir) -> None:
    folder = write(beir() / "more" / "wiki.jsonl", "").parent
    with pytest.raises(InputError, match=r"no such file or folder .did you mean .*wiki\.jsonl"):
        collection.load(f"{folder}/wikis.jsonl")
    with pytest.raises(InputError, match=r"has no corpus.jsonl .name the file: .*wiki\.jsonl"):
        collection.load(str(folder), needs=["docs"])


def test_topics_take_the_passages_of_another_collection(beir: Beir) -> None:
    folder = beir()
    topics = f"{folder}/queries.jsonl"
    with pytest.raises(InputError, match=r"queries.jsonl has no passages .*--collection"):
        collection.texts(collection.load(topics, ["queries"]), ["d1"])
    dataset = collection.load(topics, ["queries", "docs"], passages=str(folder))
    assert collection.texts(dataset, ["d1"]) == {"d1": "A city in Finland."}
    assert dataset.dataset_id() == topics and not dataset.has_qrels()


def test_real_files(shared_data: Path) -> None:
    dataset = collection.load("$XQG_REPRO_DATA/wiki-vital/corpus.jsonl", needs=["docs"])
    check_documents(dataset)
    assert collection.file_checksum("$XQG_REPRO_DATA/wiki-vital/corpus.jsonl", "corpus.jsonl") == dataset.fingerprint()
    assert dataset.docs_count() == 10_033 and dataset.docs_store().get("0").title == "20th-century classical music"
    topics = "$XQG_REPRO_DATA/xor-tydi/xor_dev_retrieve_eng_span_v1_1.jsonl"
    own, official = ([*collection.load(name).queries_iter()] for name in (topics, "xor-tydi/dev"))
    assert own == official
    assert set(collection.subsets(topics)) == {"ar", "bn", "fi", "ja", "ko", "ru", "te"}
