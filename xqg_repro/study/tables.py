"""The study's tables. Each is a named part of the report and of the page: ``part(summary, "scores-R@1")``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.tables import Cell, Table
from xqg_repro.evaluation.printing import format_p
from xqg_repro.study.answer import answer_text
from xqg_repro.study.cells import comparison, interval, mean, points, score
from xqg_repro.study.machine_tables import BY_MEASURE, PLAIN
from xqg_repro.study.settings import Bound
from xqg_repro.study.summary import StudySummary, read_summary

LEVEL = 0.05
"""A star marks corrected p-values below this level."""

PUBLISHED = Path("docs", "study")
"""Folder of a checkout with the studies that the page reports."""


def study_part(argument: str) -> str:
    """A generated part of the study's page: ``FOLDER/PART``, a folder in :data:`PUBLISHED` and a table's name.

    The working directory must be the root of a checkout.
    """
    folder, _, name = argument.partition("/")
    return part(read_summary(PUBLISHED / folder), name)


def part(summary: StudySummary, name: str) -> str:
    """One table as Markdown; ``name`` is a kind of table and, for most kinds, a measure, such as ``tests-RR``.

    The part ``answer`` is text: the research question's answer.
    """
    names = part_names(summary)
    if name not in names:
        raise InputError(f"the study has no part {name!r}", hint=f"choose from: {', '.join(names)}")
    if name == "answer":
        return answer_text(summary)
    kind, _, measure = name.partition("-")
    return (_BY_MEASURE[kind](summary, measure) if measure else _PLAIN[kind](summary)).markdown()


def part_names(summary: StudySummary) -> list[str]:
    """Names of all parts, in the order of the report."""
    names = ["answer"] if summary.answers else []
    for measure in summary.means:
        names += [f"{kind}-{measure}" for kind in _BY_MEASURE if _has_part(summary, kind, measure)]
    return names + [kind for kind in _PLAIN if _has_part(summary, kind, "")]


def _has_part(summary: StudySummary, kind: str, measure: str) -> bool:
    """Whether a study has what a kind of table shows; most kinds are in every study."""
    encoders = summary.fold_encoders
    present = {
        "answers": any(answer.measure == measure for answer in summary.answers),
        "trends": any(trend.measure == measure for trend in summary.trends),
        "encoders": encoders is not None and measure in encoders.means,
        "curves": measure in summary.curves,
        "read": bool(summary.read),
        "gold": bool(summary.gold),
        "budget": bool(summary.budget),
        "written": bool(summary.written),
    }
    return present.get(kind, True)


def report(summary: StudySummary) -> str:
    """All tables, each under its name."""
    return "\n\n".join(f"## {name}\n\n{part(summary, name)}" for name in part_names(summary)) + "\n"


def scores_table(summary: StudySummary, measure: str) -> Table:
    """Methods × question languages for paragraphs in the first language; the average is over the other languages."""
    first, means = summary.passages[0], summary.means[measure]
    rows: list[list[str | Cell]] = []
    for method in means[f"{first}/{first}"]:
        scores = [means[f"{first}/{code}"][method] for code in summary.languages]
        average = mean([means[f"{first}/{code}"][method] for code in summary.question_languages])
        rows.append([method, summary.bounds[method], *map(score, scores), score(average)])
    for column in range(2, len(rows[0])):
        best = max(str(row[column]) for row in rows)
        for row in rows:
            row[column] = Cell(str(row[column]), bold=row[column] == best)
    return Table([f"{measure}, {first} paragraphs", "bound", *summary.languages, AVERAGE], rows, left=2)


def all_pairs_table(summary: StudySummary, measure: str) -> Table:
    """Methods × paragraph languages: means over the questions in other languages, and the average over all pairs."""
    first, means = summary.passages[0], summary.means[measure]
    rows = []
    for method in means[f"{first}/{first}"]:
        columns = [
            [means[f"{passages}/{code}"][method] for code in summary.languages if code != passages]
            for passages in summary.passages
        ]
        average = mean([value for column in columns for value in column])
        rows.append([method, *(score(mean(column)) for column in columns), score(average)])
    return Table([f"{measure} by paragraphs", *summary.passages, AVERAGE], rows)


def tests_table(summary: StudySummary, measure: str) -> Table:
    """Differences in points for paragraphs in the first language; a star marks Holm-corrected p < 0.05."""
    first = summary.passages[0]
    tests = {(test.method, test.other, test.pair): test for test in summary.tests if test.measure == measure}
    rows = []
    for method, other in dict.fromkeys((method, other) for method, other, _ in tests):
        by_language = [tests[method, other, f"{first}/{code}"] for code in summary.languages]
        cells = [points(test.difference, test.corrected < LEVEL) for test in by_language]
        rows.append([comparison(method, other), *cells])
    return Table([f"{measure}, points", *summary.languages], rows)


def counts_table(summary: StudySummary, measure: str) -> Table:
    """On how many pairs each difference is significant, and in which direction."""
    tests = [test for test in summary.tests if test.measure == measure]
    rows = []
    for method, other in dict.fromkeys((test.method, test.other) for test in tests):
        compared = [test for test in tests if (test.method, test.other) == (method, other)]
        significant = [test.difference for test in compared if test.corrected < LEVEL]
        better = sum(difference > 0 for difference in significant)
        rows.append([comparison(method, other), str(len(compared)), str(better), str(len(significant) - better)])
    return Table([f"{measure}, pairs", "tested", "better", "worse"], rows)


def over_pairs_table(summary: StudySummary, measure: str) -> Table:
    """Each comparison over pairs of two different languages, with its interval and both p-values."""
    rows = []
    for test in summary.mixed:
        if test.measure == measure and not test.group:
            values = [points(test.difference), interval(test.low, test.high)]
            p_values = [format_p(test.p), format_p(test.p_articles)]
            rows.append([test.scope, comparison(test.method, test.other), str(test.pairs), *values, *p_values])
    columns = ["pairs", "difference", "95 % interval", "p by question", "p by article"]
    return Table(["paragraphs", f"{measure}, points", *columns], rows, left=2)


def groups_table(summary: StudySummary, measure: str) -> Table:
    """Groups of question languages × comparisons, over the widest scope; a star marks p by article < 0.05."""
    widest = [test.scope for test in summary.mixed if not test.group][-1:]
    tests = [t for t in summary.mixed if t.measure == measure and t.group and t.scope in widest]
    comparisons = dict.fromkeys(comparison(test.method, test.other) for test in tests)
    rows: dict[str, list[str]] = {}
    for test in tests:  # within each group in the order of the comparisons
        row = rows.setdefault(test.group, [test.group, str(test.pairs)])
        row.append(points(test.difference, test.p_articles < LEVEL))
    return Table([f"{measure}, points", "pairs", *comparisons], list(rows.values()))


def curves_table(summary: StudySummary, measure: str) -> Table:
    """Methods and aggregates × α: means over questions in other languages, for paragraphs in the first language."""
    first = summary.passages[0]
    rows = []
    for method, by_pair in summary.curves[measure].items():
        for aggregate in by_pair[f"{first}/{first}"]:
            curves = [by_pair[f"{first}/{code}"][aggregate] for code in summary.question_languages or [first]]
            rows.append([method, aggregate, *(score(mean(column)) for column in zip(*curves, strict=True))])
    return Table([f"{measure} by α", "", *(f"{alpha:g}" for alpha in summary.alphas)], rows, left=2)


def choices_table(summary: StudySummary, label: str, choices: Mapping[str, Mapping[str, Sequence[str]]]) -> Table:
    """What the folds chose for paragraphs in the first language, each with its number of folds."""
    pairs = [f"{summary.passages[0]}/{code}" for code in summary.languages]
    rows = []
    for method in choices[pairs[0]]:
        row = [method]
        for pair in pairs:
            counts = Counter(choices[pair][method]).most_common()
            row.append(", ".join(f"{choice} ({count})" for choice, count in counts))
        rows.append(row)
    return Table([label, *summary.languages], rows, left=1 + len(summary.languages))


def gold_table(summary: StudySummary) -> Table:
    """EM and F1 of the reader on the gold paragraphs, by question language."""
    first = summary.passages[0]
    rows = []
    for measure, by_pair in summary.gold.items():
        scores = [score(by_pair[f"{first}/{code}"]) for code in summary.languages]
        average = mean([by_pair[f"{first}/{code}"] for code in summary.question_languages])
        rows.append([measure, *scores, score(average)])
    return Table([f"on the gold {first} paragraphs", *summary.languages, AVERAGE], rows)


def costs_table(summary: StudySummary) -> Table:
    """What each method costs in addition to the paragraphs in the first language."""
    rows = []
    for cost in summary.costs:
        size = f"{cost.bytes / 1024:,.0f}"
        rows.append([cost.method, f"{cost.vectors:,}", f"{cost.characters:,}", str(cost.indexes), size])
    return Table(["method", "texts to encode", "characters", "indexes", "KiB of vectors"], rows)


def examples_table(summary: StudySummary) -> Table:
    """Examples by question id, with the rank of each question's paragraph."""
    rows = []
    for example in summary.examples:
        ranks = ", ".join(f"{method} {rank}" for method, rank in example.ranks.items())
        rows.append([example.winner, example.loser, example.pair, example.qid, ranks])
    return Table(["first with", "not with", "languages", "question", "ranks"], rows, left=5)


