"""What generators and translators write with: a sequence-to-sequence model, or a causal language model.

Both read prompts as token ids and give rows of token ids. They differ in how a prompt becomes ids, in what ends a text,
and in where a row begins. The configuration of a model says which kind it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from xqg_repro.core.errors import InputError
from xqg_repro.models.architectures import is_causal
from xqg_repro.models.causal import CausalSampler, pad_left
from xqg_repro.models.endings import causal_ends, cut_row, decode_first_lines, decode_lines, decoder_ends
from xqg_repro.models.likelihood import CausalScorer, RowScorer, Seq2SeqScorer
from xqg_repro.models.loading import open_model, resolve_model
from xqg_repro.models.prompts import chat_frame, encode_prompt, fill_parts
from xqg_repro.models.sampling import TokenSampler
from xqg_repro.models.settings import GeneratorConfig

if TYPE_CHECKING:
    import numpy as np

Fill = Callable[[str], str]
"""Returns the prompt for a text."""

_UNLIMITED = 2**31


class Sampler(Protocol):
    """What writes several rows for each prompt."""

    def sample(self, prompts: list[list[int]], draws: np.ndarray) -> list[list[int]]:
        """The tokens of each row, including the end token; the rows of a prompt are neighbours."""


class Writer(Protocol):
    """A kind of model, with the tokenizer and the end tokens of one.

    Attributes:
        is_causal: whether a prompt and the text after it are one sequence.
        ends: the tokens that end a text.
    """

    is_causal: bool
    ends: list[int]

    def encode(self, prompts: Sequence[tuple[Fill, str]], max_length: int | None = None) -> list[list[int]]:
        """The token ids of prompts for texts, cut to a maximum length if there is one."""

    def longest(self, prompt: int, text: int) -> int:
        """The longest sequence that the model reads for a prompt and a text of so many tokens."""

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts as the model would write them, each with an end token."""

    def sampler(self, model: Any, config: GeneratorConfig) -> Sampler:
        """What samples from the model."""

    def scorer(self, model: Any, tokens_per_batch: int | None) -> RowScorer:
        """What scores given texts under prompts."""

    def generation(self, model: Any) -> dict[str, Any]:
        """The settings of transformers' ``generate`` that come from the model."""

    def pad(self, prompts: Sequence[list[int]], device: str) -> dict[str, Any]:
        """A batch of prompts for ``generate``: ``input_ids`` and ``attention_mask``."""

    def cut(self, rows: Any, width: int) -> list[tuple[list[int], bool]]:
        """The new tokens in rows of ``generate``, and whether each is finished; prompts were ``width`` tokens wide."""

    def decode(self, rows: Any) -> list[str]:
        """The text of each row of token ids, on one line."""


