"""Readers: windows of tokens, the best span, answers to the questions of a run."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini, small_tokenizer

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import manifest_path
from xqg_repro.evaluation.evaluate import evaluate_answers
from xqg_repro.models.reader import FIRST, Span, SpanReader, Window, best_spans, cut, pad_windows, windows
from xqg_repro.models.settings import ReaderConfig, load_reader
from xqg_repro.retrieval.read import read
from xqg_repro.retrieval.runfile import Hit, write_run
from xqg_repro.train.mini.scratch import train_tokenizer
from xqg_repro.train.recipe import Family

TEXT = "The river Ob is long.  It flows north, to the Kara Sea, and freezes."


@pytest.fixture(scope="module", params=Family)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return train_tokenizer([TEXT, "Where does it flow? Куда она течёт?"] * 20, 90, request.param)


def config(model: str = "", **settings: Any) -> ReaderConfig:
    lengths = {"max_length": 24, "stride": 6, "question_max_length": 8, "answer_max_length": 5}
    return ReaderConfig(model, **(lengths | settings))


# windows


def test_windows_cover_the_passage_and_know_its_characters(tokenizer: Any) -> None:
    found = list(windows(tokenizer, ["Where does it flow?"], [TEXT], config()))
    assert len(found) > 1 and all(len(w) <= 24 and len(w) == len(w.inputs["input_ids"]) for w in found)
    seen = {i for w in found for at in w.offsets if at for i in range(*at)}
    assert seen >= {i for i, character in enumerate(TEXT) if not character.isspace()}
    for window in found:
        for at in filter(None, window.offsets):
            assert TEXT[at[0] : at[1]] == TEXT[at[0] : at[1]].strip()
    overlap = {at for at in found[0].offsets if at} & {at for at in found[1].offsets if at}
    assert len(overlap) == 6


def test_windows_name_their_pair_and_padding_changes_nothing(tokenizer: Any) -> None:
    found = list(windows(tokenizer, ["Where?", "Why?"], ["Ob", TEXT], config()))
    assert [w.pair for w in found] == sorted(w.pair for w in found) and {w.pair for w in found} == {0, 1}
    batch = pad_windows(tokenizer, found)
    assert {t.shape for t in batch.values()} == {(len(found), max(map(len, found)))}
    assert batch["input_ids"][0, : len(found[0])].tolist() == found[0].inputs["input_ids"]
    assert batch["attention_mask"][0].sum() == len(found[0])


def test_a_long_question_is_cut_and_leaves_room_for_the_passage(tokenizer: Any) -> None:
    short = cut(tokenizer, "Where does it flow? " * 10, 8)
    assert len(tokenizer(short, add_special_tokens=False)["input_ids"]) == 8
    assert cut(tokenizer, "", 8) == ""
    assert len(list(windows(tokenizer, ["Where does it flow? " * 10], [TEXT], config()))) > 1


@pytest.mark.parametrize("answer", ["Ob", "Kara Sea", "north", "freezes.", "The river"])
def test_an_answer_is_located_in_the_windows_that_hold_it_whole(tokenizer: Any, answer: str) -> None:
    start = TEXT.index(answer)
    places = [
        (window, window.locate(start, start + len(answer)))
        for window in windows(tokenizer, ["Where?"], [TEXT], config())
    ]
    located = [(window, place) for window, place in places if place != (FIRST, FIRST)]
    assert located
    for window, (first, last) in located:
        held = TEXT[window.offsets[first][0] : window.offsets[last][1]]
        assert answer in held and len(held) < len(answer) + 8
    for window in (window for window, place in places if place == (FIRST, FIRST)):
        seen = {i for at in window.offsets if at for i in range(*at)}
        assert not seen >= {i for i in range(start, start + len(answer)) if not TEXT[i].isspace()}


def test_an_answer_that_a_window_cuts_is_not_in_it() -> None:
    window = Window(0, {}, [None, None, (0, 2), (3, 5), None])
    assert window.locate(0, 5) == (2, 3) and window.locate(3, 4) == (3, 3)
    assert window.locate(3, 9) == window.locate(6, 9) == (FIRST, FIRST)


# the best span


def slow_best(window: Window, start: list[float], end: list[float], longest: int) -> Span | None:
    mine = [i for i, at in enumerate(window.offsets) if at and at[1] > at[0]]
    spans = [(start[i] + end[j], -i, -j) for i in mine for j in mine if i <= j < i + longest]
    if not spans:
        return None
    score, i, j = max(spans)
    return Span(window.offsets[-i][0], window.offsets[-j][1], score - start[0] - end[0])


def test_best_span_is_that_of_the_plain_definition() -> None:
    draw = np.random.default_rng(5)
    for _ in range(200):
        size = int(draw.integers(1, 9))
        at = np.cumsum(draw.integers(1, 4, size + 1))
        offsets: list = [None, None, *((int(a), int(b)) for a, b in pairwise(at)), None]
        if size > 2 and draw.random() < 0.3:
            offsets[3] = (offsets[3][0], offsets[3][0])  # a token without a character
        window = Window(0, {}, offsets)
        start, end = (torch.tensor(draw.normal(size=len(offsets)), dtype=torch.float32) for _ in range(2))
        longest = int(draw.integers(1, 5))
        (found,) = best_spans([window], start[None], end[None], longest)
        expected = slow_best(window, start.tolist(), end.tolist(), longest)
        assert found[:2] == expected[:2] and found.score == pytest.approx(expected.score, abs=1e-5)


def test_a_window_without_passage_tokens_has_no_span() -> None:
    without, short = Window(0, {}, [None, None, (3, 3)]), Window(1, {}, [None, (0, 2)])
    logits = torch.tensor([[0.0, 1.0, 1.0], [0.0, 2.0, 9.0]])  # the last is padding
    assert best_spans([without, short], logits, logits, 5) == [None, Span(0, 2, 4.0)]


# the reader and the stage


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


@pytest.fixture(scope="module")
def reader(reader_folder: Path) -> SpanReader:
    return SpanReader(config(str(reader_folder)), "cpu")


def test_a_span_is_the_same_alone_and_in_any_batch(mini_data: Mini, reader: SpanReader) -> None:
    texts = [text for _, _, text in mini_data.passages[:12]]
    questions = [text.split()[0] for text in texts]
    told: list[int] = []
    together = reader.read(questions, texts, told.append)
    assert sum(told) == 12
    for question, text, span in zip(questions, texts, together, strict=True):
        (alone,) = reader.read([question], [text])
        assert alone[:2] == span[:2] and alone.score == pytest.approx(span.score, abs=1e-4)
        assert 0 <= span.start < span.end <= len(text) and text[span.start : span.end].strip()


def test_a_passage_without_text_has_no_span(reader: SpanReader) -> None:
    assert reader.read(["ban"], [""]) == reader.read(["ban"], ["   "]) == [None]
    assert reader.read([], []) == []


def test_the_best_of_several_windows_counts(reader: SpanReader, mini_data: Mini) -> None:
    text = " ".join(text for _, _, text in mini_data.passages[:3])
    every = list(windows(reader._tokenizer, ["ban"], [text], reader.config))
    assert len(every) > 3
    (span,) = reader.read(["ban"], [text])
    scores = []
    for window in every:
        with torch.inference_mode():
            output = reader._model(**pad_windows(reader._tokenizer, [window]))
        (best,) = best_spans([window], output.start_logits, output.end_logits, 5)
        scores.append(best.score)
    assert span.score == pytest.approx(max(scores), abs=1e-4)


@pytest.fixture
def run_file(mini_data: Mini, tmp_path: Path) -> Path:
    """Three passages for each question but the last; retrieval likes the first best."""
    ids = [docid for docid, *_ in mini_data.passages]
    run = {
        q["id"]: [Hit(ids[(4 * i + j) % 60], 3.0 - j) for j in range(3)] for i, q in enumerate(mini_data.questions[:-1])
    }
    write_run(run, tmp_path / "run.txt", "test")
    return tmp_path / "run.txt"


def answers_of(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_read_writes_answers_that_evaluate_scores(
    mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path
) -> None:
    settings = config(str(reader_folder))
    lines: list[str] = []
    found = read(run_file, mini_data.topics, settings, tmp_path / "answers.json", depth=3, device="cpu")
    answers = answers_of(found)
    assert [*answers] == [q["id"] for q in mini_data.questions]
    assert answers[mini_data.questions[-1]["id"]] == "" and all(list(answers.values())[:-1])
    scores = evaluate_answers(found, mini_data.topics)
    assert {*scores.per_query} == {"EM", "F1"} and len(scores.per_query["EM"]) == len(mini_data.questions)
    made = found.read_bytes()
    read(run_file, mini_data.topics, settings, found, depth=3, device="cpu")
    assert lines[-1].endswith("is up to date") and found.read_bytes() == made
    read(run_file, mini_data.topics, settings, found, depth=1, device="cpu")
    assert "wrote" in lines[-1] and manifest_path(found).exists()


def test_answer_is_the_best_of_span_and_retrieval_score(
    mini_data: Mini, reader_folder: Path, reader: SpanReader, run_file: Path, tmp_path: Path
) -> None:
    texts = [text for _, _, text in mini_data.passages]
    settings = config(str(reader_folder))
    differ = 0
    for weight in (0.0, 1.0, 1e6):
        path = tmp_path / f"{weight}.json"
        read(run_file, mini_data.topics, settings, path, depth=3, weight=weight, device="cpu")
        for i, question in enumerate(mini_data.questions[:-1]):
            some = [texts[(4 * i + j) % 60] for j in range(3)]
            spans = reader.read([question["question"]] * 3, some)
            best = max(range(3), key=lambda j: spans[j].score + weight * (3.0 - j))
            differ += best != 0
            assert answers_of(path)[question["id"]] == some[best][spans[best].start : spans[best].end]
    assert differ > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "a depth of 0 reads nothing"),
        ({"config": {"max_length": 65}}, "reads at most 64 tokens, but the maximum length is 65"),
        ({"topics": "xor-mini/dev"}, "the topics have no question 'q0'"),
        ({"topics": "test-mini"}, "has no dataset 'test-mini'"),
        ({"run": "none.txt"}, "none.txt: there is no such run"),
    ],
)
def test_what_cannot_be_read_is_refused(
    mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    settings = config(str(reader_folder), **change.get("config", {}))
    with pytest.raises(InputError, match=message):
        read(
            change.get("run", run_file),
            change.get("topics", mini_data.topics),
            settings,
            tmp_path / "answers.json",
            depth=change.get("depth", 1),
            device="cpu",
        )
    assert not (tmp_path / "answers.json").exists()


def test_an_encoder_is_no_reader(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="lacks 2 of the model's weights, such as qa_outputs"):
        SpanReader(config(str(tiny_model)), "cpu")


def test_a_passage_that_the_collection_lacks_is_named(mini_data: Mini, reader_folder: Path, tmp_path: Path) -> None:
    write_run({mini_data.questions[0]["id"]: [Hit("999", 1.0)]}, tmp_path / "run.txt", "test")
    with pytest.raises(InputError, match="the collection has no passage '999'"):
        read(tmp_path / "run.txt", mini_data.topics, config(str(reader_folder)), tmp_path / "a.json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 0}, "at least one token"),
        ({"max_length": 16}, "leave no room"),
        ({"precision": "float8"}, "precision is 'float8'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config("m", **settings)


def test_presets_are_read_and_unknown_ones_refused() -> None:
    assert load_reader("reader-mini").model == "package:reader-mini"
    with pytest.raises(InputError, match="reader preset 'mini'"):
        load_reader("mini")


def test_command_reads(mini_data: Mini, reader_folder: Path, run_file: Path, tmp_path: Path) -> None:
    start = ["read", "--run", str(run_file), "--topics", mini_data.topics, "--output", str(tmp_path / "a.json")]
    lengths = ["--max-length", "24", "--stride", "6", "--question-max-length", "8", "--answer-max-length", "5"]
    assert cli.main([*start, "--reader", str(reader_folder), *lengths, "--depth", "2", "--weight", "0.5"]) == 0
    note = json.loads(manifest_path(tmp_path / "a.json").read_text())
    assert note["parameters"]["weight"] == 0.5 and note["parameters"]["reader"]["answer_max_length"] == 5
    assert cli.main(start) == 2
