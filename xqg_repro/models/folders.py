"""Model folders: which files decide the output, which are fetched from the hub, and what is refused unread.

Files count unless their names say that they cannot matter, as every architecture brings its own kinds of files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.text import Record, open_bytes, read_text

CONFIG = "config.json"
MODULES = "modules.json"
"""Sentence-transformers' list of the modules that make an embedding, some with folders of their own."""
SAFETENSORS, PYTORCH = "*.safetensors", "pytorch_model*.bin"
TOKEN_PROJECTION = "projection.safetensors"
"""The layer after the network of a late-interaction model, see :mod:`xqg_repro.models.token_network`."""

_LONGEST_NAME = 255
"""Bytes in the name of a file or folder, on Linux and macOS."""

_DOCUMENTS = ("readme*", "license*", "licence*", "notice*", "copying*", "citation*", "changelog*", "notes*")
_TEXTS = ("*.md", "*.rst", "*.html", "*.pdf", "*.csv", "*.tsv", "*.jsonl", "*.log", "*.yml", "*.yaml", "*.jinja")
_IMAGES = ("*.svg", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp")
_CODE = ("*.py", "*.pyc", "*.sh", "*.ipynb", "*.toml", "requirements*")
_OTHER_FORMATS = (
    *("*.onnx*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.ggml", "ggml*", "*.tflite", "*.ckpt*", "*.pb", "*.mlmodel"),
    *("openvino*", "*.npz", "*.pth", "model*.pt", "consolidated*", "*.zip", "*.tar*", "*.parquet", "*.arrow"),
)
_OF_TRAINING = ("optimizer*", "scheduler*", "scaler.pt", "training_args*", "trainer_state*", "*results*")
# every setting of generation is given, no image is read, --chat is recorded apart, and a stage only describes itself
_UNREAD = (
    "generation_config.json",
    "*processor_config.json",
    "chat_template*",
    "manifest.json",
    "questions.txt",
    "seen.txt",
    ".*",
)
UNUSED = (*_DOCUMENTS, *_TEXTS, *_IMAGES, *_CODE, *_OTHER_FORMATS, *_OF_TRAINING, *_UNREAD)
"""Patterns of lower-case file names that decide neither a vector nor a text."""

_TEMPLATES = ("*.jinja", "chat_template*")
_NOT_FETCHED = tuple(pattern for pattern in UNUSED if pattern not in _TEMPLATES)


def download(model: str) -> Path:
    """Folder of a Hugging Face model, fetched unless cached.

    Of the weights, safetensors are fetched if there are any; of the subfolders, those that ``modules.json`` names.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    try:
        folder = Path(snapshot_download(model, ignore_patterns=[*_NOT_FETCHED, "*/*", PYTORCH]))
        if not any(folder.glob(SAFETENSORS)):
            snapshot_download(model, ignore_patterns=[*_NOT_FETCHED, "*/*"])
        if names := _module_names(folder):
            wanted, deeper = [f"{name}/*" for name in names], [f"{name}/*/*" for name in names]
            snapshot_download(model, allow_patterns=wanted, ignore_patterns=[*UNUSED, *deeper])
        return folder
    except InputError:
        raise
    except Exception as error:
        hint = "name a model folder, or connect to the hub once"
        if isinstance(error, GatedRepoError):
            hint = f"accept the licence on https://huggingface.co/{model}, then hf auth login; or name a model folder"
        raise InputError(
            f"the model {model!r} is not a local folder, and downloading it from the Hugging Face hub failed: "
            f"{reason(error)}",
            hint=hint,
        ) from error


def reason(error: Exception) -> str:
    """The first line of an error's message, with its type if the message is only a value.

    >>> reason(KeyError("model")), reason(ValueError("wrong field:\\n  no such layer\\nin file x"))
    ("KeyError: 'model'", 'wrong field: no such layer')
    """
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    if first.endswith(":") and others:
        first = f"{first} {others[0].strip()}"
    is_value = isinstance(error, LookupError | TypeError | AttributeError)
    return f"{type(error).__name__}: {first}" if is_value else first.rstrip(" :")


def model_files(folder: Path) -> list[Path]:
    """The files that decide a model's output: those of its folder and of the folders that ``modules.json`` names."""
    places = {folder, *module_folders(folder)}
    files = [path for place in places for path in place.iterdir() if path.is_file()]
    return sorted(path for path in files if not any(fnmatchcase(path.name.lower(), pattern) for pattern in UNUSED))


def template_files(folder: Path) -> list[Path]:
    """The files of a folder with chat templates, which decide a text with ``--chat`` only."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return sorted(path for path in files if any(fnmatchcase(path.name.lower(), pattern) for pattern in _TEMPLATES))


class Side(StrEnum):
    """What one of two untied encoders encodes; the names of their sub-folders, see :mod:`xqg_repro.models.untied`."""

    QUERY = "query"
    PASSAGE = "passage"


def has_sides(folder: Path) -> bool:
    """Whether a folder holds two encoders, and none of its own."""
    is_model = (folder / CONFIG).exists() or (folder / MODULES).exists()
    return not is_model and all((folder / side).is_dir() for side in Side)


def module_folders(folder: Path) -> list[Path]:
    """The existing subfolders that ``modules.json`` names, in its order."""
    return [path for name in _module_names(folder) if (path := folder / name).is_dir()]


def transformer_folder(folder: Path) -> Path:
    """The folder of the language model itself, which old versions of sentence-transformers keep in a subfolder."""
    for module in read_modules(folder):
        if module.text("type").endswith(".Transformer"):
            return folder / module_place(module)
    return folder


def _module_names(folder: Path) -> list[str]:
    return [place for module in read_modules(folder) if (place := module_place(module)) != "."]


def module_place(module: Record) -> str:
    """The folder of a module within the model's."""
    return os.path.normpath(module.text("path", "") or ".")


def read_modules(folder: Path) -> list[Record]:
    """The entries of ``modules.json``, none without the file.

    :class:`InputError` if it is malformed or names a folder outside this one.
    """
    path = folder / MODULES
    if not path.is_file():
        return []
    hint = 'expected a list of objects {"idx": …, "name": …, "path": …, "type": …}'
    modules = Record({"modules": read_config(path)}, path, hint=hint).records("modules")
    for module in modules:
        place = module_place(module)
        if os.path.isabs(place) or Path(place).parts[:1] == ("..",):
            raise module.error(f"names a folder outside the model's: {quote(place)}")
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(place).parts):
            raise module.error(f"names a folder that cannot exist: {quote(place)}")
    return modules


