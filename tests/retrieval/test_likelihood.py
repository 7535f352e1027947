"""Runs reranked by the likelihood of the question."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import Mini

from retrieval.conftest import write_short_run
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.models.scorer import AskedPassage, QuestionScorer
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.retrieval.likelihood import rerank_by_likelihood
from xqg_repro.retrieval.runfile import Hit, read_run, write_run


@pytest.fixture
def config(tiny_generator: Path) -> ScorerConfig:
    return ScorerConfig(str(tiny_generator))


@pytest.fixture
def run_file(mini_data: Mini, tmp_path: Path) -> Path:
    return write_short_run(mini_data, tmp_path / "run.txt", depth=6)


def test_the_first_passages_are_ordered_by_likelihood(
    mini_data: Mini, config: ScorerConfig, run_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "reranked.txt"
    rerank_by_likelihood(run_file, mini_data.topics, config, output, depth=4, device="cpu")
    before, after = read_run(run_file), read_run(output)
    assert list(after) == list(before)
    rows = {docid: (title, text) for docid, title, text in mini_data.passages}
    scorer = QuestionScorer(config, "cpu")
    for question in mini_data.questions[:-1]:
        docids = [hit.docid for hit in before[question["id"]][:4]]
        asked = [AskedPassage(question["lang"], *rows[docid], (question["question"],)) for docid in docids]
        scores = {docid: own[0] for docid, own in zip(docids, scorer.score(asked).scores, strict=True)}
        hits = after[question["id"]]
        assert [hit.docid for hit in hits] == sorted(docids, key=lambda docid: -scores[docid])
        assert [hit.score for hit in hits] == pytest.approx([scores[hit.docid] for hit in hits], abs=1e-5)
    described = yaml.safe_load((tmp_path / "reranked.txt.yaml").read_text())["method"]["retrieval"][0]
    assert (described["name"], described["reranks"]) == ("query likelihood", "run.txt")
    changed = sum(after[qid][0].docid != before[qid][0].docid for qid in after)
    assert f"questions with another first passage {changed})" in caplog.messages[-1] and changed
    rerank_by_likelihood(run_file, mini_data.topics, config, output, depth=4, device="cpu")
    assert caplog.messages[-1].endswith("is up to date")


def test_topics_in_a_file_have_the_language_of_their_script_and_passages_elsewhere(
    mini_data: Mini, config: ScorerConfig, run_file: Path, tmp_path: Path
) -> None:
    questions = {"q0": "Где находится ban?", "q1": "어디에 있습니까 ban?"}
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"{qid}\t{text}\n" for qid, text in questions.items()), encoding="utf-8")
    options = ["--topics", str(topics), "--collection", mini_data.docs, "--depth", "2", "--device", "cpu"]
    command = ["rerank", "likelihood", "--run", str(run_file), "--generator", config.model, *options]
    assert cli.main([*command, "--output", str(tmp_path / "out.txt")]) == 0
    after = read_run(tmp_path / "out.txt")
    rows = {docid: (title, text) for docid, title, text in mini_data.passages}
    assert list(after) == [*questions]
    for (qid, text), language in zip(questions.items(), ("ru", "ko"), strict=True):
        asked = [AskedPassage(language, *rows[hit.docid], (text,)) for hit in after[qid]]
        expected = [own[0] for own in QuestionScorer(config, "cpu").score(asked).scores]
        assert [hit.score for hit in after[qid]] == pytest.approx(expected, abs=1e-5)


def test_bad_runs_and_topics_are_refused(mini_data: Mini, config: ScorerConfig, run_file: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "topics.tsv"
    unknown.write_text("q0\tMissä?\n", encoding="utf-8")
    write_run({"q0": [Hit("none", 1.0)]}, tmp_path / "other.txt", "test")
    for run, topics, settings, message in (
        (tmp_path / "nope.txt", mini_data.topics, {}, r"nope.txt: no such run"),
        (run_file, mini_data.topics, {"depth": 0}, "depth of 0"),
        (run_file, str(unknown), {"passages": mini_data.docs}, "unknown language of the question"),
        (run_file, str(unknown), {}, "has no passages"),
        (tmp_path / "other.txt", mini_data.topics, {}, "has no passage 'none'"),
    ):
        with pytest.raises(InputError, match=message):
            rerank_by_likelihood(run, topics, config, tmp_path / "out.txt", device="cpu", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "out.txt").exists()
