"""A question and a passage as an extractive reader sees them: windows of tokens that know their characters.

A passage too long to be read at once is read in several windows, which overlap. Training and reading share this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.models.loading import TOKENS_PER_BATCH, chosen_device, load_model, move, resolve_model
from xqg_repro.models.loading import token_batches as batches
from xqg_repro.models.settings import ReaderConfig

if TYPE_CHECKING:
    import torch


FIRST = 0
"""The position of a window's first token, which stands for *no answer here*."""


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        pair: which of the pairs it is from.
        inputs: what the model reads, by name (``input_ids``, …), integers, length T each, not padded.
        offsets: (start, end) in characters of the passage for each token; ``None`` for any but the passage's.
    """

    pair: int
    inputs: dict[str, list[int]]
    offsets: list[tuple[int, int] | None]

    def __len__(self) -> int:
        return len(self.offsets)

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """First and last token of the characters from ``start`` to ``end``; :data:`FIRST` twice if they are not in."""
        inside = [i for i, at in enumerate(self.offsets) if at and at[0] < end and at[1] > start]
        if inside and self.offsets[inside[0]][0] <= start and self.offsets[inside[-1]][1] >= end:
            return inside[0], inside[-1]
        return FIRST, FIRST


def windows(
    tokenizer: Any, questions: Sequence[str], passages: Sequence[str], config: ReaderConfig
) -> Iterator[Window]:
    """The windows of pairs of a question and a passage, in their order.

    Args:
        tokenizer: a fast one, which knows tokens' characters.
        questions, passages: of equal number; a question is cut at ``question_max_length`` tokens.
        config: lengths, see :class:`~xqg_repro.models.settings.ReaderConfig`.
    """
    found = tokenizer(
        [cut(tokenizer, question, config.question_max_length) for question in questions],
        list(passages),
        truncation="only_second",
        max_length=config.max_length,
        stride=config.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=True,
    )
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in found]
    for number, pair in enumerate(found["overflow_to_sample_mapping"]):
        kept = [
            _without_space(passages[pair], *at) if part == 1 else None
            for at, part in zip(found["offset_mapping"][number], found.sequence_ids(number), strict=True)
        ]
        yield Window(pair, {name: found[name][number] for name in names}, kept)


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """A token's characters without the space that some tokenizers count as its first one."""
    return end - len(text[start:end].lstrip()), end


def cut(tokenizer: Any, text: str, limit: int) -> str:
    """A text without what is behind its first ``limit`` tokens."""
    ends = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"][:limit]
    return text[: ends[-1][1]] if ends else text


def padded(tokenizer: Any, some: Sequence[Window]) -> dict[str, Any]:
    """Windows as one batch of tensors, each int64 of shape (windows, T)."""
    names = some[0].inputs
    return dict(tokenizer.pad({name: [w.inputs[name] for w in some] for name in names}, return_tensors="pt"))


PAIRS_AT_ONCE = 2048


class Span(NamedTuple):
    """A stretch of a passage: its characters from ``start`` to ``end``, and how well it answers."""

    start: int
    end: int
    score: float


class SpanReader:
    """A question-answering model that marks the answer to a question in a passage.

    Args:
        config: what decides the answer.
        device: a torch device; ``None`` takes a GPU if there is one.

    Raises:
        InputError: the model is no question-answering model, or reads fewer tokens than ``max_length``.
    """

    def __init__(self, config: ReaderConfig, device: str | None = None) -> None:
        import torch

        folder = resolve_model(config.model)
        self.config = config
        self._tokenizer, self._model = load_model(
            folder,
            getattr(torch, config.precision.value),
            "AutoModelForQuestionAnswering",
            "a question-answering model",
        )
        check_reads(self._tokenizer, self._model, config, folder)
        self.device = chosen_device(device)
        move(self._model, self.device)

    def read(
        self, questions: Sequence[str], passages: Sequence[str], progress: Callable[[int], object] = lambda number: None
    ) -> list[Span | None]:
        """The best span of each pair; ``None`` where a passage has no text.

        Args:
            questions, passages: of equal number.
            progress: told how many pairs were read, each time that some were.
        """
        found: list[Span | None] = []
        for at in range(0, len(questions), PAIRS_AT_ONCE):
            asked, texts = questions[at : at + PAIRS_AT_ONCE], passages[at : at + PAIRS_AT_ONCE]
            found += self._read(asked, texts)
            progress(len(asked))
        return found

    def _read(self, questions: Sequence[str], passages: Sequence[str]) -> list[Span | None]:
        import torch

        best: list[Span | None] = [None] * len(questions)
        every = list(windows(self._tokenizer, questions, passages, self.config))
        for batch in batches([len(w) for w in every], TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]):
            some = [every[i] for i in batch]
            with torch.inference_mode():
                output = self._model(**{name: t.to(self.device) for name, t in padded(self._tokenizer, some).items()})
            logits = output.start_logits.float().cpu(), output.end_logits.float().cpu()
            for window, span in zip(some, best_spans(some, *logits, self.config.answer_max_length), strict=True):
                held = best[window.pair]
                if span and (held is None or (-span.score, span.start) < (-held.score, held.start)):
                    best[window.pair] = span
        return best


def check_reads(tokenizer: Any, model: Any, config: ReaderConfig, folder: Path) -> None:
    """Raise :class:`InputError` where a model cannot read windows of ``max_length``, or knows no tokens' characters."""
    limit = min(getattr(model.config, "max_position_embeddings", config.max_length), tokenizer.model_max_length)
    if config.max_length > limit:
        problem = f"reads at most {limit} tokens, but the maximum length is {config.max_length}"
        raise InputError(problem, path=folder, hint="lower --max-length")
    if not tokenizer.is_fast:
        raise InputError("has no fast tokenizer, which a reader needs", path=folder, hint="add its tokenizer.json")


def best_spans(some: Sequence[Window], start: torch.Tensor, end: torch.Tensor, longest: int) -> list[Span | None]:
    """The best span of each window's passage; ``None`` where none of its tokens are in the window.

    Args:
        some: B windows.
        start, end: logits, float32, shape (B, T), T at least the longest window.
        longest: of a span, in tokens.
    """
    import torch

    size = start.shape[1]
    # a token without a character is not to begin or end with
    mine = [[bool(at and at[1] > at[0]) for at in window.offsets] for window in some]
    outside = ~torch.tensor([row + [False] * (size - len(row)) for row in mine])
    starts, ends = (logits.masked_fill(outside, float("-inf")) for logits in (start, end))
    allowed = torch.ones(size, size, dtype=torch.bool).triu().tril(longest - 1)
    scores = (starts[:, :, None] + ends[:, None, :]).masked_fill(~allowed, float("-inf"))
    best, places = scores.flatten(1).max(dim=1)
    totals = best - start[:, FIRST] - end[:, FIRST]
    found: list[Span | None] = []
    for window, score, place in zip(some, totals.tolist(), places.tolist(), strict=True):
        if score == float("-inf"):
            found.append(None)
        else:
            first, last = (window.offsets[i] for i in divmod(place, size))
            found.append(Span(first[0], last[1], score))
    return found


SEEN = "questions.txt"
"""File of a reader's folder: ids of the questions that it was trained on, a line each, for whoever reports scores."""
