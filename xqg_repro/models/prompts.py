"""Prompts of causal language models: a passage that is too long is cut, never the instruction behind it."""

from __future__ import annotations

from typing import Any

from xqg_repro.core.errors import InputError

_TEXT = "{text}"


def split_prompt(prompt: str) -> tuple[str, str]:
    """The part of a prompt up to the end of its last ``{text}``, and the part behind it.

    >>> split_prompt("{title}\\n{text}\\nQuestion in {language}:")
    ('{title}\\n{text}', '\\nQuestion in {language}:')
    """
    start, text, end = prompt.rpartition(_TEXT)
    return start + text, end


def encode_prompt(tokenizer: Any, head: str, tail: str, max_length: int) -> list[int]:
    """The token ids of a prompt whose two parts are filled in: a start token if the tokenizer has one, head and tail.

    The parts are tokenized apart, so prompts that differ in their tails alone start with the same tokens.

    Args:
        head, tail: the filled parts of :func:`split_prompt`.
        max_length: in tokens; the head's end is cut if all would be longer.

    Raises:
        InputError: the tail leaves no room for the head.
    """
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, ending = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (head, tail))
    room = max_length - len(start) - len(ending)
    if room < 1:
        problem = f"the end of the prompt, {tail!r}, leaves no room for the passage in {max_length} tokens"
        raise InputError(problem, hint="raise --prompt-max-length")
    return [*start, *ids[:room], *ending]
