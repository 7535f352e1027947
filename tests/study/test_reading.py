"""Answers in the study: who reads what, what is chosen where, and kept spans."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.measures.match import match_score
from xqg_repro.models.reader import SEEN, Span
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.study import reading
from xqg_repro.study.data import ParallelData
from xqg_repro.study.reading import (
    SPANS,
    Readers,
    answered,
    assign,
    kept_spans,
    load_spans,
    read_spans,
    score_answers,
    score_spans,
    wanted_pairs,
    write_spans,
)
from xqg_repro.study.results import Results
from xqg_repro.study.scoring import TIE, Found, Scorer, Setting, ranks
from xqg_repro.study.settings import ReadingGrid, load_study
from xqg_repro.study.statistics import each_pair, mixed

PAIR = ("en", "ar")
ARTICLES, EACH = 6, 4
"""Two paragraphs an article, so many questions a paragraph."""


@pytest.fixture(scope="module")
def data() -> ParallelData:
    docids = tuple(f"{article}-{p}" for article in range(ARTICLES) for p in range(2))
    own = np.repeat(np.arange(len(docids)), EACH)
    qids = tuple(f"q{i}" for i in range(len(own)))
    texts = [f"The answer of {d} is word{d[0]} word{d[2]}." for d in docids]
    paragraphs = {code: [Passage(d, "t", text) for d, text in zip(docids, texts, strict=True)] for code in PAIR}
    questions = {code: [f"{code} {qid}" for qid in qids] for code in PAIR}
    answers = {code: [(f"word{docids[d][0]} word{docids[d][2]}",) for d in own] for code in PAIR}
    return ParallelData(docids, qids, own, paragraphs, questions, answers, "version")


@pytest.fixture(scope="module")
def found(data: ParallelData) -> Found:
    """The right paragraph is first for even questions and third for odd ones."""
    n = len(data.docids)
    docs = [
        [d, (d + 3) % n, (d + 5) % n] if i % 2 == 0 else [(d + 1) % n, (d + 2) % n, d] for i, d in enumerate(data.own)
    ]
    return Found(np.array(docs), np.tile([0.9, 0.8, 0.7], (len(docs), 1)))


def rows_of(data: ParallelData, wanted: np.ndarray, gap: float = 0.0) -> np.ndarray:
    """The whole answer of each paragraph; that of the right one scores 5, others 5 less ``gap``."""
    rows = np.zeros(len(wanted), dtype=SPANS)
    rows["passages"], rows["questions"] = PAIR
    rows["question"], rows["paragraph"] = wanted.T
    for row, (i, d) in zip(rows, wanted, strict=True):
        text = data.paragraphs["en"][d].text
        row["start"], row["end"] = text.index("word"), len(text) - 1
        row["score"] = 5.0 if data.own[i] == d else 5.0 - gap
    return rows


def results_of(data: ParallelData, found: Found) -> Results:
    results = Results([PAIR], ["none"], data.qids, data.articles)
    results.found = {PAIR: {"none": found}}
    return results


STUDY = dataclasses.replace(
    load_study(PAIR, ("en",)), folds=3, reading=ReadingGrid(depths=(1, 3), weights=(0.0, 100.0), chosen_by="F1")
)


# who reads


def reader_folder(folder: Path, tiny_model: Path, qids: list[str] | None) -> ReaderConfig:
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).symlink_to(path)
    if qids is not None:
        (folder / SEEN).write_text("".join(f"{qid}.ar\n" for qid in qids))
    return ReaderConfig(str(folder))


def test_no_reader_reads_for_an_article_that_it_has_seen(data: ParallelData, tiny_model: Path, tmp_path: Path) -> None:
    first = [q for q, a in zip(data.qids, data.articles, strict=True) if a < 3]
    second = [q for q, a in zip(data.qids, data.articles, strict=True) if a >= 3]
    configs = [reader_folder(tmp_path / name, tiny_model, some) for name, some in (("a", first), ("b", second))]
    readers = assign(configs, data)
    assert readers.of_question.tolist() == [int(article < 3) for article in data.articles]
    # one question is enough to have seen its whole article
    one = reader_folder(tmp_path / "c", tiny_model, [data.qids[0]])
    assert (assign([one, configs[0], configs[1]], data).of_question[: 2 * EACH] == 2).all()
    # an article that all have seen has no reader
    assert assign([configs[0], one], data).of_question.tolist() == [
        -1 if article == 0 else int(article < 3) for article in data.articles
    ]
    with pytest.raises(InputError, match=r"every article has been seen by all readers, such as .*/d, when"):
        assign([reader_folder(tmp_path / "d", tiny_model, list(data.qids))], data)


def test_a_reader_of_other_data_reads_for_all(data: ParallelData, tiny_model: Path, tmp_path: Path) -> None:
    for name, qids in (("a", None), ("b", ["others"])):
        assert not assign([reader_folder(tmp_path / name, tiny_model, qids)], data).of_question.any()


# what is read


def test_wanted_are_all_that_is_found_and_the_right_paragraphs(data: ParallelData, found: Found) -> None:
    other = Found((found.docs + 1) % len(data.docids), found.scores)
    wanted = wanted_pairs([found, other], data.own)
    expected = {(i, d) for docs in (found.docs, other.docs) for i, row in enumerate(docs.tolist()) for d in row}
    assert {*map(tuple, wanted.tolist())} == expected | {(i, d) for i, d in enumerate(data.own.tolist())}
    assert len(wanted) == len(np.unique(wanted, axis=0))


class Fake:
    """A reader that marks the first four characters, none in paragraph 0-0."""

    read_by: list[tuple[str, str]] = []  # noqa: RUF012

    def __init__(self, config: ReaderConfig, device: str | None) -> None:
        self.model = config.model

    def read(self, questions: list[str], passages: list[str], progress: Any) -> list[Span | None]:
        self.read_by.extend((self.model, question) for question in questions)
        return [None if "0-0" in text else Span(0, 4, 1.5) for text in passages]


def test_each_span_is_read_once_by_its_reader(
    data: ParallelData, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SpanReader", Fake)
    monkeypatch.setattr(reading, "model_fingerprint", lambda model: model)
    monkeypatch.setattr(Fake, "read_by", [])
    of_question = (data.articles < 3).astype(np.int64)
    readers = Readers((ReaderConfig("a"), ReaderConfig("b")), of_question)
    wanted = wanted_pairs([found], data.own)
    rows = read_spans(PAIR, wanted, readers, data, tmp_path / "spans")
    assert len(Fake.read_by) == len(wanted)
    assert {*Fake.read_by} == {("ab"[of_question[i]], data.questions["ar"][i]) for i in range(len(data.qids))}
    assert (rows["start"] == np.where(wanted[:, 1] == 0, -1, 0)).all()
    assert np.stack([rows["question"], rows["paragraph"]], axis=1).tolist() == wanted.tolist()
    read_spans(PAIR, wanted, readers, data, tmp_path / "spans")
    assert len(Fake.read_by) == len(wanted)  # reused


def test_questions_without_a_reader_have_no_scores(
    data: ParallelData, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SpanReader", Fake)
    monkeypatch.setattr(reading, "model_fingerprint", lambda model: model)
    readers = Readers((ReaderConfig("a"),), np.where(data.articles < 3, 0, -1))
    wanted = wanted_pairs([found], data.own)
    rows = read_spans(PAIR, wanted, readers, data, tmp_path / "spans")
    assert {*rows["question"].tolist()} == {*np.flatnonzero(data.articles < 3).tolist()}
    results = results_of(data, found)
    right = rows_of(data, wanted[np.isin(wanted[:, 0], rows["question"])])
    right["end"][right["question"] == 0] -= 6  # the first question's answers are half right
    score_answers(STUDY, data, results, lambda pair, wanted: right)
    scores = results.scores["EM"][PAIR]["none"]
    assert (np.isnan(scores) == (data.articles >= 3)).all()
    assert results.answered == (data.articles < 3).sum()
    assert results.means("EM", PAIR)["none"] == np.nanmean(scores) < 1
    results.add("EM", PAIR, "other", np.where(np.isnan(scores), np.nan, 0.0))
    (tested,) = each_pair(results_with(results, "EM"), [("none", "other")])
    assert tested.difference == pytest.approx(np.nanmean(scores))
    found_mixed = mixed(results, "EM", "none", "other", "en", [PAIR])
    assert found_mixed.difference == pytest.approx(np.nanmean(scores)) and found_mixed.p < 0.01


def results_with(results: Results, measure: str) -> Results:
    """The results with one measure only."""
    return dataclasses.replace(results, scores={measure: results.scores[measure]})


# scores and choices


def test_answers_score_as_the_measures_do(data: ParallelData) -> None:
    wanted = np.array([[0, 0], [0, 1], [1, 0], [2, 3]])
    rows = rows_of(data, wanted)
    rows["end"][2] -= 6  # the first word alone
    rows["start"][3] = rows["end"][3] = -1
    held = score_spans(PAIR, rows, data)
    assert held.measures["EM"][0, :2].tolist() == [1.0, 0.0]
    assert held.measures["F1"][1, 0] == match_score("F1", "word0", ["word0 word0"])
    assert np.isinf(held.spans[2, 3]) and held.measures["F1"][2, 3] == 0


def test_answers_in_other_languages_are_normalised_as_by_mlqa(data: ParallelData) -> None:
    spanish = dataclasses.replace(
        data,
        paragraphs={"es": [Passage(d, "t", "Vio la Torre.") for d in data.docids]},
        answers={"es": [("Torre",)] * len(data.qids)},
    )
    rows = rows_of(data, np.array([[0, 0]]))
    rows["start"], rows["end"] = 4, 12
    assert score_spans(("es", "ar"), rows, spanish).measures["EM"][0, 0] == 1.0  # the article does not count
    english = dataclasses.replace(
        spanish, paragraphs={"en": spanish.paragraphs["es"]}, answers={"en": spanish.answers["es"]}
    )
    assert score_spans(PAIR, rows, english).measures["EM"][0, 0] == 0.0


def test_where_no_span_is_the_answer_scores_zero(data: ParallelData, found: Found) -> None:
    rows = rows_of(data, wanted_pairs([found], data.own))
    rows["start"] = rows["end"] = -1
    results = results_of(data, found)
    score_answers(STUDY, data, results, lambda pair, wanted: rows)
    assert results.means("EM", PAIR) == results.means("F1", PAIR) == {"none": 0.0}
    assert results.gold == {"EM": {PAIR: 0.0}, "F1": {PAIR: 0.0}}


@pytest.mark.parametrize(
    ("gap", "chosen", "mean"),
    [
        # a reader that knows the right paragraph is trusted; one that does not leaves the choice to retrieval
        (4.0, "3, 0", 1.0),
        (0.0, "first alone", 0.5),
    ],
)
def test_depth_and_weight_are_those_best_on_other_articles(
    data: ParallelData, found: Found, gap: float, chosen: str, mean: float
) -> None:
    results = results_of(data, found)
    score_answers(STUDY, data, results, lambda pair, wanted: rows_of(data, wanted, gap))
    assert results.read[PAIR]["none"] == [chosen] * 3
    assert results.means("EM", PAIR)["none"] == mean
    assert results.gold["EM"][PAIR] == 1.0


def test_the_choice_for_a_fold_ignores_its_own_questions(data: ParallelData, found: Found) -> None:
    """Spans that are right in one fold only would choose otherwise if its own questions counted."""
    fold = reading.split(data.articles, STUDY.folds, STUDY.seed)

    def rows(pair: Any, wanted: np.ndarray) -> np.ndarray:
        made = rows_of(data, wanted)
        made["score"] = np.where(fold[wanted[:, 0]] == 0, rows_of(data, wanted, 4.0)["score"], made["score"])
        return made

    results = results_of(data, found)
    score_answers(STUDY, data, results, rows)
    assert results.read[PAIR]["none"][0] == "first alone"  # on the other folds, reading deeper wins nothing
    assert results.scores["EM"][PAIR]["none"][fold == 0].mean() == 0.5


def test_answered_without_any_span_is_the_first(data: ParallelData, found: Found) -> None:
    held = score_spans(PAIR, rows_of(data, np.array([[1, 1]]))[:0], data)
    assert answered(found, held, 3, 0.0).tolist() == found.docs[:, 0].tolist()


def test_the_first_paragraphs_are_those_of_the_ranks() -> None:
    draw = np.random.default_rng(2)
    questions, paragraphs = (draw.normal(size=(n, 8)).astype(np.float32) for n in (40, 12))
    paragraphs[5] = paragraphs[6]  # a tie, which counts against the question
    own = draw.integers(0, 12, 40)
    scorer = Scorer(questions, paragraphs, own, [], True)
    first = scorer.first([Setting("mean", 0.0)], np.zeros(40, dtype=np.int64), 3)
    assert first.docs.shape == first.scores.shape == (40, 3)
    rank = ranks(scorer.alone, own)
    assert ((first.docs == own[:, None]).any(axis=1) == (rank <= 3)).all() and (rank > 3).any()
    assert np.allclose(first.scores, np.take_along_axis(scorer.alone, first.docs, axis=1))
    assert (np.diff(first.scores, axis=1) <= TIE).all()


# kept spans


def test_kept_spans_stand_for_a_reader(data: ParallelData, found: Found, tmp_path: Path) -> None:
    wanted = wanted_pairs([found], data.own)
    write_spans(tmp_path / "spans.npy", rows_of(data, wanted, 4.0))
    read, kept = results_of(data, found), results_of(data, found)
    score_answers(STUDY, data, read, lambda pair, wanted: rows_of(data, wanted, 4.0))
    every = score_answers(STUDY, data, kept, kept_spans(tmp_path / "spans.npy", data))
    assert (every == load_spans(tmp_path / "spans.npy")).all()
    assert kept.means("F1", PAIR) == read.means("F1", PAIR)


def test_kept_spans_that_lack_many_or_are_of_other_data_are_refused(
    data: ParallelData, found: Found, tmp_path: Path
) -> None:
    wanted = wanted_pairs([found], data.own)
    path = tmp_path / "spans.npy"
    write_spans(path, rows_of(data, wanted)[:-1])
    unread: list[int] = []
    kept = kept_spans(path, data, unread.append)(PAIR, wanted)
    assert len(kept) == len(wanted) - 1 and unread == [1]  # one of 144 is less than a hundredth
    write_spans(path, rows_of(data, wanted)[np.arange(len(wanted)) % 10 > 0])
    with pytest.raises(InputError, match=r"spans.npy: lacks 15 of \d+ spans for en/ar"):
        kept_spans(path, data)(PAIR, wanted)
    with pytest.raises(InputError, match="lacks"):
        kept_spans(path, data)(("en", "th"), wanted)
    rows = rows_of(data, wanted)
    rows["question"][0] = len(data.qids)
    write_spans(path, rows)
    with pytest.raises(InputError, match="is of other data"):
        kept_spans(path, data)
    np.save(path, np.zeros(3))
    with pytest.raises(InputError, match="holds no spans"):
        load_spans(path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match="cannot be read as spans"):
        load_spans(path)
    with pytest.raises(InputError, match="cannot be read as spans"):
        load_spans(tmp_path / "none.npy")
