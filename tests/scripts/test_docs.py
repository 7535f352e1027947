"""Documentation: generated parts are up to date, links lead somewhere, and commands are real."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from documented import COMMANDS, SHOWN
from landing import landing_page

import docs
from xqg_repro import cli
from xqg_repro.cli import two_click
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.reproduction import regress
from xqg_repro.reproduction.benchmark import Reading, load_benchmark

PAGES = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*s/README.md")]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def marked(page: Path) -> Any:
    """The claims are checked on all reference runs, and all kinds of models are tried, which takes a while."""
    slow = page.name in ("claims.md", "add-a-model.md")
    return pytest.param(page, marks=[pytest.mark.integration] if slow else [])


@pytest.mark.parametrize("page", map(marked, PAGES), ids=str)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert docs.fill(text) == text, "run make docs"


def test_an_unknown_generated_part_is_refused() -> None:
    with pytest.raises(InputError, match="nothing generates 'nope:x'"):
        docs.fill("<!-- generated: nope:x -->\n<!-- end -->")


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("topics/*.tsv")), ids=lambda path: path.name)
def test_topic_files_are_the_collections_questions(path: Path) -> None:
    dataset = path.name.removeprefix("topics.").removesuffix(".tsv").replace(".", "/")
    assert read_topics(str(path))[0] == read_topics(dataset)[0]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_commands_are_understood(line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "xqg-repro":
        cli.parser().parse_args(arguments)
    else:
        benchmark = arguments[1].rpartition(".")[2].replace("_", "-")
        two_click.parser(benchmark).parse_args(arguments[2:])


def test_pages_show_commands() -> None:
    assert [page for page, commands in SHOWN.items() if not commands] == [
        REPOSITORY / "docs" / "guides" / "what-can-go-wrong.md"
    ]


@pytest.mark.parametrize("name", regress.regression_names())
def test_regression_pages_are_up_to_date(name: str) -> None:
    page = REPOSITORY / "docs" / "regressions" / f"{name}.md"
    assert page.read_text(encoding="utf-8") == docs.regression_page(name), "run make docs"


@pytest.mark.parametrize("reading", [None, Reading("some-reader")])
def test_a_regression_page_shows_how_answers_are_read(reading: Reading | None, monkeypatch: pytest.MonkeyPatch) -> None:
    measures = {"R2kt": MeasureConfig(), **({"EM": MeasureConfig(100, 1, 1)} if reading else {})}
    expected = {measure: {"ar": 1.0} for measure in measures}
    shipped = load_benchmark("xor-mini")
    conditions = tuple(dataclasses.replace(condition, expected=expected) for condition in shipped.conditions)
    own = dataclasses.replace(shipped, measures=measures, reading=reading, conditions=conditions)
    monkeypatch.setattr(regress, "load_benchmark", lambda name: own)
    page = docs.regression_page("xor-mini-xdr")
    headings = re.findall("^## (.*)$", page, re.MULTILINE)
    wanted = ["Retrieval", "Reading", "Evaluation"] if reading else ["Retrieval", "Evaluation", "Effectiveness"]
    assert headings[2:5] == wanted
    assert ("The reader `some-reader`" in page) == ("\n| EM | ar |" in page) == bool(reading)
    assert page.count("xqg-repro read ") == page.count("evaluate --answers ") == (3 if reading else 0)
    assert ("R2kt ± 0.005, EM ± 1)" in page) == bool(reading)


@pytest.mark.integration
@pytest.mark.parametrize("name", docs.BENCHMARKS)
def test_two_click_pages_are_up_to_date(name: str, tmp_path: Path) -> None:
    docs.write_two_click_page(name, tmp_path / "page.html")
    page = REPOSITORY / "docs" / "2cr" / f"{name}.html"
    assert page.read_bytes() == (tmp_path / "page.html").read_bytes(), "run make docs"


@pytest.mark.integration
def test_the_landing_page_is_up_to_date() -> None:
    assert (REPOSITORY / "docs" / "index.html").read_text(encoding="utf-8") == landing_page(), "run make docs"


def test_every_page_is_reached_from_the_landing_page() -> None:
    folder = REPOSITORY / "docs"
    reached, ahead, dead = set(), {folder / "index.html"}, []
    while ahead:
        page = ahead.pop()
        reached.add(page)
        if page.suffix in (".html", ".md"):
            found = re.findall(r"""(?:\]\(|href=")(?!https?:)([^)#"]+)""", page.read_text(encoding="utf-8"))
            links = {(page.parent / link).resolve() for link in found}
            dead += [f"{page} -> {link}" for link in links if not link.exists()]
            ahead |= {link for link in links if folder in link.parents} - reached
    assert dead == []
    pages = {page for suffix in ("html", "md") for page in folder.rglob(f"*.{suffix}")}
    pages -= set(folder.rglob("table.md"))  # ablations/README.md shows them
    assert pages - reached == set()


def test_the_landing_page_links_to_what_the_index_links_to() -> None:
    index, page = ((REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("README.md", "index.html"))
    links = set(re.findall(r"\]\(([^)]+)\)", index)) - {"index.html"}
    assert links and links <= set(re.findall(r'href="([^"#]+)"', page))
    assert page.count('class="headline') >= len(links) - 2
