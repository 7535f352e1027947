"""Tables of text cells, printed for terminals, as Markdown and as LaTeX."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_BOLD, _PLAIN = "\033[1m", "\033[0m"

MARKS = string.ascii_lowercase.replace("q", "")
"""The letters with a superscript form; fonts lack that of q."""

_SUPERSCRIPTS = str.maketrans(MARKS + "-", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁻")
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "α": r"$\alpha$",
    "Δ": r"$\Delta$",
}


class Cell(NamedTuple):
    """A cell that may have a superscript or be bold."""

    text: str
    mark: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A header and rows of cells; the first ``left`` columns are left-aligned, the others right-aligned."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    left: int = 1

    def text(self, *, bold: bool = False) -> str:
        """Aligned columns with a rule under the header; ``bold`` prints bold cells with the terminal's escape codes."""
        rows = [[_cell(cell) for cell in row] for row in (self.header, *self.rows)]
        columns = list(zip(*rows, strict=True))
        blocks = [_align_left(column) for column in columns[: self.left]]
        blocks += [_align_right(column, bold) for column in columns[self.left :]]
        header, *lines = ("  ".join(line) for line in zip(*blocks, strict=True))
        return "\n".join(line.rstrip() for line in (header, "-" * _width(header), *lines))

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        alignment = ["---" if i < self.left else "---:" for i in range(len(self.header))]
        lines = []
        for row in (self.header, alignment, *self.rows):
            lines.append(f"| {' | '.join(_markdown(_cell(cell)) for cell in row)} |")
        return "\n".join(lines)

    def latex(self) -> str:
        """A LaTeX tabular; it needs the package booktabs."""
        header, *rows = (" & ".join(_latex(_cell(cell)) for cell in row) + r" \\" for row in (self.header, *self.rows))
        columns = "l" * self.left + "r" * (len(self.header) - self.left)
        body = [r"\toprule", header, r"\midrule", *rows, r"\bottomrule"]
        return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"])


def superscript(mark: str) -> str:
    """A mark as Unicode superscript letters.

    >>> superscript("-ab")
    '⁻ᵃᵇ'
    """
    return mark.translate(_SUPERSCRIPTS)


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(char, char) for char in text)


def _cell(cell: str | Cell) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _align_left(cells: Sequence[Cell]) -> list[str]:
    texts = [cell.text + superscript(cell.mark) for cell in cells]
    width = max(map(_width, texts))
    return [text + " " * (width - _width(text)) for text in texts]


def _align_right(cells: Sequence[Cell], bold: bool) -> list[str]:
    """Superscripts have a column of their own, so that numbers align."""
    width = max(_width(cell.text) for cell in cells)
    mark_width = max(len(cell.mark) for cell in cells)
    lines = []
    for cell in cells:
        padding = " " * (width - _width(cell.text))
        text = f"{_BOLD}{cell.text}{_PLAIN}" if bold and cell.bold else cell.text
        lines.append(padding + text + superscript(cell.mark).ljust(mark_width))
    return lines


def _width(text: str) -> int:
    """Columns that a text takes on a terminal; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _markdown(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    return (f"**{text}**" if cell.bold else text) + (f"<sup>{cell.mark}</sup>" if cell.mark else "")


def _latex(cell: Cell) -> str:
    text = escape_latex(cell.text)
    return (f"\\textbf{{{text}}}" if cell.bold else text) + (f"$^{{{cell.mark}}}$" if cell.mark else "")