def methods_table(summary: StudySummary) -> Table:
    """What each method adds, and whether its texts are human-written."""
    notes = {Bound.FAIR: "", Bound.UPPER: "upper bound: human-written"}
    rows = [[name, title, notes[Bound(summary.bounds[name])]] for name, title in summary.titles.items()]
    return Table(["method", "vectors", ""], rows, left=3)


def sources_table(summary: StudySummary) -> Table:
    """The sources of the language groups."""
    return Table(["grouping", "source"], [list(item) for item in summary.sources.items()], left=2)


_BY_MEASURE: dict[str, Callable[[StudySummary, str], Table]] = {
    "scores": scores_table,
    "tests": tests_table,
    "over_pairs": over_pairs_table,
    "all_pairs": all_pairs_table,
    "counted": counts_table,
    "groups": groups_table,
    "curves": curves_table,
    **BY_MEASURE,
}
_PLAIN: dict[str, Callable[[StudySummary], Table]] = {
    "methods": methods_table,
    "chosen": lambda summary: choices_table(summary, "aggregate, α", summary.chosen),
    "read": lambda summary: choices_table(summary, "paragraphs, weight", summary.read),
    "gold": gold_table,
    "costs": costs_table,
    "examples": examples_table,
    "sources": sources_table,
    **PLAIN,
}
