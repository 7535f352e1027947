"""The study with machine-made texts, readers, losses and fold encoders, from the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import contents

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import write_array
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.study import fold_encoders as fold_encoders_module, run as run_module
from xqg_repro.study.answer import answer_text, verdict
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.fold_encoders import assign_folds
from xqg_repro.study.folds import split_articles
from xqg_repro.study.rank import EncoderView, score_methods, score_views
from xqg_repro.study.run import StudyInputs
from xqg_repro.study.settings import Study
from xqg_repro.study.sources import cached_sums
from xqg_repro.study.summary import QuestionAnswer, StudySummary, read_summary
from xqg_repro.study.tables import part, part_names
from xqg_repro.study.training_folds import write_folds
from xqg_repro.study.vectors import StudyVectors

from .conftest import CODES
from .made import DOCIDS, make_all_spans, write_generated, write_translated

FIRST, SECOND = DOCIDS[:6], DOCIDS[6:]


@pytest.fixture(scope="module")
def options(shared_xquad: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two halves of queries and translations, the best queries, losses, and spans of readers."""
    folder = tmp_path_factory.mktemp("made")
    losses = folder / "losses.json"
    losses.write_text(json.dumps({"question": {"ar": {"loss": 1.5, "tokens": 10}}}))
    write_array(folder / "spans.npy", make_all_spans(load_data(CODES)))
    return [
        "--generated",
        str(write_generated(folder / "g0", FIRST, tokens=7)),
        str(write_generated(folder / "g1", SECOND, tokens=8)),
        "--filtered",
        str(write_generated(folder / "f0", FIRST, (1,), stage="filter")),
        str(write_generated(folder / "f1", SECOND, (2, 0), stage="filter")),
        "--translated",
        str(write_translated(folder / "t0", FIRST)),
        str(write_translated(folder / "t1", SECOND)),
        *("--losses", str(losses), "--spans", str(folder / "spans.npy")),
    ]


def run(folder: Path, encoder: Path, options: Sequence[str]) -> int:
    command = ["study", "--encoder", str(encoder), "--pooling", "cls", "--languages", *CODES, "--device", "cpu"]
    return cli.main([*command, *options, "--output", str(folder)])


