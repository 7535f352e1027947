"""Makes a tokenizer give only what a network can read: tokens with an embedding, padding, and types of tokens."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError


def fit_tokenizer(tokenizer: Any, network: Any, folder: Path) -> None:
    """Make a tokenizer give only what the network can read.

    It pads and truncates on the right, as the other side would move the first token and the positions. Without a token
    for padding, or with one that has no embedding, any other does, as the attention mask hides it.

    :class:`InputError` if ordinary tokens have no embedding.
    """
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    size = _table_size(network)
    if size is not None:
        check_vocabulary(tokenizer, network, size, folder)
    pad, last = tokenizer.pad_token_id, float("inf") if size is None else size
    if pad is None or pad >= last:
        others = (network.config.get_text_config().pad_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id, 0)
        pad = next(token for token in others if token is not None and 0 <= token < last)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    if "token_type_ids" in tokenizer.model_input_names and not _has_token_types(network):
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]


def lower_case(tokenizer: Any) -> None:
    """Let a tokenizer lower-case a text before all else, as sentence-transformers does it."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    before = [backend.normalizer] if backend.normalizer else []
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])


def _table_size(network: Any) -> int | None:
    """Number of tokens in a network's table of embeddings; ``None`` if it has no such table."""
    try:
        return int(network.base_model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):
        return None


def _has_token_types(network: Any) -> bool:
    """Whether a network tells the parts of a pair of texts apart by token types."""
    takes = "token_type_ids" in inspect.signature(network.forward).parameters
    return takes and getattr(network.config, "type_vocab_size", 2) > 1


def check_vocabulary(tokenizer: Any, network: Any, size: int, folder: Path) -> None:
    """Raise :class:`InputError` if a tokenizer has ordinary tokens without one of the ``size`` embeddings.

    Added tokens without one are common (Gemma 3's image token); they are refused once a text has one.
    """
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= size}
    if not beyond:
        return
    used = {*beyond} - {*tokenizer.added_tokens_decoder} | {*beyond} & {*tokenizer("a")["input_ids"]}
    hint = "take tokenizer and weights from the same checkpoint, or resize the model's embeddings"

    def refuse(number: int) -> None:
        raise InputError(
            f"its tokenizer has {len(tokenizer)} tokens, but its table of embeddings has {size}: "
            f"{beyond.get(number, 'a token')!r} is number {number}",
            path=folder,
            hint=hint,
        )

    if used:
        refuse(min(used))

    def check(_: Any, inputs: tuple[Any, ...]) -> None:
        if inputs and inputs[0].numel() and int(inputs[0].max()) >= size:
            refuse(int(inputs[0].max()))

    network.base_model.get_input_embeddings().register_forward_pre_hook(check)
