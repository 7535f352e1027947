"""How much disk and time a condition takes: estimates from the formats and from measured rates.

Disk is passages x dimension x 4 bytes for each array that a condition leaves; time follows from the rates of
``resources/rates.yaml``, which names their sources, or from rates measured here. What was not measured is said, not
guessed.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from xqg_repro import collection
from xqg_repro.core.files import read_json
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.models.settings import EncoderConfig, load_preset
from xqg_repro.reproduction import tasks as commands
from xqg_repro.reproduction.benchmark import Benchmark, Condition

BYTES = 4
"""Of a number in the default format, float32."""

MEASURED = "mbert"
"""The preset whose rates can be measured without its weights: they decide nothing about speed."""

SECONDS = 4.0
"""How long a measurement takes at least."""


@dataclass(frozen=True)
class Figure:
    """A number, how its source words it, and that file."""

    value: float
    quoted: str
    source: str


@dataclass(frozen=True)
class Figures:
    """``resources/rates.yaml``: what disk and time are estimated from; ``hardware`` is what the rates are of."""

    passages: Mapping[str, Figure]
    dimensions: Mapping[str, Figure]
    gigabytes: Mapping[str, Figure]
    rates: Mapping[str, Mapping[str, Figure]]
    seconds: Mapping[str, Figure]
    hardware: str


@cache
def load_figures() -> Figures:
    """The figures that ship with the package."""
    path = resource("rates.yaml")
    return parse(Figures, read_yaml(path), path)


def measured(figures: Figures, device: str | None = None) -> Figures:
    """The figures with rates measured on this machine in place of theirs; half a minute on two CPU cores.

    An encoder of mBERT's size with random weights embeds passages as long as it reads them, and questions of xor-mini,
    in the precision of the preset.

    Args:
        figures: what else is known.
        device: a torch device; ``None`` takes a GPU if there is one.
    """
    from xqg_repro.models.encoder import TextEncoder

    with tempfile.TemporaryDirectory() as folder:
        encoder = TextEncoder(random_encoder(Path(folder)), device)
    longest = [doc.text * 4 for doc in collection.load("xor-mini").docs_iter()]
    questions = [question.text for question in collection.load("xor-mini/dev").queries_iter()]
    work = {
        "encode passages": lambda n: encoder.encode_passages([""] * n, list(islice(cycle(longest), n))),
        "encode queries": lambda n: encoder.encode_queries(list(islice(cycle(questions), n))),
    }
    rates = {name: {MEASURED: Figure(_rate(action), "", "here")} for name, action in work.items()}
    return dataclasses.replace(figures, rates=rates, hardware=f"this machine's {encoder.device}")


def _rate(action: Callable[[int], object]) -> float:
    """Items a second: of as many as take some seconds, after a few to warm up."""
    action(8)
    count, seconds = 8, 0.0
    while seconds < SECONDS:
        count *= 2
        start = time.perf_counter()
        action(count)
        seconds = time.perf_counter() - start
    return float(f"{count / seconds:.3g}")


def random_encoder(folder: Path, **sizes: int) -> EncoderConfig:
    """Write a BERT of mBERT's size (or of other ``sizes``) with random weights and the tokenizer of xdr-mini.

    Returns:
        the settings of the preset ``mbert``, with the folder as the model.
    """
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel, logging

    from xqg_repro.models.loading import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(load_preset("xdr-mini").model))
    logging.disable_progress_bar()
    torch.manual_seed(1)
    settings = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    BertModel(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return dataclasses.replace(load_preset(MEASURED), model=str(folder))


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
    for command in commands.indexing_tasks(benchmark, condition, ""):
        apart = len(XOR_LANGUAGES) if "--per-language" in command.arguments else 1
        arrays += {"generate": 0, "sum": benchmark.queries * apart}.get(command.stage, 1)
    return arrays


def time_of(benchmark: Benchmark, condition: Condition, figures: Figures) -> str:
    """How long a condition takes by the measured rates, and what was not measured."""
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


def explained(figures: Figures) -> str:
    """What the estimates rest on, in words."""
    rates = [
        f"{work} with {preset} {f.value:g} a second ({f.source})"
        for work, by in figures.rates.items()
        for preset, f in by.items()
    ]
    wholes = [f"{name} in all {duration(f.value)} ({f.source})" for name, f in figures.seconds.items()]
    return (
        "Disk and time are estimates: disk is passages x dimension x 4 bytes for each array that is kept; rates are of "
        f"{figures.hardware}, in float32.\nMeasured: {'; '.join([*rates, *wholes])}."
    )
