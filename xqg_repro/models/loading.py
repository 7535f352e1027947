"""Models from a folder, the hub or the package: resolve, fingerprint, load, and move to a device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, input_digest
from xqg_repro.core.settings import resource
from xqg_repro.models.architectures import computed_weights, model_class
from xqg_repro.models.folders import (
    CONFIG,
    PYTORCH,
    SAFETENSORS,
    Side,
    check_files,
    download,
    has_sides,
    model_files,
    reason,
    template_files,
    transformer_folder,
)
from xqg_repro.models.tokenizers import check_tokenizer
from xqg_repro.models.vocabulary import fit_tokenizer

if TYPE_CHECKING:
    import torch

PACKAGED = "package:"
TOKENS_PER_BATCH = {"cpu": 1_024, "gpu": 16_384}
"""A batch should fit a CPU's caches, and keep a GPU busy."""

_ONLY_HERE = {"trust_remote_code": False, "local_files_only": True}


def resolve_model(model: str) -> Path:
    """Folder of a model: ``package:NAME``, a folder, or a Hugging Face id (downloaded unless cached).

    :class:`InputError` for no such folder, one without weights, with two encoders (see :mod:`xqg_repro.models.untied`)
    or as :func:`~xqg_repro.models.folders.check_files`, or a model that is neither cached nor downloadable.
    """
    if not model:
        raise InputError("the name of the model is empty", hint="name a model folder or a Hugging Face id")
    folder = _local(model)
    if model.startswith(PACKAGED):
        folder = resource("models", model.removeprefix(PACKAGED))
        if not folder.is_dir():
            raise InputError(
                f"no model {model!r} ships with the package", hint=f"choose from: {', '.join(_packaged_models())}"
            )
    elif folder.is_dir():
        pass
    elif model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise InputError("no such model folder", path=model, hint="train it, or name another")
    else:
        folder = download(model)
    if has_sides(folder):
        names = " or ".join(os.path.join(model, side) for side in Side)
        problem = "holds two encoders, one of questions and one of passages, but a single (tied) one is needed here"
        raise InputError(problem, path=folder, hint=f"name another model, or one of the two: {names}")
    check_files(folder)
    place = transformer_folder(folder)
    if not (place / CONFIG).is_file():
        raise InputError(f"is not a model folder: no {CONFIG}", path=place)
    if not any(next(place.glob(pattern), None) for pattern in (SAFETENSORS, PYTORCH)):
        hint = "model.safetensors is missing; copy or download the model again"
        raise InputError("is a model folder without weights", path=place, hint=hint)
    return folder


def local_folder(model: str) -> Path | None:
    """The folder that a model's name stands for, whatever is in it; ``None`` for a name of the hub."""
    folder = resource("models", model.removeprefix(PACKAGED)) if model.startswith(PACKAGED) else _local(model)
    return folder if model and folder.is_dir() else None


def _local(model: str) -> Path:
    return Path(os.path.expanduser(model))  # unlike Path.expanduser, it leaves a name of no user as it is


def _packaged_models() -> list[str]:
    return sorted(f"{PACKAGED}{path.name}" for path in resource("models").iterdir() if path.is_dir())


def model_fingerprint(model: str) -> str:
    """SHA-256 over the names and checksums of the files that decide a model's output."""
    folder = resolve_model(model)
    return digest({path.relative_to(folder).as_posix(): input_digest(path) for path in model_files(folder)})


def writer_fingerprints(model: str, chat: bool) -> dict[str, str]:
    """What decides a text besides the settings: the model's fingerprint and, for a chat, that of its template."""
    fingerprints = {"model": model_fingerprint(model)}
    if chat:
        files = template_files(resolve_model(model))
        fingerprints["chat_template"] = digest({path.name: input_digest(path) for path in files})
    return fingerprints


def lasting_name(model: str) -> str:
    """A model's name for a manifest: the absolute path of a folder, so that it is found from any directory."""
    is_folder = not model.startswith(PACKAGED) and _local(model).is_dir()
    return os.path.abspath(_local(model)) if is_folder else model


def find_model(model: str, fingerprint: str) -> str:
    """The name of a model that a manifest records; if its folder is gone, of the packaged model that equals it."""
    if model.startswith(PACKAGED) or _local(model).is_dir():
        return model
    return next((name for name in _packaged_models() if model_fingerprint(name) == fingerprint), model)


