"""Documentation: generated parts are up to date, links lead somewhere, and commands are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import REPOSITORY

from xqg_repro import cli, docgen, reproduce
from xqg_repro.errors import InputError
from xqg_repro.search import read_topics

PAGES = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*s/README.md")]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert docgen.fill(text) == text, "run make docs"


def test_an_unknown_generated_part_is_refused() -> None:
    with pytest.raises(InputError, match="nothing generates 'nope:x'"):
        docgen.fill("<!-- generated: nope:x -->\n<!-- end -->")


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("topics/*.tsv")), ids=lambda path: path.name)
def test_topic_files_are_the_collections_questions(path: Path) -> None:
    dataset = path.name.removeprefix("topics.").removesuffix(".tsv").replace(".", "/")
    assert read_topics(str(path))[0] == read_topics(dataset)[0]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def documented_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(("xqg-repro", "python -m xqg_repro.2cr"))]


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_are_understood(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "xqg-repro":
        cli.parser().parse_args(arguments)
    else:
        reproduce.parser("any").parse_args(arguments[2:])


def test_documented_commands_are_found() -> None:
    assert len(documented_commands()) >= 7
