"""Answers: a reader marks a span in each top paragraph of a question, and one of the spans is the answer.

Of the first k paragraphs, the span with the highest ``span score + weight · retrieval score`` is the answer (see
:mod:`xqg_repro.retrieval.read`). k and the weight are chosen like α, by the mean F1 on questions about other articles.
Each question needs spans only in the paragraphs that some method finds; each of them is read once.

The folder of a reader that was trained on questions of this data lists them (see :mod:`xqg_repro.study.seen`).
Such a reader never answers a question about an article that it has seen. A question without any other reader has no EM
and no F1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, write_array
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.evaluation.measures.match import match_score
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.seen import read_seen
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.study.data import ParallelData
from xqg_repro.study.folds import cross_validate, split_articles
from xqg_repro.study.results import Pair, Results
from xqg_repro.study.scoring import TopParagraphs
from xqg_repro.study.seen import seen_articles
from xqg_repro.study.settings import Study

SPANS = np.dtype(
    [
        ("passages", "U2"),
        ("questions", "U2"),
        ("question", "<i2"),
        ("paragraph", "<i2"),
        ("start", "<i2"),
        ("end", "<i2"),
        ("score", "<f4"),
    ]
)
"""A row of a file of spans: the two languages, the rows of question and paragraph in the data, the characters of the
span (-1 to -1: none), and its score."""

MAX_MISSING = 0.01
"""Share of spans that a file may lack: retrieval on other hardware differs in the last digits, and so finds others."""


@dataclass(frozen=True)
class ReaderAssignment:
    """Which reader answers which question.

    Attributes:
        configs: one reader, or several that were trained on different parts of the data.
        by_question: index of the first reader that has not seen the question's article, int64, shape (questions,); -1
            if all have.
    """

    configs: tuple[ReaderConfig, ...]
    by_question: np.ndarray


def assign_readers(configs: Sequence[ReaderConfig], data: ParallelData) -> ReaderAssignment:
    """Assign to each question the first reader that was not trained on any question about its article.

    Raises:
        InputError: all readers have seen all articles.
    """
    by_question = np.full(len(data.qids), -1, dtype=np.int64)
    for number, config in reversed(list(enumerate(configs))):
        seen = seen_articles(read_seen(config.model), data)
        by_question[~np.isin(data.articles, list(seen))] = number
    if (by_question < 0).all():
        problem = f"every reader, such as {configs[0].model}, was trained on questions about every article"
        raise InputError(problem, hint="train a reader on some of the articles: xqg-repro train folds")
    return ReaderAssignment(tuple(configs), by_question)


def pairs_to_read(top: Sequence[TopParagraphs], gold: np.ndarray) -> np.ndarray:
    """All paragraphs to read for each question: those that some method finds, and the gold paragraph.

    Returns:
        rows of question and paragraph, int64, shape (pairs, 2), sorted.
    """
    questions = np.arange(len(gold))
    parts = [np.stack([np.repeat(questions, rows.shape[1]), rows.ravel()], axis=1) for rows, _ in top]
    return np.unique(np.concatenate([*parts, np.stack([questions, gold], axis=1)]), axis=0)


SpansOf = Callable[[Pair, np.ndarray], np.ndarray]
"""A pair of languages and the pairs to read (see :func:`pairs_to_read`) → rows of :data:`SPANS`."""


def read_spans(
    pair: Pair,
    wanted: np.ndarray,
    readers: ReaderAssignment,
    data: ParallelData,
    folder: Path,
    *,
    device: str | None = None,
    force: bool = False,
) -> np.ndarray:
    """Read paragraphs for one pair of languages into a stage folder, or reuse the folder if it matches.

    Args:
        wanted: what to read; see :func:`pairs_to_read`.
        folder: parent of the stage folders, one per pair.

    Returns:
        rows of :data:`SPANS`, in the order of ``wanted``, for the questions that have a reader.
    """
    stage = folder / ".".join(pair)
    wanted = wanted[readers.by_question[wanted[:, 0]] >= 0]
    manifest = Manifest(
        "study-read",
        {"pair": list(pair), "readers": [dataclasses.asdict(config) for config in readers.configs]},
        {
            "models": digest([model_fingerprint(config.model) for config in readers.configs]),
            "collection": data.version,
            "pairs": digest([wanted.tolist(), readers.by_question.tolist()]),
        },
    )

    def build(partial: Path) -> dict[str, int]:
        rows = _read_pairs(pair, wanted, readers, data, device)
        write_array(partial / "spans.npy", rows)
        return {"spans": len(rows), "none": int((rows["start"] < 0).sum())}

    build_stage(stage, manifest, build, force=force)
    return load_spans(stage / "spans.npy")


def _read_pairs(
    pair: Pair, wanted: np.ndarray, readers: ReaderAssignment, data: ParallelData, device: str | None
) -> np.ndarray:
    """Mark the spans with each reader in turn; rows of :data:`SPANS`."""
    rows = np.zeros(len(wanted), dtype=SPANS)
    rows["passages"], rows["questions"] = pair
    rows["question"], rows["paragraph"] = wanted.T
    rows["start"] = rows["end"] = -1
    for number, config in enumerate(readers.configs):
        own_rows = np.flatnonzero(readers.by_question[wanted[:, 0]] == number)
        questions = [data.questions[pair[1]][row] for row in wanted[own_rows, 0]]
        texts = [data.paragraphs[pair[0]][row].text for row in wanted[own_rows, 1]]
        with progress_bar(len(own_rows), f"read {'/'.join(pair)}", "paragraphs") as bar:
            spans = SpanReader(config, device).read(questions, texts, bar.update)
        for row, span in zip(own_rows, spans, strict=True):
            if span:
                rows["start"][row], rows["end"][row], rows["score"][row] = span
    return rows


def stored_spans(
    path: str | Path, data: ParallelData, report_missing: Callable[[int], object] = lambda missing: None
) -> SpansOf:
    """Spans from a file that a study wrote for the same data.

    ``report_missing`` is called for each pair of languages with the number of missing spans, which score 0 as answers.

    Raises:
        InputError: the file is not one of spans, or is of other data; later, if more than :data:`MAX_MISSING` of the
            spans are missing.
    """
    rows = load_spans(path)
    if len(rows) and (rows["question"].max() >= len(data.qids) or rows["paragraph"].max() >= len(data.docids)):
        raise InputError("has spans for other data", path=path)

    def spans_of(pair: Pair, wanted: np.ndarray) -> np.ndarray:
        stored = rows[(rows["passages"] == pair[0]) & (rows["questions"] == pair[1])]
        present = {*zip(stored["question"].tolist(), stored["paragraph"].tolist(), strict=True)}
        needed = wanted[np.isin(wanted[:, 0], stored["question"])]
        missing = sum(tuple(row) not in present for row in needed.tolist())
        if not len(needed) or missing > MAX_MISSING * len(needed):
            share = f"{missing} of {len(needed)}" if len(needed) else f"all {len(wanted)}"
            hint = "they are from another encoder or other methods; read again with --reader"
            raise InputError(f"lacks {share} spans for {'/'.join(pair)}", path=path, hint=hint)
        report_missing(missing)
        return stored

    return spans_of


def load_spans(path: str | Path) -> np.ndarray:
    """Read rows of :data:`SPANS`; raise :class:`InputError` if the file is something else."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as spans: {error}", path=path) from None
    if rows.dtype != SPANS:
        raise InputError("is not a file of spans", path=path, hint="use the spans.npy of a study's results")
    return rows


