"""The two-click page as a file; what it does in a browser is tests/integration/test_page_in_browser.py."""

from __future__ import annotations

import base64
import dataclasses
import html
import random
import re
import sys
import xml.dom.minidom
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reproduction.toy import TOY_WITH_ANSWERS, toy
from xqg_repro.core import plots
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.compare import System
from xqg_repro.reproduction.benchmark import Benchmark, load_benchmark
from xqg_repro.reproduction.claims import Evidence
from xqg_repro.reproduction.page import Figure, write_page
from xqg_repro.reproduction.tasks import plan, two_click_tasks
from xqg_repro.retrieval.metadata import Measurement

BENCHMARK = toy("""\
name: toy
title: A toy
collection: toy
topics: toy/{language}
languages: [ar, fi]
measures: {R@1: {scale: 100, digits: 1, tolerance: 0.5}, RR@10: {}}
conditions:
  - {name: plain, title: A, encoder: mbert, expected: {R@1: {ar: 33.3, fi: 61.0}, RR@10: {average: 0.777}}}
  - {name: made, title: B, encoder: mbert, corpus: some/corpus, augmentation: {alpha: 0.5}, baseline: plain}
""")
SHARES = {"plain": {"ar": 0.42, "fi": 0.61}, "made": {"ar": 0.92, "fi": 0.605}}
HOSTILE = "</title><script>alert(1)</script> \"q\" 'a' &amp; {{ x }} $x_{\t\n \u202e gro\u2066 "


def evidence(benchmark: Benchmark = BENCHMARK, shares: Mapping[str, Mapping[str, float]] = SHARES) -> Evidence:
    """Each condition with the share of its 200 questions per language that it answers."""
    systems = {c.name: System(c.name, c.title, {}, c.baseline) for c in benchmark.conditions}
    for name, by_language in shares.items():
        scores = {code: {f"{code}{i}": float(i < 200 * x) for i in range(200)} for code, x in by_language.items()}
        systems[name] = dataclasses.replace(systems[name], scores={"R@1": scores})
    return Evidence(benchmark, systems)


SCORED = evidence()  # compares once for all tests


