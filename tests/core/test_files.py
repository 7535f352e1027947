from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import contents

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, input_digest, write_array


def test_atomic_write_replaces_the_file_when_the_block_ends(tmp_path: Path) -> None:
    for text in ("old", "neu\n"):
        with atomic_write(tmp_path / "sub" / "file") as file:
            before = contents(tmp_path / "sub")
            file.write(text)
            file.flush()
            assert contents(tmp_path / "sub").get("file") == before.get("file")
    assert contents(tmp_path / "sub") == {"file": b"neu\n"}


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "file") as file:
        file.write("new")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"file": b"old"}


def test_a_failed_sync_is_an_input_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    problem = r"could not be written.*free some space"
    with pytest.raises(InputError, match=problem) as caught, atomic_write(tmp_path / "file") as file:
        file.write("new")
    assert caught.value.path == tmp_path / "file"
    assert contents(tmp_path) == {"file": b"old"}


def test_a_full_disk_is_an_input_error_and_leaves_nothing(tmp_path: Path, disk_of: Callable[[int], Any]) -> None:
    def write_bytes() -> None:
        with atomic_write(tmp_path / "file", "wb") as file:
            file.write(b"x" * 5000)

    for write in (write_bytes, lambda: write_array(tmp_path / "array.npy", np.zeros(5000))):
        with pytest.raises(InputError, match="could not be written"), disk_of(1000):
            write()
    assert contents(tmp_path) == {}


def test_an_error_of_another_file_passes_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="source"), atomic_write(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "source"))


@pytest.mark.parametrize("place", ["folder", "plain/file"])
def test_an_impossible_path_is_an_input_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match=place), atomic_write(tmp_path / place) as file:
        file.write("x")


def test_arrays_are_written_in_numpys_format(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3).T
    write_array(tmp_path / "array.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy"), array)


def test_the_digest_of_an_input_follows_its_content(tmp_path: Path) -> None:
    digests = []
    for text in ("a", "bb", "a"):
        (tmp_path / "file").write_text(text)
        digests.append(input_digest(tmp_path / "file", "md5"))
    assert digests[0] == digests[2] == "0cc175b9c0f1b6a831c399e269772661" != digests[1]
