"""Run metadata in the manner of ir-metadata (Breuer et al., SIGIR 2022): a YAML file beside each run.

Its sections are ir-metadata's: what was run (``method``, ``data``), with what (``implementation``) and on what
(``platform``). The day is added. Nobody is named: whoever hands a run in adds the section ``actor``.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from xqg_repro import __version__
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.settings import read_yaml
from xqg_repro.core.stages import Manifest

PACKAGES = ("torch", "transformers", "faiss-cpu", "pyserini", "ir-datasets", "ir-measures")
"""The packages whose versions are recorded."""


class Measurement(NamedTuple):
    """When and from what a run was made, as its metadata tell; empty where they do not.

    Attributes:
        date: ISO 8601 day, such as ``2026-11-24``.
        commit: abbreviated Git commit of the package, with ``-dirty`` behind it if files were changed.
        hardware: processor and number of cores.
    """

    date: str = ""
    commit: str = ""
    hardware: str = ""


def metadata_path(run: str | Path) -> Path:
    """Where a run's metadata lie.

    >>> metadata_path("runs/run.xor-mini.xdr-mini.dev.txt.gz").name
    'run.xor-mini.xdr-mini.dev.txt.yaml'
    """
    run = Path(run)
    return run.with_name(f"{run.name.removesuffix('.gz')}.yaml")


def write_metadata(run: str | Path, made: Manifest, index: Manifest | None = None) -> Path:
    """Describe a run that was made just now.

    Args:
        run: the run file; the metadata go beside it.
        made: what the search was made from: its topics, depth, tag and question encoder.
        index: the manifest of the index, if it has one: collection, passage encoder, augmentation.
    """
    import yaml

    searched, indexed = made.parameters, index.parameters if index else {}
    cpu = {"model": _cpu(), "architecture": platform.machine(), "number of cores": os.cpu_count()}
    described = {
        "tag": searched["tag"],
        "date": f"{datetime.date.today():%Y-%m-%d}",
        "platform": {
            "hardware": {"cpu": cpu},
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
            "indexing": {key: value for key, value in indexed.items() if key != "collection"},
            "retrieval": [{"name": "dense", "depth": searched["depth"], "encoder": searched["encoder"]}],
        },
        "data": {"test collection": {"ir_datasets": indexed.get("collection", ""), "topics": searched["topics"]}},
    }
    path = metadata_path(run)
    with atomic_write(path) as file:
        plain = json.loads(json.dumps(described))  # enums become strings
        yaml.safe_dump(plain, file, sort_keys=False, allow_unicode=True, width=120)
    return path


def read_measurement(run: str | Path) -> Measurement:
    """Day, commit and hardware of a run, from the metadata beside it; empty where there are none.

    Raises:
        InputError: the file beside the run is not such metadata.
    """
    path = metadata_path(run)
    if not path.exists():
        return Measurement()
    found = read_yaml(path)
    try:
        cpu = found["platform"]["hardware"]["cpu"]
        hardware = f"{cpu['model']}, {cpu['number of cores']} cores"
        return Measurement(str(found["date"]), found["implementation"]["source"]["commit"], hardware)
    except (KeyError, TypeError) as error:
        raise InputError(f"is not a run's metadata: {error}", path=path, hint="make the run again") from None


def commit(apart_from: str = "") -> str:
    """The Git commit that the package runs from, ``-dirty`` if files differ from it; empty outside a checkout.

    Args:
        apart_from: folder, from the checkout's root, whose files may differ from the commit's.
    """
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    git = ["git", "-C", str(folder)]
    try:
        shown = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except FileNotFoundError:  # there is no Git
        return ""
    if shown.returncode:
        return ""
    paths = [".", f":(exclude){apart_from}"] if apart_from else ["."]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *paths], capture_output=True).returncode != 0
    return shown.stdout.strip() + ("-dirty" if changed else "")


def environment() -> str:
    """Machine, Python and packages in one line."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"{platform.machine()}, Python {platform.python_version()}, {versions}"


def _cpu() -> str:
    """The processor's name, with the widest vectors that PyTorch uses on it: they decide a score's last digits."""
    import torch

    name = platform.processor() or platform.machine()
    if sys.platform == "linux" and (lines := Path("/proc/cpuinfo").read_text(errors="replace").splitlines()):
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
