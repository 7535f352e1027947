"""Models from a folder, the hub or the package: resolve, fingerprint, load, and move to a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, input_digest
from xqg_repro.core.settings import resource

if TYPE_CHECKING:
    import torch

PACKAGED = "package:"
TOKENS_PER_BATCH = {"cpu": 1_024, "gpu": 16_384}
"""A batch should fit a CPU's caches, and keep a GPU busy."""

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_MODEL_FILES = (
    "config.json",
    "*.index.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "*.spm",
    "spiece.model",
    "special_tokens_map.json",
)


def resolve_model(model: str) -> Path:
    """Folder of a model: ``package:NAME``, a folder, or a Hugging Face id (downloaded unless cached).

    :class:`InputError` for no such folder, one without weights, or a model that is neither cached nor downloadable.
    """
    if model.startswith(PACKAGED):
        folder = resource("models", model.removeprefix(PACKAGED))
        if not folder.is_dir():
            shipped = sorted(f"{PACKAGED}{path.name}" for path in resource("models").iterdir() if path.is_dir())
            raise InputError(f"no model {model!r} ships with the package", hint=f"choose from: {', '.join(shipped)}")
    elif (folder := Path(model)).is_dir():
        pass
    elif model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise InputError("no such model folder", path=model, hint="train it, or name another")
    else:
        folder = _download(model)
    if not (folder / "config.json").exists():
        raise InputError("is not a model folder: no config.json", path=folder)
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        hint = "model.safetensors is missing; copy or download the model again"
        raise InputError("is a model folder without weights", path=folder, hint=hint)
    return folder


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    # safetensors if the model has them; only older models need pytorch_model.bin (read with weights_only)
    try:
        files = [*_MODEL_FILES, "*.safetensors"]
        folder = Path(snapshot_download(model, allow_patterns=files))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(model, allow_patterns=[*files, *_WEIGHTS]))
        return folder
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the model {model!r} is not a local folder, and downloading it from the Hugging Face hub failed: {reason}",
            hint="name a model folder, or connect to the hub once",
        ) from error


def model_fingerprint(model: str) -> str:
    """SHA-256 over the names and checksums of a model folder's weights, configuration and tokenizer files."""
    folder = resolve_model(model)
    paths = {path for pattern in (*_WEIGHTS, *_MODEL_FILES) for path in folder.glob(pattern)}
    return digest({path.name: input_digest(path) for path in paths})


def load_model(
    folder: Path,
    dtype: torch.dtype,
    auto_class: str = "AutoModel",
    kind: str = "an encoder",
    *,
    untrained: tuple[str, ...] = (),
) -> tuple[Any, Any]:
    """Load the tokenizer and the model of a folder with one of transformers' auto classes, without its messages.

    Weights whose names start with one of ``untrained`` may be missing; they are then random. :class:`InputError` if the
    folder holds no such ``kind`` of model, or lacks other weights.
    """
    from pickle import UnpicklingError  # how the weights-only reader refuses anything else

    import transformers
    from safetensors import SafetensorError

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model, report = getattr(transformers, auto_class).from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"cannot be loaded as {kind}: {str(error).splitlines()[0]}", path=folder) from error
    except (UnpicklingError, EOFError) as error:
        problem = "its pytorch_model.bin is truncated or does not hold weights only"
        raise InputError(f"cannot be loaded as {kind}: {problem}", path=folder) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
    # the pooler is never used, and many checkpoints come without one; any other missing weight would stay random
    optional = ("pooler.", *untrained)
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith(optional)):
        raise InputError(
            f"lacks {len(missing)} of the model's weights, such as {missing[0]}",
            path=folder,
            hint="is it a checkpoint of this architecture?",
        )
    # some tokenizers pad or truncate on the left, which would move the first token and the positions
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer, model


def choose_device(device: str | None) -> str:
    """The given torch device, or by default a GPU if available."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


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


def check_length(
    tokenizer: Any | None,
    model: Any,
    longest: int,
    folder: Path,
    hint: str = "lower passage_max_length or query_max_length",
) -> None:
    """Raise :class:`InputError` unless a model, and its tokenizer unless ``None``, can read ``longest`` tokens."""
    limit = getattr(model.config, "max_position_embeddings", longest)
    if tokenizer is not None:
        limit = min(limit, tokenizer.model_max_length)
    if longest > limit:
        raise InputError(f"reads at most {limit} tokens, but the maximum length is {longest}", path=folder, hint=hint)


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
