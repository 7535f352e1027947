"""Training examples for dual encoders: from ir-datasets with judgements, and from Tevatron's JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.artifacts import digest, file_digest
from xqg_repro.config import resource
from xqg_repro.errors import InputError


class TrainingPassage(NamedTuple):
    """A passage as training sees it."""

    doc_id: str
    title: str
    text: str


class Example(NamedTuple):
    """A question, a passage that answers it, and passages that do not."""

    query: str
    positive: TrainingPassage
    negatives: tuple[TrainingPassage, ...]


def load_examples(data: str) -> tuple[Sequence[Example], str]:
    """Training examples and their fingerprint.

    Args:
        data: ir-datasets id with questions and judgements (given negatives are the other passages of the positive's
            title), or a JSON-lines file in Tevatron's format (``query``, ``positive_passages``, ``negative_passages``).

    Raises:
        InputError: an unknown dataset, one without judgements, or a bad line of a file.
    """
    if data.endswith((".jsonl", ".json")):
        return TevatronFile(data), file_digest(Path(data))
    dataset = collection.load(data, needs=["docs", "queries", "qrels"])
    passages = {doc.doc_id: TrainingPassage(doc.doc_id, doc.title, doc.text) for doc in dataset.docs_iter()}
    by_title: dict[str, list[TrainingPassage]] = {}
    for passage in passages.values():
        by_title.setdefault(passage.title, []).append(passage)
    relevant: dict[str, list[str]] = {}
    for judgement in dataset.qrels_iter():
        relevant.setdefault(judgement.query_id, []).append(judgement.doc_id)
    examples = []
    for question in dataset.queries_iter():
        own = relevant.get(question.query_id)
        if not own:
            raise InputError(f"question {question.query_id} of {data} has no relevant passage")
        positive = passages[own[0]]
        negatives = tuple(p for p in by_title[positive.title] if p.doc_id not in own)
        examples.append(Example(question.text, positive, negatives))
    version = digest([collection.fingerprint(dataset, "docs"), collection.fingerprint(dataset, "queries")])
    return examples, version


class TevatronFile(Sequence[Example]):
    """Tevatron's training file, read line by line as asked for: memory holds the lines' places only."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lines: list[tuple[int, int]] = []  # number and byte offset
        if not self._path.exists():
            raise InputError("there is no such training file", path=path, mend="uncompress it first if it ends in .gz")
        at = 0
        with open(self._path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    self._lines.append((number, at))
                at += len(line)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        with open(self._path, "rb") as file:
            number, offset = self._lines[i]
            file.seek(offset)
            line = file.readline()
        try:
            item = json.loads(line)
            positives, negatives = (
                [TrainingPassage(str(p["docid"]), p["title"], p["text"]) for p in item[f"{kind}_passages"]]
                for kind in ("positive", "negative")
            )
            return Example(item["query"], positives[0], tuple(negatives))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"is not a training example: {type(error).__name__} {error}",
                path=self._path,
                line=number,
                mend="each line has query, positive_passages (one at least) and negative_passages",
            ) from None


def load_names() -> list[Example]:
    """Pairs of names: a name in one of the seven languages → the English name, of places, currencies and the like.

    Names of the embedded collection's held-out entities, of which no training question speaks, are left out.
    """
    path = resource("xor_mini", "names.tsv")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    languages = header.split("\t")[3:]
    pairs = []
    for number, line in enumerate(lines, 2):
        kind, held_out, english, *names = line.split("\t")
        if len(names) != len(languages):
            raise InputError(f"has {len(names)} names where {len(languages)} are due", path=path, line=number)
        if held_out == "yes":
            continue
        target = TrainingPassage(f"{kind} {english}", english, "")
        pairs += [Example(name, target, ()) for name in names if name and name != english]
    return pairs


def held_out_split(examples: Sequence[Example], share: float) -> tuple[Sequence[Example], list[Example]]:
    """Split by passage: (kept, held out). All questions of a passage fall on the same side, by a hash of its id."""
    if not share:
        return examples, []
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        place = int(hashlib.sha256(example.positive.doc_id.encode()).hexdigest()[:8], 16) / 2**32
        sides[place < share].append(example)
    return sides
