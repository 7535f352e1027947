"""The steps that trim a model's vocabulary: load, cut the weights, save, and check against the full model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.models.byte_pairs import BytePairs, template_tokens
from xqg_repro.models.folders import CONFIG, read_config, transformer_folder
from xqg_repro.models.loading import load_model

GENERATION_CONFIG = "generation_config.json"

_TOKEN_SETTING = re.compile(r".*(token_ids?|token_index|suppress_tokens)")
"""Settings whose values are numbers of tokens."""

_TEXTS_PER_BATCH = 1_000
_SAMPLES, _SAMPLE_LENGTH = 4, 64
_ROUNDING = {"float32": 1e-4, "float64": 1e-9}
_ROUNDING_HALF = 0.02
"""Of the largest logit: a smaller matrix may be multiplied in another order."""


def load(folder: Path) -> tuple[Any, Any]:
    """The fast tokenizer of a model folder as it is saved, and its causal model in the precision of its weights.

    :class:`InputError` as :func:`~xqg_repro.models.loading.load_model`, or for a tokenizer in Python.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    _, model = load_model(folder, "auto", "AutoModelForCausalLM", "a causal language model")
    place = transformer_folder(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    if not getattr(tokenizer, "is_fast", False):
        problem = f"its tokenizer, {type(tokenizer).__name__}, is not a fast one"
        raise InputError(problem, path=folder, hint="choose a model with a tokenizer.json")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer, model.eval()


def special_tokens(pairs: BytePairs, tokenizer: Any, model: Any, folder: Path) -> set[str]:
    """The added tokens that stay: those that are not special, and those that a setting or the chat template names.

    A tokenizer splits texts at its added tokens. Special ones that nothing names are reserves without a use.
    """
    named = {*tokenizer.all_special_tokens, pairs.parts["model"].get("unk_token")}
    named |= template_tokens(pairs.parts["post_processor"])
    by_number = {number: token for token, number in pairs.ids.items()}
    for name in (CONFIG, GENERATION_CONFIG):
        path = transformer_folder(folder) / name
        if path.is_file():
            named.update(by_number.get(number) for number in _token_numbers(read_config(path)))
    chat = json.dumps(tokenizer.chat_template or "", ensure_ascii=False)
    for token in pairs.parts["added_tokens"]:
        if not token["special"] or token["content"] in chat:
            named.add(token["content"])
    return {token for token in named if token in pairs.ids}


def _token_numbers(value: Any) -> Iterator[int]:
    """The numbers of tokens in the settings of a configuration, at any depth."""
    for name, part in value.items() if isinstance(value, dict) else ():
        if isinstance(part, dict):
            yield from _token_numbers(part)
        elif _TOKEN_SETTING.fullmatch(name):
            yield from (number for number in (part if isinstance(part, list) else [part]) if isinstance(number, int))


def cut(model: Any, rows: Sequence[int], folder: Path) -> None:
    """Keep only these rows of a model's tables of tokens, in this order.

    :class:`InputError` if it has other weights with one entry per token, which would not be cut.
    """
    import torch

    size, chosen = model.get_input_embeddings().weight.shape[0], torch.tensor(rows)
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    known = {id(weight) for table in tables for weight in table.parameters()}
    for name, weight in model.named_parameters():
        if weight.shape[0] == size and id(weight) not in known:
            problem = f"has further weights with one entry per token, {name}: not supported"
            raise InputError(problem, path=folder, hint="choose another model")
    with torch.no_grad():
        kept = [{name: weight[chosen] for name, weight in table.named_parameters()} for table in tables]
        model.resize_token_embeddings(len(rows), mean_resizing=False)
        for table, parts in zip((model.get_input_embeddings(), model.get_output_embeddings()), kept, strict=True):
            for name, weight in table.named_parameters():
                weight.copy_(parts[name])


def save(tokenizer: Any, model: Any, content: str, rows: Sequence[int], output: Path) -> None:
    """Write a trimmed model and its tokenizer, whose JSON is ``content``, with the new numbers in all settings."""
    from tokenizers import Tokenizer

    model.save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)  # save_pretrained makes it readable by the owner only
    tokenizer._tokenizer = Tokenizer.from_str(content)  # as transformers itself exchanges it
    tokenizer.save_pretrained(output)
    for path in output.glob("*.model"):  # a full vocabulary in another format
        path.unlink()
    new = {row: number for number, row in enumerate(rows)}
    for name in (CONFIG, GENERATION_CONFIG):
        path = output / name
        if path.is_file():
            settings = _renumbered(read_config(path), new)
            with atomic_write(path) as file:
                json.dump(settings, file, ensure_ascii=False, indent=2)
                file.write("\n")


