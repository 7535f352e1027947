"""Answers: a reader marks a span in each of the first paragraphs of a question, and one of the spans is the answer.

Of the first k paragraphs, that span is the answer whose ``span score + weight · retrieval score`` is highest (see
:mod:`xqg_repro.retrieval.read`). k and the weight are chosen as α is: by their mean F1 on the questions of other
articles. So
every question needs spans in a few paragraphs only, in all those that some method finds; each is read once.

A reader that was trained on questions of this data names them (:data:`~xqg_repro.models.reader.SEEN`); it never reads
for a question of an article that it has seen. A question for which no reader is left has no EM and no F1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, read_text
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.evaluation.measures.match import match_score
from xqg_repro.models.loading import model_fingerprint, resolve_model
from xqg_repro.models.reader import SEEN, SpanReader
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.study.data import ParallelData
from xqg_repro.study.folds import cross_validate, split
from xqg_repro.study.results import Pair, Results
from xqg_repro.study.scoring import Found
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
"""A row of a file of spans: languages, indexes in the order of the data, characters, score. -1 to -1 is no span."""

UNREAD = 0.01
"""The share of paragraphs that kept spans may lack: on other hardware, retrieval differs in the last digits."""


@dataclass(frozen=True)
class Readers:
    """Who reads what.

    Attributes:
        configs: one reader or, where they were trained on parts of the data, several.
        of_question: the index of the first that has not seen the question's article, int64, shape (questions,); -1
            where all have.
    """

    configs: tuple[ReaderConfig, ...]
    of_question: np.ndarray


def assign(configs: Sequence[ReaderConfig], data: ParallelData) -> Readers:
    """For each question, the first reader that was trained on no question of its article.

    Raises:
        InputError: all readers have seen all articles.
    """
    article = dict(zip(data.qids, data.articles.tolist(), strict=True))
    of_question = np.full(len(data.qids), -1, dtype=np.int64)
    for number, config in reversed(list(enumerate(configs))):
        path = resolve_model(config.model) / SEEN
        lines = read_text(path).splitlines() if path.exists() else []
        seen = {article[qid] for qid in (line.split(".")[0] for line in lines) if qid in article}
        of_question[~np.isin(data.articles, list(seen))] = number
    if (of_question < 0).all():
        raise InputError(
            f"every article has been seen by all readers, such as {configs[0].model}, when they were trained",
            hint="train on a part of the articles: xqg-repro train folds",
        )
    return Readers(tuple(configs), of_question)


def wanted_pairs(found: Sequence[Found], own: np.ndarray) -> np.ndarray:
    """Question and paragraph of all that is to be read: what some method finds, and each question's own paragraph.

    Returns:
        int64, shape (pairs, 2), sorted.
    """
    rows = np.arange(len(own))
    parts = [np.stack([np.repeat(rows, docs.shape[1]), docs.ravel()], axis=1) for docs, _ in found]
    return np.unique(np.concatenate([*parts, np.stack([rows, own], axis=1)]), axis=0)


SpansOf = Callable[[Pair, np.ndarray], np.ndarray]
"""A pair of languages and what is wanted (see :func:`wanted_pairs`) → rows of :data:`SPANS`."""


def read_spans(
    pair: Pair,
    wanted: np.ndarray,
    readers: Readers,
    data: ParallelData,
    folder: Path,
    *,
    device: str | None = None,
    force: bool = False,
) -> np.ndarray:
    """Read what is wanted of a pair of languages into a stage folder, or reuse the folder.

    Args:
        pair: languages of paragraphs and questions.
        wanted: see :func:`wanted_pairs`.
        readers: see :func:`assign`.
        data: of these languages.
        folder: holds a stage folder for each pair.
        device, force: as in :func:`~xqg_repro.retrieval.read.read`.

    Returns:
        rows of :data:`SPANS`, in the order of ``wanted``, for the questions that have a reader.
    """
    passages, asked = pair
    folder = folder / ".".join(pair)
    wanted = wanted[readers.of_question[wanted[:, 0]] >= 0]
    manifest = Manifest(
        "study-read",
        {"pair": list(pair), "readers": [dataclasses.asdict(config) for config in readers.configs]},
        {
            "models": digest([model_fingerprint(config.model) for config in readers.configs]),
            "collection": data.version,
            "pairs": digest([wanted.tolist(), readers.of_question.tolist()]),
        },
    )

    def build(place: Path) -> dict[str, int]:
        rows = np.zeros(len(wanted), dtype=SPANS)
        rows["passages"], rows["questions"] = pair
        rows["question"], rows["paragraph"] = wanted.T
        rows["start"] = rows["end"] = -1
        for number, config in enumerate(readers.configs):
            mine = np.flatnonzero(readers.of_question[wanted[:, 0]] == number)
            questions = [data.questions[asked][i] for i in wanted[mine, 0]]
            texts = [data.paragraphs[passages][d].text for d in wanted[mine, 1]]
            with progress_bar(len(mine), f"read {'/'.join(pair)}", "paragraphs") as bar:
                found = SpanReader(config, device).read(questions, texts, bar.update)
            for row, span in zip(mine, found, strict=True):
                if span:
                    rows["start"][row], rows["end"][row], rows["score"][row] = span
        write_spans(place / "spans.npy", rows)
        return {"spans": len(rows), "none": int((rows["start"] < 0).sum())}

    build_stage(folder, manifest, build, force=force)
    return load_spans(folder / "spans.npy")


def kept_spans(path: str | Path, data: ParallelData, report: Callable[[int], object] = lambda unread: None) -> SpansOf:
    """Spans of a file that a study wrote, for the same data.

    Args:
        path: the file.
        data: what it is of.
        report: receives, for each pair of languages, how many of the spans asked for are not there; as answers such
            score 0.

    Raises:
        InputError: the file is no such file or of other data; where spans are asked for, more than :data:`UNREAD` of
            them are not there.
    """
    rows = load_spans(path)
    if len(rows) and (rows["question"].max() >= len(data.qids) or rows["paragraph"].max() >= len(data.docids)):
        raise InputError("is of other data than these", path=path)

    def of(pair: Pair, wanted: np.ndarray) -> np.ndarray:
        mine = rows[(rows["passages"] == pair[0]) & (rows["questions"] == pair[1])]
        there = {*zip(mine["question"].tolist(), mine["paragraph"].tolist(), strict=True)}
        due = wanted[np.isin(wanted[:, 0], mine["question"])]
        lacking = sum(tuple(row) not in there for row in due.tolist())
        if not len(due) or lacking > UNREAD * len(due):
            raise InputError(
                f"lacks {lacking if len(due) else 'all'} of {len(due) or len(wanted)} spans for {'/'.join(pair)}",
                path=path,
                hint="it is of another encoder or other methods; give --reader to read anew",
            )
        report(lacking)
        return mine

    return of


def write_spans(path: Path, rows: np.ndarray) -> None:
    """Write rows of :data:`SPANS`."""
    with atomic_write(path, "wb") as file:
        np.save(file, rows, allow_pickle=False)


def load_spans(path: str | Path) -> np.ndarray:
    """Rows of :data:`SPANS` from a file; :class:`InputError` where it holds something else."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as spans: {error}", path=path) from None
    if rows.dtype != SPANS:
        raise InputError("holds no spans", path=path, hint="take spans.npy of a study's results")
    return rows


