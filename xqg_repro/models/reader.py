"""Extractive readers: a model that marks the answer to a question in a passage.

A passage that is too long for the model is read in overlapping windows of tokens. Training and reading share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.models.architectures import check_length, explain_failure
from xqg_repro.models.loading import TOKENS_PER_BATCH, open_model, token_batches
from xqg_repro.models.settings import ReaderConfig

if TYPE_CHECKING:
    import torch

FIRST = 0
"""The position of a window's first token, which stands for *no answer here*."""
PAIRS_AT_ONCE = 2048
REMEMBERED = 100_000
"""About how many pairs of question and passage a reader remembers."""
SEEN = "questions.txt"
"""File in a reader's folder: the ids of the questions that it was trained on, one per line, for reports of scores."""


@dataclass(frozen=True)
class Window:
    """The tokens of a question and of a part of its passage.

    Attributes:
        pair: index of the pair of question and passage.
        inputs: the model's inputs by name (``input_ids``, …): integers, length T each, not padded.
        offsets: for each token of the passage, its characters (start, end); ``None`` for all other tokens.
    """

    pair: int
    inputs: dict[str, list[int]]
    offsets: list[tuple[int, int] | None]

    def __len__(self) -> int:
        return len(self.offsets)

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """First and last token of the characters from ``start`` to ``end``; :data:`FIRST` twice if not all inside."""
        inside = [(i, at) for i, at in enumerate(self.offsets) if at and at[0] < end and at[1] > start]
        if not inside:
            return FIRST, FIRST
        (first, (begin, _)), (last, (_, finish)) = inside[0], inside[-1]
        return (first, last) if begin <= start and finish >= end else (FIRST, FIRST)


class Span(NamedTuple):
    """A part of a passage, from character ``start`` to ``end``, and its score as an answer."""

    start: int
    end: int
    score: float


def windows(
    tokenizer: Any, questions: Sequence[str], passages: Sequence[str], config: ReaderConfig
) -> Iterator[Window]:
    """The windows of pairs of a question and a passage, in the order of the pairs.

    The tokenizer must be a fast one, because only these report the characters of tokens.
    """
    encoded = tokenizer(
        [cut(tokenizer, question, config.question_max_length) for question in questions],
        list(passages),
        truncation="only_second",
        max_length=config.max_length,
        stride=config.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=True,
    )
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded]
    for number, pair in enumerate(encoded["overflow_to_sample_mapping"]):
        parts = encoded.sequence_ids(number)  # 0 for the question, 1 for the passage
        offsets = [
            _without_space(passages[pair], *characters) if part == 1 else None
            for characters, part in zip(encoded["offset_mapping"][number], parts, strict=True)
        ]
        yield Window(pair, {name: encoded[name][number] for name in names}, offsets)


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """A token's characters, without the leading space that some tokenizers include."""
    return end - len(text[start:end].lstrip()), end


