"""Submissions to XOR-TyDi's leaderboard: made from a TREC run, checked, and turned back into a run.

The measures depend only on the first 5,000 tokens of a question's passages. A submission therefore stops at the passage
that reaches them and still has the same R2kt and R5kt as the whole run.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.collection.documents import lookalike_docid
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import atomic_write
from xqg_repro.core.ids import check_id
from xqg_repro.core.progress import track
from xqg_repro.core.stages import check_output
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, count_tokens
from xqg_repro.evaluation.predictions import Prediction, item_error, question_languages, read_submission
from xqg_repro.retrieval.runfile import Hit, Run, read_run_of, write_run

logger = logging.getLogger(__name__)

LIMITS = tuple(sorted(TOKEN_LIMITS.values()))
"""The numbers of tokens that the two measures read."""

TAG = "submission"
"""The default tag of a run made from a submission."""

_BATCH = 32  # passages of 100 words: two batches reach 5,000 tokens


class Extent(NamedTuple):
    """How much a submission has for one question; tokens are counted up to the passage that reaches 5,000."""

    lang: str
    passages: int
    tokens: int


@dataclass(frozen=True)
class SubmissionSummary:
    """What a submission contains: qid → extent."""

    extents: Mapping[str, Extent]

    def below(self, limit: int) -> list[str]:
        """Qids of the questions with fewer tokens than a limit of at most 5,000."""
        return [qid for qid, extent in self.extents.items() if extent.tokens < limit]

    @property
    def empty(self) -> list[str]:
        """Qids of the questions without passages."""
        return [qid for qid, extent in self.extents.items() if not extent.passages]

    def table(self) -> Table:
        """One row per language and one for all: numbers of questions, passages, and questions with little text."""
        by_language: dict[str, list[Extent]] = {}
        for extent in self.extents.values():
            by_language.setdefault(extent.lang, []).append(extent)
        groups = [*sorted(by_language.items()), ("all", list(self.extents.values()))]
        rows = []
        for name, extents in groups:
            passages = [extent.passages for extent in extents]
            short = [sum(extent.tokens < limit for extent in extents) for limit in LIMITS]
            rows.append([name, *(f"{n:,}" for n in (len(extents), sum(passages), passages.count(0), *short))])
        header = ["language", "questions", "passages", "no passage", *(f"< {limit:,} tokens" for limit in LIMITS)]
        return Table(header, rows)


def write_submission(run: str | Path, topics: str, output: str | Path, passages: str = "") -> SubmissionSummary:
    """Write a run's submission: every question of the topics, in their order.

    A question gets the passages that its first 5,000 tokens come from, or all if they have fewer. A question that is
    missing from the run gets no passages, which scores as a miss; other questions are left out. ``topics`` is an
    ir-datasets id such as ``xor-tydi/test``, or a path; ``passages`` is the id of the collection, if they have none.

    Raises:
        InputError: the run is malformed, empty or has only other questions; the collection lacks a passage; the topics
            have no languages; or ``output`` cannot be written.
    """
    dataset = collection.load(topics, needs=["queries", "docs"], passages=passages)
    languages = question_languages(dataset)
    rankings = read_run_of(run, languages, topics)
    if not rankings:
        raise InputError(f"the run has no question of {topics}", path=run, hint="search first")
    check_output(output, run)
    store = dataset.docs_store()
    extents: dict[str, Extent] = {}
    with atomic_write(output) as file:
        for qid, lang in track(languages.items(), len(languages), "submit", "questions"):
            texts, tokens = _cut(_passage_texts(rankings.get(qid, ()), store, run))
            # ASCII only: the official script opens the file in the machine's default encoding
            item = json.dumps({"id": qid, "lang": lang, "ctxs": texts}, ensure_ascii=True)
            file.write(f"{',' if extents else '['}\n{item}")
            extents[qid] = Extent(lang, len(texts), tokens)
        file.write("\n]\n")
    absent = len(languages.keys() - rankings)
    logger.info(f"submit: wrote {output} ({len(extents):,} questions, {absent:,} missing from the run)")
    return _warn_if_short(SubmissionSummary(extents))


def _passage_texts(hits: Sequence[Hit], store: Any, run: str | Path) -> Iterator[str]:
    """The texts of a question's passages, except blank ones; passages are fetched as they are needed."""
    for start in range(0, len(hits), _BATCH):
        docids = [hit.docid for hit in hits[start : start + _BATCH]]
        docs = store.get_many(docids)
        for docid in docids:
            if docid not in docs:
                hint = lookalike_docid(store, docid) or "is this the run of another collection?"
                raise InputError(f"the collection has no passage {docid!r}", path=run, hint=hint)
            if docs[docid].text.strip():
                yield docs[docid].text


