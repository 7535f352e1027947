from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import ir_datasets
import pytest
from conftest import QUOTED, Mini

from xqg_repro import collection
from xqg_repro.collection.files import DataFile
from xqg_repro.collection.handlers import Questions, TsvPassages
from xqg_repro.collection.records import read_questions
from xqg_repro.collection.xor_mini import SPLITS
from xqg_repro.core.errors import InputError

DEV = {"fi": 360, "ar": 350, "bn": 312, "ko": 299, "ja": 296, "ru": 255, "te": 238}
XQUAD = ("ar", "de", "en", "es", "ru", "th", "vi")
GOOD = '{"id": "1", "question": "Missä?", "lang": "fi", "answers": ["Turku"]}'


@pytest.fixture
def local(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DataFile]:
    """``local(text)``: a data file of that content in ``$XQG_REPRO_DATA``."""

    def make(text: str, **kwargs: Any) -> DataFile:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text(text, encoding="utf-8")
        monkeypatch.setenv("XQG_REPRO_DATA", str(folder))
        return DataFile("test", "file", "https://example.org/file", **kwargs)

    return make


@pytest.fixture
def address() -> Iterator[tuple[str, list[str]]]:
    """An address that serves ``hello``, or what is packed by the name's ending, and the list of paths asked for."""
    asked: list[str] = []
    archive = io.BytesIO()
    with ZipFile(archive, "w") as members:
        members.writestr("folder/file", "hello")
        members.writestr("folder/other", "else")
    packed = {"/file.gz": gzip.compress(b"hello"), "/file.zip": archive.getvalue(), "/cut.gz": gzip.compress(b"a")[:-9]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = packed.get(self.path, b"hello")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file", asked
    server.shutdown()
    thread.join()
    server.server_close()


# registration


def test_importing_registers_nothing() -> None:
    code = (
        "import sys, xqg_repro.collection; assert 'ir_datasets' not in sys.modules;"
        "import ir_datasets; assert 'xor-tydi' not in ir_datasets.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registering_twice_is_harmless() -> None:
    collection.register()
    before = list(ir_datasets.registry)
    collection.register()
    assert list(ir_datasets.registry) == before
    assert {"xor-tydi/dev/ar", "xquad/en/th"} <= set(before)


def test_loading_reads_no_data(own_home: Path) -> None:
    for name in ("xor-tydi", "xor-tydi/test/te", "xquad/zh/zh"):
        collection.load(name)
    assert not (own_home / "xqg_repro").exists()


def test_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no dataset 'xor-tidy/dev'.*xor-tydi/dev"):
        collection.load("xor-tidy/dev")


@pytest.mark.parametrize("name", ["xor-tydi", "xor-tydi/dev", "xquad/en/ar"])
def test_datasets_carry_documentation(name: str) -> None:
    assert collection.load(name).documentation()["desc"]


def test_fingerprint_of_a_language_differs_from_that_of_all(mini_data: Mini) -> None:
    read = partial(read_questions, DataFile("xor-tydi", "questions.jsonl", "https://example.org/questions"))
    assert len({Questions(read, "t", language).fingerprint() for language in (None, "ar", "fi")}) == 3


# data files


def test_wrong_checksum_names_the_file(local: Callable[..., DataFile]) -> None:
    file = local("hello", md5="0" * 32)
    with pytest.raises(InputError, match="checksum 5d41402abc4b2a76b9719d911017c592 where 0000") as caught:
        file.path()
    assert Path(caught.value.path).name == "file"


def test_right_checksum_passes(local: Callable[..., DataFile]) -> None:
    assert local("hello", md5="5d41402abc4b2a76b9719d911017c592").path().read_text() == "hello"


def test_unknown_checksum_is_recorded_and_checked_from_then_on(local: Callable[..., DataFile], own_home: Path) -> None:
    local("hello").path()
    recorded = json.loads((own_home / "xqg_repro" / "checksums.json").read_text())
    assert recorded == {"https://example.org/file": "5d41402abc4b2a76b9719d911017c592"}
    with pytest.raises(InputError, match="where 5d41402abc4b2a76b9719d911017c592 is due"):
        local("hello again").path()


@pytest.mark.parametrize("folder", ["data", "data/test"])
def test_data_variable_is_preferred_to_the_home(
    folder: str, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path / folder, own_home / "xqg_repro" / "test"):
        place.mkdir(parents=True)
        (place / "file").write_text("hello")
    file = DataFile("test", "file", "https://example.org/file")
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path / "data"))
    assert file.path() == tmp_path / folder / "file"
    monkeypatch.delenv("XQG_REPRO_DATA")
    assert file.path() == own_home / "xqg_repro" / "test" / "file"


def test_file_is_downloaded_once(own_home: Path, address: tuple[str, list[str]]) -> None:
    url, asked = address
    for _ in range(2):
        assert DataFile("test", "file", url).path() == own_home / "xqg_repro" / "test" / "file"
    assert asked == ["/file"]


