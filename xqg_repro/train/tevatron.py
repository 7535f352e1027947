"""Tevatron's training format: JSON lines of a question, passages that answer it and passages that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError


class TevatronLine(NamedTuple):
    """A line of a training file in Tevatron's format. Keys that it lacks are empty."""

    qid: str
    query: str
    lang: str
    answers: tuple[str, ...]
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()

    def to_json(self) -> str:
        """The line as it is written to a file, newline included."""
        item: dict[str, Any] = {"query_id": self.qid, "query": self.query, "lang": self.lang}
        if self.answers:
            item["answers"] = self.answers
        for kind, passages in (("positive", self.positives), ("negative", self.negatives)):
            item[f"{kind}_passages"] = [{"docid": p.doc_id, "title": p.title, "text": p.text} for p in passages]
        return json.dumps(item, ensure_ascii=False) + "\n"


def parse_line(line: bytes, path: Path, number: int, required: Sequence[str]) -> TevatronLine:
    """Parse one line of a training file.

    Negatives are read only if ``negative_passages`` is a required key. Messages name the file and the line's number.

    Raises:
        InputError: the line is malformed or lacks a required key.
    """

    def passages(kind: str) -> tuple[Passage, ...]:
        return tuple(Passage(str(p["docid"]), p["title"], p["text"]) for p in item[f"{kind}_passages"])

    try:
        item = json.loads(line)
        for key in required:
            item[key]
        positives = passages("positive")
        negatives = passages("negative") if "negative_passages" in required else ()
        texts = [item["query"], *(text for passage in (*positives, *negatives) for text in passage[1:])]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is not a string")
        answers = tuple(map(str, item.get("answers", ())))
        qid, lang = str(item.get("query_id", "")), item.get("lang", "").strip()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"not a training example: {type(error).__name__} {error}",
            path=path,
            line=number,
            hint=f"each line needs {', '.join(required)}",
        ) from None
    return TevatronLine(qid, item["query"], lang, answers, positives, negatives)


def numbered_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, byte offset, line) for each line of a training file that is not blank."""
    if not path.exists():
        raise InputError("no such training file", path=path)
    offset = 0
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, offset, line
            offset += len(line)