@dataclass(frozen=True)
class SpanScores:
    """Scores of the spans of one pair of languages.

    Attributes:
        spans: the reader's score of the span in each paragraph, float64, shape (questions, paragraphs); -inf if there
            is no span.
        measures: measure → score of the span as an answer in [0, 1], same shape; 0 if there is no span, NaN if no
            reader answers the question.
    """

    spans: np.ndarray
    measures: Mapping[str, np.ndarray]


def score_spans(pair: Pair, rows: np.ndarray, data: ParallelData) -> SpanScores:
    """Score the spans against the answers in the paragraphs' language, normalised as in SQuAD (en) or MLQA."""
    passages = pair[0]
    names = {"EM": "EM", "F1": "F1"} if passages == "en" else {"EM": "EM_mlqa", "F1": "F1_mlqa"}
    shape = (len(data.qids), len(data.docids))
    spans = np.full(shape, -np.inf)
    measures = {measure: np.zeros(shape) for measure in names}
    for row in rows[rows["start"] >= 0]:
        question, paragraph = int(row["question"]), int(row["paragraph"])
        spans[question, paragraph] = row["score"]
        answer = data.paragraphs[passages][paragraph].text[row["start"] : row["end"]]
        correct = data.answers[passages][question]
        for measure, name in names.items():
            measures[measure][question, paragraph] = match_score(name, answer, correct, passages)

    unread = np.setdiff1d(np.arange(len(data.qids)), rows["question"])
    for values in measures.values():
        values[unread] = np.nan
    return SpanScores(spans, measures)


def choose_answers(top: TopParagraphs, scores: SpanScores, depth: int, weight: float) -> np.ndarray:
    """The paragraph that each question's answer comes from, int64, shape (questions,).

    >>> top = TopParagraphs(np.array([[1, 0]]), np.array([[0.9, 0.8]]))
    >>> scores = SpanScores(np.array([[5.0, 2.0]]), {})
    >>> [int(choose_answers(top, scores, *setting)[0]) for setting in ((2, 10.0), (2, 100.0), (1, 0.0))]
    [0, 1, 1]
    """
    rows = top.rows[:, :depth]
    totals = np.take_along_axis(scores.spans, rows, axis=1) + weight * top.scores[:, :depth]
    return rows[np.arange(len(rows)), totals.argmax(axis=1)]


def score_answers(study: Study, data: ParallelData, results: Results, spans_of: SpansOf) -> np.ndarray:
    """Add EM and F1 to the results, with k and the weight chosen on the other folds; return the spans of all pairs."""
    grid = study.reading
    settings = [(depth, weight) for depth in grid.depths for weight in (grid.weights if depth > 1 else (0.0,))]
    in_words = ["first alone" if depth == 1 else f"{depth}, {weight:g}" for depth, weight in settings]
    fold = split_articles(data.articles, study.folds, study.seed)
    questions = np.arange(len(data.qids))

    spans = []
    for pair, top_by_method in results.top.items():
        spans.append(spans_of(pair, pairs_to_read(list(top_by_method.values()), data.gold)))
        scores = score_spans(pair, spans[-1], data)
        for measure, values in scores.measures.items():
            results.gold.setdefault(measure, {})[pair] = float(np.nanmean(values[questions, data.gold]))
        for method, top in top_by_method.items():
            paragraphs = np.stack([choose_answers(top, scores, *setting) for setting in settings])
            choice = cross_validate(scores.measures[grid.chosen_by][questions, paragraphs], data.articles, fold)
            results.read.setdefault(pair, {})[method] = tuple(in_words[setting] for setting in choice.by_fold)
            for measure, values in scores.measures.items():
                results.add(measure, pair, method, values[questions, paragraphs[choice.by_question, questions]])
    return np.concatenate(spans)
