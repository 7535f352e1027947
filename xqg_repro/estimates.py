"""How much disk and time a condition takes: estimates from the formats and from measured rates.

Disk is passages x dimension x 4 bytes for each array that a condition leaves; time follows from the rates of
``resources/rates.yaml``, which names their sources. What was not measured is said, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xqg_repro import commands
from xqg_repro.artifacts import read_json
from xqg_repro.config import XOR_LANGUAGES, Benchmark, Condition, parse, read_yaml, resource

BYTES = 4
"""Of a number in the default format, float32."""


@dataclass(frozen=True)
class Figure:
    """A number, how its source words it, and that file."""

    value: float
    quoted: str
    source: str


@dataclass(frozen=True)
class Figures:
    """``resources/rates.yaml``: what disk and time are estimated from."""

    passages: Mapping[str, Figure]
    dimensions: Mapping[str, Figure]
    gigabytes: Mapping[str, Figure]
    rates: Mapping[str, Mapping[str, Figure]]
    seconds: Mapping[str, Figure]


@cache
def load_figures() -> Figures:
    """The figures that ship with the package."""
    path = resource("rates.yaml")
    return parse(Figures, read_yaml(path), path)


def array_size(benchmark: Benchmark, condition: Condition, encoder: str) -> float | None:
    """Bytes of one array of a condition's vectors, and so of its index: passages x dimension x 4.

    ``encoder`` is the encoder's folder, empty where it is not here. ``None`` where the number of passages or the
    dimension is not known. Docids, texts and runs are left out.
    """
    figures = load_figures()
    passages, dimension = figures.passages.get(benchmark.collection), figures.dimensions.get(condition.encoder)
    width = read_json(Path(encoder, "config.json")).get("hidden_size") if encoder else None
    width = width or (dimension and dimension.value)
    return passages.value * width * BYTES if passages and width else None


def arrays_kept(benchmark: Benchmark, condition: Condition) -> int:
    """How many such arrays a condition leaves: embeddings, sums, augmented embeddings, index."""
    arrays = 0
    for command in commands.passage_commands(benchmark, condition, ""):
        apart = len(XOR_LANGUAGES) if "--per-language" in command.arguments else 1
        arrays += {"generate": 0, "sum": benchmark.queries * apart}.get(command.stage, 1)
    return arrays


def time_of(benchmark: Benchmark, condition: Condition) -> str:
    """How long a condition takes by the measured rates, and what was not measured."""
    figures = load_figures()
    if whole := figures.seconds.get(benchmark.name):
        return f"{duration(whole.value)}, all conditions"
    passages, seconds, unmeasured = figures.passages.get(benchmark.collection), 0.0, []
    for work, preset, each in _work(benchmark, condition):
        rate = figures.rates.get(work, {}).get(preset)
        if rate is None or passages is None:
            unmeasured.append(work)
        else:
            seconds += passages.value * each / rate.value
    known = [duration(seconds)] if seconds else []
    return "; ".join([*known, *([f"not measured: {', '.join(unmeasured)}"] if unmeasured else [])])


def _work(benchmark: Benchmark, condition: Condition) -> list[tuple[str, str, int]]:
    """(work, preset, items a passage) of a condition's models, and the search; none are a passage's after encoding."""
    queries = len(XOR_LANGUAGES) * benchmark.queries
    work = [("generate queries", condition.generator, queries)] if condition.generator else []
    work.append(("encode passages", condition.encoder, 1))
    if condition.augmentation:
        work.append(("encode queries", condition.encoder, queries))
    work.append(("search", condition.encoder, 0))
    if benchmark.reading:
        work.append(("read answers", benchmark.reading.reader, 0))
    return work


def size(count: float | None) -> str:
    """Bytes in a unit that suits them.

    >>> size(2_500_000), size(55e9), size(None)
    ('2.5 MB', '55 GB', 'not known')
    """
    if count is None:
        return "not known"
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    return f"{count / unit:,.0f} {name}" if count >= 10 * unit else f"{count / unit:.1f} {name}"


def duration(seconds: float) -> str:
    """A time in a unit that suits it.

    >>> duration(42), duration(300), duration(86_400 * 27.8)
    ('42 s', '5 min', '28 days')
    """
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:,.0f} s"


def explained() -> str:
    """What the estimates rest on, in words."""
    figures = load_figures()
    rates = [
        f"{work} with {preset} {f.value:g} a second ({f.source})"
        for work, by in figures.rates.items()
        for preset, f in by.items()
    ]
    wholes = [f"{name} in all {duration(f.value)} ({f.source})" for name, f in figures.seconds.items()]
    return (
        "Disk and time are estimates: disk is passages x dimension x 4 bytes for each array that is kept; times are of "
        f"two CPU cores in float32.\nMeasured: {'; '.join([*rates, *wholes])}. No GPU was measured."
    )
