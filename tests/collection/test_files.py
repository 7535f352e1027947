from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from xqg_repro.collection.files import DataFile
from xqg_repro.core.errors import InputError

HELLO_MD5 = "5d41402abc4b2a76b9719d911017c592"


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A URL that serves ``hello``, packed as its ending says, and the list of the requested paths."""
    requests: list[str] = []
    archive = io.BytesIO()
    with ZipFile(archive, "w") as members:
        members.writestr("folder/file", "hello")
        members.writestr("folder/other", "else")
    packed = {"/file.gz": gzip.compress(b"hello"), "/file.zip": archive.getvalue(), "/cut.gz": gzip.compress(b"a")[:-9]}
    packed |= {
        "/cut": b"hel",
        "/page": b"\n<!DOCTYPE html><html>Not found</html>",
        "/page.gz": b"<html>",
        "/empty": b"",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            content = packed.get(self.path, b"hello")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + 2 * (self.path == "/cut")))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/file", requests
        http.shutdown()
        thread.join()


def test_a_checksum_is_verified(local: Callable[..., DataFile]) -> None:
    assert local("hello", md5=HELLO_MD5).path().read_text() == "hello"
    with pytest.raises(InputError, match=f"expected the MD5 checksum 0000.*got {HELLO_MD5}") as caught:
        local("hello", md5="0" * 32).path()
    assert Path(str(caught.value.path)).name == "file"


def test_an_unknown_checksum_is_recorded_and_verified_from_then_on(
    local: Callable[..., DataFile], own_home: Path
) -> None:
    record = own_home / "xqg_repro" / "checksums.json"
    file = local("hello\n")
    file.path()
    assert not record.exists()
    file.confirm(1)
    md5 = hashlib.md5(b"hello\n").hexdigest()
    assert json.loads(record.read_text()) == {"https://example.org/file": {"bytes": 6, "md5": md5}}
    with pytest.raises(InputError, match=f"checksum {md5}, which {record} records.*doctor --accept .*/file"):
        local("other\n").path()
    local("hello\nagain\n").path()  # the file recorded first was cut off


@pytest.mark.parametrize("record", ["", "[]", '{"a"', "null", '{"https://example.org/file": 5}', '{"u": {"md4": ""}}'])
def test_an_unreadable_record_is_an_empty_one(
    record: str, local: Callable[..., DataFile], own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = own_home / "xqg_repro" / "checksums.json"
    path.parent.mkdir(parents=True)
    path.write_text(record)
    file = local("hello\n")
    file.path()
    assert str(path) in caplog.text
    file.confirm(1)
    assert json.loads(path.read_text()).keys() == {"https://example.org/file"}


def test_checksums_of_earlier_versions_are_required(local: Callable[..., DataFile], own_home: Path) -> None:
    path = own_home / "xqg_repro" / "checksums.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"https://example.org/file": HELLO_MD5}))
    assert local("hello").path().read_text() == "hello"
    with pytest.raises(InputError, match="got"):
        local("hello again").path()


@pytest.mark.parametrize(("text", "rows"), [("hello\nag", 2), ("", 0)])
def test_a_file_that_seems_to_be_cut_is_not_recorded(
    text: str, rows: int, local: Callable[..., DataFile], own_home: Path
) -> None:
    local(text).confirm(rows)
    assert not (own_home / "xqg_repro" / "checksums.json").exists()


def test_a_file_with_fewer_records_than_published_is_named(
    local: Callable[..., DataFile], caplog: pytest.LogCaptureFixture
) -> None:
    local("hello\n", rows=3).confirm(1)
    assert "has 1 records, the published file 3" in caplog.text


def test_a_record_that_cannot_be_written_stops_nothing(
    local: Callable[..., DataFile], own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = local("hello\n")
    own_home.mkdir(exist_ok=True)
    (own_home / "xqg_repro").write_text("a file where a folder is due")
    file.path()
    file.confirm(1)
    assert "is not recorded" in caplog.text


@pytest.mark.parametrize("folder", ["data", "data/test"])
def test_the_data_variable_is_preferred_to_the_home(
    folder: str, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = own_home / "xqg_repro" / "test"
    for place in (tmp_path / folder, home):
        place.mkdir(parents=True)
        (place / "file").write_text("hello")
    file = DataFile("test", "file", "https://example.org/file")
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path / "data"))
    assert file.path() == tmp_path / folder / "file"
    monkeypatch.delenv("XQG_REPRO_DATA")
    assert file.path() == home / "file"


@pytest.mark.parametrize("ending", ["", ".gz", ".zip"])
def test_a_file_is_downloaded_and_unpacked_once(ending: str, own_home: Path, server: tuple[str, list[str]]) -> None:
    url, requests = server
    for _ in range(2):
        path = DataFile("test", "file", url + ending, md5=HELLO_MD5).path()
        assert path == own_home / "xqg_repro" / "test" / "file" and path.read_text() == "hello"
    assert requests == [f"/file{ending}"]
    assert {path.name for path in path.parent.iterdir()} == {"file", "file.lock"}


def test_a_file_is_downloaded_by_one_of_several_processes(own_home: Path, server: tuple[str, list[str]]) -> None:
    url, requests = server
    threads = [threading.Thread(target=DataFile("test", "file", url).path) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert requests == ["/file"]


@pytest.mark.parametrize(("name", "served"), [("file", "cut.gz"), ("none", "file.zip")])
def test_a_truncated_or_missing_packed_file_leaves_nothing(
    name: str, served: str, own_home: Path, server: tuple[str, list[str]]
) -> None:
    file = DataFile("test", name, server[0].removesuffix("file") + served)
    with pytest.raises(InputError, match=f"{name} could not be downloaded.*unpack it"):
        file.path()
    assert [path.name for path in own_home.rglob("test/*")] == [f"{name}.lock"]


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        ("cut", "IncompleteRead|ConnectionBroken"),
        ("page", "a web page instead of the file"),
        ("page.gz", "gzip"),
        ("empty", "nothing instead of the file"),
        ("file", "expected the MD5 checksum 0000"),
    ],
)
def test_what_is_not_the_whole_file_leaves_nothing(
    served: str, reason: str, own_home: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    md5 = "0" * 32 if served == "file" else None
    file = DataFile("test", "file", server[0].removesuffix("file") + served, md5=md5)
    with pytest.raises(InputError, match=f"(?s)file could not be downloaded.*({reason})"):
        file.path()
    assert [path.name for path in own_home.rglob("test/*")] == ["file.lock"]
    assert not (own_home / "xqg_repro" / "checksums.json").exists()


def test_a_file_that_cannot_be_downloaded_says_what_to_do(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    with pytest.raises(InputError, match=r"file could not be downloaded.*set XQG_REPRO_DATA"):
        DataFile("test", "file", "http://127.0.0.1:9/file").path()
