"""The leaderboard on a two-click page: published systems beside a benchmark's conditions, and how the two compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.tables import Table
from xqg_repro.evaluation import unpaired
from xqg_repro.evaluation.baselines import Baselines, Published, load_baselines
from xqg_repro.evaluation.printing import MeasureConfig, format_p
from xqg_repro.evaluation.scores import ByLanguage
from xqg_repro.evaluation.significance import Correction, correct_p_values
from xqg_repro.reproduction.benchmark import Benchmark
from xqg_repro.reproduction.claims import Evidence


class PublishedScore(NamedTuple):
    """A published score as the page prints it, and in [0, 1] to sort by if it can be compared with ours; else empty."""

    text: str = ""
    exact: str = ""


class PublishedRow(NamedTuple):
    """A published system on one split.

    Attributes:
        comparable, inferred: whether the split is the page's; whether it was inferred, as its source does not name it.
        provenance: ``primary`` or ``secondary``.
        paper: such as ``arXiv:2010.11856``; may be empty.
        sources, notes: where the figures were read, and what to know about them.
        scores: for each column, one score per measure.
    """

    system: str
    split: str
    comparable: bool
    inferred: bool
    provenance: str
    paper: str
    sources: list[str]
    notes: list[str]
    scores: list[list[PublishedScore]]


def published_rows(benchmark: Benchmark) -> list[PublishedRow]:
    """The systems published on a benchmark: those on its own split first, each kind from the best average down."""
    if not (baselines := _baselines_of(benchmark)):
        return []
    systems: dict[tuple[str, str], dict[str, Published]] = {}
    for row in baselines.rows:
        if row.measure in benchmark.measures:
            systems.setdefault((row.system, row.split), {})[row.measure] = row

    def place(found: Mapping[str, Published]) -> list[float]:
        return [-found[measure].average if measure in found else 1 for measure in benchmark.measures]

    rows = [_row(benchmark, found, baselines.split) for found in sorted(systems.values(), key=place)]
    return sorted(rows, key=lambda row: not row.comparable)


def _baselines_of(benchmark: Benchmark) -> Baselines | None:
    """The published results on the benchmark's questions and passages, if any."""
    baselines = load_baselines()
    return baselines if (baselines.collection, baselines.topics) == (benchmark.collection, benchmark.topics) else None


def _row(benchmark: Benchmark, found: Mapping[str, Published], split: str) -> PublishedRow:
    """The row of a system with these published results, one per measure."""
    results = list(found.values())
    comparable = results[0].split == split
    scores = [
        [_score(found.get(measure), column, config, comparable) for measure, config in benchmark.measures.items()]
        for column in (*benchmark.languages, AVERAGE)
    ]
    return PublishedRow(
        system=results[0].system,
        split=results[0].split,
        comparable=comparable,
        inferred=any(result.inferred for result in results),
        provenance=" and ".join(dict.fromkeys(result.provenance for result in results)),
        paper=results[0].paper,
        sources=list(dict.fromkeys(result.source for result in results)),
        notes=list(dict.fromkeys(result.note for result in results if result.note)),
        scores=scores,
    )


def _score(result: Published | None, column: str, config: MeasureConfig, comparable: bool) -> PublishedScore:
    scores = {**result.per_language, AVERAGE: result.average} if result else {}
    if (percent := scores.get(column)) is None:
        return PublishedScore()
    text = f"{percent * (config.scale / 100):.{config.digits}f}"
    return PublishedScore(text, repr(percent / 100) if comparable else "")


def compare_with_published(evidence: Evidence) -> dict[str, Table]:
    """Title of each condition with scores → its averages, in percent, beside those published on the same questions.

    Tests are unpaired (see :mod:`xqg_repro.evaluation.unpaired`); p-values are corrected over the systems in a measure.
    """
    if not (baselines := _baselines_of(evidence.benchmark)):
        return {}
    tables = {}
    for system in evidence.systems.values():
        rows: list[list[str]] = []
        for measure, scores in system.scores.items():
            if set(filter(scores.get, scores)) == set(evidence.benchmark.languages):
                rows += _compare(measure, scores, baselines)
        if rows:
            tables[system.title] = Table(["system", "measure", "published", "ours", "Δ", "p", "corrected"], rows)
    return tables


def _compare(measure: str, scores: ByLanguage, baselines: Baselines) -> list[list[str]]:
    """One row for each published system, from the best average down."""
    results = [row for row in baselines.rows if (row.split, row.measure) == (baselines.split, measure)]
    results = sorted((row for row in results if set(row.per_language) == set(scores)), key=lambda row: -row.average)
    if not results:
        return []
    ours, theirs = unpaired.count_answered(measure, scores), [baselines.counts(row) for row in results]
    p_values = [unpaired.mantel_haenszel((ours[code], counts[code]) for code in ours) for counts in theirs]
    rows, corrected = [], correct_p_values(p_values, Correction.HOLM)
    for row, counts, *both in zip(results, theirs, p_values, corrected, strict=True):
        averages = [unpaired.macro_percentage(counts), unpaired.macro_percentage(ours)]
        cells = [*(f"{average:.1f}" for average in averages), f"{averages[1] - averages[0]:+.1f}"]
        rows.append([row.system, measure, *cells, *map(format_p, both)])
    return rows
