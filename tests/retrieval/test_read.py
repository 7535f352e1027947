"""Answers to the questions of a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Mini
from model_fixtures import small_tokenizer

from retrieval.conftest import write_short_run
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import manifest_path
from xqg_repro.evaluation.evaluate import evaluate_answers
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.retrieval.read import read
from xqg_repro.retrieval.runfile import Hit, write_run


def config(model: str = "", **settings: Any) -> ReaderConfig:
    lengths = {"max_length": 24, "stride": 6, "question_max_length": 8, "answer_max_length": 5}
    return ReaderConfig(model, **(lengths | settings))


@pytest.fixture(scope="module")
def reader_folder(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT for question answering."""
    import transformers

    tokenizer = small_tokenizer(f"{title} {text}" for _, title, text in mini_data.passages)
    torch.manual_seed(4)
    shape = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("reader") / "reader"
    transformers.BertForQuestionAnswering(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run_file(mini_data: Mini, tmp_path: Path) -> Path:
    return write_short_run(mini_data, tmp_path / "run.txt", depth=3)


def answers_in(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_answers_can_be_scored_and_are_reused(
    mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(str(reader_folder))
    path = read(run_file, mini_data.topics, settings, tmp_path / "answers.json", depth=3, device="cpu")
    answers = answers_in(path)
    assert list(answers) == [question["id"] for question in mini_data.questions]
    assert answers[mini_data.questions[-1]["id"]] == "" and all(list(answers.values())[:-1])
    scores = evaluate_answers(path, mini_data.topics)
    assert {*scores.per_query} == {"EM", "F1"} and scores.count("EM") == len(mini_data.questions)
    written = path.read_bytes()
    read(run_file, mini_data.topics, settings, path, depth=3, device="cpu")
    assert caplog.messages[-1].endswith("is up to date") and path.read_bytes() == written
    read(run_file, mini_data.topics, settings, path, depth=1, device="cpu")
    assert "wrote" in caplog.messages[-1] and manifest_path(path).exists()


def test_the_answer_has_the_highest_sum_of_span_and_retrieval_score(
    mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path
) -> None:
    texts = [text for _, _, text in mini_data.passages]
    settings = config(str(reader_folder))
    reader = SpanReader(settings, "cpu")
    not_the_first = 0
    for weight in (0.0, 1.0, 1e6):
        path = tmp_path / f"{weight}.json"
        read(run_file, mini_data.topics, settings, path, depth=3, weight=weight, device="cpu")
        for i, question in enumerate(mini_data.questions[:-1]):
            passages = [texts[(4 * i + j) % 60] for j in range(3)]
            spans = reader.read([question["question"]] * 3, passages)
            best = max(range(3), key=lambda j: spans[j].score + weight * (3.0 - j))
            not_the_first += best != 0
            assert answers_in(path)[question["id"]] == passages[best][spans[best].start : spans[best].end]
    assert not_the_first > 0


def test_a_changed_reader_is_loaded_again(mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path) -> None:
    import transformers

    folder = shutil.copytree(reader_folder, tmp_path / "reader")
    path = read(run_file, mini_data.topics, config(str(folder)), tmp_path / "answers.json", device="cpu")
    before = answers_in(path)
    torch.manual_seed(5)
    other = transformers.BertConfig.from_pretrained(folder)
    transformers.BertForQuestionAnswering(other).save_pretrained(folder)
    assert answers_in(read(run_file, mini_data.topics, config(str(folder)), path, device="cpu")) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth of 0"),
        ({"config": config("", max_length=65)}, "64 tokens"),
        ({"topics": "xor-mini/dev"}, "no question 'q0'"),
        ({"run": "none.txt"}, "none.txt: no such run"),
    ],
)
def test_bad_input_is_refused(
    mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options = {"run": run_file, "topics": mini_data.topics, "config": config(), **change}
    options["config"] = dataclasses.replace(options["config"], model=str(reader_folder))
    with pytest.raises(InputError, match=message):
        read(output=tmp_path / "answers.json", device="cpu", **options)
    assert not (tmp_path / "answers.json").exists()


def test_a_passage_that_the_collection_lacks_is_named(mini_data: Mini, reader_folder: Path, tmp_path: Path) -> None:
    write_run({mini_data.questions[0]["id"]: [Hit("999", 1.0)]}, tmp_path / "run.txt", "test")
    with pytest.raises(InputError, match="no passage '999'"):
        read(tmp_path / "run.txt", mini_data.topics, config(str(reader_folder)), tmp_path / "a.json")


def test_the_command_reads(mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path) -> None:
    start = ["read", "--run", str(run_file), "--topics", mini_data.topics, "--output", str(tmp_path / "a.json")]
    lengths = ["--max-length", "24", "--stride", "6", "--question-max-length", "8", "--answer-max-length", "5"]
    assert cli.main([*start, "--reader", str(reader_folder), *lengths, "--depth", "2", "--weight", "0.5"]) == 0
    parameters = json.loads(manifest_path(tmp_path / "a.json").read_text())["parameters"]
    assert parameters["weight"] == 0.5 and parameters["reader"]["answer_max_length"] == 5
    assert cli.main(start) == 2
