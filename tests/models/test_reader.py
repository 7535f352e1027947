"""Readers: windows of tokens and the best span."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini
from model_fixtures import small_tokenizer

from xqg_repro.core.errors import InputError
from xqg_repro.models.reader import FIRST, Span, SpanReader, Window, best_spans, cut, pad_windows, windows
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.train.architecture import Family
from xqg_repro.train.mini.scratch import train_tokenizer

TEXT = "The river Ob is long.  It flows north, to the Kara Sea, and freezes."


@pytest.fixture(scope="module", params=Family)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return train_tokenizer([TEXT, "Where does it flow? Куда она течёт?"] * 20, 90, request.param)


def config(model: str = "", **settings: Any) -> ReaderConfig:
    lengths = {"max_length": 24, "stride": 6, "question_max_length": 8, "answer_max_length": 5}
    return ReaderConfig(model, **(lengths | settings))


def covered(window: Window) -> set[int]:
    """The characters of a window's tokens."""
    return {i for at in window.offsets if at for i in range(*at)}


# windows


def test_windows_cover_the_passage_and_know_its_characters(tokenizer: Any) -> None:
    parts = list(windows(tokenizer, ["Where does it flow?"], [TEXT], config()))
    assert len(parts) > 1 and all(len(w) <= 24 and len(w) == len(w.inputs["input_ids"]) for w in parts)
    assert set().union(*map(covered, parts)) >= {i for i, character in enumerate(TEXT) if not character.isspace()}
    for at in (at for window in parts for at in window.offsets if at):
        assert TEXT[at[0] : at[1]] == TEXT[at[0] : at[1]].strip()
    assert len({at for at in parts[0].offsets if at} & {at for at in parts[1].offsets if at}) == 6


def test_windows_name_their_pair_and_padding_changes_nothing(tokenizer: Any) -> None:
    parts = list(windows(tokenizer, ["Where?", "Why?"], ["Ob", TEXT], config()))
    assert [w.pair for w in parts] == sorted(w.pair for w in parts) and {w.pair for w in parts} == {0, 1}
    batch = pad_windows(tokenizer, parts)
    assert {t.shape for t in batch.values()} == {(len(parts), max(map(len, parts)))}
    assert batch["input_ids"][0, : len(parts[0])].tolist() == parts[0].inputs["input_ids"]
    assert batch["attention_mask"][0].sum() == len(parts[0])


def test_a_long_question_is_truncated_and_leaves_room_for_the_passage(tokenizer: Any) -> None:
    short = cut(tokenizer, "Where does it flow? " * 10, 8)
    assert len(tokenizer(short, add_special_tokens=False)["input_ids"]) == 8
    assert cut(tokenizer, "", 8) == ""
    assert len(list(windows(tokenizer, ["Where does it flow? " * 10], [TEXT], config()))) > 1


def test_an_answer_is_located_in_the_windows_that_hold_it_whole(tokenizer: Any) -> None:
    start, end = TEXT.index("Kara"), TEXT.index(",", TEXT.index("Kara"))
    characters = {i for i in range(start, end) if TEXT[i] != " "}
    located = 0
    for window in windows(tokenizer, ["Where?"], [TEXT], config()):
        first, last = window.locate(start, end)
        if first == FIRST:
            assert not covered(window) >= characters
        else:
            located += 1
            assert "Kara Sea" in TEXT[window.offsets[first][0] : window.offsets[last][1]] in "the Kara Sea,"
    assert located


def test_an_answer_that_a_window_cuts_is_not_in_it() -> None:
    window = Window(0, {}, [None, None, (0, 2), (3, 5), None])
    assert window.locate(0, 5) == (2, 3) and window.locate(3, 4) == (3, 3)
    assert window.locate(3, 9) == window.locate(6, 9) == (FIRST, FIRST)


# the best span


def slow_best(window: Window, start: list[float], end: list[float], longest: int) -> Span | None:
    usable = [i for i, at in enumerate(window.offsets) if at and at[1] > at[0]]
    spans = [(start[i] + end[j], -i, -j) for i in usable for j in usable if i <= j < i + longest]
    if not spans:
        return None
    score, i, j = max(spans)
    return Span(window.offsets[-i][0], window.offsets[-j][1], score - start[0] - end[0])