def written(folder: Path, found: Evidence, **more: Any) -> str:
    write_page(found, folder / "page.html", **more)
    return (folder / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of both conditions, with a plot of scores and one of an ablation."""
    return written(tmp_path_factory.mktemp("page"), SCORED, ablations=[Figure("α", "a line", "<svg/>")])


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty plots, as drawing takes most of a page's time."""
    for name in ("bars", "heat_map"):
        monkeypatch.setattr(plots, name, lambda *_, **__: "<svg/>")


def cells(page: str) -> dict[tuple[str, int, str], str]:
    """(condition, column from 1, measure) → what is read in that cell."""
    return {
        (condition, column, measure): " ".join(visible(cell).split()[1:])  # the first word is the measure's name
        for condition, group in re.findall(r'<tbody data-condition="(\w+)">(.*?)</tbody>', page, flags=re.DOTALL)
        for column, scores in enumerate(re.findall(r"<td data-column.*?</td>", group, flags=re.DOTALL), start=1)
        for measure, cell in zip(BENCHMARK.measures, re.findall(r"<div.*?</div>", scores, flags=re.DOTALL), strict=True)
    }


def copied(page: str) -> list[str]:
    """The text of each block of commands."""
    blocks = re.findall(r"<code>(.*?)</code>", page, flags=re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]*>", "", block)) for block in blocks]


def visible(page: str) -> str:
    """The text of a page, without style and script."""
    return html.unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_measured_and_expected_scores_are_apart(page: str) -> None:
    shown = cells(page)
    assert len(shown) == 2 * 3 * 2
    assert shown["plain", 1, "R@1"] == "42.0 expected 33.3 [FAIL]"
    assert shown["plain", 2, "R@1"] == "61.0 expected 61.0 [OK]"
    assert shown["made", 1, "R@1"] == "92.0 ᵃ"
    assert shown["made", 2, "R@1"] == "60.5"  # not significantly worse
    assert shown["plain", 3, "RR@10"] == "– not measured expected 0.777"  # so there is no verdict
    assert shown["made", 3, "RR@10"] == "– not measured"
    measured = re.findall(r'<span class="measured" data-value="([\d.]+)">', page)
    assert measured == ["0.42", "0.61", "0.515", "0.92", "0.605", "0.7625"]
    expected = re.findall(r'<span class="expected">(expected [\d.]+)', page)
    assert expected == ["expected 33.3", "expected 61.0", "expected 0.777"]
    assert re.findall(r"<strong>([\d.]+)</strong>", page) == ["61.0", "92.0", "76.2"]  # the best of each column


def test_what_was_not_measured_has_no_measured_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # there is nothing to draw
    page = written(tmp_path, evidence(shares={}), measured={"plain": Measurement("2026-01-02", "abc1234", "a machine")})
    assert 'data-value="' not in page and "<img" not in page and "2026-01-02" not in page
    assert 'class="measured"' not in page and 'class="verdict OK">[OK]</span>' not in page
    table = visible(page[page.index('<table id="scores">') : page.index("</table>")])
    assert set(re.findall(r"\b\d+\.\d+\b", re.sub(r"expected [\d.]+", "", table))) <= {"0.5"}  # α, in a command
    assert table.count("expected 33.3") == 1
    assert "claims" not in visible(page)


@pytest.mark.usefixtures("undrawn")
def test_part_that_was_measured_is_shown_as_a_part(tmp_path: Path) -> None:
    shown = cells(written(tmp_path, evidence(shares={"made": {"ar": 0.92}})))
    assert shown["made", 1, "R@1"] == "92.0"  # unmarked: its baseline was not measured
    assert shown["made", 2, "R@1"] == shown["made", 3, "R@1"] == "– not measured"
    assert shown["plain", 1, "R@1"] == "– not measured expected 33.3"


@pytest.mark.usefixtures("undrawn")
def test_each_condition_shows_when_and_on_what_it_was_measured(tmp_path: Path) -> None:
    shares = {"plain": SHARES["plain"]}
    page = written(tmp_path, evidence(shares=shares), measured={"plain": Measurement("2026-01-02", "abc1234", "a CPU")})
    rows = re.findall(r'<tr><th scope="row"><bdi>(\w+)</bdi></th>\n(.*?)</tr>', page, flags=re.DOTALL)
    plain, made = ((name, visible(row).split()) for name, row in rows)
    assert plain == ("plain", ["2026-01-02", "abc1234", "a", "CPU"])
    assert made == ("made", ["not", "measured"])  # nothing is expected of it either
    assert written(tmp_path, evidence(shares=shares)).count("<td>not recorded</td>") == 3


@pytest.mark.usefixtures("undrawn")
def test_commands_are_copied_to_the_letter(page: str, tmp_path: Path) -> None:
    directory = "my \"out\" </code>\n\t'&amp;' \u202e\r\r\n<b>"
    blocks = copied(written(tmp_path, SCORED, directory=directory))
    expected = []
    for condition in BENCHMARK.conditions:
        run, others = two_click_tasks(BENCHMARK, condition, directory)
        stages = plan(BENCHMARK, condition, directory)
        expected += [str(run), "\n".join(map(str, others)), "\n".join(map(str, stages))]
    assert blocks == expected
    assert "<span>2. Evaluate them</span>" in page
    reading = written(tmp_path, Evidence(toy(TOY_WITH_ANSWERS), {}))
    assert "<span>2. Read and evaluate them</span>" in reading


def test_same_evidence_gives_the_same_bytes(page: str, tmp_path: Path) -> None:
    random.seed(1)
    assert written(tmp_path, evidence(), ablations=[Figure("α", "a line", "<svg/>")]) == page


def test_page_loads_nothing(page: str) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:" in page
    assert not re.search(r"https?://|@import|url\(|<link|<iframe|<object", page)
    sources = re.findall(r'\ssrc="([^"]*)"', page)
    assert len(sources) == 2 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert base64.b64decode(sources[1].partition(",")[2]) == b"<svg/>"
    assert re.findall(r'href="([^"]*)"', page) == ["#scores-heading"]


def test_hostile_titles_stay_text(tmp_path: Path) -> None:
    conditions = [dataclasses.replace(c, title=HOSTILE + c.title + 10_000 * "W") for c in BENCHMARK.conditions]
    hostile = dataclasses.replace(BENCHMARK, title=HOSTILE, conditions=tuple(conditions))
    measured = {"plain": Measurement(HOSTILE, HOSTILE, HOSTILE)}
    page = written(tmp_path, evidence(hostile), measured=measured, ablations=[Figure(HOSTILE, HOSTILE, "<svg/>")])
    assert page.count("<script>") == page.count("</script>") == 1
    assert page.count("</title>") == 1
    assert f"<bdi>{html.escape(HOSTILE).replace('&#x27;', '&#39;').replace('&quot;', '&#34;')}</bdi>" in page
    assert cells(page)["plain", 1, "R@1"] == "42.0 expected 33.3 [FAIL]"
    for source in re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page):
        xml.dom.minidom.parseString(base64.b64decode(source))


@pytest.mark.usefixtures("undrawn")
def test_benchmark_of_language_pairs_has_heat_maps(page: str, tmp_path: Path) -> None:
    pairs = dataclasses.replace(BENCHMARK, collection="toy/en", topics="toy/en/{language}")
    caption = r"<figcaption><bdi>(\w+): R@1 by language of passages"
    assert re.findall(caption, written(tmp_path, evidence(pairs))) == ["plain", "made"]
    assert not re.search(caption, page)


def test_published_rows_are_neither_measured_nor_expected(page: str, tmp_path: Path) -> None:
    board = written(tmp_path, Evidence(load_benchmark("xor-tydi"), {}))
    groups = re.findall(r'<tbody class="published (\w+)"(.*?)</tbody>', board, flags=re.DOTALL)
    assert {kind: len([k for k, _ in groups if k == kind]) for kind, _ in groups} == {"comparable": 44, "other": 8}
    for kind, group in groups:
        assert 'class="measured"' not in group and 'class="expected"' not in group and "data-condition" not in group
        assert ("data-value" in group) == (kind == "comparable") and "source: " in visible(group)
    assert (
        "published, same questions (44)" in board
        and "all our scores" in visible(board)
        and "nothing to compare yet" in board
    )
    assert "published" not in visible(page)


def test_failure_leaves_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'xqg_repro\[plots\]'"):
        write_page(SCORED, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