@pytest.fixture(scope="module")
def folder(options: list[str], encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    folder = tmp_path_factory.mktemp("study") / "out"
    assert run(folder, encoder, options) == 0
    return folder


@pytest.fixture(scope="module")
def summary(folder: Path) -> StudySummary:
    return read_summary(folder / "results")


def test_the_question_is_asked_in_four_ways(summary: StudySummary) -> None:
    assert {answer.measure for answer in summary.answers} == {"R@1", "RR", "EM", "F1"}
    ways = list(dict.fromkeys(answer.way for answer in summary.answers))
    assert len(ways) == 4 and "queries against translations at equal cost" in ways
    tests = {(t.measure, t.method, t.other): t for t in summary.mixed if not t.group}
    for answer in summary.answers:
        test = tests[answer.measure, answer.method, answer.other]
        assert (answer.difference, answer.low, answer.high) == (test.difference, test.low, test.high)
        assert (answer.p, answer.questions) == (test.p_articles, summary.counts["questions"])
        assert answer.needed is None or (not answer.is_decided and answer.needed > 0)
        if not answer.is_decided and answer.difference:
            assert answer.needed
    assert any(answer.needed for answer in summary.answers)


def test_costs_are_those_of_the_stored_texts(summary: StudySummary) -> None:
    costs = {cost.method: cost for cost in summary.costs}
    assert (costs["generated-all"].vectors, costs["filtered-all"].vectors) == (12 * 3 * 3, 3 * (6 + 2 * 6))
    assert costs["translations-own"].vectors == costs["translations-cut-all"].vectors == 2 * 12
    assert costs["translations-cut-all"].characters < costs["translations-all"].characters
    assert costs["machine-both-own"].vectors == 12 * 3 * 3 + 2 * 12
    by_language = {cost.language: cost for cost in summary.budget}
    assert set(by_language) == {*CODES} and by_language["ar"].queries == 3
    # five queries' words in a translation, three in the queries
    assert by_language["ar"].cut_tokens == by_language["ar"].query_tokens
    assert by_language["ar"].translation_tokens == pytest.approx(by_language["ar"].query_tokens * 5 / 3)
    assert summary.written == {"generated": {"tokens": 15, "seconds": 30}}


def test_the_report_has_the_answer_tables_and_figures(folder: Path, summary: StudySummary) -> None:
    names = part_names(summary)
    assert names[0] == "answer" and {"answers-RR", "answers-F1", "budget", "written"} <= {*names}
    assert not {"trends-RR", "encoders-RR"} & {*names}  # two languages are too few, and there are no fold encoders
    files = contents(folder / "results")
    assert {"answers.RR.svg", "answers.F1.svg"} <= files.keys() and "trends.RR.svg" not in files
    assert part(summary, "answer") in files["report.md"].decode()
    assert "generated-own − translations-cut-own" in part(summary, "answers-RR")


def test_the_answer_follows_the_numbers(summary: StudySummary) -> None:
    def told(difference: float, margin: float, needed: int | None = None) -> str:
        changed = []
        for answer in summary.answers:
            limits = {"low": difference - margin, "high": difference + margin}
            changed.append(dataclasses.replace(answer, difference=difference, needed=needed, **limits))
        return answer_text(dataclasses.replace(summary, answers=tuple(changed)))

    assert "machine-made **queries beat translations**" in told(0.02, 0.01)
    assert "machine-made **translations beat queries**" in told(-0.02, 0.01)
    undecided = told(0.01, 0.02, needed=12_345)
    assert "**neither queries nor translations win**" in undecided
    assert "open: about 12,345 questions would decide" in undecided
    assert [line[:3] for line in undecided.splitlines()] == ["1. ", "2. ", "3. ", "4. "]  # there are no trends
    answer = QuestionAnswer("", "RR", "a", "b", 0.1, 0.05, 0.15, 0.0001, 9, None)
    assert verdict(answer) == "+10.0 points (95 % interval +5.0 to +15.0, p <0.001)"


def test_equal_texts_from_other_folders_give_the_same_study(
    folder: Path, options: list[str], encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_generated(tmp_path / "whole", tokens=15)
    start, end = options.index("--generated"), options.index("--filtered")
    caplog.set_level("INFO")
    assert run(folder, encoder, ["--generated", str(whole), *options[end:]]) == 0
    assert f"study: {folder / 'results'} is up to date" in caplog.messages
    assert start == 0


def test_studies_without_machine_made_texts_are_as_before(
    folder: Path, options: list[str], encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "write_figures", lambda summary, folder: None)
    shutil.copytree(folder / "embeddings", tmp_path / "out" / "embeddings")
    assert run(tmp_path / "out", encoder, options[-2:]) == 0
    results = tmp_path / "out" / "results"
    keys = json.loads((results / "study.json").read_text(encoding="utf-8")).keys()
    assert not {"answers", "budget", "written", "trends", "fold_encoders"} & keys
    manifest = json.loads((results / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"].keys() == {"collection", "model", "queries", "translations", "readers", "spans"}
    assert not {"question", "trends"} & manifest["parameters"]["study"].keys()


def test_options_that_need_each_other(options: list[str]) -> None:
    with pytest.raises(InputError, match="--filtered needs --generated"):
        StudyInputs(filtered=["f"])
    with pytest.raises(InputError, match="--fold-encoders needs --folds"):
        StudyInputs(folds="f")


def test_each_question_is_measured_by_its_folds_encoder(
    study: Study, data: ParallelData, vectors: StudyVectors
) -> None:
    noise = np.random.default_rng(9)
    blurred = {c: (v + noise.normal(size=v.shape)).astype(np.float32) for c, v in vectors.paragraphs.items()}
    other = dataclasses.replace(vectors, paragraphs=blurred)
    rows = [np.flatnonzero(data.articles < 3), np.flatnonzero(data.articles >= 3)]
    views = [EncoderView(v, cached_sums(data, v), r) for v, r in zip((vectors, other), rows, strict=True)]
    mixed = score_views(study, data, views, True)
    alone = [score_methods(study, data, v, True, cached_sums(data, v)) for v in (vectors, other)]
    for pair in study.pairs:  # passages alone have no setting, so each question has the rank that its encoder gives
        for own, by_one in zip(rows, alone, strict=True):
            np.testing.assert_array_equal(mixed.ranks[pair]["none"][own], by_one.ranks[pair]["none"][own])
            np.testing.assert_array_equal(mixed.top[pair]["none"].rows[own], by_one.top[pair]["none"].rows[own])
    assert (mixed.ranks["en", "ar"]["none"] != alone[0].ranks["en", "ar"]["none"]).any()


def test_fold_encoders_are_a_column(
    folder: Path,
    options: list[str],
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_folds(tmp_path / "folds", CODES, folds=2)
    shutil.copytree(encoder, tmp_path / "other")
    from safetensors.numpy import load_file, save_file

    weights = load_file(tmp_path / "other" / "model.safetensors")
    draw = np.random.default_rng(0)
    save_file(
        {k: (v + 0.5 * draw.normal(size=v.shape)).astype(v.dtype) for k, v in weights.items()},
        tmp_path / "other" / "model.safetensors",
        {"format": "pt"},
    )
    checked = []
    monkeypatch.setattr(fold_encoders_module, "check_training", lambda config, folds, fold: checked.append(fold))
    more = ["--fold-encoders", str(encoder), str(tmp_path / "other"), "--folds", str(tmp_path / "folds")]
    shutil.copytree(folder / "embeddings", tmp_path / "out" / "embeddings")
    assert run(tmp_path / "out", encoder, [*options, *more]) == 0
    assert checked == [0, 1]
    summary = read_summary(tmp_path / "out" / "results")
    trained = summary.fold_encoders
    assert trained is not None and len(set(trained.models)) == 2
    assert {test.measure for test in trained.mixed} == {"R@1", "RR"} and not any(test.group for test in trained.mixed)
    assert "trained on folds" in part(summary, "encoders-RR")

    # the ranks of passages alone, with each question by the encoder of its fold
    data = load_data(CODES)
    fold = split_articles(data.articles, 2, 42)
    expected = np.zeros(len(fold))
    for number, model in enumerate((encoder, tmp_path / "other")):
        text_encoder = TextEncoder(EncoderConfig(str(model)), "cpu")
        docs = data.paragraphs["en"]
        paragraphs = text_encoder.encode_passages([doc.title for doc in docs], [doc.text for doc in docs])
        scores = text_encoder.encode_queries(data.questions["ar"]).astype(np.float64) @ paragraphs.T
        own = scores[np.arange(len(fold)), data.gold][:, None]
        expected[fold == number] = 1 / (scores >= own - 1e-6).sum(axis=1)[fold == number]
    assert trained.means["RR"]["en/ar"]["none"] == pytest.approx(expected.mean(), abs=1e-6)


def test_fold_encoders_must_be_those_of_the_folds(shared_xquad: Path, encoder: Path, tmp_path: Path) -> None:
    write_folds(tmp_path / "folds", CODES, folds=2)
    config, data = EncoderConfig(str(encoder)), load_data(CODES)
    with pytest.raises(InputError, match="has 2 folds, but there are 1 fold encoders"):
        assign_folds([config], tmp_path / "folds", data)
    with pytest.raises(InputError, match="is not the output of a stage"):  # nobody trained it
        assign_folds([config, config], tmp_path / "folds", data)
