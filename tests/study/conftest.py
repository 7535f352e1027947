"""Shared fixtures of the study's tests: a small parallel data set with vectors, and XQuAD files of made-up words."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_fixtures import small_tokenizer

from xqg_repro import collection
from xqg_repro.collection import local, xquad
from xqg_repro.collection.files import DataFile
from xqg_repro.collection.records import Passage
from xqg_repro.study import statistics, transfer
from xqg_repro.study.data import ParallelData
from xqg_repro.study.settings import Study, load_study
from xqg_repro.study.vectors import OwnedVectors, StudyVectors

CODES = ("en", "ar", "th")
DIMENSION = 24
FEW = 199
"""Randomisations in these tests."""
QUESTIONS = (3, 1, 4, 2, 5, 2) * 2
"""Number of questions about each paragraph."""


@pytest.fixture(autouse=True, scope="module")
def few_samples() -> Iterator[None]:
    """Few randomisations, and no garbage collection by statsmodels: they take most of a small study's time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(gc, "collect", lambda *_: 0)
        monkeypatch.setattr(transfer, "p_value", partial(transfer.p_value, samples=FEW))
        for name in ("p_value", "bootstrap_interval"):
            monkeypatch.setattr(statistics, name, partial(getattr(statistics, name), samples=FEW))
        yield


@pytest.fixture(scope="session")
def data() -> ParallelData:
    """Six articles of two paragraphs; questions 0 and 2, about the same paragraph, have the same words in Arabic."""
    docids = tuple(f"{article}-{p}" for article in range(6) for p in range(2))
    gold = np.repeat(np.arange(len(docids)), QUESTIONS)
    qids = tuple(f"q{row}" for row in range(len(gold)))
    questions = {code: [f"{code} question {row}" for row in range(len(gold))] for code in CODES}
    questions["ar"][2] = "AR  question 0"
    texts = [f"The answer of {docid} is word{docid[0]} word{docid[2]}." for docid in docids]
    paragraphs = {code: [Passage(d, "title", text) for d, text in zip(docids, texts, strict=True)] for code in CODES}
    answers = {code: [(f"word{docids[d][0]} word{docids[d][2]}",) for d in gold] for code in CODES}
    return ParallelData(docids, qids, gold, paragraphs, questions, answers, "version")


@pytest.fixture(scope="session")
def vectors(data: ParallelData) -> StudyVectors:
    """For each paragraph a topic, to which noise is added; norm 1. Some paragraphs have no generated questions."""
    draw = np.random.default_rng(3)
    topics = draw.normal(size=(len(data.docids), DIMENSION))

    def near(rows: np.ndarray, noise: float) -> np.ndarray:
        noisy = topics[rows] + noise * draw.normal(size=(len(rows), DIMENSION))
        return (noisy / np.linalg.norm(noisy, axis=-1, keepdims=True)).astype(np.float32)

    every, some = np.arange(len(data.docids)), np.arange(3, len(data.docids))
    sentences = np.repeat(every, 2)[1:]
    return StudyVectors(
        {code: near(every, 1.0) for code in CODES},
        {code: near(data.gold, 2.0) for code in CODES},
        {"en": OwnedVectors(near(sentences, 1.5), sentences, 100)},
        {code: OwnedVectors(near(some, 1.0), some, 50) for code in CODES},
        {code: OwnedVectors(near(some[1:], 1.0), some[1:], 40) for code in CODES},
        {code: OwnedVectors(near(every, 1.2), every, 70) for code in CODES[1:]},
        {code: OwnedVectors(near(every, 1.4), every, 30) for code in CODES[1:]},
    )


@pytest.fixture
def study() -> Study:
    """The study with all methods, on English paragraphs and three folds."""
    return dataclasses.replace(load_study(CODES, ("en",), generated=True, filtered=True, translated=True), folds=3)


def write_xquad(folder: Path, change: Callable[[dict[str, Any]], object] = lambda parsed: None) -> None:
    """Write XQuAD files of six made-up articles in three languages, after ``change`` of their parsed content."""
    parsed = {code: {"data": [_article(code, number) for number in range(6)]} for code in CODES}
    change(parsed)
    folder.mkdir(exist_ok=True)
    for code, content in parsed.items():
        (folder / f"xquad.{code}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _article(code: str, number: int) -> dict[str, Any]:
    """Two paragraphs, the first with white space around it, with one and two questions."""
    paragraphs = []
    for p in range(2):
        words = [f"{code}{'bdkmnr'[number]}{vowel}{p}" for vowel in "aeiou"]
        context = f"{' ' * (2 - p)}{' '.join(words)} ends here. {' '.join(reversed(words))} ends there.\n"
        questions = []
        for i in range(p + 1):
            answer = {"text": words[i + 1], "answer_start": context.index(words[i + 1])}
            questions.append({"id": f"{number}{p}{i}", "question": f"which {words[i]}?", "answers": [answer]})
        paragraphs.append({"context": context, "qas": questions})
    return {"title": f"Article_{number}", "paragraphs": paragraphs}


def use_xquad(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package read the XQuAD files in this folder, again each time and whatever their checksums."""
    monkeypatch.setenv("XQG_REPRO_DATA", str(folder))
    monkeypatch.setattr(DataFile, "_check", lambda self, path: None)

    def load(name: str, needs: Sequence[str] = ()) -> Any:
        return xquad.datasets().get(name) or local.load(name, needs)

    monkeypatch.setattr(collection, "load", load)


@pytest.fixture(scope="module")
def shared_xquad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of unchanged XQuAD files for all tests of a module."""
    folder = tmp_path_factory.mktemp("xquad") / "data"
    write_xquad(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_xquad(folder, monkeypatch)
        yield folder


@pytest.fixture
def changed_xquad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``changed_xquad(change)``: XQuAD files of this test's own."""
    use_xquad(tmp_path / "data", monkeypatch)
    return partial(write_xquad, tmp_path / "data")


@pytest.fixture(scope="session")
def encoder(model_folder: Callable[..., Path]) -> Path:
    """A tiny BERT whose tokenizer knows all characters of the XQuAD files."""
    texts = "query: passage: which en ar th abdeikmnoru01 Article 2345 ends here. there. ? Z"
    return model_folder("bert", seed=4, name="tiny", tokenizer=small_tokenizer([texts]))