def check_files(folder: Path) -> None:
    """Raise :class:`InputError` for a model folder that names code of its own, an adapter, or Git LFS pointers."""
    _check_code(folder)
    if (path := folder / "adapter_config.json").is_file():
        hint = "merge the adapter into the model's weights, or delete the file"
        raise InputError("describes a PEFT adapter, which is not applied", path=path, hint=hint)
    for path in model_files(folder):
        with open_bytes(path, "model file"):
            pass  # a pointer is refused


def _check_code(folder: Path) -> None:
    """Raise :class:`InputError` if a model's configuration names code: ``auto_map``, a foreign module or a hub kernel.

    That holds for an architecture that transformers contains, too. Its own class loads without the repository's code,
    but often computes something else: Qwen 2 encoders whose code lets every token attend to all others would be read
    with causal attention, and nothing would say so. Whoever wants transformers' class says it by deleting ``auto_map``.
    """
    for module in read_modules(folder):
        if not module.text("type").startswith("sentence_transformers."):
            raise _names_code(folder / MODULES, module.text("type"))
    for place in (folder, *module_folders(folder)):
        for path in sorted(place.glob("*config*.json")):
            for key, value in _fields(read_config(path)):
                is_kernel = key.endswith(("attn_implementation", "experts_implementation")) and "/" in str(value)
                if is_kernel or (key == "auto_map" and value):
                    raise _names_code(path, f"{key}: {value}")


def _names_code(path: Path, code: str) -> InputError:
    hint = "if transformers itself computes the same, delete the entry in a copy of the model; or choose another model"
    return InputError(f"names code of its own, which is never run: {quote(code)}", path=path, hint=hint)


def _fields(value: Any) -> Iterable[tuple[str, Any]]:
    """All keys and values of parsed JSON, at any depth."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value


def read_config(path: Path) -> Any:
    """The content of a configuration file, in which transformers lets keys be repeated."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        problem = f"is not JSON: {getattr(error, 'msg', error)}"
        hint = "copy or download the model again"
        raise InputError(problem, path=path, line=getattr(error, "lineno", None), hint=hint) from None
