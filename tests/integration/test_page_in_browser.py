"""What the two-click page does in a browser: headless Chromium, driven by Playwright, and axe-core's checks."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from reproduction.test_leaderboard import evidence as with_published

from xqg_repro.core.languages import AVERAGE
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.claims import Evidence
from xqg_repro.reproduction.page import Figure, write_page
from xqg_repro.reproduction.report import report_of_runs
from xqg_repro.reproduction.tasks import plan, two_click_tasks
from xqg_repro.retrieval.metadata import Measurement

pytest.importorskip("playwright", reason="needs Playwright (pip install 'xqg_repro[test]')")
pytest.importorskip("axe_playwright_python", reason="needs axe-core (pip install 'xqg_repro[test]')")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium (apt-get install chromium)"),
]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REPOSITORY = Path(__file__).parents[2]
BENCHMARK = load_benchmark("xor-mini")
NAMES = [condition.name for condition in BENCHMARK.conditions]
SHOWN = {
    measure: f"{scores['ar']:.{BENCHMARK.measures[measure].digits}f}"
    for measure, scores in BENCHMARK.condition("xdr-mini").expected.items()
}
"""Measure → what the first condition's first language is expected to score, as a page prints it."""
HOSTILE = "<script>alert(1)</script> \"q\" 'a' &amp;\t\n \u202e gro\u2066 "
PAGES = ("real", "expected", "hostile", "board")


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """The reference runs' scores, but for one measure, which counts as not measured."""
    found = report_of_runs(BENCHMARK, REPOSITORY / "runs").evidence
    systems = {
        name: dataclasses.replace(system, scores={m: v for m, v in system.scores.items() if m != "RR@10"})
        for name, system in found.systems.items()
    }
    return Evidence(BENCHMARK, systems)


@pytest.fixture(scope="module")
def folder(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``real``: the reference runs; ``expected``: nothing measured; ``hostile``: long and crooked names;
    ``board``: published systems beside a condition that was measured; ``index``: the landing page."""
    folder = tmp_path_factory.mktemp("pages")
    figures = [
        Figure(path.parent.name, "Lines: scores by setting", path.read_text(encoding="utf-8"))
        for path in sorted((REPOSITORY / "docs" / "ablations").glob("*/plot.svg"))
    ]
    when = {"xdr-mini": Measurement("2026-11-24", "abc1234", "two cores")}
    write_page(evidence, folder / "real.html", measured=when, ablations=figures)
    write_page(Evidence(load_benchmark("xor-tydi"), {}), folder / "expected.html")
    write_page(with_published("CLASS"), folder / "board.html")
    shutil.copy(REPOSITORY / "docs" / "index.html", folder)
    conditions = tuple(dataclasses.replace(c, title=HOSTILE + 10_000 * "W" + c.title) for c in BENCHMARK.conditions)
    hostile = dataclasses.replace(BENCHMARK, title=HOSTILE + 10_000 * "W", conditions=conditions)
    systems = {name: evidence.systems[name] for name in NAMES[1:]}
    write_page(
        Evidence(hostile, systems),
        folder / "hostile.html",
        measured=dict.fromkeys(NAMES, Measurement(*[HOSTILE + 1_000 * "W"] * 3)),
        directory=HOSTILE + "\r\n" + 10_000 * "W",
        ablations=[Figure(HOSTILE, HOSTILE, figures[0].svg)],
    )
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, folder: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page; at the end nothing may have gone wrong on it, or have been asked for but the file."""
    contexts, faults, requests = [], [], []

    def open_page(name: str = "real", **settings: Any) -> Page:
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)  # ms; a busy machine is slow, not wrong
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    assert [url for url in requests if not url.startswith("data:")] == [
        url for url in requests if re.fullmatch(r"file://.*/(real|expected|hostile|board|index)\.html", url)
    ]


def order(page: Page) -> list[str]:
    """The conditions' names as they stand, each with its own commands below it."""
    groups = page.locator("#scores tbody").all()
    for group in groups:
        assert f"--condition {group.get_attribute('data-condition')} " in (
            group.locator("code").first.text_content() or ""
        )
    return [group.get_attribute("data-condition") or "" for group in groups]


