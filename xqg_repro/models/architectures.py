"""Which network of a model reads texts, and how many tokens it can read, for any architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.models.folders import reason, transformer_folder

_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")
"""Names of the tables of learned or sinusoidal positions in transformers' networks."""

_OTHER_MODEL = "choose another model"
_ROUNDING = 0.05
"""A padded batch changes a vector by rounding, which in half precision is a few parts in a thousand."""

_T5 = ("t5", "mt5", "umt5")
_DPR = ("DPRQuestionEncoder", "DPRContextEncoder")


def model_class(folder: Path, auto_class: str, kind: str) -> Any:
    """The class to load a folder's model with: one of transformers' auto classes, or for some encoders another.

    Of a T5, ``AutoModel`` would load and need the decoder too; of a DPR, it always takes the question encoder.
    :class:`InputError` if the auto class, which messages call ``kind``, has none for the architecture.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if auto_class == "AutoModel" and config.model_type in _T5:
        auto_class = "AutoModelForTextEncoding"
    elif auto_class == "AutoModel" and config.model_type == "dpr":
        named = [*(config.architectures or ()), _DPR[0]][0]
        if named not in _DPR:
            raise InputError(f"is a {named}, not an encoder of questions or passages", path=folder)
        return getattr(transformers, named)
    found = getattr(transformers, auto_class)
    if type(config) not in found._model_mapping:
        problem = f"cannot be loaded as {kind}: transformers has none of the architecture {config.model_type!r}"
        raise InputError(problem, path=folder, hint=_OTHER_MODEL)
    return found


def is_causal(folder: Path) -> bool:
    """Whether a model is a causal language model: its configuration names the class that transformers has for those."""
    import transformers

    place = transformer_folder(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    except Exception:  # whoever loads the model explains it
        return False
    mapping = transformers.AutoModelForCausalLM._model_mapping
    named = getattr(config, "architectures", None) or ()
    return not config.is_encoder_decoder and type(config) in mapping and mapping[type(config)].__name__ in named


def read_with_encoder(network: Any) -> Any:
    """Let a call of the network run its text encoder alone, freeze all other weights, and return the encoder.

    The encoder of an encoder-decoder model gives the states of the text's tokens; the model itself gives those of the
    decoder. A DPR encoder gives only its pooled vector; the network inside gives all states.
    """
    if network.config.model_type == "dpr":
        encoder = getattr(network, network.base_model_prefix).bert_model
    elif network.config.is_encoder_decoder:
        encoder = network.get_encoder()
    else:
        return network
    network.requires_grad_(False)
    encoder.requires_grad_(True)
    network.forward = partial(encoder.__call__, return_dict=True)
    return encoder


def check_encoder(tokenizer: Any, network: Any, folder: Path) -> int:
    """Read two letters, and return the size of a token's vector.

    :class:`InputError` unless the network gives one vector per token of a text, which does not depend on padding.
    """
    ids = tokenizer("a b", return_token_type_ids=False)["input_ids"] or [0]
    padded = tokenizer.pad({"input_ids": [ids, ids + ids]}, return_tensors="pt").to(network.device)
    with explain_failure(network, folder, "encode texts"):
        states = network(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state
        alone = network(
            input_ids=padded["input_ids"][:1, : len(ids)], attention_mask=padded["attention_mask"][:1, : len(ids)]
        ).last_hidden_state
    fault = ""
    if states.shape[:2] != padded["input_ids"].shape:
        fault = "gives no vector per token"
    elif float((states[:1, : len(ids)] - alone).abs().max()) > _ROUNDING * float(alone.abs().max()):
        fault = "does not leave out padding"
    if fault:
        problem = f"cannot encode texts in batches with {type(network).__name__}, which {fault}"
        raise InputError(problem, path=folder, hint=_OTHER_MODEL)
    return int(states.shape[2])


def check_text_encoder(tokenizer: Any, network: Any, longest: int, folder: Path) -> int:
    """The hidden size of an encoder, as :func:`check_encoder`, that also reads texts of ``longest`` tokens."""
    check_length(tokenizer, read_with_encoder(network), longest, folder)
    return check_encoder(tokenizer, network, folder)


@contextmanager
def explain_failure(network: Any, folder: Path, purpose: str) -> Iterator[None]:
    """A block in which a network works: any error of an architecture that does not serve the purpose is explained."""
    import torch

    try:
        with torch.inference_mode():
            yield
    except InputError:
        raise
    except Exception as error:
        problem = f"cannot {purpose} with {type(network).__name__}: {reason(error)}"
        raise InputError(problem, path=folder, hint=_OTHER_MODEL) from error


def computed_weights(network: Any) -> tuple[str, ...]:
    """Names of tables that a checkpoint may lack, as a network computes them: sinusoidal positions, as in Marian."""
    return tuple(name for name, module in network.named_modules() if "Sinusoidal" in type(module).__name__)


def longest_input(network: Any) -> int | None:
    """The number of tokens for which a network has positions; ``None`` if there is no limit, as in T5.

    RoBERTa's kind numbers positions from the one after the padding token's number, so that part of its table is never
    used: XLM-R has 514 positions and reads 512 tokens. BART's kind skips an offset.
    """
    limits = [getattr(network.config.get_text_config(), "max_position_embeddings", None)]
    for name, module in network.named_modules():
        rows = getattr(module, "num_embeddings", None)
        if rows is not None and name.rpartition(".")[2] in _POSITION_TABLES:
            padding = getattr(module, "padding_idx", None)
            limits.append(rows - getattr(module, "offset", 0 if padding is None else padding + 1))
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)


def check_length(
    tokenizer: Any | None,
    network: Any,
    longest: int,
    folder: Path,
    hint: str = "lower passage_max_length or query_max_length",
) -> None:
    """Raise :class:`InputError` unless a network, and its tokenizer unless ``None``, can read ``longest`` tokens."""
    limits = [longest_input(network), getattr(tokenizer, "model_max_length", None)]
    limit = min((limit for limit in limits if limit is not None and limit > 0), default=longest)
    if longest > limit:
        raise InputError(f"reads at most {limit} tokens, but the maximum length is {longest}", path=folder, hint=hint)
