"""TREC runs: ``qid Q0 docid rank score tag``, ranks from 1, scores not increasing, ties by docid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, read_text
from xqg_repro.core.ids import check_id

COLUMNS = "qid Q0 docid rank score tag"


class Hit(NamedTuple):
    """One retrieved passage."""

    docid: str
    score: float


Run = dict[str, list[Hit]]
"""qid → hits in rank order."""


def rank(hits: Iterable[Hit]) -> list[Hit]:
    """Order hits as they are written: by score as printed (six decimals), ties by docid.

    >>> rank([Hit("b", 0.50000001), Hit("c", 0.7), Hit("a", 0.5)])
    [Hit(docid='c', score=0.7), Hit(docid='a', score=0.5), Hit(docid='b', score=0.5)]
    """
    rounded = [Hit(hit.docid, round(float(hit.score), 6)) for hit in hits]
    return sorted(rounded, key=lambda hit: (-hit.score, hit.docid))


def write_run(run: Mapping[str, Iterable[Hit]], path: str | Path, tag: str) -> None:
    """Write a run; hits are ordered by :func:`rank`, questions keep their order.

    Raises:
        InputError: an id or the tag is empty or holds white space, a score is not a number, or the disk is full.
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
                    raise InputError(
                        f"question {qid}, passage {hit.docid}: the score is {hit.score}",
                        path=path,
                        hint="the embeddings hold NaN or infinity; encode again",
                    )
                file.write(f"{qid} Q0 {hit.docid} {position} {hit.score:.6f} {tag}\n")


def read_run(path: str | Path, qids: Iterable[str] | None = None) -> Run:
    """Read and validate a TREC run.

    Args:
        path: the file, UTF-8; uncompressed if its name ends in ``.gz``.
        qids: the questions that the run may hold; ``None`` allows any.

    Raises:
        InputError: naming file and line, for a line without six columns, a last line that was cut off, a rank that
            does not count up from 1, a score that is not finite or increases, a docid twice for one question,
            questions that are not contiguous, or a qid that is not in ``qids``.
    """
    path = Path(path)
    known = None if qids is None else set(qids)
    run: Run = {}
    seen: set[str] = set()
    current = None
    lines = read_text(path, "run file").split("\n")
    if lines[-1]:
        raise InputError(
            "the last line has no line end: the file was cut off",
            path=path,
            line=len(lines),
            hint="write the run again",
        )
    for number, line in enumerate(lines[:-1], 1):
        qid, hit, position = _parse(line, path, number)
        if qid != current:
            if qid in run:
                raise InputError(
                    f"question {qid} appears again after another one",
                    path=path,
                    line=number,
                    hint="keep the lines of a question together",
                )
            if known is not None and qid not in known:
                raise InputError(
                    f"the topics have no question {qid!r}",
                    path=path,
                    line=number,
                    hint="is this the run of another topic set?",
                )
            current, run[qid], seen = qid, [], set()
        _check_order(run[qid], seen, hit, position, path, number)
        seen.add(hit.docid)
        run[qid].append(hit)
    return run


def _parse(line: str, path: Path, number: int) -> tuple[str, Hit, int]:
    columns = line.split()
    if len(columns) != 6:
        raise InputError(f"has {len(columns)} columns where six are due", path=path, line=number, hint=COLUMNS)
    qid, _, docid, position, score, _ = columns
    try:
        return qid, Hit(docid, float(score)), int(position)
    except ValueError as error:
        raise InputError(f"rank or score is not a number: {error}", path=path, line=number, hint=COLUMNS) from None


def _check_order(hits: list[Hit], seen: set[str], hit: Hit, position: int, path: Path, number: int) -> None:
    problem, hint = None, "sort the hits by score and number them from 1"
    if not math.isfinite(hit.score):
        problem, hint = f"the score is {hit.score}", "scores must be finite numbers"
    elif hit.docid in seen:
        problem, hint = f"passage {hit.docid} is listed twice for the same question", "keep its best rank only"
    elif position != len(hits) + 1:
        problem = f"rank {position} where {len(hits) + 1} is due"
    elif hits and hit.score > hits[-1].score:
        problem = f"the score {hit.score} is higher than the one before it"
    if problem:
        raise InputError(problem, path=path, line=number, hint=hint)