@dataclass(frozen=True)
class Answers:
    """Scores of the spans of one pair of languages.

    Attributes:
        spans: score of the span in a question's paragraph, float64, shape (questions, paragraphs); -inf where there is
            none.
        measures: measure → score of that span as an answer in [0, 1], of the same shape; 0 where there is none, and NaN
            for a question that was not read for.
    """

    spans: np.ndarray
    measures: Mapping[str, np.ndarray]


def score_spans(pair: Pair, rows: np.ndarray, data: ParallelData) -> Answers:
    """Score spans of a pair against the answers in the paragraphs' language, normalised as by SQuAD (en) or MLQA."""
    passages = pair[0]
    names = {"EM": "EM", "F1": "F1"} if passages == "en" else {"EM": "EM_mlqa", "F1": "F1_mlqa"}
    shape = (len(data.qids), len(data.docids))
    spans, scores = np.full(shape, -np.inf), {measure: np.zeros(shape) for measure in names}
    for row in rows[rows["start"] >= 0]:
        question, paragraph = int(row["question"]), int(row["paragraph"])
        spans[question, paragraph] = row["score"]
        answer = data.paragraphs[passages][paragraph].text[row["start"] : row["end"]]
        for measure, name in names.items():
            gold = data.answers[passages][question]
            scores[measure][question, paragraph] = match_score(name, answer, gold, passages)
    for values in scores.values():
        values[np.setdiff1d(np.arange(shape[0]), rows["question"])] = np.nan
    return Answers(spans, scores)


def answered(found: Found, held: Answers, depth: int, weight: float) -> np.ndarray:
    """The paragraph that each question's answer is taken from, int64, shape (questions,).

    >>> found = Found(np.array([[1, 0]]), np.array([[0.9, 0.8]]))
    >>> held = Answers(np.array([[5.0, 2.0]]), {})
    >>> [int(answered(found, held, *how)[0]) for how in ((2, 10.0), (2, 100.0), (1, 0.0))]
    [0, 1, 1]
    """
    docs = found.docs[:, :depth]
    total = np.take_along_axis(held.spans, docs, axis=1) + weight * found.scores[:, :depth]
    return docs[np.arange(len(docs)), total.argmax(axis=1)]


def score_answers(study: Study, data: ParallelData, results: Results, spans_of: SpansOf) -> np.ndarray:
    """Enter EM and F1 into the results, k and the weight chosen on the other folds; return the spans of all pairs."""
    grid = study.reading
    settings = [(depth, weight) for depth in grid.depths for weight in (grid.weights if depth > 1 else (0.0,))]
    fold, rows, every = split(data.articles, study.folds, study.seed), np.arange(len(data.qids)), []
    for pair, by_method in results.found.items():
        every.append(spans_of(pair, wanted_pairs(list(by_method.values()), data.own)))
        held = score_spans(pair, every[-1], data)
        for measure, scores in held.measures.items():
            results.gold.setdefault(measure, {})[pair] = float(np.nanmean(scores[rows, data.own]))
        for method, found in by_method.items():
            taken = np.stack([answered(found, held, *setting) for setting in settings])
            choice = cross_validate(held.measures[grid.chosen_by][rows, taken], data.articles, fold)
            for measure, scores in held.measures.items():
                results.add(measure, pair, method, scores[rows, taken[choice.by_question, rows]])
            chosen = ["first alone" if k == 1 else f"{k}, {w:g}" for k, w in (settings[i] for i in choice.settings)]
            results.read.setdefault(pair, {})[method] = chosen
    return np.concatenate(every)
