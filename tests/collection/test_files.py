from __future__ import annotations

import gzip
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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            content = packed.get(self.path, b"hello")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
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
    local("hello").path()
    recorded = json.loads((own_home / "xqg_repro" / "checksums.json").read_text())
    assert recorded == {"https://example.org/file": HELLO_MD5}
    with pytest.raises(InputError, match=f"expected the MD5 checksum {HELLO_MD5}"):
        local("hello again").path()


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


def test_a_file_that_cannot_be_downloaded_says_what_to_do(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    with pytest.raises(InputError, match=r"file could not be downloaded.*set XQG_REPRO_DATA"):
        DataFile("test", "file", "http://127.0.0.1:9/file").path()