class Seq2SeqWriter:
    """A sequence-to-sequence model: the encoder reads the prompt, and the decoder starts with a token of its own."""

    is_causal = False

    def __init__(self, folder: Path, tokenizer: Any, model: Any, chat: bool) -> None:
        if chat:
            hint = "leave out --chat"
            raise InputError("is a sequence-to-sequence model, which has no chat template", path=folder, hint=hint)
        self._tokenizer = tokenizer
        self._start, self.ends = decoder_ends(model, folder)

    def encode(self, prompts: Sequence[tuple[Fill, str]], max_length: int | None = None) -> list[list[int]]:
        """The token ids of prompts for texts, with special tokens; the end of a long prompt is cut."""
        return self._tokenizer(
            [fill(text) for fill, text in prompts],
            truncation=max_length is not None,
            max_length=max_length,
            return_token_type_ids=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts with special tokens; the last one is an end token."""
        rows = self._tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
        return [row if row and row[-1] in self.ends else [*row, self.ends[0]] for row in rows]

    def longest(self, prompt: int, text: int) -> int:
        """The longer of the encoder's and the decoder's sequence."""
        return max(prompt, text)

    def sampler(self, model: Any, config: GeneratorConfig) -> Sampler:
        """What samples from the decoder."""
        return TokenSampler(model, self._tokenizer, config, self._start, self.ends)

    def scorer(self, model: Any, tokens_per_batch: int | None) -> RowScorer:
        """What scores in the decoder."""
        return Seq2SeqScorer(model, self._tokenizer, self._start, tokens_per_batch)

    def generation(self, model: Any) -> dict[str, Any]:
        """The start token, and that padding is never written, as Marian's models would."""
        pad = model.config.pad_token_id
        pad = self._tokenizer.pad_token_id if pad is None else pad
        suppressed = None if pad in self.ends else [pad]
        return {"decoder_start_token_id": self._start, "pad_token_id": pad, "suppress_tokens": suppressed}

    def pad(self, prompts: Sequence[list[int]], device: str) -> dict[str, Any]:
        """A batch of prompts, padded on the right."""
        padded = self._tokenizer.pad({"input_ids": list(prompts)}, return_tensors="pt")
        return {name: padded[name].to(device) for name in ("input_ids", "attention_mask")}

    def cut(self, rows: Any, width: int) -> list[tuple[list[int], bool]]:
        """What follows the decoder's start token, which in some models equals the end token."""
        ends = {*self.ends}
        return [(row[1:], not ends.isdisjoint(row[1:])) for row in rows.tolist()]

    def decode(self, rows: Any) -> list[str]:
        """The text of each row, on one line."""
        return decode_lines(self._tokenizer, rows)


class CausalWriter:
    """A causal language model, which goes on after the prompt."""

    is_causal = True

    def __init__(self, folder: Path, tokenizer: Any, model: Any, chat: bool) -> None:
        self._tokenizer = tokenizer
        self._frame = chat_frame(tokenizer, folder) if chat else None
        self.ends = causal_ends(model, tokenizer, self._frame)

    def encode(self, prompts: Sequence[tuple[Fill, str]], max_length: int | None = None) -> list[list[int]]:
        """The token ids of prompts for texts; the end of a long text is cut, not what follows it."""
        parts = [fill_parts(fill, text, self._frame) for fill, text in prompts]
        longest, starts = max_length or _UNLIMITED, self._frame is None
        return [encode_prompt(self._tokenizer, head, tail, longest, start=starts) for head, tail in parts]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts, each on one line, and the end token of a chat or of the tokenizer."""
        named = (self._frame and self._frame.end, self._tokenizer.eos_token_id, self.ends[0])
        end = next(token for token in named if token is not None)
        lines = [" ".join(text.split()) for text in texts]  # a line break would end what the model writes
        rows = self._tokenizer(lines, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return [[*row, end] for row in rows]

    def longest(self, prompt: int, text: int) -> int:
        """Prompt and text together."""
        return prompt + text

    def sampler(self, model: Any, config: GeneratorConfig) -> Sampler:
        """What samples after the prompts."""
        return CausalSampler(model, config, self.ends)

    def scorer(self, model: Any, tokens_per_batch: int | None) -> RowScorer:
        """What scores after the prompts."""
        return CausalScorer(model, tokens_per_batch)

    def generation(self, model: Any) -> dict[str, Any]:
        """That the first token is not an end."""
        return {"pad_token_id": self._tokenizer.pad_token_id, "min_new_tokens": 1}

    def pad(self, prompts: Sequence[list[int]], device: str) -> dict[str, Any]:
        """A batch of prompts, padded on the left."""
        ids, mask = pad_left(prompts, device)
        return {"input_ids": ids, "attention_mask": mask}

    def cut(self, rows: Any, width: int) -> list[tuple[list[int], bool]]:
        """What follows the prompt, up to the first end."""
        ends = {*self.ends}
        return [cut_row(row, ends) for row in rows[:, width:].tolist()]

    def decode(self, rows: Any) -> list[str]:
        """The first line of each row that is not blank."""
        return decode_first_lines(self._tokenizer, rows)


class Opened(NamedTuple):
    """A model that writes texts, in evaluation mode on its device."""

    folder: Path
    tokenizer: Any
    model: Any
    device: str
    writer: Writer


def open_writer(model: str, precision: str, device: str | None, chat: bool) -> Opened:
    """Load a model that writes texts, of the kind that its configuration says.

    Args:
        model, precision, device: as for :func:`~xqg_repro.models.loading.open_model`, which also lists errors.
        chat: whether a prompt is the user's message in the tokenizer's chat template.

    Raises:
        InputError: also if there is no chat template, or no token that starts or ends a text.
    """
    causal = is_causal(resolve_model(model))
    described = (
        ("AutoModelForCausalLM", "a causal language model")
        if causal
        else ("AutoModelForSeq2SeqLM", "a sequence-to-sequence model")
    )
    folder, tokenizer, network, device = open_model(model, precision, device, *described)
    writer = (CausalWriter if causal else Seq2SeqWriter)(folder, tokenizer, network, chat)
    return Opened(folder, tokenizer, network, device, writer)
