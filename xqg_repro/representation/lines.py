"""What a model writes about passages, as JSON lines: one line per passage, in shards ``NNNNN.jsonl``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from xqg_repro.core.files import atomic_write


class Line(Protocol):
    """What a model writes about one passage."""

    def line(self) -> str:
        """The JSON line, without its end."""


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write a shard."""
    with atomic_write(path) as file:
        file.writelines(f"{item.line()}\n" for item in lines)


def parse_line(line: bytes, key: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Parse a JSON line; return its docid, its mapping from language to texts under ``key``, and the whole object.

    ``ValueError`` if the line is truncated or malformed.
    """
    try:
        item: Any = json.loads(line.decode())
    except ValueError as error:
        raise ValueError(str(error) if line.endswith(b"\n") else "the line is truncated") from None
    if re.search(rb"\\u[dD][89a-fA-F]", line):
        try:
            json.dumps(item, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half a character (an unpaired surrogate)") from None
    docid, texts = (item.get("docid"), item.get(key)) if isinstance(item, dict) else (None, None)
    if type(docid) is int:
        docid = str(docid)
    if docid is None:
        raise ValueError("no docid")
    if not isinstance(docid, str) or docid.split() != [docid]:
        raise ValueError(f"invalid docid {docid!r}")
    if not isinstance(texts, dict):
        raise ValueError(f"{key} is not a mapping from languages to texts")
    return docid, texts, item
