"""Readers of other tools' retrieval results, line by line; :mod:`xqg_repro.evaluation.dpr` reads JSON.

A reader returns the passages of each question in the order and with the scores that the file means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.ids import is_id
from xqg_repro.retrieval.runfile import COLUMNS, read_results, unknown_question


class Entry(NamedTuple):
    """A retrieved passage as a file lists it.

    Attributes:
        qid, docid: ids of the question and the passage.
        score: higher is better.
        rank: from the file, if the format has ranks.
        line: line number, in a file of lines.
        place: position in a JSON file, such as ``item [0], ctxs[1]``.
        tag: the run's name, if the format has tags.
    """

    qid: str
    docid: str
    score: float
    rank: int = 0
    line: int | None = None
    place: str = ""
    tag: str = ""

    def error(self, path: Path, problem: str, hint: str = "") -> InputError:
        """An error that names the entry's line or place."""
        return InputError(f"{self.place}: {problem}" if self.place else problem, path=path, line=self.line, hint=hint)


@dataclass(frozen=True)
class ForeignRun:
    """Another tool's run.

    Attributes:
        entries: qid → passages in rank order; only questions with passages.
        without_passages: number of questions in the file that have none.
        same_text: number of questions that were matched by a text which several questions of the topics share.
    """

    entries: Mapping[str, list[Entry]]
    without_passages: int = 0
    same_text: int = 0


def read_tevatron(path: Path, questions: Mapping[str, str] | None) -> ForeignRun:
    """Read Tevatron's ranking: ``qid docid score``, lines in any order.

    Raises:
        InputError: names file and line. The file is not of this format; a question is not among ``questions`` (qid →
            text, ``None`` allows any); or the third column contains ranks, which would reverse every ranking.
    """
    entries = group_entries(_entries(path, "qid docid score", questions), path, questions)
    rankings = [[entry.score for entry in ranking] for ranking in entries.values()]
    counts_up = all(scores == [*range(1, len(scores) + 1)] for scores in rankings)
    if counts_up and any(len(scores) > 1 for scores in rankings):
        first = next(iter(entries.values()))[0]
        hint = "convert it --from msmarco"
        raise first.error(path, "the third column counts up from 1: these are ranks, not scores", hint)
    return ForeignRun(entries)


def read_msmarco(path: Path, questions: Mapping[str, str] | None) -> ForeignRun:
    """Read an MS MARCO ranking: ``qid docid rank``, lines in any order; scores count down to 1.

    Raises:
        InputError: as :func:`read_tevatron`; or ranks are not 1, 2, 3, … for each question, so the order is unknown.
    """
    rankings = {}
    for qid, entries in group_entries(_entries(path, "qid docid rank", questions), path, questions).items():
        ranking = sorted(entries, key=lambda entry: entry.rank)
        for expected, entry in enumerate(ranking, 1):
            if entry.rank != expected:
                problem = f"question {quote(qid)}: expected rank {expected}, got {entry.rank}"
                raise entry.error(path, problem, "ranks must be 1, 2, 3, …, each once")
        rankings[qid] = [entry._replace(score=float(len(ranking) - i)) for i, entry in enumerate(ranking)]
    return ForeignRun(rankings)


def read_trec(path: Path, questions: Mapping[str, str] | None) -> ForeignRun:
    """Read any tool's TREC run, lines in any order. Ranks may start anywhere and repeat.

    Raises:
        InputError: as :func:`read_tevatron`; or a worse rank has a better score.
    """
    rankings = {}
    for qid, entries in group_entries(_entries(path, COLUMNS, questions), path, questions).items():
        for better, worse in pairwise(sorted(entries, key=lambda entry: (entry.rank, -entry.score))):
            if worse.rank > better.rank and worse.score > better.score:
                problem = f"rank {worse.rank} has the score {worse.score}, but rank {better.rank} only {better.score}"
                hint = f"ranks and scores contradict each other (rank {better.rank} is on line {better.line})"
                raise worse.error(path, problem, hint)
        rankings[qid] = sorted(entries, key=lambda entry: entry.rank)
    return ForeignRun(rankings)


def group_entries(entries: Iterable[Entry], path: Path, questions: Mapping[str, str] | None) -> dict[str, list[Entry]]:
    """Group entries by question, in the order of the file.

    Raises:
        InputError: a question is not one of the topics', an id is invalid, a score is not finite, or a question has the
            same passage twice.
    """
    grouped: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if questions is not None and entry.qid not in questions:
            error = unknown_question(entry.qid, questions, path)
            raise entry.error(path, error.problem, error.hint)
        for name in (entry.qid, entry.docid):
            if not is_id(name):
                raise entry.error(path, f"{quote(name)} cannot be an id in a TREC run")
        if not math.isfinite(entry.score):
            raise entry.error(path, f"the score is {entry.score}", "scores must be finite numbers")
        ranking = grouped.setdefault(entry.qid, {})
        first = ranking.setdefault(entry.docid, entry)
        if first is not entry:
            where = f"on line {first.line}" if first.line else f"at {first.place}"
            problem = f"passage {quote(entry.docid)} is listed twice for question {quote(entry.qid)}, first {where}"
            raise entry.error(path, problem, "keep only its best rank")
    return {qid: list(ranking.values()) for qid, ranking in grouped.items()}


def _entries(path: Path, columns: str, questions: Mapping[str, str] | None) -> Iterator[Entry]:
    """The entry on each line of a file with these columns."""
    for row in read_results(path, columns, questions):
        yield Entry(row.qid, row.docid, row.score, row.rank, row.line, tag=row.tag)
