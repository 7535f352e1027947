"""A collection's data files: located or downloaded, and verified."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import ir_datasets
from filelock import FileLock
from ir_datasets.util import Download, GzipExtract, RequestsDownload, finialized_file

from xqg_repro.collection import checksums
from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.files import input_digest
from xqg_repro.core.settings import read_yaml, resource

logger = logging.getLogger(__name__)

DATA_VARIABLE = "XQG_REPRO_DATA"
_BLOCK = 1 << 20


class DataFile:
    """A file with a URL and a checksum; it is used from a local folder, or downloaded once.

    The local folders are ``$XQG_REPRO_DATA`` and its subfolder named after the collection. Otherwise the file is
    downloaded to ir-datasets' home. A URL in ``.gz`` is decompressed; from a ``.zip``, the member with the file's name
    is extracted. Each process verifies the MD5 of the unpacked file once. Without a published MD5, that of the first
    file which was read whole is required, see :meth:`confirm`.

    Args:
        rows: how many records the published file has, if known.
    """

    def __init__(self, collection: str, name: str, url: str, md5: str | None = None, rows: int | None = None) -> None:
        self.collection, self.name, self.url, self.md5, self.rows = collection, name, url, md5, rows
        self._warned_of = ""

    def local_path(self) -> Path:
        """Where the file is or, if it is missing, where it will be downloaded to."""
        local = os.environ.get(DATA_VARIABLE)
        for folder in [Path(local), Path(local) / self.collection] if local else []:
            if (folder / self.name).exists():
                return folder / self.name
        return ir_datasets.util.home_path() / "xqg_repro" / self.collection / self.name

    def path(self) -> Path:
        """Path of the verified file; :class:`InputError` if it cannot be downloaded or its checksum is wrong."""
        path = self.local_path()
        if not path.exists():
            self._download(path)
        self._check(path)
        return path

    def fingerprint(self) -> str:
        return input_digest(self.path(), "md5")

    def confirm(self, rows: int) -> None:
        """Note that the file was read to its end, and found to be well-formed, with this many records.

        If its checksum is not published, it is recorded, unless the last line has no end.
        """
        if self.md5 or rows < 1:
            return
        path = self.local_path()
        is_whole = path.suffix == ".json" or _ends_with_newline(path)
        if self._warned_of != (version := input_digest(path, "md5")):
            self._warned_of = version
            if self.rows not in (None, rows):
                logger.warning(f"{path} has {rows:,} records, the published file {self.rows:,}; was it cut off?")
            if not is_whole:
                logger.warning(f"{path} does not end with a line end; was it cut off? Its checksum is not recorded")
        if not is_whole:
            return
        try:
            checksums.record(self.url, path)
        except (InputError, OSError) as error:
            logger.warning(f"the checksum of {path} is not recorded: {error}")

    def _download(self, target: Path) -> None:
        """Download the file, unless another process, such as another rank of a training run, just did so."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    with self._open_url() as source, finialized_file(target, "wb") as file:
                        self._copy(source, file)
        except Exception as error:
            unpack = ", unpack it" if self.url.endswith((".gz", ".zip")) else ""
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.name} could not be downloaded from {self.url} ({type(error).__name__}: {reason})",
                hint=f"download it yourself{unpack} and set {DATA_VARIABLE} to its folder",
            ) from error

    def _copy(self, source: IO[bytes], file: IO[bytes]) -> None:
        """Copy the content of the URL; ``ValueError`` if it is not the file."""
        checksum, start = hashlib.md5(usedforsecurity=False), b""
        while block := source.read(_BLOCK):
            start = start or block[:100].lstrip().lower()
            checksum.update(block)
            file.write(block)
        if not start or start.startswith((b"<!doctype html", b"<html")):
            raise ValueError(f"the server sent {'a web page' if start else 'nothing'} instead of the file")
        if self.md5 and checksum.hexdigest() != self.md5:
            raise ValueError(f"expected the MD5 checksum {self.md5}, got {checksum.hexdigest()}")

    @contextmanager
    def _open_url(self) -> Iterator[IO[bytes]]:
        """The unpacked content of the URL."""
        source = RequestsDownload(self.url)
        if self.url.endswith(".zip"):
            with ZipFile(Download([source]).path()) as archive:
                members = [member for member in archive.namelist() if Path(member).name == self.name]
                if len(members) != 1:
                    raise FileNotFoundError(f"{self.url} contains {len(members)} files named {self.name}")
                with archive.open(members[0]) as file:
                    yield file
        else:
            download = Download([source], stream=True)
            with (GzipExtract(download) if self.url.endswith(".gz") else download).stream() as stream:
                yield stream

    def _check(self, path: Path) -> None:
        if not self.md5:
            checksums.check(self.url, path)
        elif (md5 := input_digest(path, "md5")) != self.md5:
            raise InputError(
                f"expected the MD5 checksum {self.md5}, got {md5}",
                path=path,
                hint="the file is damaged or another version; delete it and download it again",
            )


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def data_files(collection: str) -> dict[str, DataFile]:
    """File name → file of a collection, from ``resources/collections/files.yaml``."""
    entries = read_yaml(resource("collections", "files.yaml"))[collection]
    return {name: DataFile(collection, name, **entry) for name, entry in entries.items()}


def accept(file: str) -> str:
    """Record the checksum of a data file, given by path or name, in place of the recorded one; return what was done.

    :class:`InputError` if the file is missing, is not a data file of the package, or has a published checksum.
    """
    listed = read_yaml(resource("collections", "files.yaml"))
    files = {name: data_file for collection in listed for name, data_file in data_files(collection).items()}
    data_file = files.get(Path(file).name)
    if data_file is None:
        raise InputError(f"no data file is named {Path(file).name!r}", hint=nearest(Path(file).name, files))
    path = Path(file) if Path(file).exists() else data_file.local_path()
    if not path.is_file():
        raise InputError("no such file", path=path)
    if data_file.md5:
        raise InputError(f"has the published MD5 checksum {data_file.md5}, which stays required", path=path)
    checksum = checksums.record(data_file.url, path)
    return f"accepted {path} (MD5 {checksum.md5}); recorded in {checksums.record_path()}"


class LocalFile(DataFile):
    """A file that is neither downloaded nor compared with a checksum: one of the user's own."""

    def __init__(self, path: Path) -> None:
        super().__init__("", path.name, "")
        self._path = path

    def path(self) -> Path:
        return self._path

    def confirm(self, rows: int) -> None:
        """Nothing is recorded, as the file may change."""


class PackagedFile(LocalFile):
    """A file of the embedded collection, which ships with the package."""

    def __init__(self, *parts: str) -> None:
        super().__init__(resource(*parts))
