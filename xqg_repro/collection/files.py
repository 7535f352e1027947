"""A collection's data files: found or fetched, and checked."""

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
    """A file with an address and a checksum: found in a local folder, or downloaded once.

    Looked for in this order: ``$XQG_REPRO_DATA``, its sub-folder named after the collection, then ir-datasets' home,
    into which it is downloaded. What is packed at its address is unpacked on the way: ``.gz``, or the member of the
    file's name of a ``.zip``. The MD5, of the unpacked file, is checked the first time that a process uses it.
    """

    def __init__(self, collection: str, name: str, url: str, md5: str | None = None) -> None:
        self.collection, self.name, self.url, self.md5 = collection, name, url, md5

    def path(self) -> Path:
        """Path of the checked file; raises :class:`InputError` where it cannot be had or its checksum is wrong."""
        local = os.environ.get(DATA_VARIABLE)
        for folder in [Path(local), Path(local) / self.collection] if local else []:
            if (folder / self.name).exists():
                self._check(folder / self.name)
                return folder / self.name
        cached = ir_datasets.util.home_path() / "xqg_repro" / self.collection / self.name
        if not cached.exists():
            self._download(cached)
        self._check(cached)
        return cached

    def fingerprint(self) -> str:
        return input_digest(self.path(), "md5")

    def _download(self, target: Path) -> None:
        """Fetch the file, unless another process did so just now, as those of a training on several GPUs do."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    with self._opened() as source, finialized_file(target, "wb") as file:
                        shutil.copyfileobj(source, file)
        except Exception as error:
            unpacked = ", unpack it" if self.url.endswith((".gz", ".zip")) else ""
            raise InputError(
                f"{self.name} is not here and could not be downloaded from {self.url} ({type(error).__name__})",
                hint=f"fetch it yourself{unpacked} and set {DATA_VARIABLE} to its folder",
            ) from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes behind the address."""
        source = RequestsDownload(self.url)
        if self.url.endswith(".zip"):
            with ZipFile(Download([source]).path()) as archive:
                members = [member for member in archive.namelist() if Path(member).name == self.name]
                if len(members) != 1:
                    raise FileNotFoundError(f"{self.url} holds {len(members)} files named {self.name}")
                with archive.open(members[0]) as file:
                    yield file
        else:
            download = Download([source], stream=True)
            with (GzipExtract(download) if self.url.endswith(".gz") else download).stream() as stream:
                yield stream

    def _check(self, path: Path) -> None:
        expected = self.md5 or self._seen_before(path)
        if (found := input_digest(path, "md5")) != expected:
            raise InputError(
                f"has the MD5 checksum {found} where {expected} is due",
                path=path,
                hint="the file is damaged or another version; delete it and fetch it again",
            )

    def _seen_before(self, path: Path) -> str:
        """The checksum seen when this file was first used on this machine, recorded now if it is the first time."""
        record = ir_datasets.util.home_path() / "xqg_repro" / "checksums.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{record}.lock"):
            seen = json.loads(record.read_text()) if record.exists() else {}
            if self.url not in seen:
                seen[self.url] = input_digest(path, "md5")
                with atomic_write(record) as file:
                    json.dump(seen, file, indent=1, sort_keys=True)
        return seen[self.url]


def data_files(collection: str) -> dict[str, DataFile]:
    """The files of a collection by name, as ``resources/collections/files.yaml`` lists them."""
    listed = read_yaml(resource("collections", "files.yaml"))[collection]
    return {name: DataFile(collection, name, entry["url"], entry.get("md5")) for name, entry in listed.items()}


class PackagedFile(DataFile):
    """A file of the embedded collection: part of the package, nothing to download."""

    def __init__(self, *parts: str) -> None:
        super().__init__(parts[0], parts[-1], "")
        self._path = resource(*parts)

    def path(self) -> Path:
        return self._path