def test_file_is_downloaded_by_one_process_of_several(own_home: Path, address: tuple[str, list[str]]) -> None:
    url, asked = address
    fetching = [threading.Thread(target=DataFile("test", "file", url).path) for _ in range(4)]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join()
    assert asked == ["/file"]


@pytest.mark.parametrize("ending", [".gz", ".zip"])
def test_packed_file_is_unpacked_once(ending: str, own_home: Path, address: tuple[str, list[str]]) -> None:
    url, asked = address
    for _ in range(2):
        path = DataFile("test", "file", url + ending, md5="5d41402abc4b2a76b9719d911017c592").path()
        assert path == own_home / "xqg_repro" / "test" / "file" and path.read_text() == "hello"
    assert asked == [f"/file{ending}"]
    assert {path.name for path in path.parent.iterdir()} == {"file", "file.lock"}


@pytest.mark.parametrize(("name", "served"), [("file", "cut.gz"), ("none", "file.zip")])
def test_packed_file_that_is_cut_off_or_not_there_leaves_nothing(
    name: str, served: str, own_home: Path, address: tuple[str, list[str]]
) -> None:
    file = DataFile("test", name, address[0].removesuffix("file") + served)
    with pytest.raises(
        InputError, match=f"{name} is not here and could not be downloaded.*fetch it yourself, unpack it"
    ):
        file.path()
    assert [path.name for path in own_home.rglob("test/*")] == [f"{name}.lock"]