def test_best_span_is_that_of_the_plain_definition() -> None:
    draw = np.random.default_rng(5)
    for _ in range(100):
        size = int(draw.integers(1, 9))
        at = np.cumsum(draw.integers(1, 4, size + 1))
        offsets: list = [None, None, *((int(a), int(b)) for a, b in pairwise(at)), None]
        if size > 2 and draw.random() < 0.3:
            offsets[3] = (offsets[3][0], offsets[3][0])  # a token without a character
        window = Window(0, {}, offsets)
        start, end = (torch.tensor(draw.normal(size=len(offsets)), dtype=torch.float32) for _ in range(2))
        longest = int(draw.integers(1, 5))
        (span,) = best_spans([window], start[None], end[None], longest)
        expected = slow_best(window, start.tolist(), end.tolist(), longest)
        assert span[:2] == expected[:2] and span.score == pytest.approx(expected.score, abs=1e-5)


def test_a_window_without_passage_tokens_has_no_span() -> None:
    without, short = Window(0, {}, [None, None, (3, 3)]), Window(1, {}, [None, (0, 2)])
    logits = torch.tensor([[0.0, 1.0, 1.0], [0.0, 2.0, 9.0]])  # the last is padding
    assert best_spans([without, short], logits, logits, 5) == [None, Span(0, 2, 4.0)]


# the reader


@pytest.fixture(scope="module")
def reader(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> SpanReader:
    """A tiny random BERT for question answering."""
    import transformers

    tokenizer = small_tokenizer(f"{title} {text}" for _, title, text in mini_data.passages)
    torch.manual_seed(4)
    shape = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = transformers.BertConfig(**shape, max_position_embeddings=64, initializer_range=0.3)
    folder = tmp_path_factory.mktemp("reader") / "reader"
    transformers.BertForQuestionAnswering(bert).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SpanReader(config(str(folder)), "cpu")


def test_a_span_is_the_same_alone_and_in_any_batch(mini_data: Mini, reader: SpanReader) -> None:
    texts = [text for _, _, text in mini_data.passages[:8]]
    questions = [text.split()[0] for text in texts]
    progress: list[int] = []
    spans = reader.read(questions, texts, progress.append)
    assert sum(progress) == 8
    for question, text, span in zip(questions, texts, spans, strict=True):
        (alone,) = reader._read([question], [text])
        assert alone[:2] == span[:2] and alone.score == pytest.approx(span.score, abs=1e-4)
        assert 0 <= span.start < span.end <= len(text) and text[span.start : span.end].strip()


def test_a_pair_is_read_once(mini_data: Mini, reader: SpanReader, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, sizes, compute = [text for _, _, text in mini_data.passages[:4]], [], reader._read

    def count(questions: Sequence[str], passages: Sequence[str]) -> list[Span | None]:
        sizes.append(len(questions))
        return compute(questions, passages)

    monkeypatch.setattr(reader, "_known", {})
    monkeypatch.setattr(reader, "_read", count)
    progress: list[int] = []
    first = reader.read(["ban", "ban", "ban"], [texts[0], texts[1], texts[0]], progress.append)
    again = reader.read(["ban", "dón"], [texts[1], texts[1]], progress.append)
    assert sizes == [2, 1] and progress == [1, 2, 1, 1]
    assert first[0] == first[2] != first[1] == again[0]
    monkeypatch.setattr("xqg_repro.models.reader.REMEMBERED", 2)
    assert reader.read(["ban"], [texts[1]])[0] == pytest.approx(first[1], abs=1e-4)
    assert sizes == [2, 1, 1]


def test_a_passage_without_text_has_no_span(reader: SpanReader) -> None:
    assert reader.read(["ban"], [""]) == reader.read(["ban"], ["   "]) == [None]
    assert reader.read([], []) == []


def test_the_best_of_several_windows_counts(reader: SpanReader, mini_data: Mini) -> None:
    text = " ".join(text for _, _, text in mini_data.passages[:3])
    parts = list(windows(reader._tokenizer, ["ban"], [text], reader.config))
    assert len(parts) > 3
    scores = []
    for window in parts:
        with torch.inference_mode():
            output = reader._model(**pad_windows(reader._tokenizer, [window]))
        (best,) = best_spans([window], output.start_logits, output.end_logits, 5)
        scores.append(best.score)
    (span,) = reader.read(["ban"], [text])
    assert span.score == pytest.approx(max(scores), abs=1e-4)


def test_a_length_beyond_the_models_is_refused(reader: SpanReader) -> None:
    with pytest.raises(InputError, match="reads at most 64 tokens, but the maximum length is 65"):
        SpanReader(config(reader.config.model, max_length=65), "cpu")
