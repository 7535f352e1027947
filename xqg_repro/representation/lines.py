"""What a model writes about passages, as JSON lines: one line per passage, in shards ``NNNNN.jsonl``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from xqg_repro.collection.documents import passage_shards
from xqg_repro.core.files import atomic_write
from xqg_repro.core.progress import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm


class Line(Protocol):
    """What a model writes about one passage."""

    def line(self) -> str:
        """The JSON line, without its end."""


L = TypeVar("L", bound=Line)


def write_lines(
    dataset: Any,
    folder: Path,
    shard_size: int,
    *,
    name: str,
    unit: str,
    per_passage: int,
    write: Callable[[list[Any], tqdm], list[L]],
    read: Callable[[Path], Iterable[L]],
    count: Callable[[Iterable[L]], Counter[str]],
) -> dict[str, int]:
    """Write the missing shards, in the collection's order; return the counts over all shards.

    Args:
        name, unit, per_passage: the stage, a plural noun for the texts, such as ``queries``, and their number.
        write: runs a model over a shard's passages and advances the progress bar that it is given.
        read: reads back a complete shard.
        count: what the manifest counts over the lines of a shard.
    """
    counts: Counter[str] = Counter()
    total = per_passage * (dataset.docs_count() or 0)
    with progress_bar(total or None, name, unit) as progress:
        for path, passages in passage_shards(dataset, folder, shard_size, ".jsonl"):
            if path.exists():
                lines = list(read(path))
                progress.update(per_passage * len(lines))
            else:
                lines = write(passages, progress)
                with atomic_write(path) as file:
                    file.writelines(f"{item.line()}\n" for item in lines)
            counts.update(count(lines))
    return dict(counts)


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