def best_first(measure: str, column: str, sign: int = -1) -> list[str]:
    """The conditions' names by their score, equal ones in table order; the reference runs meet what is expected."""
    return [c.name for c in sorted(BENCHMARK.conditions, key=lambda c: sign * c.expected[measure][column])]


def worst_first(measure: str, column: str) -> list[str]:
    """The same, but the lowest score first."""
    return best_first(measure, column, 1)


def sort_button(page: Page, column: int) -> Any:
    return page.locator(f"thead th[data-column='{column}'] button")


def test_a_click_sorts_best_first_then_worst_first_then_as_before(opened: Callable[..., Page]) -> None:
    page = opened()
    header = page.locator("thead th[data-column='8']")
    best = best_first("R2kt", AVERAGE)
    assert order(page) == NAMES != best
    sort_button(page, 8).click()
    assert (order(page), header.get_attribute("aria-sort")) == (best, "descending")
    sort_button(page, 8).click()
    assert (order(page), header.get_attribute("aria-sort")) == (worst_first("R2kt", AVERAGE), "ascending")
    sort_button(page, 8).click()
    assert (order(page), header.get_attribute("aria-sort")) == (NAMES, None)


def test_the_keyboard_sorts_too(opened: Callable[..., Page]) -> None:
    page = opened()
    sort_button(page, 0).focus()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert order(page) == best_first("R2kt", "fi")
    assert page.locator("thead th[aria-sort]").count() == 1
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus is seen
    page.keyboard.press("Space")
    assert order(page) == worst_first("R2kt", "fi")


def test_what_was_not_measured_is_not_sorted_by_what_is_expected(opened: Callable[..., Page]) -> None:
    page = opened("expected")
    ours = page.locator("#scores tbody[data-condition]")
    before = [group.get_attribute("data-condition") for group in ours.all()]
    for _ in range(2):
        sort_button(page, 8).click()
        assert [group.get_attribute("data-condition") for group in ours.all()] == before
    page = opened("hostile")  # its first condition was not measured: last in either direction
    for _ in range(2):
        sort_button(page, 8).click()
        assert page.locator("#scores tbody[data-condition]").last.get_attribute("data-condition") == NAMES[0]


def test_the_measure_is_switched_and_the_order_follows(opened: Callable[..., Page]) -> None:
    page = opened()
    cell = page.locator("tbody[data-condition='xdr-mini'] td[data-column='1']")
    assert cell.inner_text().split() == [SHOWN["R2kt"], "expected", SHOWN["R2kt"], "[OK]"]
    sort_button(page, 6).click()
    page.get_by_label("R5kt", exact=True).check()
    assert cell.inner_text().split() == [SHOWN["R5kt"], "expected", SHOWN["R5kt"], "[OK]"]
    assert order(page) == best_first("R5kt", "ru")
    page.get_by_label("R5kt", exact=True).press("ArrowRight")
    assert cell.inner_text().split() == ["–", "not", "measured", "expected", SHOWN["RR@10"]]
    assert order(page) == NAMES  # nothing to sort by


def test_a_language_is_hidden_and_the_average_stays(opened: Callable[..., Page]) -> None:
    page = opened()
    finnish = page.locator("#scores [data-column='3']")
    average = page.locator("tbody[data-condition='xdr-mini'] td.average")
    before = average.inner_text()
    page.get_by_label("fi", exact=True).press("Space")
    assert finnish.count() == 1 + len(NAMES) and not any(cell.is_visible() for cell in finnish.all())
    assert average.inner_text() == before
    assert page.locator(".commands > td").first.get_attribute("colspan") == "8"
    assert page.get_by_text("The average is always over all 7 languages, whichever are shown.").is_visible()
    page.get_by_label("fi", exact=True).press("Space")
    assert all(cell.is_visible() for cell in finnish.all())


