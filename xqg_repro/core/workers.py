"""What workers on a Ray cluster have in common, and whether they agree with the driver that started them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from xqg_repro import __version__
from xqg_repro.core.errors import InputError

T = TypeVar("T")

_LIBRARIES = ("torch", "transformers", "tokenizers", "ctranslate2")


class Worker:
    """An actor; subclasses have a method ``run``, which does one task.

    Some sums of torch depend on the number of threads. So each worker computes with as many as the driver, which makes
    its bytes those of a local run on the same kind of machine.

    Args:
        threads: of the driver.
    """

    def __init__(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is loaded
        import torch

        torch.set_num_threads(threads)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function returns here."""
        return function(*arguments)


def check_workers(workers: Sequence[Any], folder: Path | None, facts: Callable[[], dict[str, str]] = dict) -> None:
    """Raise :class:`InputError`, which names the machine and both values, if a worker differs from the driver.

    Args:
        workers: of :func:`~xqg_repro.core.cluster.start_workers`.
        folder: which all must see and be able to write to, if any.
        facts: what must be equal besides the versions of the packages: name → value.
    """
    import ray

    marker = folder / f".{os.urandom(8).hex()}.tmp" if folder else None
    try:
        if marker:
            marker.touch()
        expected = _all_facts(marker, facts)
        answers = ray.get([worker.call.remote(_all_facts, marker, facts) for worker in workers])
    finally:
        if marker:
            marker.unlink(missing_ok=True)
    for worker, answer in zip(workers, answers, strict=True):
        for what, value in expected.items():
            if answer[what] != value:
                machine = ray.get(worker.call.remote(platform.node))
                problem = f"the {what} is {answer[what]} for the worker on {machine}"
                hint = "all machines need the same folders, packages and models"
                raise InputError(f"{problem}, but {value} for the driver on {platform.node()}", hint=hint)


def _all_facts(marker: Path | None, facts: Callable[[], dict[str, str]]) -> dict[str, str]:
    versions = {f"version of {library}": _version(library) for library in _LIBRARIES}
    found = {"version of xqg_repro": __version__, **versions, **facts()}
    if marker:
        access = "writable" if os.access(marker.parent, os.W_OK) else "read-only"
        found[f"folder {marker.parent}"] = access if marker.exists() else "not visible"
    return found


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "unknown"
