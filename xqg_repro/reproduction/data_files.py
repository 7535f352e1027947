"""The state of the collections' data files: what is there, and whether it is what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from xqg_repro.core.files import input_digest
from xqg_repro.core.settings import read_yaml, resource

LARGEST_CHECKED = 1_000_000_000
"""Larger files, in bytes, are checked by the stage that reads them."""


class FileState(StrEnum):
    """A data file's state; ``UNCHECKED`` files are too large, or have no known checksum."""

    RIGHT = "right"
    WRONG = "wrong checksum"
    MISSING = "missing"
    UNCHECKED = "present, not checked"


@dataclass(frozen=True)
class FileStatus:
    """A data file of a collection; ``path`` is empty if it is missing."""

    collection: str
    name: str
    state: FileState
    path: str = ""

    @property
    def usable(self) -> bool:
        """Whether a stage can read it."""
        return self.state in (FileState.RIGHT, FileState.UNCHECKED)


def data_files() -> Iterator[FileStatus]:
    """The state of every file in ``resources/collections/files.yaml``."""
    from xqg_repro.collection import files
    from xqg_repro.collection.checksums import read_checksums

    recorded = {url: checksum.md5 for url, checksum in read_checksums().items()}
    for group in read_yaml(resource("collections", "files.yaml")):
        for name, file in files.data_files(group).items():
            path, expected = file.local_path(), file.md5 or recorded.get(file.url)
            if not path.exists():
                yield FileStatus(group, name, FileState.MISSING)
                continue
            state = FileState.UNCHECKED
            if expected and path.stat().st_size <= LARGEST_CHECKED:
                state = FileState.RIGHT if input_digest(path, "md5") == expected else FileState.WRONG
            yield FileStatus(group, name, state, str(path))


def files_of(dataset_id: str) -> list[str]:
    """Names of the data files behind an ir-datasets id of this package."""
    from xqg_repro.collection import xor_tydi, xquad

    name, *parts = dataset_id.split("/")
    if name == xor_tydi.NAME:
        return ["enwiki_20190201_w100.tsv", *(xor_tydi.SPLITS[split] for split in parts[:1])]
    return [f"{name}.{language}.json" for language in parts] if name == xquad.NAME else []
