"""Answers in the study: which reader reads what, how answers are chosen, and stored spans."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import write_array
from xqg_repro.evaluation.measures.match import match_score
from xqg_repro.models import seen
from xqg_repro.models.reader import SEEN, Span
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.study import reading
from xqg_repro.study.data import ParallelData
from xqg_repro.study.folds import split_articles
from xqg_repro.study.reading import (
    SPANS,
    ReaderAssignment,
    assign_readers,
    load_spans,
    pairs_to_read,
    read_spans,
    score_answers,
    score_spans,
    stored_spans,
)
from xqg_repro.study.results import Results
from xqg_repro.study.scoring import TopParagraphs
from xqg_repro.study.settings import ReadingGrid, load_study
from xqg_repro.study.statistics import compare_each_pair, compare_over_pairs

PAIR = ("en", "ar")
STUDY = dataclasses.replace(
    load_study(PAIR, ("en",)), folds=3, reading=ReadingGrid(depths=(1, 3), weights=(0.0, 100.0), chosen_by="F1")
)


@pytest.fixture(scope="module")
def top(data: ParallelData) -> TopParagraphs:
    """The gold paragraph is first for half of each paragraph's questions, and third for the others."""
    n = len(data.docids)
    rows = [
        [gold, (gold + 3) % n, (gold + 5) % n] if question % 2 == 0 else [(gold + 1) % n, (gold + 2) % n, gold]
        for question, gold in enumerate(data.gold)
    ]
    return TopParagraphs(np.array(rows), np.tile([0.9, 0.8, 0.7], (len(rows), 1)))


def make_spans(data: ParallelData, wanted: np.ndarray, gap: float = 0.0) -> np.ndarray:
    """The correct answer to each paragraph's questions; in the gold paragraph it scores 5, elsewhere 5 less ``gap``."""
    rows = np.zeros(len(wanted), dtype=SPANS)
    rows["passages"], rows["questions"] = PAIR
    rows["question"], rows["paragraph"] = wanted.T
    for row, (question, paragraph) in zip(rows, wanted, strict=True):
        text = data.paragraphs["en"][paragraph].text
        row["start"], row["end"] = text.index("word"), len(text) - 1
        row["score"] = 5.0 if data.gold[question] == paragraph else 5.0 - gap
    return rows


def make_results(data: ParallelData, top: TopParagraphs) -> Results:
    return Results([PAIR], ["none"], data.qids, data.articles, top={PAIR: {"none": top}})


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ReaderConfig]:
    monkeypatch.setattr(seen, "resolve_model", Path)

    def make(name: str, qids: Sequence[str] | None) -> ReaderConfig:
        (tmp_path / name).mkdir()
        if qids is not None:
            (tmp_path / name / SEEN).write_text("".join(f"{qid}.ar\n" for qid in qids))
        return ReaderConfig(str(tmp_path / name))

    return make


def test_no_reader_reads_for_an_article_that_it_has_seen(
    data: ParallelData, reader_folder: Callable[..., ReaderConfig]
) -> None:
    saw_first = reader_folder("a", [q for q, a in zip(data.qids, data.articles, strict=True) if a < 3])
    saw_second = reader_folder("b", [q for q, a in zip(data.qids, data.articles, strict=True) if a >= 3])
    readers = assign_readers([saw_first, saw_second], data)
    assert readers.by_question.tolist() == [int(article < 3) for article in data.articles]
    # one question is enough to have seen its whole article
    saw_one = reader_folder("c", [data.qids[0]])
    readers = assign_readers([saw_one, saw_first, saw_second], data)
    assert (readers.by_question[data.articles == 0] == 2).all()
    # an article that all have seen has no reader
    expected = [-1 if article == 0 else int(article < 3) for article in data.articles]
    assert assign_readers([saw_first, saw_one], data).by_question.tolist() == expected
    with pytest.raises(InputError, match=r"every reader, such as .*/d, was trained on questions about every article"):
        assign_readers([reader_folder("d", data.qids)], data)
    for config in (reader_folder("e", None), reader_folder("f", ["others"])):  # trained on other data
        assert not assign_readers([config], data).by_question.any()


