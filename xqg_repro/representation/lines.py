"""What a model writes about passages, as JSON lines: one line per passage, in shards ``NNNNN.jsonl``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from xqg_repro.core.files import atomic_write
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.shards import passage_shards

if TYPE_CHECKING:
    from tqdm import tqdm


class Line(Protocol):
    """What a model writes about one passage."""

    def line(self) -> str:
        """The JSON line, without its end."""


L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class LineStage(Generic[L]):
    """A stage that runs a model over a collection's passages and writes one line for each.

    Attributes:
        name: the stage's name.
        unit: plural noun for the texts, such as ``queries``.
        per_passage: texts per passage.
        load: loads the model; returns a function from a shard's passages to their lines, which advances the progress
            bar that it is given.
        read: reads back a complete shard.
        count: what the manifest counts over the lines of a shard.
    """

    name: str
    unit: str
    per_passage: int
    load: Callable[[], Callable[[list[Any], tqdm], list[L]]]
    read: Callable[[Path], Iterable[L]]
    count: Callable[[Iterable[L]], Counter[str]]

    def write(self, dataset: Any, folder: Path, shard_size: int) -> dict[str, int]:
        """Write the missing shards, in the collection's order; return the counts over all shards.

        Raises:
            InputError: the collection has no passages.
        """
        write_texts = self.load()
        counts: Counter[str] = Counter()
        total = self.per_passage * (dataset.docs_count() or 0)
        with progress_bar(total or None, self.name, self.unit) as progress:
            for path, passages in passage_shards(dataset, folder, shard_size, ".jsonl"):
                if path.exists():
                    lines = list(self.read(path))
                    progress.update(self.per_passage * len(lines))
                else:
                    lines = write_texts(passages, progress)
                    with atomic_write(path) as file:
                        file.writelines(f"{item.line()}\n" for item in lines)
                counts.update(self.count(lines))
        return dict(counts)


def parse_line(line: bytes, key: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Parse a JSON line; return its docid, its mapping from language to texts under ``key``, and the whole object.

    Raises:
        ValueError: the line is truncated or malformed.
    """
    try:
        item: Any = json.loads(line)
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
