"""Tables of text cells, as aligned text for terminals and as Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A header and rows of cells; the first column is flush left, the others flush right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Aligned columns with a rule under the header."""
        widths = [max(_width(row[i]) for row in (self.header, *self.rows)) for i in range(len(self.header))]
        lines = [_line(row, widths) for row in (self.header, *self.rows)]
        return "\n".join([lines[0], "-" * _width(lines[0]), *lines[1:]])

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        rows = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _width(cell: str) -> int:
    """Columns that a cell takes on a terminal: wide characters count two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in cell)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [" " * (width - _width(cell)) + cell for cell, width in zip(row, widths, strict=True)]
    cells[0] = row[0] + " " * (widths[0] - _width(row[0]))
    return "  ".join(cells).rstrip()
