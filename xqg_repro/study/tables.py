"""The study's tables, each a part of the report and of a page: ``part(summary, "scores-R@1")``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.tables import Cell, Table
from xqg_repro.evaluation.printing import MeasureConfig, format_p, format_score
from xqg_repro.study.settings import Bound
from xqg_repro.study.summary import Summary, read_summary

LEVEL = 0.05
"""A corrected p-value below it is marked with a star."""

PUBLISHED = Path("docs", "study")
"""Where a checkout holds the studies that its page reports."""


def study_part(argument: str) -> str:
    """A generated part of the study's page; the working directory is a checkout's root.

    Args:
        argument: ``FOLDER/PART``, of a folder in :data:`PUBLISHED`; see :func:`part`.
    """
    folder, _, name = argument.partition("/")
    return part(read_summary(PUBLISHED / folder), name)


def part(summary: Summary, name: str) -> str:
    """One table as Markdown: a kind and, for most, a measure, such as ``tests-RR``.

    Raises:
        InputError: there is no such part.
    """
    if name not in parts(summary):
        raise InputError(f"the study has no part {name!r}", hint=f"choose from: {', '.join(parts(summary))}")
    kind, _, measure = name.partition("-")
    return (_BY_MEASURE[kind](summary, measure) if measure else _PLAIN[kind](summary)).markdown()


def parts(summary: Summary) -> list[str]:
    """Names of all parts, in the order of the report."""
    kinds = {m: [kind for kind in _BY_MEASURE if kind != "curves" or m in summary.curves] for m in summary.means}
    plain = [name for name in _PLAIN if summary.read or name not in ("read", "gold")]
    return [*(f"{kind}-{measure}" for measure, held in kinds.items() for kind in held), *plain]


def report(summary: Summary) -> str:
    """All tables, each under its name."""
    return "\n\n".join(f"## {name}\n\n{part(summary, name)}" for name in parts(summary)) + "\n"


def scores(summary: Summary, measure: str) -> Table:
    """Methods × question languages for paragraphs in the first language; the average is over the other languages."""
    first, held = summary.passages[0], summary.means[measure]
    others = [code for code in summary.languages if code != first]
    rows = []
    for name in held[f"{first}/{first}"]:
        means = [held[f"{first}/{code}"][name] for code in summary.languages]
        average = _mean([held[f"{first}/{code}"][name] for code in others])
        rows.append([name, summary.bounds[name], *map(_score, means), _score(average)])
    for column in range(2, len(rows[0])):
        best = max(rows, key=lambda row: row[column])[column]
        for row in rows:
            row[column] = Cell(row[column], bold=row[column] == best)
    return Table([f"{measure}, {first} paragraphs", "bound", *summary.languages, AVERAGE], rows, left=2)


def all_pairs(summary: Summary, measure: str) -> Table:
    """Methods × paragraph languages, each mean over the questions in other languages; the last is over all pairs."""
    rows = []
    for name in summary.means[measure][f"{summary.passages[0]}/{summary.passages[0]}"]:
        columns = [
            [summary.means[measure][f"{code}/{asked}"][name] for asked in summary.languages if asked != code]
            for code in summary.passages
        ]
        rows.append(
            [
                name,
                *(_score(_mean(column)) for column in columns),
                _score(_mean([mean for column in columns for mean in column])),
            ]
        )
    return Table([f"{measure} by paragraphs", *summary.passages, AVERAGE], rows)


def tests(summary: Summary, measure: str) -> Table:
    """Differences in points for paragraphs in the first language; a star where Holm's p is below 0.05."""
    first = summary.passages[0]
    held = {(t.method, t.other, t.pair): t for t in summary.tests if t.measure == measure}
    rows = []
    for method, other in dict.fromkeys(key[:2] for key in held):
        cells = [held[method, other, f"{first}/{code}"] for code in summary.languages]
        rows.append([f"{method} − {other}", *(_points(c.difference, c.corrected < LEVEL) for c in cells)])
    return Table([f"{measure}, points", *summary.languages], rows)


def counted(summary: Summary, measure: str) -> Table:
    """On how many pairs a difference is significant, and which way."""
    rows, mine = [], [t for t in summary.tests if t.measure == measure]
    for method, other in dict.fromkeys((t.method, t.other) for t in mine):
        found = [t for t in mine if (t.method, t.other) == (method, other)]
        sure = [t.difference for t in found if t.corrected < LEVEL]
        better = sum(difference > 0 for difference in sure)
        rows.append([f"{method} − {other}", str(len(found)), str(better), str(len(sure) - better)])
    return Table([f"{measure}, pairs", "tested", "better", "worse"], rows)


def over_pairs(summary: Summary, measure: str) -> Table:
    """Each comparison over pairs of different languages, with its interval and both p-values."""
    rows = [
        [
            m.scope,
            f"{m.method} − {m.other}",
            str(m.pairs),
            _points(m.difference),
            f"{_points(m.low)} to {_points(m.high)}",
            format_p(m.p),
            format_p(m.p_articles),
        ]
        for m in summary.mixed
        if m.measure == measure and not m.group
    ]
    header = ["pairs of", f"{measure}, points", "pairs", "difference", "95 % interval", "p by question", "p by article"]
    return Table(header, rows, left=2)