def load_model(
    folder: Path,
    dtype: torch.dtype | str,
    auto_class: str = "AutoModel",
    kind: str = "an encoder",
    *,
    untrained: tuple[str, ...] = (),
) -> tuple[Any, Any]:
    """Load the tokenizer and the model of a folder with one of transformers' auto classes, without its messages.

    The dtype ``auto`` is that of the weights.

    Nothing is unpickled, no code of the folder is run, and the hub is not asked. Weights whose names start with one of
    ``untrained`` may be missing; they are then random. :class:`InputError` if the folder holds no such ``kind`` of
    model, lacks other weights, or its tokenizer is missing or knows no words.
    """
    from pickle import UnpicklingError  # how the weights-only reader refuses anything else

    place = transformer_folder(folder)
    try:
        with _without_messages():
            network = model_class(place, auto_class, kind)  # first, as a tokenizer's errors hide its own
            tokenizer = _load_tokenizer(place)
            model, report = network.from_pretrained(
                place, dtype=dtype, ignore_mismatched_sizes=True, output_loading_info=True, **_ONLY_HERE
            )
    except InputError:
        raise
    except (UnpicklingError, EOFError) as error:
        problem = "its pytorch_model.bin is truncated or does not hold weights only"
        raise InputError(f"cannot be loaded as {kind}: {problem}", path=folder) from error
    except Exception as error:  # each architecture, and each format of weights, has errors of its own
        raise InputError(f"cannot be loaded as {kind}: {reason(error)}", path=folder) from error
    _check_weights(report, folder, (*untrained, *computed_weights(model)))
    fit_tokenizer(tokenizer, model, folder)
    return tokenizer, model


@contextmanager
def _without_messages() -> Iterator[None]:
    from transformers import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def open_tokenizer(model: str) -> Any:
    """The tokenizer of a model, alone; :class:`InputError` as :func:`resolve_model`, or if it cannot be used."""
    with _without_messages():
        return _load_tokenizer(transformer_folder(resolve_model(model)))


def _load_tokenizer(folder: Path) -> Any:
    """A model's tokenizer; :class:`InputError` if it cannot be loaded or knows no words."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **_ONLY_HERE)
    except Exception as error:
        hint = "the folder needs its files, such as tokenizer.json, vocab.txt or spm.model"
        problem = f"its tokenizer cannot be loaded: {reason(error).partition(' from one of')[0]}"
        raise InputError(problem, path=folder, hint=hint) from error
    check_tokenizer(tokenizer, folder)
    return tokenizer


def _check_weights(report: dict[str, Any], folder: Path, untrained: tuple[str, ...]) -> None:
    """Raise :class:`InputError` if weights are missing or have other shapes; they would stay random."""
    hint = "is it a checkpoint of this architecture?"
    for name, actual, expected in sorted(report["mismatched_keys"]):
        shapes = f"{tuple(actual)}, where {CONFIG} says {tuple(expected)}"
        raise InputError(f"has weights of another shape: {name} is {shapes}", path=folder, hint=hint)
    # the pooler is never used, and many checkpoints come without one
    optional = ("pooler.", *untrained)
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith(optional)):
        raise InputError(f"lacks {len(missing)} of the model's weights, such as {missing[0]}", path=folder, hint=hint)


def choose_device(device: str | None) -> str:
    """The given torch device, or by default a GPU if available."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16(device: str) -> bool:
    """Whether the hardware computes in bfloat16 natively (emulated, it is slower than float32)."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public function for this; without the private one, float32 is always right
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.startswith("cpu") and is_supported is not None and bool(is_supported())


def open_model(
    model: str, precision: str, device: str | None, auto_class: str = "AutoModel", kind: str = "an encoder"
) -> tuple[Path, Any, Any, str]:
    """Load a model to compute with it; the arguments are those of the other functions here.

    Returns:
        its folder, its tokenizer, the model in evaluation mode on the device, and the device.

    Raises:
        InputError: as :func:`resolve_model` and :func:`load_model`; or the device cannot be used.
    """
    import torch

    folder = resolve_model(model)
    tokenizer, network = load_model(folder, getattr(torch, precision), auto_class, kind)
    device = choose_device(device)
    try:
        network.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    return folder, tokenizer, network, device


def token_batches(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Split positions into batches of similar length whose padded size stays within a number of tokens.

    Short texts are not padded to the length of long ones. A text longer than the limit gets a batch of its own.

    >>> list(token_batches([2, 9, 3, 2], tokens_per_batch=9))
    [[1], [2, 0, 3]]
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