def _cut(texts: Iterable[str]) -> tuple[list[str], int]:
    """The texts up to the one that reaches 5,000 tokens, and their number of tokens."""
    kept, tokens = [], 0
    for text in texts:
        kept.append(text)
        tokens += count_tokens(text)
        if tokens >= LIMITS[-1]:
            break
    return kept, tokens


def check(path: str | Path, topics: str | None = None) -> SubmissionSummary:
    """Read and summarise a submission, which must have every question of the topics (``None`` allows any)."""
    predictions = read_submission(path, topics)
    if spaced := [prediction for prediction in predictions if prediction.label != prediction.lang]:
        logger.info(
            f"submit: warning: {len(spaced):,} questions have the language {spaced[0].label!r}, like the training "
            f"file; {spaced[0].lang!r} is the usual label"
        )
    extents = {}
    for prediction in track(predictions, len(predictions), "submit", "questions"):
        extents[prediction.qid] = Extent(prediction.lang, len(prediction.ctxs), _cut(prediction.ctxs)[1])
    return _warn_if_short(SubmissionSummary(extents))


def _warn_if_short(summary: SubmissionSummary) -> SubmissionSummary:
    if short := summary.below(LIMITS[-1]):
        logger.info(
            f"submit: warning: {len(short):,} questions have fewer than {LIMITS[-1]:,} tokens to read, "
            f"{len(summary.empty):,} of them no passage"
        )
    return summary


def submission_to_run(
    path: str | Path, topics: str, output: str | Path, tag: str = TAG, passages: str = ""
) -> dict[str, int]:
    """Write a submission as a TREC run: each text becomes the passage of the collection that has it.

    Returns counts by what they count. For a text that several passages share, another passage may have been meant.
    Scores count down to 1, so the submission's order is kept. If several passages share a text, it becomes the first of
    them, in the collection's order, that the question does not have yet. The collection is read once; memory holds the
    submission and the docids for its texts.

    ``topics``, the ir-datasets id of its questions, also names the collection, unless ``passages`` does; questions may
    be missing.

    Raises:
        InputError: as :func:`~xqg_repro.evaluation.predictions.read_submission`; no passage has a text, or a question
            has it more often than there are such passages (names the item); there are no passages; or the tag is
            invalid.
    """
    check_id(tag, output)
    check_output(output, path)
    dataset = collection.load(topics, needs=["queries", "docs"], passages=passages)
    predictions = read_submission(path, topics, complete=False)
    if not any(prediction.ctxs for prediction in predictions):
        raise InputError("contains no passages", path=path)
    docids, shared = _find_docids(dataset, predictions)
    run: Run = {}
    for index, prediction in enumerate(predictions):
        run[prediction.qid] = _hits(prediction, index, docids, Path(path))
    write_run(run, output, tag)
    counts = {
        "questions": len(predictions),
        "passages": sum(map(len, run.values())),
        "passages with a text that several share": sum(text in shared for p in predictions for text in p.ctxs),
        "questions of the topics that are missing": sum(q.query_id not in run for q in dataset.queries_iter()),
    }
    logger.info(f"submit: wrote {output} ({counts['questions']:,} questions, {counts['passages']:,} passages)")
    return counts


def _find_docids(dataset: Any, predictions: Sequence[Prediction]) -> tuple[dict[str, list[str]], set[str]]:
    """Text → docids in the collection's order, as many as one question can need; and the texts that passages share."""
    needed: Counter[str] = Counter()
    for prediction in predictions:
        needed |= Counter(prediction.ctxs)
    docids: dict[str, list[str]] = {text: [] for text in needed}
    shared = set()
    for doc in track(dataset.docs_iter(), None, "submit", "passages"):
        if doc.text not in docids:
            continue
        same_text = docids[doc.text]
        if same_text:
            shared.add(doc.text)
        if len(same_text) < needed[doc.text]:
            same_text.append(doc.doc_id)
    return docids, shared


def _hits(prediction: Prediction, index: int, docids: Mapping[str, Sequence[str]], path: Path) -> list[Hit]:
    used: Counter[str] = Counter()
    hits = []
    for position, text in enumerate(prediction.ctxs):
        if used[text] == len(docids[text]):
            problem = f"no passage of the collection has the text {quote(text)}"
            hint = "texts must be the collection's own, without titles"
            if used[text]:
                problem, hint = f"only {used[text]} passages have the text {quote(text)}", "remove repeated texts"
            raise item_error(path, index, prediction.qid, f"ctxs[{position}]: {problem}", hint)
        hits.append(Hit(docids[text][used[text]], float(len(prediction.ctxs) - position)))
        used[text] += 1
    return hits
