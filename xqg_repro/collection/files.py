"""A collection's data files: located or downloaded, and verified."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import ir_datasets
from filelock import FileLock
from ir_datasets.util import Download, GzipExtract, RequestsDownload, finialized_file

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, input_digest
from xqg_repro.core.settings import read_yaml, resource

DATA_VARIABLE = "XQG_REPRO_DATA"


class DataFile:
    """A file with a URL and a checksum; it is used from a local folder, or downloaded once.

    The local folders are ``$XQG_REPRO_DATA`` and its subfolder named after the collection. Otherwise the file is
    downloaded to ir-datasets' home. A URL in ``.gz`` is decompressed; from a ``.zip``, the member with the file's name
    is extracted. Each process verifies the MD5 of the unpacked file once.
    """

    def __init__(self, collection: str, name: str, url: str, md5: str | None = None) -> None:
        self.collection, self.name, self.url, self.md5 = collection, name, url, md5

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

    def _download(self, target: Path) -> None:
        """Download the file, unless another process, such as another rank of a training run, just did so."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    with self._open_url() as source, finialized_file(target, "wb") as file:
                        shutil.copyfileobj(source, file)
        except Exception as error:
            unpack = ", unpack it" if self.url.endswith((".gz", ".zip")) else ""
            raise InputError(
                f"{self.name} could not be downloaded from {self.url} ({type(error).__name__})",
                hint=f"download it yourself{unpack} and set {DATA_VARIABLE} to its folder",
            ) from error

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
        expected = self.md5 or self._recorded_md5(path)
        if (md5 := input_digest(path, "md5")) != expected:
            raise InputError(
                f"expected the MD5 checksum {expected}, got {md5}",
                path=path,
                hint="the file is damaged or another version; delete it and download it again",
            )

    def _recorded_md5(self, path: Path) -> str:
        """The checksum from the file's first use on this machine, which is recorded."""
        record = ir_datasets.util.home_path() / "xqg_repro" / "checksums.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{record}.lock"):
            checksums = json.loads(record.read_text()) if record.exists() else {}
            if self.url not in checksums:
                checksums[self.url] = input_digest(path, "md5")
                with atomic_write(record) as file:
                    json.dump(checksums, file, indent=1, sort_keys=True)
        return checksums[self.url]


def data_files(collection: str) -> dict[str, DataFile]:
    """File name → file of a collection, from ``resources/collections/files.yaml``."""
    entries = read_yaml(resource("collections", "files.yaml"))[collection]
    return {name: DataFile(collection, name, entry["url"], entry.get("md5")) for name, entry in entries.items()}


class PackagedFile(DataFile):
    """A file of the embedded collection, which ships with the package."""

    def __init__(self, *parts: str) -> None:
        super().__init__(parts[0], parts[-1], "")
        self._path = resource(*parts)

    def path(self) -> Path:
        return self._path
