"""The commands that the documentation shows."""

from __future__ import annotations

import html
import re
from pathlib import Path

from conftest import REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "docs" / "fine-tuning.md",
    REPOSITORY / "docs" / "study-xquad.md",
    *sorted(REPOSITORY.glob("docs/guides/*.md")),
    *sorted(REPOSITORY.glob("docs/regressions/*.md")),
    *sorted(REPOSITORY.glob("docs/2cr/*.html")),
]


COMMAND = ("xqg-repro ", "python -m xqg_repro.")


def shell_blocks(page: Path) -> list[str]:
    """The blocks of shell commands in a page of Markdown."""
    return re.findall(r"(?s)```bash\n(.*?)```", page.read_text(encoding="utf-8"))


def preparation_of(page: Path) -> str:
    """A page's shell commands that are not the package's: they make the files that its commands read."""
    return "\n".join(line for line in "\n".join(shell_blocks(page)).splitlines() if not line.startswith(COMMAND))


def commands_of(page: Path) -> list[str]:
    """The command lines in a page's blocks of code, those that were continued in one."""
    if page.suffix == ".html":
        found = re.findall(r"(?s)<code[^>]*>(.*?)</code>", page.read_text(encoding="utf-8"))
        blocks = [html.unescape(re.sub("<[^>]*>", "", block)) for block in found]
    else:
        blocks = shell_blocks(page)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.startswith(COMMAND)]


SHOWN = {page: commands_of(page) for page in PAGES}
"""Page → its commands, in order."""

COMMANDS = list(dict.fromkeys(command for page in PAGES for command in SHOWN[page]))
"""All commands, each once."""
