"""Checksums of data files that have no published one: recorded after a whole read, and required from then on."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import NamedTuple

import ir_datasets
from filelock import FileLock

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, explain_write_errors, input_digest
from xqg_repro.core.text import read_json

logger = logging.getLogger(__name__)


class Checksum(NamedTuple):
    """MD5 and size in bytes of a file; the size is -1 if an earlier version did not record it."""

    md5: str
    bytes: int = -1


def record_path() -> Path:
    """The file of the recorded checksums, by URL."""
    return ir_datasets.util.home_path() / "xqg_repro" / "checksums.json"


def read_checksums() -> dict[str, Checksum]:
    """The recorded checksums by URL; a record that is missing or cannot be read is empty."""
    try:
        path = record_path()
        if not path.exists():
            return {}
        content = read_json(path)
        entries = {url: {"md5": item} if isinstance(item, str) else item for url, item in content.items()}
        return {url: Checksum(str(item["md5"]), int(item.get("bytes", -1))) for url, item in entries.items()}
    except (InputError, OSError) as error:
        logger.warning(f"no checksums are known: {error}")
    except (AttributeError, TypeError, KeyError, ValueError):
        logger.warning(f"no checksums are known: {path} is not a mapping from URLs to checksums")
    return {}


def check(url: str, path: Path) -> None:
    """Raise :class:`InputError` if the file differs from the recorded one.

    A longer file that begins with the recorded one is accepted: the recorded one was cut off.
    """
    known, md5 = read_checksums().get(url), input_digest(path, "md5")
    if known is None or known.md5 == md5:
        return
    if _starts_with(path, known):
        logger.warning(f"{path} begins with the file that {record_path()} describes, and replaces it")
        return
    raise InputError(
        f"expected the MD5 checksum {known.md5}, which {record_path()} records, got {md5}",
        path=path,
        hint="the file is damaged or another version; delete it and download it again, "
        f"or accept it with xqg-repro doctor --accept {path}",
    )


def _starts_with(path: Path, known: Checksum) -> bool:
    """Whether the file is longer than the recorded one and begins with it."""
    if not 0 < known.bytes < path.stat().st_size:
        return False
    checksum, left = hashlib.md5(usedforsecurity=False), known.bytes
    with open(path, "rb") as file:
        while left and (block := file.read(min(left, 1 << 20))):
            checksum.update(block)
            left -= len(block)
    return checksum.hexdigest() == known.md5


def record(url: str, path: Path) -> Checksum:
    """Record the file's checksum in place of an earlier one; :class:`InputError` if that cannot be written."""
    checksum = Checksum(input_digest(path, "md5"), path.stat().st_size)
    if read_checksums().get(url) != checksum:
        target = record_path()
        lock = target.with_name(f"{target.name}.lock")
        with explain_write_errors(target, lock):
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):
                checksums = {**read_checksums(), url: checksum}
                with atomic_write(target) as file:
                    content = {name: known._asdict() for name, known in checksums.items()}
                    json.dump(content, file, indent=1, sort_keys=True)
    return checksum
