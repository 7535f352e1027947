"""What the benchmarks share: timing in turns, sections of the page, and the description of the machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from xqg_repro.core.files import atomic_write
from xqg_repro.core.tables import Table

PACKAGES = (
    "xqg_repro",
    "torch",
    "transformers",
    "tokenizers",
    "ctranslate2",
    "sentence-transformers",
    "numpy",
    "faiss-cpu",
)


@dataclass(frozen=True)
class Target:
    """A target for a measured value, and whether it was met."""

    what: str
    target: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Section:
    """A section of the page: its heading, its Markdown, and the targets that it decides."""

    title: str
    text: str
    targets: Sequence[Target] = ()


@dataclass(frozen=True)
class Timing:
    """How long a method took for ``count`` items, in each round."""

    count: int
    seconds: Sequence[float]

    @property
    def rate(self) -> float:
        """Items per second: the median over rounds."""
        return self.count / median(self.seconds)

    def ratio_to(self, other: Timing) -> float:
        """How many times as fast as the other: the median over rounds, each of which timed both."""
        rounds = zip(self.seconds, other.seconds, strict=True)
        return median((self.count / mine) / (other.count / theirs) for mine, theirs in rounds)


def time_in_turns(ways: Mapping[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, Timing]:
    """Time several methods in turns, so that a machine that slows down slows all of them.

    Args:
        ways: name → number of items, and the action that processes them. Each action should be warmed up.
        rounds: how often each action is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (_, action) in ways.items():
            start = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(count, seconds[name]) for name, (count, _) in ways.items()}


def memory(key: str) -> float:
    """Bytes of this process: in memory (``VmRSS``), or at most so far (``VmHWM``)."""
    # not getrusage: a new process inherits its parent's peak there
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def describe_rounds(rounds: int) -> str:
    """How often something was measured, in words."""
    return "measured once" if rounds == 1 else f"medians of {rounds} rounds"


def ratio_target(what: str, least: float, measured: float) -> Target:
    """A target for a ratio."""
    return Target(what, f"at least {least}×", f"{measured:.2f}×", measured >= least)


def target_table(targets: Sequence[Target]) -> Table:
    """Targets with their verdicts."""
    rows = [[t.what, t.target, t.measured, "met" if t.met else "**not met**"] for t in targets]
    return Table(["what", "target", "measured", "verdict"], rows)


def write_page(output: Path, parts: Sequence[str]) -> None:
    """Print the parts of a page, in Markdown, and write them to a file."""
    page = "\n\n".join(part.strip() for part in parts) + "\n"
    print(page)
    with atomic_write(output) as file:
        file.write(page)


def describe_machine() -> Table:
    """Processor, memory and versions, without host names and paths."""
    import torch

    rows = [
        ("processor", f"{_cpu_info('model name') or platform.machine()}, {os.cpu_count()} cores"),
        ("AVX-512 BF16", "yes" if "avx512_bf16" in _cpu_info("flags").split() else "no"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"),
        ("torch threads", str(torch.get_num_threads())),
        ("load in the minute before", f"{os.getloadavg()[0]:.1f}"),
        ("system", f"{platform.system()}, Python {platform.python_version()}"),
    ]
    return Table(("", "here"), [*rows, *((package, version(package)) for package in PACKAGES)])


def _cpu_info(key: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