def test_file_that_cannot_be_had_says_what_to_do(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    with pytest.raises(InputError, match=r"file is not here and could not be downloaded.*set XQG_REPRO_DATA"):
        DataFile("test", "file", "http://127.0.0.1:9/file").path()


# questions in JSON lines


def test_language_label_is_stripped(local: Callable[..., DataFile]) -> None:
    questions, _ = read_questions(local(GOOD.replace('"fi"', '" ar"')))
    assert [question.lang for question in questions] == ["ar"]


def test_question_without_answers_is_read(local: Callable[..., DataFile]) -> None:
    questions, _ = read_questions(local('{"id": "1", "question": "Missä?", "lang": "fi"}\n'))
    assert questions[0].answers == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "2", "question"', "is not a question"),
        ('{"id": "2", "lang": "fi", "answers": []}', "KeyError 'question'"),
        ('{"id": "2", "question": "Missä?", "answers": []}', "KeyError 'lang'"),
        ('{"id": "2", "question": "Missä?", "lang": null}', "is not a question"),
        ("", "is not a question"),
        ("[]", "is not a question"),
        (GOOD, "repeats the id 1"),
    ],
)
def test_bad_question_names_file_and_line(local: Callable[..., DataFile], line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_questions(local(f"{GOOD}\n{line}\n"))
    assert (Path(caught.value.path).name, caught.value.line) == ("file", 2)


# passages in a TSV file


def test_passages_are_read_in_order(mini_data: Mini) -> None:
    assert [tuple(doc) for doc in collection.load("xor-tydi").docs_iter()] == mini_data.passages


def test_docstore_equals_iteration(mini_data: Mini) -> None:
    dataset = collection.load("xor-tydi")
    store = dataset.docs_store()
    assert [store.get(docid) for docid, *_ in reversed(mini_data.passages)] == list(dataset.docs_iter())[::-1]
    assert dataset.docs_count() == 60


def test_quoted_field_is_unquoted_everywhere(mini_data: Mini) -> None:
    assert '""Keep out""' in mini_data.passages_path.read_text(encoding="utf-8")
    dataset = collection.load("xor-tydi")
    assert dataset.docs_store().get("5").text == list(dataset.docs_iter())[4].text == QUOTED


@pytest.mark.parametrize("docid", ["0", "61", "-1", "01", "1.0", "²", "", "place"])
def test_unknown_passage_raises_key_error(mini_data: Mini, docid: str) -> None:
    with pytest.raises(KeyError):
        collection.load("xor-tydi").docs_store().get(docid)


def test_unknown_passages_are_left_out_of_many(mini_data: Mini) -> None:
    assert set(collection.load("xor-tydi").docs_store().get_many(["3", "nothing", "60", "01"])) == {"3", "60"}


def test_docstore_writes_no_copy_and_no_pickle(mini_data: Mini, local: Callable[..., DataFile], own_home: Path) -> None:
    passages = TsvPassages(local(mini_data.passages_path.read_text(encoding="utf-8")), "test")
    passages.docs_store().get("60")
    written = [path for path in own_home.parent.rglob("*") if path.is_file()]
    assert sorted(path.name for path in written) == ["checksums.json", "checksums.json.lock", "file"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [("2\ttext", "has 2 columns"), ("2\ta\tb\tc", "has 4 columns"), ("3\ttext\ttitle", "'3' where 2 is due")],
)
def test_bad_passage_names_file_and_line(local: Callable[..., DataFile], line: str, problem: str) -> None:
    passages = TsvPassages(local(f"id\ttext\ttitle\n1\ttext\ttitle\n{line}\n"), "test")
    for read in (lambda: list(passages.docs_iter()), lambda: passages.docs_store().get("2")):
        with pytest.raises(InputError, match=problem) as caught:
            read()
        assert (Path(caught.value.path).name, caught.value.line) == ("file", 3)


# xor-mini's held-out questions

XOR_MINI = ("ar", "bn", "en", "fi", "ja", "ko", "ru", "te")


def test_held_out_questions_are_about_passages_of_the_collection() -> None:
    held_out, train = (collection.load(f"xor-mini/{name}") for name in ("held-out", "train"))
    assert Counter(question.lang for question in held_out.queries_iter()) == dict.fromkeys({*XOR_MINI} - {"en"}, 100)
    assert held_out.queries_count() == 700
    documents = [collection.fingerprint(dataset, "docs") for dataset in (held_out, train)]
    assert documents[0] == documents[1]


def test_held_out_questions_of_each_language() -> None:
    texts = {
        language: [q.text for q in collection.load(f"xor-mini/held-out/{language}").queries_iter()]
        for language in XOR_MINI
    }
    for language in XOR_MINI:
        dataset = collection.load(f"xor-mini/held-out/{language}")
        assert {question.lang for question in dataset.queries_iter()} == {language}
        assert dataset.qrels_count() >= dataset.queries_count() == len(texts[language]) > 10
    together = [question.text for question in collection.load("xor-mini/held-out").queries_iter()]
    assert sorted(together) == sorted(text for code, few in texts.items() if code != "en" for text in few)


def test_fingerprints_of_questions_differ_by_what_is_asked() -> None:
    names = ["train", "held-out", "dev", "train/ar", "held-out/ar", "dev/ar", "held-out/en", "train/en"]
    versions = [collection.fingerprint(collection.load(f"xor-mini/{name}"), "queries") for name in names]
    assert len(set(versions)) == len(names)


def test_splits_share_no_question() -> None:
    texts = [q.text for split in SPLITS for q in collection.load(f"xor-mini/{split}").queries_iter()]
    assert len(set(texts)) == len(texts)


# the real collections


@pytest.mark.integration
def test_xor_tydi_dev(shared_data: Path) -> None:
    questions = list(collection.load("xor-tydi/dev").queries_iter())
    assert Counter(question.lang for question in questions) == DEV
    assert len(questions) == 2110 and all(question.answers for question in questions)


@pytest.mark.integration
@pytest.mark.parametrize("language", DEV)
def test_xor_tydi_language_subset(shared_data: Path, language: str) -> None:
    subset = list(collection.load(f"xor-tydi/dev/{language}").queries_iter())
    everything = collection.load("xor-tydi/dev").queries_iter()
    assert subset == [question for question in everything if question.lang == language]
    assert len(subset) == DEV[language]


@pytest.mark.integration
def test_xor_tydi_train_labels_are_clean(shared_data: Path) -> None:
    questions = list(collection.load("xor-tydi/train").queries_iter())
    assert len(questions) == 15250
    assert {question.lang for question in questions} == set(DEV)


@pytest.mark.integration
def test_damaged_published_file_is_refused(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "xor_dev_retrieve_eng_span_v1_1.jsonl"
    (tmp_path / name).write_bytes((shared / "data" / "xor-tydi" / name).read_bytes()[:-1])
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    with pytest.raises(InputError, match="44ec87b50dd375ce1dca7f963fc5d70b"):
        list(collection.load("xor-tydi/dev").queries_iter())


@pytest.mark.integration
@pytest.mark.parametrize("language", XQUAD)
def test_xquad_counts(shared_data: Path, language: str) -> None:
    dataset = collection.load(f"xquad/en/{language}")
    assert (dataset.docs_count(), dataset.queries_count(), dataset.qrels_count()) == (240, 1190, 1190)
    assert dataset.queries_lang() == language


@pytest.mark.integration
@pytest.mark.parametrize("language", XQUAD)
def test_xquad_judgements_point_to_the_questions_own_paragraph(shared_data: Path, language: str) -> None:
    articles = json.loads((shared_data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    own = {qa["id"]: paragraph["context"].strip() for paragraph in paragraphs for qa in paragraph["qas"]}
    dataset = collection.load(f"xquad/en/{language}")
    texts = {doc.doc_id: doc.text for doc in dataset.docs_iter()}
    assert {judged.query_id: texts[judged.doc_id] for judged in dataset.qrels_iter()} == own


@pytest.mark.integration
@pytest.mark.parametrize("language", XQUAD)
def test_xquad_answers_are_in_the_paragraph(shared_data: Path, language: str) -> None:
    dataset = collection.load(f"xquad/{language}/en")
    store = dataset.docs_store()
    own = {judged.query_id: store.get(judged.doc_id).text for judged in dataset.qrels_iter()}
    astray = [q for q in dataset.queries_iter() if not q.answers or any(a not in own[q.query_id] for a in q.answers)]
    assert astray == []