def groups(summary: Summary, measure: str) -> Table:
    """Groups of question languages × comparisons in the widest scope; a star where p by article is below 0.05."""
    widest = [m.scope for m in summary.mixed if not m.group][-1:]
    found = [m for m in summary.mixed if m.measure == measure and m.group and m.scope in widest]
    comparisons = list(dict.fromkeys((m.method, m.other) for m in found))
    rows: dict[str, list[str]] = {}
    for m in found:  # in the order of the comparisons within each group
        rows.setdefault(m.group, [m.group, str(m.pairs)]).append(_points(m.difference, m.p_articles < LEVEL))
    header = [f"{measure}, points", "pairs", *(f"{method} − {other}" for method, other in comparisons)]
    return Table(header, list(rows.values()))


def curves(summary: Summary, measure: str) -> Table:
    """Aggregates and methods × α, for paragraphs in the first language and questions in others; nothing was chosen."""
    first, rows = summary.passages[0], []
    others = [code for code in summary.languages if code != first] or [first]
    for name, by_pair in summary.curves[measure].items():
        for aggregate in by_pair[f"{first}/{first}"]:
            held = [by_pair[f"{first}/{code}"][aggregate] for code in others]
            rows.append([name, aggregate, *(_score(_mean(column)) for column in zip(*held, strict=True))])
    return Table([f"{measure} by α", "", *(f"{alpha:g}" for alpha in summary.alphas)], rows, left=2)


def chosen(summary: Summary) -> Table:
    """What the folds chose, for paragraphs in the first language: a setting and, in brackets, its number of folds."""
    return _choices(summary, "chosen", summary.chosen)


def read(summary: Summary) -> Table:
    """The same of answers: of how many paragraphs the best span was taken, and the weight of retrieval in it."""
    return _choices(summary, "paragraphs, weight", summary.read)


def _choices(summary: Summary, label: str, held: Mapping[str, Mapping[str, Sequence[str]]]) -> Table:
    pairs = [f"{summary.passages[0]}/{code}" for code in summary.languages]
    rows = []
    for name in held[pairs[0]]:
        counts = [Counter(held[pair][name]).most_common() for pair in pairs]
        rows.append([name, *(", ".join(f"{setting} ({number})" for setting, number in cell) for cell in counts)])
    return Table([label, *summary.languages], rows, left=1 + len(summary.languages))


def gold(summary: Summary) -> Table:
    """EM and F1 of the reader on the right paragraphs, by the questions' language."""
    first = summary.passages[0]
    others = [code for code in summary.languages if code != first]
    rows = []
    for measure, by_pair in summary.gold.items():
        average = _mean([by_pair[f"{first}/{code}"] for code in others])
        rows.append([measure, *(_score(by_pair[f"{first}/{code}"]) for code in summary.languages), _score(average)])
    return Table([f"on the right {first} paragraphs", *summary.languages, AVERAGE], rows)


def costs(summary: Summary) -> Table:
    """What each method takes beside the paragraphs in the first language."""
    rows = [
        [c.method, f"{c.vectors:,}", f"{c.characters:,}", str(c.indexes), f"{c.bytes / 1024:,.0f}"]
        for c in summary.costs
    ]
    return Table(["method", "texts to encode", "characters", "indexes", "KiB of vectors in them"], rows)


def examples(summary: Summary) -> Table:
    """Questions by id, with the rank of their paragraph."""
    rows = [
        [e.winner, e.loser, e.pair, e.qid, ", ".join(f"{name} {rank}" for name, rank in e.ranks.items())]
        for e in summary.examples
    ]
    return Table(["first by", "not by", "paragraphs/question", "question", "ranks"], rows, left=5)


def methods(summary: Summary) -> Table:
    """The methods' names, what they add, and whether vectors of that kind can be had in use."""
    words = {Bound.FAIR: "", Bound.UPPER: "upper bound: people wrote what is added"}
    return Table(
        ["method", "vectors", ""],
        [[name, title, words[Bound(summary.bounds[name])]] for name, title in summary.titles.items()],
        left=3,
    )


def sources(summary: Summary) -> Table:
    """Who made the groupings."""
    return Table(["grouping", "source"], [list(item) for item in summary.sources.items()], left=2)


_BY_MEASURE: dict[str, Callable[[Summary, str], Table]] = {
    "scores": scores,
    "tests": tests,
    "over_pairs": over_pairs,
    "all_pairs": all_pairs,
    "counted": counted,
    "groups": groups,
    "curves": curves,
}
_PLAIN: dict[str, Callable[[Summary], Table]] = {
    "methods": methods,
    "chosen": chosen,
    "read": read,
    "gold": gold,
    "costs": costs,
    "examples": examples,
    "sources": sources,
}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _score(mean: float) -> str:
    return format_score(mean, MeasureConfig())


def _points(difference: float, star: bool = False) -> str:
    """A difference in hundredths, never as minus nought."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}{'*' if star else ''}"
