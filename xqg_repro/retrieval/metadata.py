"""Run metadata after ir-metadata (Breuer et al., SIGIR 2022): a YAML file beside each run.

The sections are ir-metadata's: what was run (``method``, ``data``), with which software (``implementation``) and on
which machine (``platform``), plus the date. ``actor`` is left to whoever submits the run.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import __version__
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.settings import read_yaml
from xqg_repro.core.stages import Manifest, metadata_path

PACKAGES = ("torch", "transformers", "ctranslate2", "faiss-cpu", "pyserini", "ir-datasets", "ir-measures")
"""The packages whose versions are recorded."""


class Measurement(NamedTuple):
    """When, with which code and on which machine a run was made, from its metadata; empty if unknown.

    Attributes:
        date: ISO 8601 date, such as ``2026-11-24``.
        commit: abbreviated Git commit of the package, followed by ``-dirty`` if files were changed.
        hardware: processor and number of cores.
    """

    date: str = ""
    commit: str = ""
    hardware: str = ""


def write_metadata(
    run: str | Path, search: Manifest, index: Manifest | None = None, retrieval: Mapping[str, Any] | None = None
) -> Path:
    """Describe a run that was just made, in a file beside it, from the manifests of its search and its index.

    ``retrieval`` names and describes a search that is not dense.
    """
    import yaml

    indexing = index.parameters if index else {}
    kept = ("depth", "encoder", "nprobe", "ef_search", "k1", "b", "language")
    name = "bm25" if "k1" in search.parameters else "dense"
    name = "late interaction" if search.parameters.get("interaction") == "late" else name
    searched = {"name": name, **{key: value for key, value in search.parameters.items() if key in kept}}
    described = {
        "tag": search.parameters["tag"],
        "date": f"{datetime.date.today():%Y-%m-%d}",
        "platform": {
            "hardware": {
                "cpu": {"model": _cpu(), "architecture": platform.machine(), "number of cores": os.cpu_count()},
            },
            "operating system": {"kernel": f"{platform.system()} {platform.release()}"},
            "software": {
                "libraries": {"python": [f"{name}=={metadata.version(name)}" for name in PACKAGES]},
                "retrieval toolkit": [f"xqg_repro=={__version__}"],
            },
        },
        "implementation": {"source": {"lang": f"python {platform.python_version()}", "commit": commit()}},
        "method": {
            "automatic": True,
            "score ties": "by docid, after rounding to six decimals",
            "indexing": {key: value for key, value in indexing.items() if key != "collection"},
            "retrieval": [retrieval or searched],
        },
        "data": {
            "test collection": {
                "ir_datasets": indexing.get("collection", ""),
                "topics": search.parameters.get("topics", ""),
            }
        },
    }
    path = metadata_path(run)
    with atomic_write(path) as file:
        plain = json.loads(json.dumps(described))  # enums become strings
        yaml.safe_dump(plain, file, sort_keys=False, allow_unicode=True, width=120)
    return path


def read_measurement(run: str | Path) -> Measurement:
    """Date, commit and hardware of a run, from the metadata beside it; empty if there are none.

    Raises:
        InputError: the file beside the run does not contain run metadata.
    """
    path = metadata_path(run)
    if not path.exists():
        return Measurement()
    described = read_yaml(path)
    try:
        cpu = described["platform"]["hardware"]["cpu"]
        hardware = f"{cpu['model']}, {cpu['number of cores']} cores"
        return Measurement(str(described["date"]), described["implementation"]["source"]["commit"], hardware)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"is not a run's metadata: {error}", path=path, hint="make the run again, or move this file"
        ) from None


def commit(apart_from: str = "") -> str:
    """The Git commit of the package's checkout, with ``-dirty`` if files differ from it; empty outside a checkout.

    Args:
        apart_from: a folder, relative to the checkout's root, whose files may differ.
    """
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except FileNotFoundError:  # Git is not installed
        return ""
    if head.returncode:
        return ""
    paths = [".", f":(exclude){apart_from}"] if apart_from else ["."]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *paths], capture_output=True).returncode
    return head.stdout.strip() + ("-dirty" if changed else "")


def environment() -> str:
    """Architecture, Python version and package versions in one line."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"{platform.machine()}, Python {platform.python_version()}, {versions}"


def _cpu() -> str:
    """The processor's name and the vector instructions that PyTorch uses on it, which affect a score's last digits."""
    import torch

    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
