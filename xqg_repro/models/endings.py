"""Where a written text ends: tokens that end it, and the text of a row of tokens.

A sequence-to-sequence model ends a text with its end token. A causal model ends it with an end token or with a line
break, as a base model would otherwise go on with another question. A line break ends a text at the first token that
contains one; what that token has before the line break belongs to the text. The first token of a causal model's text is
never an end, so leading line breaks, which are common, do not make a text empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.models.prompts import ChatFrame

_LINE_BREAK = "\n"


def decoder_ends(model: Any, folder: Path) -> tuple[int, list[int]]:
    """The token that starts a decoder, and those that end a text; :class:`InputError` unless the model has both."""
    config = model.config
    start = getattr(config, "decoder_start_token_id", None)
    start = config.pad_token_id if start is None else start
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    for name, token in (("decoder_start_token_id", start), *(("eos_token_id", end) for end in ends)):
        if token is None or not 0 <= token < model.get_input_embeddings().weight.shape[0]:
            problem = f"{name} is {'missing' if token is None else f'{token}, which has no embedding'}"
            raise InputError(problem, path=folder / "config.json", hint="give it the model's own number")
    return start, ends


def causal_ends(model: Any, tokenizer: Any, frame: ChatFrame | None) -> list[int]:
    """The tokens that end a causal model's text, in ascending order.

    They are ``eos_token_id`` of ``config.json``, the tokenizer's end token, the token by which a chat template ends an
    answer, and all whose text contains a line break. ``generation_config.json`` is not read, as it is no part of a
    model's fingerprint.
    """
    size = model.get_input_embeddings().weight.shape[0]
    named = model.config.get_text_config().eos_token_id
    ends = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id}
    if frame is not None:
        ends.add(frame.end)
    texts = tokenizer.batch_decode([[token] for token in range(min(size, len(tokenizer)))])
    ends |= {token for token, text in enumerate(texts) if _LINE_BREAK in text}
    return sorted(token for token in ends if token is not None and 0 <= token < size)


def cut_row(row: Sequence[int], ends: set[int]) -> tuple[list[int], bool]:
    """A row of tokens up to and including the first end, and whether it has one.

    >>> cut_row([5, 2, 0, 0], {2}), cut_row([5, 6], {2})
    (([5, 2], True), ([5, 6], False))
    """
    for position, token in enumerate(row, 1):
        if token in ends:
            return list(row[:position]), True
    return list(row), False


def decode_lines(tokenizer: Any, rows: Any) -> list[str]:
    """The text of each row of token ids without special tokens, on one line."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [" ".join(text.split()) for text in texts]


def decode_first_lines(tokenizer: Any, rows: Any) -> list[str]:
    """The first line that is not blank of each row of token ids, without special tokens."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [" ".join(text.lstrip().partition(_LINE_BREAK)[0].split()) for text in texts]