def cut(tokenizer: Any, text: str, limit: int) -> str:
    """The text up to the end of its first ``limit`` tokens."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"][:limit]
    return text[: offsets[-1][1]] if offsets else text


def pad_windows(tokenizer: Any, batch: Sequence[Window]) -> dict[str, Any]:
    """Windows as one batch of tensors, each int64 of shape (windows, T)."""
    inputs = {name: [window.inputs[name] for window in batch] for name in batch[0].inputs}
    return dict(tokenizer.pad(inputs, return_tensors="pt"))


def check_reader(tokenizer: Any, model: Any, config: ReaderConfig, folder: Path) -> None:
    """Raise :class:`InputError` unless a model can read a passage with ``max_length`` tokens, with a fast tokenizer."""
    check_length(tokenizer, model, config.max_length, folder, hint="lower --max-length")
    if not tokenizer.is_fast:
        raise InputError("has no fast tokenizer, which a reader needs", path=folder, hint="add its tokenizer.json")
    batch = pad_windows(tokenizer, list(windows(tokenizer, ["a", "a"], ["b", "b b"], config)))
    with explain_failure(model, folder, "read passages"):
        model(**{name: tensor.to(model.device) for name, tensor in batch.items()})


class SpanReader:
    """A question-answering model that marks the answer to a question in a passage.

    It remembers the pairs that it has read, because several runs of the same questions share many of them.

    Args:
        config: everything that determines the answer.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: as :func:`~xqg_repro.models.loading.open_model` and :func:`check_reader`.
    """

    def __init__(self, config: ReaderConfig, device: str | None = None) -> None:
        self.config = config
        folder, self._tokenizer, self._model, self.device = open_model(
            config.model, config.precision, device, "AutoModelForQuestionAnswering", "a question-answering model"
        )
        check_reader(self._tokenizer, self._model, config, folder)
        self._known: dict[tuple[str, str], Span | None] = {}

    def read(
        self, questions: Sequence[str], passages: Sequence[str], progress: Callable[[int], object] = lambda number: None
    ) -> list[Span | None]:
        """The best span of each pair; ``None`` for a passage without text.

        ``progress`` receives the number of pairs in each block that was read.
        """
        if len(self._known) > REMEMBERED:
            self._known.clear()
        pairs = list(zip(questions, passages, strict=True))
        unknown = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        progress(len(pairs) - len(unknown))
        for start in range(0, len(unknown), PAIRS_AT_ONCE):
            block = unknown[start : start + PAIRS_AT_ONCE]
            self._known.update(zip(block, self._read(*zip(*block, strict=True)), strict=True))
            progress(len(block))
        return [self._known[pair] for pair in pairs]

    def _read(self, questions: Sequence[str], passages: Sequence[str]) -> list[Span | None]:
        import torch

        best: list[Span | None] = [None] * len(questions)
        parts = list(windows(self._tokenizer, questions, passages, self.config))
        tokens_per_batch = TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]
        for positions in token_batches([len(window) for window in parts], tokens_per_batch):
            batch = [parts[i] for i in positions]
            inputs = {name: t.to(self.device) for name, t in pad_windows(self._tokenizer, batch).items()}
            with torch.inference_mode():
                output = self._model(**inputs)
            start, end = output.start_logits.float().cpu(), output.end_logits.float().cpu()
            for window, span in zip(batch, best_spans(batch, start, end, self.config.answer_max_length), strict=True):
                previous = best[window.pair]
                if span and (previous is None or (-span.score, span.start) < (-previous.score, previous.start)):
                    best[window.pair] = span
        return best


def best_spans(batch: Sequence[Window], start: torch.Tensor, end: torch.Tensor, longest: int) -> list[Span | None]:
    """The best span of the passage in each window; ``None`` for a window without tokens of the passage.

    Args:
        batch: B windows.
        start, end: logits, float32, shape (B, T), with T at least the length of the longest window.
        longest: maximum length of a span, in tokens.
    """
    import torch

    size = start.shape[1]
    # a span neither starts nor ends with a token that has no characters
    usable = [[bool(at and at[1] > at[0]) for at in window.offsets] for window in batch]
    outside = ~torch.tensor([row + [False] * (size - len(row)) for row in usable])
    starts, ends = (logits.masked_fill(outside, float("-inf")) for logits in (start, end))
    allowed = torch.ones(size, size, dtype=torch.bool).triu().tril(longest - 1)
    scores = (starts[:, :, None] + ends[:, None, :]).masked_fill(~allowed, float("-inf"))
    best, places = scores.flatten(1).max(dim=1)
    totals = best - start[:, FIRST] - end[:, FIRST]
    spans: list[Span | None] = []
    for window, score, place in zip(batch, totals.tolist(), places.tolist(), strict=True):
        if score == float("-inf"):
            spans.append(None)
        else:
            first, last = (window.offsets[i] for i in divmod(place, size))
            spans.append(Span(first[0], last[1], score))
    return spans