def _renumbered(settings: dict[str, Any], new: dict[int, int]) -> dict[str, Any]:
    """A configuration with the new numbers of its tokens; numbers without a token are left out."""
    changed = dict(settings)
    for name, value in settings.items():
        if isinstance(value, dict):
            changed[name] = _renumbered(value, new)
        elif _TOKEN_SETTING.fullmatch(name) and isinstance(value, list):
            changed[name] = [new[number] for number in value if number in new]
        elif _TOKEN_SETTING.fullmatch(name) and isinstance(value, int) and not isinstance(value, bool):
            changed[name] = new.get(value)
    return changed


# checks


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in parts, each as it is and behind a space."""
    for start in range(0, len(texts), _TEXTS_PER_BATCH):
        part = texts[start : start + _TEXTS_PER_BATCH]
        yield [*part, *(f" {text}" for text in part)]


def check_tokens(full: Any, output: Path, texts: Sequence[str], rows: Sequence[int]) -> None:
    """Raise :class:`InputError` unless the saved tokenizer makes the same tokens of the texts as the full one."""
    import transformers

    saved = transformers.AutoTokenizer.from_pretrained(output, trust_remote_code=False, local_files_only=True)
    backend = saved.backend_tokenizer
    for number, row in enumerate(rows):
        if backend.id_to_token(number) != full.id_to_token(row):
            raise _differs(output, f"its token {number} is not {full.id_to_token(row)!r}")
    for batch in batches(texts):
        for text, ours, theirs in zip(batch, backend.encode_batch(batch), full.encode_batch(batch), strict=True):
            if ours.tokens != theirs.tokens:
                raise _differs(output, f"its tokenizer makes other tokens of {text[:80]!r}")


def sample_logits(full: Any, model: Any, texts: Sequence[str], rows: Sequence[int]) -> list[tuple[list[int], Any]]:
    """The token ids of some texts' beginnings, and the logits of the tokens that stay, float32, (length, tokens)."""
    import torch

    samples = []
    for text in texts[:: max(1, len(texts) // _SAMPLES)][:_SAMPLES]:
        ids = full.encode(text).ids[:_SAMPLE_LENGTH]
        with torch.inference_mode():
            samples.append((ids, model(input_ids=torch.tensor([ids])).logits[0][:, torch.tensor(rows)].float()))
    return samples


def check_logits(output: Path, samples: Sequence[tuple[list[int], Any]], rows: Sequence[int]) -> None:
    """Raise :class:`InputError` unless the saved model gives the logits of :func:`sample_logits`, up to rounding."""
    import torch

    _, model = load_model(output, "auto", "AutoModelForCausalLM", "a causal language model")
    rounding = _ROUNDING.get(str(model.dtype).removeprefix("torch."), _ROUNDING_HALF)
    new = {row: number for number, row in enumerate(rows)}
    for ids, expected in samples:
        with torch.inference_mode():
            logits = model.eval()(input_ids=torch.tensor([[new[number] for number in ids]])).logits[0].float()
        difference, largest = float((logits - expected).abs().max()), float(expected.abs().max())
        if not difference <= rounding * largest:
            raise _differs(output, f"its logits differ by up to {difference:.3g}, of {largest:.3g}")


def _differs(output: Path, problem: str) -> InputError:
    hint = "this model cannot be trimmed; choose another, or report it"
    return InputError(f"the trimmed model differs from the full one: {problem}", path=output, hint=hint)
