"""TREC runs: lines of ``qid Q0 docid rank score tag``.

Ranks start at 1, scores never increase, and passages with equal scores are ordered by docid. Blank lines, and comments
(lines that begin with ``#``), are skipped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import atomic_write
from xqg_repro.core.ids import check_id, lookalike_hint
from xqg_repro.core.text import decode, open_bytes

logger = logging.getLogger(__name__)

COLUMNS = "qid Q0 docid rank score tag"

Number = TypeVar("Number", int, float)
T = TypeVar("T")


class Line(NamedTuple):
    """One line of a file of results, by column; ``line`` is its number."""

    line: int
    qid: str
    docid: str
    rank: int = 0
    score: float = 0.0
    tag: str = ""


class Hit(NamedTuple):
    """A retrieved passage."""

    docid: str
    score: float


Run = dict[str, list[Hit]]
"""qid → hits in rank order."""


def rank(hits: Iterable[Hit]) -> list[Hit]:
    """Sort hits by score, rounded to the six decimals of a run file, and equal scores by docid.

    >>> rank([Hit("b", 0.50000001), Hit("c", 0.7), Hit("a", 0.5)])
    [Hit(docid='c', score=0.7), Hit(docid='a', score=0.5), Hit(docid='b', score=0.5)]
    """
    rounded = [Hit(hit.docid, round(float(hit.score), 6)) for hit in hits]
    return sorted(rounded, key=lambda hit: (-hit.score, hit.docid))


def write_run(run: Mapping[str, Iterable[Hit]], path: str | Path, tag: str) -> None:
    """Write a run. :func:`rank` sorts the hits of a question; the order of questions is kept.

    Raises:
        InputError: an id or the tag is empty or contains white space, a score is not a finite number, a question has
            the same passage twice, or the file cannot be written.
    """
    for name in (tag, *run):
        check_id(name, path)
    with atomic_write(path) as file:
        for qid, hits in run.items():
            ranked = rank(hits)
            if len({hit.docid for hit in ranked}) < len(ranked):
                raise InputError(f"question {qid}: a passage is listed twice", path=path)
            for position, hit in enumerate(ranked, 1):
                check_id(hit.docid, path)
                if not math.isfinite(hit.score):
                    problem = f"question {qid}, passage {hit.docid}: the score is {hit.score}"
                    raise InputError(problem, path=path, hint="the embeddings contain NaN or infinity; encode again")
                file.write(f"{qid} Q0 {hit.docid} {position} {hit.score:.6f} {tag}\n")


def read_run(path: str | Path, qids: Collection[str] | None = None) -> Run:
    """Read and validate a TREC run.

    Args:
        path: the file, UTF-8; decompressed if its name ends in ``.gz``.
        qids: the questions that the run may contain; ``None`` allows any.

    Raises:
        InputError: names the file and the line. A line does not have six columns; the last line is cut off; ranks do
            not count up from 1; a score is not finite or higher than the previous one; a question has the same
            passage twice; the lines of a question are not contiguous; or a qid is not in ``qids``.
    """
    return _read_run(Path(path), qids, strict=True)


def read_run_of(path: str | Path, qids: Collection[str], topics: str) -> Run:
    """Read a run and keep the questions of a topic set, ``qids``; log how many others are left out.

    Raises:
        InputError: as :func:`read_run`; or the run has none of the questions, but others.
    """
    return keep_known(_read_run(Path(path), qids, strict=False), qids, topics, path)


def keep_known(results: Mapping[str, T], qids: Collection[str], topics: str, path: str | Path | None) -> dict[str, T]:
    """What a file has for the questions of a topic set; log how many other questions are left out.

    :class:`InputError` if all questions of the file are others.
    """
    others = [qid for qid in results if qid not in qids]
    if others:
        example = next((qid for qid in others if not qid.isascii()), others[0])  # which may look like a known one
        if len(others) == len(results):
            raise unknown_question(example, qids, path)
        lookalike = lookalike_hint(example, qids)
        logger.info(
            f"{path}: left out {len(others):,} questions that {topics} does not have, such as {quote(example)}"
            + (f" ({lookalike})" if lookalike else "")
        )
    return {qid: result for qid, result in results.items() if qid in qids}


def _read_run(path: Path, qids: Collection[str] | None, strict: bool) -> Run:
    run: Run = {}
    docids: set[str] = set()
    current = None
    for row in read_results(path, COLUMNS, qids):
        if row.qid != current:
            _check_question(row.qid, run, qids if strict else None, path, row.line)
            current, docids, run[row.qid] = row.qid, set(), []
        _check_hit(row, run[row.qid], docids, path)
        docids.add(row.docid)
        run[row.qid].append(Hit(row.docid, row.score))
    return run


def read_results(path: Path, columns: str, qids: Collection[str] | None = None) -> Iterator[Line]:
    """Yield the lines of a file of results, whose columns are separated by white space and named as in :data:`COLUMNS`.

    A line that begins with ``#`` is a comment, unless it is a result of one of the questions ``qids``.

    Raises:
        InputError: the file cannot be read, or its last line is cut off; a line has another number of columns; or a
            rank or a score is not a number. Names the line.
    """
    names = columns.split()
    with open_bytes(path, "run file") as file:
        for number, data in enumerate(file, 1):
            text = decode(data, path, number)
            values = text.split()
            if not values:
                continue
            if not text.endswith("\n"):
                hint = "write the file again, or end its last line if it is complete"
                problem = "the last line has no line end; it may be cut off"
                raise InputError(problem, path=path, line=number, hint=hint)
            is_comment = text.startswith("#")
            if is_comment and qids is not None and values[0] not in qids:
                continue
            try:
                yield _parse(values, names, path, number)
            except InputError:
                if not is_comment:
                    raise


def parse_number(value: Any, kind: Callable[[Any], Number]) -> Number:
    """A number from a text or from JSON; ``ValueError`` unless other tools would read the same number."""
    if isinstance(value, bool) or (isinstance(value, str) and ("_" in value or not value.isascii())):
        raise ValueError  # Python would read JSON's true as 1, 1_000 as 1000, and the digits of any script
    try:
        return kind(value)
    except (TypeError, OverflowError):
        raise ValueError from None


def _parse(values: list[str], names: list[str], path: Path, number: int) -> Line:
    if len(values) != len(names):
        problem = f"expected {len(names)} columns, got {len(values)}"
        raise InputError(problem, path=path, line=number, hint=" ".join(names))
    row = dict(zip(names, values, strict=True))
    name = "rank"
    try:
        rank = parse_number(row.get(name, "0"), int)
        name = "score"
        score = parse_number(row.get(name, "0"), float)
    except ValueError:
        problem = f"the {name} {quote(row[name])} is not a {'whole ' if name == 'rank' else ''}number"
        raise InputError(problem, path=path, line=number, hint=f"the columns are {' '.join(names)}") from None
    return Line(number, row["qid"], row["docid"], rank, score, row.get("tag", ""))


def _check_question(qid: str, run: Run, allowed: Collection[str] | None, path: Path, number: int) -> None:
    if qid in run:
        problem, hint = f"question {qid} appears again after another one", "keep the lines of a question together"
        raise InputError(problem, path=path, line=number, hint=hint)
    if allowed is not None and qid not in allowed:
        raise unknown_question(qid, allowed, path, number)


def unknown_question(qid: str, known: Collection[str], path: str | Path | None, line: int | None = None) -> InputError:
    """The error for a question that the topics do not have."""
    hint = lookalike_hint(qid, known) or "does the file belong to another topic set?"
    return InputError(f"the topics have no question {quote(qid)}", path=path, line=line, hint=hint)


def _check_hit(hit: Line, previous: list[Hit], docids: set[str], path: Path) -> None:
    hint = "sort the hits by score and number them from 1, as runfile convert --from trec does"
    if not math.isfinite(hit.score):
        problem, hint = f"the score is {hit.score}", "scores must be finite numbers"
    elif hit.docid in docids:
        problem, hint = f"passage {hit.docid} is listed twice for the same question", "keep only its best rank"
    elif hit.rank != len(previous) + 1:
        problem = f"expected rank {len(previous) + 1}, got {hit.rank}"
    elif previous and hit.score > previous[-1].score:
        problem = f"the score {hit.score} is higher than the previous one"
    else:
        return
    raise InputError(problem, path=path, line=hit.line, hint=hint)
