"""TREC runs: lines of ``qid Q0 docid rank score tag``.

Ranks start at 1, scores never increase, and passages with equal scores are ordered by docid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.ids import check_id
from xqg_repro.core.text import read_text

COLUMNS = "qid Q0 docid rank score tag"


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


def read_run(path: str | Path, qids: Iterable[str] | None = None) -> Run:
    """Read and validate a TREC run.

    Args:
        path: the file, UTF-8; decompressed if its name ends in ``.gz``.
        qids: the questions that the run may contain; ``None`` allows any.

    Raises:
        InputError: names the file and the line. A line does not have six columns; the last line is cut off; ranks do
            not count up from 1; a score is not finite or higher than the previous one; a question has the same
            passage twice; the lines of a question are not contiguous; or a qid is not in ``qids``.
    """
    path = Path(path)
    allowed = None if qids is None else set(qids)
    run: Run = {}
    docids: set[str] = set()
    current = None
    for number, line in enumerate(read_lines(path, "run file"), 1):
        qid, hit, position = _parse(line, path, number)
        if qid != current:
            _check_question(qid, run, allowed, path, number)
            current, docids, run[qid] = qid, set(), []
        _check_hit(hit, position, run[qid], docids, path, number)
        docids.add(hit.docid)
        run[qid].append(hit)
    return run


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a file that must end with a line end; ``what`` is the kind of file, for messages.

    Raises:
        InputError: the file cannot be read, its last line is cut off, or it begins with a byte order mark.
    """
    lines = read_text(path, what).split("\n")
    if lines[-1]:
        hint = "write the file again, or end its last line if it is complete"
        raise InputError("the last line has no line end; it may be cut off", path=path, line=len(lines), hint=hint)
    if lines[0].startswith("\ufeff"):
        raise InputError("begins with a byte order mark", path=path, line=1, hint="save it as plain UTF-8")
    return lines[:-1]


def _parse(line: str, path: Path, number: int) -> tuple[str, Hit, int]:
    columns = line.split()
    if len(columns) != 6:
        raise InputError(f"expected 6 columns, got {len(columns)}", path=path, line=number, hint=COLUMNS)
    qid, _, docid, position, score, _ = columns
    try:
        return qid, Hit(docid, float(score)), int(position)
    except ValueError as error:
        raise InputError(f"rank or score is not a number: {error}", path=path, line=number, hint=COLUMNS) from None


def _check_question(qid: str, run: Run, allowed: set[str] | None, path: Path, number: int) -> None:
    if qid in run:
        problem, hint = f"question {qid} appears again after another one", "keep the lines of a question together"
    elif allowed is not None and qid not in allowed:
        problem, hint = f"the topics have no question {qid!r}", "is this the run of another topic set?"
    else:
        return
    raise InputError(problem, path=path, line=number, hint=hint)


def _check_hit(hit: Hit, position: int, previous: list[Hit], docids: set[str], path: Path, number: int) -> None:
    hint = "sort the hits by score and number them from 1"
    if not math.isfinite(hit.score):
        problem, hint = f"the score is {hit.score}", "scores must be finite numbers"
    elif hit.docid in docids:
        problem, hint = f"passage {hit.docid} is listed twice for the same question", "keep only its best rank"
    elif position != len(previous) + 1:
        problem = f"expected rank {len(previous) + 1}, got {position}"
    elif previous and hit.score > previous[-1].score:
        problem = f"the score {hit.score} is higher than the previous one"
    else:
        return
    raise InputError(problem, path=path, line=number, hint=hint)
