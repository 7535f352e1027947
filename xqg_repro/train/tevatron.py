"""Tevatron's training format: JSON lines of a question, passages that answer it and passages that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.collection.records import Passage, read_answers, read_question
from xqg_repro.core.text import Record, decode, open_bytes, parse_json


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

    hint = f"each line of training data needs {', '.join(required)}"
    record = Record(parse_json(decode(line, path, number), path, number, hint), path, number, hint)
    for key in required:
        record.get(key)
    positives = _passages(record, "positive_passages")
    negatives = _passages(record, "negative_passages") if "negative_passages" in required else ()
    qid, lang = record.id("query_id", ""), record.text("lang", "").strip()
    return TevatronLine(qid, read_question(record, "query"), lang, read_answers(record), positives, negatives)


def _passages(record: Record, key: str) -> tuple[Passage, ...]:
    return tuple(Passage(p.id("docid"), p.text("title"), p.text("text")) for p in record.records(key))


def numbered_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, byte offset, line) for each line of a training file that is not blank."""
    with open_bytes(path, "training file") as lines:
        offset = lines.tell()
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, offset, line
            offset += len(line)