@pytest.mark.parametrize("name", ["real", "hostile"])
def test_a_copy_button_copies_the_command_to_the_letter(opened: Callable[..., Page], name: str) -> None:
    from playwright.sync_api import expect

    page = opened(name, permissions=["clipboard-read", "clipboard-write"])
    condition = BENCHMARK.condition("xdr-mini-xqg")
    directory = HOSTILE + "\r\n" + 10_000 * "W" if name == "hostile" else "out"
    run, evaluation = two_click_tasks(BENCHMARK, condition, directory)
    wanted = [[run], evaluation, plan(BENCHMARK, condition, directory)]
    group = page.locator(f"tbody[data-condition='{condition.name}']")
    for summary in group.locator("summary").all():
        summary.click()
    for i, commands in enumerate(wanted):
        button = group.locator(".copy").nth(i)
        button.press("Enter")
        expect(button).to_have_text("Copied")
        expect(page.get_by_role("status")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "\n".join(map(str, commands))


def test_where_the_clipboard_is_refused_the_command_is_selected(opened: Callable[..., Page]) -> None:
    from playwright.sync_api import expect

    page = opened()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')) }")
    group = page.locator("tbody[data-condition='xdr-mini']")
    group.locator("summary").first.click()
    group.locator(".stages summary").click()
    group.locator(".stages .copy").click()
    expect(page.get_by_role("status")).to_have_text("Selected: copy it with Ctrl+C")
    wanted = [str(command) for command in plan(BENCHMARK, BENCHMARK.condition("xdr-mini"), "out")]
    assert page.evaluate("getSelection().toString()").strip().splitlines() == wanted


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(opened: Callable[..., Page], name: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(name, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    page.get_by_label("fi", exact=True).uncheck()
    found = Axe().run(page, options={"resultTypes": ["violations", "passes"]}).response
    assert "color-contrast" in {rule["id"] for rule in found["passes"]}
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
    light = sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))) > 382
    assert light == (scheme == "light")


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_page_does_not_scroll_sideways(opened: Callable[..., Page], name: str, javascript: bool) -> None:
    page = opened(name, viewport={"width": 390, "height": 800}, java_script_enabled=javascript)
    if javascript:
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    table = page.get_by_role("region", name="Scores and commands by condition")
    assert table.evaluate("(region) => region.scrollWidth > region.clientWidth && region.tabIndex === 0")


def test_without_javascript_all_is_there(opened: Callable[..., Page]) -> None:
    page = opened(java_script_enabled=False)
    cell = page.locator("tbody[data-condition='xdr-mini'] td[data-column='1']")
    assert cell.inner_text().split()[:4] == ["R2kt", SHOWN["R2kt"], "expected", SHOWN["R2kt"]]
    assert f"R5kt {SHOWN['R5kt']} expected {SHOWN['R5kt']}" in " ".join(cell.inner_text().split())
    for group in page.locator("#scores tbody").all():
        assert [block.is_visible() for block in group.locator("code").all()] == [True, True, False]
    assert not any(control.is_visible() for control in page.locator(".copy, .toolbar").all())
    assert page.locator("thead button").count() == 0


def test_published_systems_sort_among_ours_and_can_be_hidden(opened: Callable[..., Page]) -> None:
    page = opened("board")

    def shown() -> list[str]:
        groups = [group for group in page.locator("#scores tbody").all() if group.is_visible()]
        return [group.locator(".title bdi").inner_text() for group in groups]

    ours = len(load_benchmark("xor-tydi").conditions)
    assert shown()[:3] == ["BM25", "BM25 + xQG", "xDR (mBERT)"]
    page.get_by_role("button", name="average").press("Enter")
    names = shown()
    assert names.index("xDR (mBERT)") == names.index("CLASS") + 1  # whose average is printed a little higher
    assert names.index("xDR mBERT") < names.index("xDR (mBERT) + xQG")  # which is only expected
    assert names[-1] == "Multilingual DPR (mBERT)" and len(names) == ours + 52
    page.get_by_label("published, other questions (8)").uncheck()
    page.get_by_label(f"ours ({ours})").uncheck()
    assert len(shown()) == 44
    page.locator("summary", has_text="xDR (mBERT)").last.click()
    assert page.get_by_role("region", name="xDR (mBERT) against the published systems").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_landing_page_is_sound(opened: Callable[..., Page], scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened("index", color_scheme=scheme, viewport={"width": 360, "height": 800})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
