"""The landing page ``docs/index.html``: the tables of docs/README.md as cards, each with its page's headline figure.

Figures are read where they are kept: expected scores, studies, ablations, and the tables of other pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.templates import template
from xqg_repro.core.text import read_json, read_text
from xqg_repro.evaluation.printing import format_score
from xqg_repro.reproduction import regress
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.run import load_outcome
from xqg_repro.study.summary import read_summary
from xqg_repro.study.tables import PUBLISHED, all_pairs_table

_ROW = re.compile(r"^\| \[(.+?)\]\((.+?)\) \| (.+) \|$", re.MULTILINE)
_TARGET = re.compile(r"^\| (.+) \| (.+) \| (.+) \| (met|\*\*not met\*\*) \|$", re.MULTILINE)


class Headline(NamedTuple):
    """A page's most important figure.

    Attributes:
        figure: a number or a few.
        text: what it is.
        kind: how it is shown: ``measured``, ``expected``, or ``count`` for what says little by itself.
    """

    figure: str
    text: str
    kind: str = "measured"


class Card(NamedTuple):
    """One page of the documentation."""

    title: str
    link: str
    about: str
    headline: Headline | None


def landing_page() -> str:
    """The page; the working directory is a checkout's root."""
    sections = {}
    for part in read_text(Path("docs", "README.md")).split("\n## ")[1:]:
        heading, _, table = part.partition("\n")
        cards = [Card(title, link, about, _headline(link)) for title, link, about in _ROW.findall(table)]
        sections[heading] = cards
    return template("index.html", {"inline": _inline}).render(sections=sections)


def _inline(text: str) -> Markup:
    """Markdown's code and emphasis as HTML."""
    html = re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*(.+?)\*", r"<em>\1</em>", html))  # the text was escaped above


def _headline(link: str) -> Headline | None:
    for pattern, headline in _HEADLINES.items():
        if re.fullmatch(pattern, link):
            return headline(Path("docs", link))
    return None


def _of_benchmark(page: Path) -> Headline:
    """The first measure without and with xQG, or of the first encoder; measured if there are reference runs."""
    benchmark = load_benchmark(page.stem)
    measure, config = next(iter(benchmark.measures.items()))
    augmented = [condition for condition in benchmark.conditions if condition.augmentation and condition.baseline]
    encoders = [condition for condition in benchmark.conditions if condition.encoder]
    shown = [benchmark.condition(augmented[0].baseline), augmented[0]] if augmented else [encoders[0]]
    title = f"{shown[0].title}{', without and with xQG' if augmented else ''}"
    found = [load_outcome(benchmark, condition, "runs").scores.get(measure) for condition in shown]
    measured = [{code: config.scale * score for code, score in scores.items()} for scores in found if scores]
    kind = "measured" if len(measured) == len(shown) else "expected"
    scores = measured if kind == "measured" else [condition.expected[measure] for condition in shown]
    if all(AVERAGE in by_language for by_language in scores):
        figures, sign = [by_language[AVERAGE] for by_language in scores], "→"
        of = f"average {measure} of {title}"
    else:
        figures, sign = [min(scores[0].values()), max(scores[0].values())], "–"
        of = f"{measure} of {title}: lowest and highest of the languages {' '.join(scores[0])}"
    return Headline(f" {sign} ".join(f"{figure:.{config.digits}f}" for figure in figures), of, kind)


def _of_study(_: Path) -> Headline:
    averages = {str(row[0]): str(row[-1]) for row in all_pairs_table(read_summary(PUBLISHED / "all"), "R@1").rows}
    text = "R@1 over all pairs of two languages, with questions and with paragraphs in all languages added"
    figure = f"{averages['queries-all']} and {averages['passages-all']}"
    return Headline(figure, f"{text}; {averages['none']} with neither")


def _of_ablations(page: Path) -> Headline:
    benchmark = load_benchmark("xor-mini")
    measure, config = next(iter(benchmark.measures.items()))
    condition, alpha = next((c, c.augmentation.alpha) for c in benchmark.conditions if c.augmentation)
    scores = read_json(page.parent / f"{condition.encoder}.alpha.held-out" / "scores.json")["scores"][measure]
    figures = [format_score(scores[str(float(value))][AVERAGE], config) for value in (0, alpha)]
    text = f"average {measure} of {condition.encoder} on held-out questions, with α = 0 and α = {alpha}"
    return Headline(" → ".join(figures), text)


def _of_fine_tuning(page: Path) -> Headline:
    rows = read_json(min(page.with_suffix("").glob("*.json")))["rows"]
    row = next(row for row in rows if (row["candidates"], row["language"]) == ("held-out", AVERAGE))
    figure = " → ".join(f"{row[when]:.3f}" for when in ("before", "after"))
    return Headline(figure, f"average {row['measure']} before and after, on paragraphs that were not trained on")


def _of_claims(page: Path) -> Headline:
    statuses = re.findall(r"\| (reproduced|not reproduced|not run) \|", read_text(page))
    return Headline(f"{statuses.count('reproduced')} of {len(statuses)}", "of the paper's claims hold on xor-mini")


def _of_regressions(_: Path) -> Headline:
    names = regress.regression_names()
    conditions = sum(len(regress.load_regression(name).conditions) for name in names)
    return Headline(str(len(names)), f"regressions of {conditions} conditions")


def _of_targets(page: Path) -> Headline:
    """The first target of a benchmark of speed."""
    targets = _TARGET.findall(read_text(page))
    what, target, measured, _ = targets[0]
    met = sum(verdict == "met" for *_, verdict in targets)
    return Headline(measured, f"{what} (target: {target}); targets met: {met} of {len(targets)}")


def _count(text: str, pattern: str) -> Callable[[Path], Headline | None]:
    """Counts what matches in the page."""

    def count(page: Path) -> Headline | None:
        found = len(re.findall(pattern, read_text(page), re.MULTILINE))
        return Headline(str(found), text, "count") if found else None

    return count


def _quote(text: str, pattern: str) -> Callable[[Path], Headline | None]:
    """Takes the first match from the page."""

    def quote(page: Path) -> Headline | None:
        match = re.search(pattern, read_text(page))
        return Headline(match[1], text, "count") if match else None

    return quote


_HEADLINES: Mapping[str, Callable[[Path], Headline | None]] = {
    r"2cr/.+\.html": _of_benchmark,
    r"study-xquad\.md": _of_study,
    r"ablations/README\.md": _of_ablations,
    r"fine-tuning\.md": _of_fine_tuning,
    r"claims\.md": _of_claims,
    r"regressions/README\.md": _of_regressions,
    r"benchmarks.*\.md": _of_targets,
    r"guides/.+": _count("commands", r"^(?:xqg-repro|make|python) "),
    r".*/xor_mini/README\.md": _quote("passages", r"([\d,]+) passages"),
    r".*/models/.+": _quote("parameters", r"([\d,]+) parameters"),
    r"\.\./topics/.+": _count("topic files of the embedded collection", r"^\| topics\."),
    r"\.\./runs/.+": _count("reference runs", r"^\| \[run\."),
}
