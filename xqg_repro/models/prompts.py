"""Prompts of causal language models: a passage that is too long is cut, never the instruction behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.models.folders import reason

_TEXT = "{text}"
_MESSAGE, _ANSWER = "\ufdd0", "\ufdd1"  # characters that no text has


class ChatFrame(NamedTuple):
    """What a chat template puts around a user's message.

    Attributes:
        before, after: the template's text up to the message, and from there to the start of the answer.
        end: the token by which the template ends an answer; ``None`` if it ends it with ordinary text.
    """

    before: str
    after: str
    end: int | None


def split_prompt(prompt: str) -> tuple[str, str]:
    """The part of a prompt up to the end of its last ``{text}``, and the part behind it.

    >>> split_prompt("{title}\\n{text}\\nQuestion in {language}:")
    ('{title}\\n{text}', '\\nQuestion in {language}:')
    """
    start, text, end = prompt.rpartition(_TEXT)
    return start + text, end


def fill_parts(fill: Callable[[str], str], text: str, frame: ChatFrame | None = None) -> tuple[str, str]:
    """The two filled parts of a prompt, in a chat template's frame if there is one.

    Args:
        fill: returns the prompt for a text.
        text: the passage or sentence.
        frame: of the chat template.

    >>> fill_parts("Passage: {}\\nQuestion:".format, "A city.")
    ('Passage: A city.', '\\nQuestion:')
    """
    before, after, _ = frame or ChatFrame("", "", None)
    head, tail = split_prompt(fill(_TEXT))
    return before + head.replace(_TEXT, text), tail + after


def encode_prompt(tokenizer: Any, head: str, tail: str, max_length: int, *, start: bool = True) -> list[int]:
    """The token ids of a prompt whose two parts are filled in: a start token if the tokenizer has one, head and tail.

    The parts are tokenized apart, so prompts that differ in their tails alone start with the same tokens.

    Args:
        tokenizer: the model's.
        head, tail: the filled parts of :func:`split_prompt`.
        max_length: in tokens; the head's end is cut if all would be longer.
        start: whether to begin with the start token; a chat template has its own.

    Raises:
        InputError: the tail leaves no room for the head.
    """
    first = [tokenizer.bos_token_id] if start and tokenizer.bos_token_id is not None else []
    ids, ending = (tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"] for part in (head, tail))
    room = max_length - len(first) - len(ending)
    if room < 1:
        problem = f"the end of the prompt, {tail!r}, leaves no room for the passage in {max_length} tokens"
        raise InputError(problem, hint="raise --prompt-max-length")
    return [*first, *ids[:room], *ending]


def chat_frame(tokenizer: Any, folder: Path) -> ChatFrame:
    """What the chat template of a tokenizer puts around a user's message; thinking is off where it can be.

    :class:`InputError` if there is no template, or it does not take a user's message as it is.
    """
    if not getattr(tokenizer, "chat_template", None):
        hint = "leave out --chat, or choose a model that is trained for chats"
        raise InputError("its tokenizer has no chat template", path=folder, hint=hint)
    user, answer = {"role": "user", "content": _MESSAGE}, {"role": "assistant", "content": _ANSWER}
    settings = {"tokenize": False, "enable_thinking": False}
    try:
        text = tokenizer.apply_chat_template([user], add_generation_prompt=True, **settings)
        answered = tokenizer.apply_chat_template([user, answer], **settings)
    except Exception as error:  # a template is a program
        raise InputError(f"its chat template fails: {reason(error)}", path=folder, hint="leave out --chat") from error
    before, message, after = text.partition(_MESSAGE)
    if not message:
        raise InputError("its chat template leaves out the user's message", path=folder, hint="leave out --chat")
    ending = tokenizer(answered.rpartition(_ANSWER)[2], add_special_tokens=False)["input_ids"]
    first = ending[0] if ending and ending[0] in tokenizer.added_tokens_decoder else None
    return ChatFrame(before, after, first)
