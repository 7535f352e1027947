"""What the benchmarks share: interleaved timing, sections of the page, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from xqg_repro.core.tables import Table


@dataclass(frozen=True)
class Target:
    """A figure that was to be reached, and what was measured of it."""

    what: str
    wanted: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, Markdown below it, and the targets that it decides."""

    title: str
    text: str
    targets: Sequence[Target] = ()


@dataclass(frozen=True)
class Timing:
    """How long a way took over ``count`` things, in each round."""

    count: int
    seconds: Sequence[float]

    @property
    def rate(self) -> float:
        """Things a second: the median over rounds."""
        return self.count / median(self.seconds)

    def against(self, other: Timing) -> float:
        """How many times the other's rate: the median over rounds, each of which measured both."""
        rates = zip(self.seconds, other.seconds, strict=True)
        return median((self.count / mine) / (other.count / theirs) for mine, theirs in rates)


def interleaved(ways: Mapping[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, Timing]:
    """Time several ways by turns, so that a machine that slows down slows them all.

    Args:
        ways: name → how many things it does, and the action. Each should have been warmed up.
        rounds: how often each is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (_, action) in ways.items():
            start = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(count, seconds[name]) for name, (count, _) in ways.items()}


def times(rounds: int) -> str:
    """How often something was measured, in words."""
    return "measured once" if rounds == 1 else f"medians of {rounds} rounds"


def at_least(what: str, wanted: float, measured: float) -> Target:
    """A target for a ratio."""
    return Target(what, f"at least {wanted}×", f"{measured:.2f}×", measured >= wanted)


def machine() -> Table:
    """Processor, memory and versions; no host names and no paths."""
    import torch

    rows = [
        ("processor", f"{_cpu('model name') or platform.machine()}, {os.cpu_count()} cores"),
        ("AVX-512 BF16", "yes" if "avx512_bf16" in _cpu("flags").split() else "no"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"),
        ("threads of torch", str(torch.get_num_threads())),
        ("load in the minute before", f"{os.getloadavg()[0]:.1f}"),
        ("system", f"{platform.system()}, Python {platform.python_version()}"),
    ]
    packages = ("xqg_repro", "torch", "transformers", "tokenizers", "numpy", "faiss-cpu")
    return Table(("", "here"), [*rows, *((package, version(package)) for package in packages)])


def _cpu(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