def test_the_top_paragraphs_and_the_gold_ones_are_read(data: ParallelData, top: TopParagraphs) -> None:
    other = TopParagraphs((top.rows + 1) % len(data.docids), top.scores)
    wanted = pairs_to_read([top, other], data.gold)
    expected = {(q, d) for rows in (top.rows, other.rows) for q, row in enumerate(rows.tolist()) for d in row}
    assert {*map(tuple, wanted.tolist())} == expected | {*enumerate(data.gold.tolist())}
    assert len(wanted) == len(np.unique(wanted, axis=0))


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which model has read for which question; readers mark the first four characters, except in paragraph 0-0."""
    read: list[tuple[str, str]] = []

    class FakeReader:
        def __init__(self, config: ReaderConfig, device: str | None) -> None:
            self.model = config.model

        def read(self, questions: list[str], passages: list[str], progress: object) -> list[Span | None]:
            read.extend((self.model, question) for question in questions)
            return [None if "0-0" in text else Span(0, 4, 1.5) for text in passages]

    monkeypatch.setattr(reading, "SpanReader", FakeReader)
    monkeypatch.setattr(reading, "model_fingerprint", lambda model: model)
    return read


def test_each_span_is_read_once_by_its_reader(
    data: ParallelData, top: TopParagraphs, tmp_path: Path, read_by: list[tuple[str, str]]
) -> None:
    by_question = (data.articles < 3).astype(np.int64)
    readers = ReaderAssignment((ReaderConfig("a"), ReaderConfig("b")), by_question)
    wanted = pairs_to_read([top], data.gold)
    rows = read_spans(PAIR, wanted, readers, data, tmp_path / "spans")
    assert len(read_by) == len(wanted)
    expected = {("ab"[reader], text) for reader, text in zip(by_question, data.questions["ar"], strict=True)}
    assert {*read_by} == expected
    assert (rows["start"] == np.where(wanted[:, 1] == 0, -1, 0)).all()
    assert np.stack([rows["question"], rows["paragraph"]], axis=1).tolist() == wanted.tolist()
    read_spans(PAIR, wanted, readers, data, tmp_path / "spans")
    assert len(read_by) == len(wanted)  # reused


def test_questions_without_a_reader_have_no_scores(
    data: ParallelData, top: TopParagraphs, tmp_path: Path, read_by: list[tuple[str, str]]
) -> None:
    has_reader = data.articles < 3
    readers = ReaderAssignment((ReaderConfig("a"),), np.where(has_reader, 0, -1))
    wanted = pairs_to_read([top], data.gold)
    rows = read_spans(PAIR, wanted, readers, data, tmp_path / "spans")
    assert {*rows["question"].tolist()} == {*np.flatnonzero(has_reader).tolist()}

    results = make_results(data, top)
    spans = make_spans(data, wanted[np.isin(wanted[:, 0], rows["question"])])
    spans["end"][spans["question"] == 0] -= 6  # half of the answer
    score_answers(STUDY, data, results, lambda pair, wanted: spans)
    scores = results.scores["EM"][PAIR]["none"]
    assert (np.isnan(scores) == ~has_reader).all()
    assert results.answered == has_reader.sum()
    assert results.means("EM", PAIR)["none"] == np.nanmean(scores) < 1

    results.add("EM", PAIR, "other", np.where(np.isnan(scores), np.nan, 0.0))
    results = dataclasses.replace(results, scores={"EM": results.scores["EM"]})
    (test,) = compare_each_pair(results, [("none", "other")])
    pooled = compare_over_pairs(results, "EM", "none", "other", "en", [PAIR])
    assert test.difference == pooled.difference == pytest.approx(np.nanmean(scores))
    assert pooled.p is not None and pooled.p < 0.01


def test_answers_score_as_the_measures_do(data: ParallelData) -> None:
    rows = make_spans(data, np.array([[0, 0], [0, 1], [1, 0], [2, 3]]))
    rows["end"][2] -= 6  # the first word alone
    rows["start"][3] = rows["end"][3] = -1
    scores = score_spans(PAIR, rows, data)
    assert scores.measures["EM"][0, :2].tolist() == [1.0, 0.0]
    assert scores.measures["F1"][1, 0] == match_score("F1", "word0", ["word0 word0"])
    assert np.isinf(scores.spans[2, 3]) and scores.measures["F1"][2, 3] == 0


def test_answers_in_other_languages_are_normalised_as_by_mlqa(data: ParallelData) -> None:
    paragraphs = [Passage(docid, "t", "Vio la Torre.") for docid in data.docids]
    answers = [("Torre",)] * len(data.qids)
    rows = make_spans(data, np.array([[0, 0]]))
    rows["start"], rows["end"] = 4, 12
    for language, expected in (("es", 1.0), ("en", 0.0)):  # la is an article in Spanish only
        changed = dataclasses.replace(data, paragraphs={language: paragraphs}, answers={language: answers})
        assert score_spans((language, "ar"), rows, changed).measures["EM"][0, 0] == expected


def test_without_any_span_the_first_paragraph_has_the_answer_and_it_scores_zero(
    data: ParallelData, top: TopParagraphs
) -> None:
    rows = make_spans(data, pairs_to_read([top], data.gold))
    rows["start"] = rows["end"] = -1
    choice = reading.choose_answers(top, score_spans(PAIR, rows, data), 3, 0.0)
    assert choice.tolist() == top.rows[:, 0].tolist()
    results = make_results(data, top)
    score_answers(STUDY, data, results, lambda pair, wanted: rows)
    assert results.means("EM", PAIR) == results.means("F1", PAIR) == {"none": 0.0}
    assert results.gold == {"EM": {PAIR: 0.0}, "F1": {PAIR: 0.0}}


@pytest.mark.parametrize(("gap", "chosen"), [(4.0, "3, 0"), (0.0, "first alone")])
def test_depth_and_weight_are_the_best_on_other_articles(
    data: ParallelData, top: TopParagraphs, gap: float, chosen: str
) -> None:
    """A reader that recognises the gold paragraph decides; otherwise retrieval does."""
    results = make_results(data, top)
    score_answers(STUDY, data, results, lambda pair, wanted: make_spans(data, wanted, gap))
    assert results.read[PAIR]["none"] == (chosen,) * 3
    even = np.arange(len(data.qids)) % 2 == 0
    assert results.means("EM", PAIR)["none"] == (1.0 if gap else even.mean())
    assert results.gold["EM"][PAIR] == 1.0


def test_the_choice_for_a_fold_ignores_its_own_questions(data: ParallelData, top: TopParagraphs) -> None:
    """Spans that help in one fold only would be chosen there if its own questions counted."""
    fold = split_articles(data.articles, STUDY.folds, STUDY.seed)

    def spans_of(pair: tuple[str, str], wanted: np.ndarray) -> np.ndarray:
        rows, helpful = make_spans(data, wanted), make_spans(data, wanted, 4.0)
        rows["score"] = np.where(fold[wanted[:, 0]] == 0, helpful["score"], rows["score"])
        return rows

    results = make_results(data, top)
    score_answers(STUDY, data, results, spans_of)
    assert results.read[PAIR]["none"][0] == "first alone"  # reading deeper gains nothing on the other folds
    even = np.arange(len(data.qids)) % 2 == 0
    assert results.scores["EM"][PAIR]["none"][fold == 0].tolist() == even[fold == 0].tolist()


def test_stored_spans_replace_a_reader_and_few_may_be_missing(
    data: ParallelData, top: TopParagraphs, tmp_path: Path
) -> None:
    path, wanted = tmp_path / "spans.npy", pairs_to_read([top], data.gold)
    write_array(path, make_spans(data, wanted, 4.0))
    assert (stored_spans(path, data)(PAIR, wanted) == make_spans(data, wanted, 4.0)).all()
    write_array(path, make_spans(data, wanted)[:-1])
    missing: list[int] = []
    spans = stored_spans(path, data, missing.append)(PAIR, wanted)
    assert len(spans) == len(wanted) - 1 and missing == [1]  # less than a hundredth
    write_array(path, make_spans(data, wanted)[np.arange(len(wanted)) % 10 > 0])
    with pytest.raises(InputError, match=r"spans.npy: lacks \d+ of \d+ spans for en/ar"):
        stored_spans(path, data)(PAIR, wanted)
    with pytest.raises(InputError, match="lacks all"):
        stored_spans(path, data)(("en", "th"), wanted)


def test_a_file_without_spans_or_with_those_of_other_data_is_refused(
    data: ParallelData, top: TopParagraphs, tmp_path: Path
) -> None:
    path, rows = tmp_path / "spans.npy", make_spans(data, pairs_to_read([top], data.gold))
    rows["question"][0] = len(data.qids)
    write_array(path, rows)
    with pytest.raises(InputError, match="has spans for other data"):
        stored_spans(path, data)
    np.save(path, np.zeros(3))
    with pytest.raises(InputError, match="is not a file of spans"):
        load_spans(path)
    path.write_bytes(b"text")
    for unreadable in (path, tmp_path / "none.npy"):
        with pytest.raises(InputError, match="cannot be read as spans"):
            load_spans(unreadable)
