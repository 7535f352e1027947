"""Convert other tools' retrieval results into TREC runs, and check any TREC run.

The input format is always explicit. The run that is written follows the rule of this package: sorted by score as
printed (six decimals), equal scores by docid, ranks from 1.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from xqg_repro.core.errors import InputError, nearest, quote
from xqg_repro.core.ids import check_id
from xqg_repro.core.stages import check_output
from xqg_repro.evaluation.dpr import read_dpr
from xqg_repro.evaluation.formats import ForeignRun, read_msmarco, read_tevatron, read_trec
from xqg_repro.retrieval.runfile import COLUMNS, Hit, Run, rank, read_results, read_run, write_run

logger = logging.getLogger(__name__)


class RunFormat(StrEnum):
    """A format of retrieval results.

    ``tevatron`` is qid, docid, score; ``msmarco`` is qid, docid, rank; ``trec`` is any tool's six columns; ``dpr`` is
    the JSON of DPR (a list of questions with ``ctxs``) or of Pyserini (a mapping of qids to questions with
    ``contexts``).
    """

    TEVATRON = "tevatron"
    MSMARCO = "msmarco"
    DPR = "dpr"
    TREC = "trec"


_READERS: dict[RunFormat, Callable[[Path, Mapping[str, str] | None], ForeignRun]] = {
    RunFormat.TEVATRON: read_tevatron,
    RunFormat.MSMARCO: read_msmarco,
    RunFormat.DPR: read_dpr,
    RunFormat.TREC: read_trec,
}


def check(path: str | Path, topics: str = "") -> dict[str, int]:
    """Validate a TREC run as :func:`~xqg_repro.retrieval.runfile.read_run` does; return counts by what they count.

    ``topics`` is the ir-datasets id, or a TSV file, of the questions that it may contain; empty allows any.

    Raises:
        InputError: the run is malformed (names file and line), empty, or contains other questions.
    """
    path = Path(path)
    questions = _read_questions(topics)
    run = read_run(path, questions)
    if not run:
        raise InputError("contains no passages", path=path)
    tags = Counter(row.tag for row in read_results(path, COLUMNS, questions))
    if len(tags) > 1:
        logger.info(f"runfile: warning: the run has {len(tags)} tags; one is usual")
    depths = [len(hits) for hits in run.values()]
    counts = {
        "questions": len(run),
        "passages": sum(depths),
        "fewest passages for a question": min(depths),
        "most passages for a question": max(depths),
    }
    if questions is not None:
        missing = [qid for qid in questions if qid not in run]
        counts["questions of the topics that are missing"] = len(missing)
        if missing:
            logger.info(f"runfile: warning: {len(missing):,} questions of {topics} are missing, such as {missing[0]}")
    return counts | {f"lines with the tag {quote(tag)}": lines for tag, lines in tags.items()}


def convert(
    source: str | Path, output: str | Path, form: RunFormat | str, tag: str, topics: str = ""
) -> dict[str, int]:
    """Write another tool's results as a TREC run, and return counts by what they count.

    Args:
        source: the file; decompressed if its name ends in ``.gz``.
        form: the format of ``source``.
        tag: the run's last column.
        topics: ir-datasets id, or a TSV file, of its questions. DPR's JSON needs them if items have no id; see
            :func:`~xqg_repro.evaluation.dpr.read_dpr`.

    Raises:
        InputError: names the file and the line or item. The file is not of that format (see its reader), is cut off or
            empty; or see :func:`~xqg_repro.evaluation.formats.group_entries`.
    """
    source = Path(source)
    if form not in list(RunFormat):
        raise InputError(f"unknown format of results {form!r}", hint=nearest(form, RunFormat))
    check_id(tag, output)
    check_output(output, source)
    questions = _read_questions(topics)
    foreign = _READERS[RunFormat(form)](source, questions)
    if not foreign.entries:
        raise InputError("contains no passages", path=source)
    run = {qid: [Hit(entry.docid, entry.score) for entry in ranking] for qid, ranking in foreign.entries.items()}
    write_run(run, output, tag)
    counts = _count(run, foreign, questions)
    logger.info(f"runfile: wrote {output} ({counts['questions']:,} questions, {counts['passages']:,} passages)")
    if merged := counts["questions with scores that differ only beyond six decimals"]:
        logger.info(f"runfile: warning: {merged:,} questions have scores that differ only beyond six decimals")
    return counts


def _read_questions(topics: str) -> dict[str, str] | None:
    """qid → text; ``None`` if no topics are named."""
    if not topics:
        return None
    from xqg_repro.collection.topics import read_topics

    return read_topics(topics)[0]


def _count(run: Run, foreign: ForeignRun, questions: Mapping[str, str] | None) -> dict[str, int]:
    reordered = merged = 0
    for hits in run.values():
        ranked = rank(hits)
        reordered += [hit.docid for hit in ranked] != [hit.docid for hit in hits]
        merged += len({hit.score for hit in ranked}) < len({hit.score for hit in hits})
    counts = {
        "questions": len(run),
        "passages": sum(map(len, run.values())),
        "questions without passages, left out": foreign.without_passages,
        "questions in a different order than before": reordered,
        "questions with scores that differ only beyond six decimals": merged,
        "questions matched by a text that several share": foreign.same_text,
    }
    if questions is not None:
        counts["questions of the topics that are missing"] = sum(qid not in run for qid in questions)
    if tags := {entry.tag for ranking in foreign.entries.values() for entry in ranking if entry.tag}:
        counts["tags replaced"] = len(tags)
    return counts
