"""Tables of text cells: aligned for terminals, as Markdown, and as LaTeX."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_BOLD, _PLAIN = "\033[1m", "\033[0m"
_SUPERSCRIPTS = str.maketrans(
    string.ascii_lowercase.replace("q", "") + "-", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁻"
)  # Unicode has no q that fonts know
MARKS = string.ascii_lowercase.replace("q", "")
"""The letters that have a superscript form."""

_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "α": r"$\alpha$",
    "Δ": r"$\Delta$",
}


class Cell(NamedTuple):
    """A cell with a superscript, or in bold."""

    text: str
    mark: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A header and rows of cells; the first ``left`` columns are flush left, the others flush right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    left: int = 1

    def text(self, *, bold: bool = False) -> str:
        """Aligned columns with a rule under the header.

        Args:
            bold: print bold cells in bold, which needs a terminal.
        """
        rows = [[_cell(cell) for cell in row] for row in (self.header, *self.rows)]
        columns = list(zip(*rows, strict=True))
        blocks = [_flush_left(column) for column in columns[: self.left]]
        blocks += [_flush_right(column, bold) for column in columns[self.left :]]
        header, *lines = ("  ".join(line) for line in zip(*blocks, strict=True))
        return "\n".join(line.rstrip() for line in (header, "-" * _width(header), *lines))

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        rows = [self.header, ["---" if i < self.left else "---:" for i in range(len(self.header))], *self.rows]
        return "\n".join("| " + " | ".join(_markdown(_cell(cell)) for cell in row) + " |" for row in rows)

    def latex(self) -> str:
        """A LaTeX tabular; needs the package booktabs."""
        lines = [" & ".join(_latex(_cell(cell)) for cell in row) + r" \\" for row in (self.header, *self.rows)]
        columns = "l" * self.left + "r" * (len(self.header) - self.left)
        body = ["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"]
        return "\n".join([f"\\begin{{tabular}}{{{columns}}}", *body, "\\end{tabular}"])


def superscript(mark: str) -> str:
    """A mark as Unicode superscript letters.

    >>> superscript("-ab")
    '⁻ᵃᵇ'
    """
    return mark.translate(_SUPERSCRIPTS)


def latex_escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX.get(char, char) for char in text)


def _cell(cell: str | Cell) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _flush_left(cells: Sequence[Cell]) -> list[str]:
    texts = [cell.text + superscript(cell.mark) for cell in cells]
    width = max(map(_width, texts))
    return [text + " " * (width - _width(text)) for text in texts]


def _flush_right(cells: Sequence[Cell], bold: bool) -> list[str]:
    """Superscripts have room of their own, so that numbers stand in line."""
    width, room = max(_width(cell.text) for cell in cells), max(len(cell.mark) for cell in cells)
    return [
        " " * (width - _width(cell.text))
        + (f"{_BOLD}{cell.text}{_PLAIN}" if bold and cell.bold else cell.text)
        + superscript(cell.mark).ljust(room)
        for cell in cells
    ]


def _width(text: str) -> int:
    """Columns that a text takes on a terminal: wide characters count two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _markdown(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    return (f"**{text}**" if cell.bold else text) + (f"<sup>{cell.mark}</sup>" if cell.mark else "")


def _latex(cell: Cell) -> str:
    text = latex_escaped(cell.text)
    return (f"\\textbf{{{text}}}" if cell.bold else text) + (f"$^{{{cell.mark}}}$" if cell.mark else "")
