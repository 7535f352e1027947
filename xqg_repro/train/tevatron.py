"""Tevatron's training format: JSON lines of a question, passages that answer it and passages that do not.

In a file of scored lists, each passage object also has a ``score``: the passage's, for the question, by a teacher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from xqg_repro.collection.records import Passage, read_answers, read_question
from xqg_repro.core.text import Record, decode, open_bytes, parse_json

NO_SCORES: Mapping[str, float] = MappingProxyType({})


class TevatronLine(NamedTuple):
    """A line of a training file in Tevatron's format. Keys that it lacks are empty; ``scores`` are by docid."""

    qid: str
    query: str
    lang: str
    answers: tuple[str, ...]
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    scores: Mapping[str, float] = NO_SCORES

    def to_json(self) -> str:
        """The line as it is written to a file, newline included."""
        item: dict[str, Any] = {"query_id": self.qid, "query": self.query, "lang": self.lang}
        if self.answers:
            item["answers"] = self.answers
        for kind, passages in (("positive", self.positives), ("negative", self.negatives)):
            item[f"{kind}_passages"] = [self._passage(passage) for passage in passages]
        return json.dumps(item, ensure_ascii=False) + "\n"

    def _passage(self, passage: Passage) -> dict[str, Any]:
        item: dict[str, Any] = {"docid": passage.doc_id, "title": passage.title, "text": passage.text}
        return item | {"score": self.scores[passage.doc_id]} if passage.doc_id in self.scores else item


def parse_line(line: bytes, path: Path, number: int, required: Sequence[str], *, scored: bool = False) -> TevatronLine:
    """Parse one line of a training file.

    Negatives are read only if ``negative_passages`` is a required key, and scores only if ``scored``. Messages name the
    file and the line's number.

    Raises:
        InputError: the line is malformed or lacks a required key; or, if ``scored``, a passage that is read has no
            score, one that is infinite or NaN, or two different ones.
    """
    hint = f"each line of training data needs {', '.join(required)}"
    record = Record(parse_json(decode(line, path, number), path, number, hint), path, number, hint)
    for key in required:
        record.get(key)
    positives = _passages(record, "positive_passages")
    negatives = _passages(record, "negative_passages") if "negative_passages" in required else ()
    qid, lang = record.id("query_id", ""), record.text("lang", "").strip()
    scores = _scores(record, required) if scored else NO_SCORES
    return TevatronLine(qid, read_question(record, "query"), lang, read_answers(record), positives, negatives, scores)


def _passages(record: Record, key: str) -> tuple[Passage, ...]:
    return tuple(Passage(p.id("docid"), p.text("title"), p.text("text")) for p in record.records(key))


def _scores(record: Record, required: Sequence[str]) -> dict[str, float]:
    """Docid → score of the passages under the required keys."""
    scores: dict[str, float] = {}
    for key in ("positive_passages", "negative_passages"):
        for passage in record.records(key) if key in required else ():
            docid, score = passage.id("docid"), passage.finite("score")
            if scores.setdefault(docid, score) != score:
                raise record.error(f"scores the passage {docid} twice, {scores[docid]} and {score}")
    return scores


def numbered_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, byte offset, line) for each line of a training file that is not blank."""
    with open_bytes(path, "training file") as lines:
        offset = lines.tell()
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, offset, line
            offset += len(line)
