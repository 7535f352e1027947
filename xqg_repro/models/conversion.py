"""CTranslate2 models: converted once from a model's weights, checked against them, and kept in a cache.

The cache is ``$IR_DATASETS_HOME/xqg_repro/ctranslate2``, with a folder for each model's fingerprint, precision and
version of CTranslate2. It can be deleted at any time.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import explain_write_errors
from xqg_repro.models.folders import CONFIG, read_config, reason, transformer_folder
from xqg_repro.models.settings import Precision
from xqg_repro.models.tokenizers import SAMPLES

logger = logging.getLogger(__name__)

ENCODERS = ("bert", "camembert", "distilbert", "roberta", "xlm-roberta")
"""Kinds of encoders that CTranslate2 computes, as ``model_type`` of ``config.json`` names them."""

GENERATORS = ("bart", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5", "umt5")
"""Kinds of sequence-to-sequence models that CTranslate2 computes."""

CAUSAL = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3")
"""Kinds of causal language models that CTranslate2 computes."""

_PRECISIONS = {"cpu": ("float32", "int8"), "cuda": ("float32", "float16", "bfloat16", "int8")}
_COMPUTE_TYPES = {"int8": "int8_float32"}

_LARGEST_DIFFERENCE = 1.0
"""Between the natural logarithms of a token's probabilities: int8 gives about 0.1, another computation far more."""


def load_ctranslate2() -> Any:
    """CTranslate2, which computes with oneDNN on every processor, so that a text does not depend on their maker.

    Left alone, it takes MKL on Intel's processors and oneDNN on others, whose rounding differs enough to change most of
    the sampled queries. Set ``CT2_USE_MKL=1`` for MKL.
    """
    os.environ.setdefault("CT2_USE_MKL", "0")  # it is read when the module is loaded
    import ctranslate2

    return ctranslate2


def check_kind(folder: Path, kinds: tuple[str, ...], precision: str, device: str) -> None:
    """Raise :class:`InputError` unless CTranslate2 computes this kind of model in this precision on this device."""
    kind = str(read_config(transformer_folder(folder) / CONFIG).get("model_type") or "")
    processor = device.partition(":")[0]
    if kind not in kinds:
        problem = f"CTranslate2 has no model of the kind {kind!r}"
        raise InputError(problem, path=folder, hint=f"{use_torch(precision)}; it has: {', '.join(kinds)}")
    if processor not in _PRECISIONS:
        problem = f"CTranslate2 does not compute on the device {device!r}"
        raise InputError(problem, hint=f"{use_torch(precision)}, or --device cpu")
    if precision not in _PRECISIONS[processor]:
        choices = ", ".join(_PRECISIONS[processor])
        raise InputError(
            f"CTranslate2 has no precision {precision} on the device {device!r}", hint=f"choose from: {choices}"
        )


def use_torch(precision: str) -> str:
    """The hint to take torch, which does not compute in int8."""
    return f"use --backend torch{', without --precision int8' if precision == Precision.INT8 else ''}"


