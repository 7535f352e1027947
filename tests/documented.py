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


def commands_of(page: Path) -> list[str]:
    """The command lines in a page's blocks of code, those that were continued in one."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".html":
        found = re.findall(r"(?s)<code[^>]*>(.*?)</code>", text)
        blocks = [html.unescape(re.sub("<[^>]*>", "", block)) for block in found]
    else:
        blocks = re.findall(r"(?s)```bash\n(.*?)```", text)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.startswith(("xqg-repro ", "python -m xqg_repro."))]


SHOWN = {page: commands_of(page) for page in PAGES}
"""Page → its commands, in order."""

COMMANDS = list(dict.fromkeys(command for page in PAGES for command in SHOWN[page]))
"""All commands, each once."""