def converted_model(folder: Path, fingerprint: str, tokenizer: Any, network: Any, precision: str) -> Path:
    """The folder of a converted model; it is converted unless it is cached. Several processes may ask at once.

    Args:
        folder: the model's folder, for messages.
        fingerprint: of the model's files.
        tokenizer, network: the model, loaded in float32; the conversion may change the network's weights in place.
        precision: number format of the converted weights.

    Raises:
        InputError: CTranslate2 cannot convert the model, or the cache cannot be written.
    """
    from filelock import FileLock

    ctranslate2 = load_ctranslate2()

    target = _cache() / f"{fingerprint}-{precision}-{ctranslate2.__version__}"
    with explain_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                partial = target.with_name(f"{target.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                logger.info(f"converting {folder} to CTranslate2, {precision}, in {target.parent}")
                _convert(folder, tokenizer, network, precision, partial)
                os.replace(partial, target)
    return target


def _cache() -> Path:
    import ir_datasets

    import xqg_repro.collection  # noqa: F401  # prepares ir-datasets' home

    return Path(ir_datasets.util.home_path()) / "xqg_repro" / "ctranslate2"


def _convert(folder: Path, tokenizer: Any, network: Any, precision: str, output: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):  # type: ignore[misc]
        """Converts the model that is already loaded and checked, instead of loading it again."""

        def load_model(self, *_: object, **__: object) -> Any:
            # in its class for XLM-R, the network is an attribute
            is_xlmr = network.config.model_type == "xlm-roberta"
            return SimpleNamespace(config=network.config, roberta=network) if is_xlmr else network

        def load_tokenizer(self, *_: object, **__: object) -> Any:
            return tokenizer

    config = network.config
    for name, value in _older_settings(config).items():
        if not hasattr(config, name):
            setattr(config, name, value)
    try:
        converter = Converter(str(transformer_folder(folder)))
        converter.convert(str(output), quantization=_COMPUTE_TYPES.get(precision, precision))
        _name_special_tokens(output / CONFIG, tokenizer, network)
    except OSError:
        raise
    except Exception as error:  # each architecture has errors of its own
        problem = f"CTranslate2 cannot convert the model: {reason(error)}"
        raise InputError(problem, path=folder, hint=use_torch(precision)) from error


def _older_settings(config: Any) -> dict[str, Any]:
    """What the converter asks for, and the configurations of transformers 5 no longer say."""
    settings = {"position_embedding_type": "absolute", "normalize_before": config.model_type != "bart"}
    if config.model_type == "gemma3_text":
        rope = config.rope_parameters
        settings |= {"rope_theta": rope["full_attention"]["rope_theta"]}
        settings |= {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"]}
    return settings


def _name_special_tokens(path: Path, tokenizer: Any, network: Any) -> None:
    """Let the model's end or padding token stand for tokens that its tokenizer lacks; CTranslate2 wants names."""
    ends = network.config.eos_token_id
    stand_in = ends[0] if isinstance(ends, list) else network.config.pad_token_id if ends is None else ends
    if stand_in is not None:
        token, config = tokenizer.convert_ids_to_tokens(stand_in), read_config(path)
        config |= {name: token for name, value in config.items() if value is None and name.endswith("_token")}
        path.write_text(json.dumps(config), encoding="utf-8")


def convert_seq2seq(
    folder: Path, tokenizer: Any, network: Any, fingerprint: str, device: str, precision: str
) -> Callable[..., Any]:
    """Convert a sequence-to-sequence model, and check the probabilities that CTranslate2 computes.

    Args and errors are those of :func:`converted_model`; ``device`` is a torch device. Returns a function that opens a
    translator; ``inter_threads`` is the number of batches that it works on side by side.
    """
    import torch

    ids = tokenizer("a b c", return_token_type_ids=False)["input_ids"]
    target = [i for i in ids if i not in tokenizer.all_special_ids]
    with torch.inference_mode():  # first, as the conversion may change the weights in place
        logits = network(input_ids=torch.tensor([ids]), labels=torch.tensor([target])).logits[0]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(target)[:, None])[:, 0].tolist()
    path = converted_model(folder, fingerprint, tokenizer, network, precision)
    open_translator = partial(open_engine, "Translator", path, device, precision)
    source, tokens = map(tokenizer.convert_ids_to_tokens, (ids, target))
    actual = open_translator().score_batch([source], [tokens])[0].log_probs
    difference = max(abs(ours - theirs) for ours, theirs in zip(actual, expected, strict=False))
    _check_difference(difference, folder, precision)
    return open_translator


def convert_causal(
    folder: Path, tokenizer: Any, network: Any, fingerprint: str, device: str, precision: str
) -> Callable[..., Any]:
    """Convert a causal language model, and check the probabilities that CTranslate2 computes.

    Args and errors are those of :func:`converted_model`; ``device`` is a torch device. Returns a function that opens a
    generator; ``inter_threads`` is the number of batches that it works on side by side.
    """
    import torch

    ids = tokenizer(SAMPLES["Latin"], return_token_type_ids=False)["input_ids"]
    with torch.inference_mode():  # first, as the conversion may change the weights in place
        logits = network(input_ids=torch.tensor([ids])).logits[0, :-1]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    path = converted_model(folder, fingerprint, tokenizer, network, precision)
    open_generator = partial(open_engine, "Generator", path, device, precision)
    actual = open_generator().score_batch([tokenizer.convert_ids_to_tokens(ids)])[0].log_probs
    # the mean, as a text has more tokens than above; int8 gives up to 0.4 for a small model
    difference = fmean(abs(ours - theirs) for ours, theirs in zip(actual, expected, strict=True))
    _check_difference(difference, folder, precision)
    return open_generator


def _check_difference(difference: float, folder: Path, precision: str) -> None:
    """Raise :class:`InputError` if logarithms of probabilities differ by more than rounding."""
    if not difference < _LARGEST_DIFFERENCE:
        problem = f"CTranslate2 computes other probabilities than torch (their logs differ by {difference:.2f})"
        raise InputError(problem, path=folder, hint=use_torch(precision))


def count_workers(device: str) -> int:
    """The number of batches that are computed side by side, one thread each; one on a GPU."""
    import torch

    return torch.get_num_threads() if device == "cpu" else 1


def open_engine(kind: str, path: Path, device: str, precision: str, inter_threads: int = 1) -> Any:
    """An instance of CTranslate2's class ``kind`` for a converted model, a torch device and a precision.

    It computes a batch in one thread, and ``inter_threads`` batches side by side.
    """
    import torch

    ctranslate2 = load_ctranslate2()

    processor, _, number = device.partition(":")
    before = torch.get_num_threads()
    try:
        return getattr(ctranslate2, kind)(
            str(path),
            device=processor,
            device_index=int(number or 0),
            compute_type=_COMPUTE_TYPES.get(precision, precision),
            inter_threads=inter_threads,
            intra_threads=1,
        )
    except RuntimeError as error:
        problem = f"CTranslate2 cannot open the converted model: {reason(error)}"
        hint = f"delete the folder, and it is converted again, or {use_torch(precision)}"
        raise InputError(problem, path=path, hint=hint) from None
    finally:
        torch.set_num_threads(before)  # CTranslate2 sets OpenMP's threads to its own, and torch shares them
