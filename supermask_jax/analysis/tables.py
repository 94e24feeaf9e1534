"""One table, printed as text for terminals and as Markdown for pages; the report has it as HTML."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from supermask_jax.analysis.intervals import Interval, percent


class Table(NamedTuple):
    """A table whose cells are texts, numbers, or fractions with intervals, shown in percent.

    Attributes:
      head: names of the columns.
      rows: of as many cells.
      foot: a last row, or nothing.
      caption: above it, where it stands alone.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    foot: Sequence[Any] = ()
    caption: str = ""

    def _lines(self) -> list[list[str]]:
        rows = [*self.rows, self.foot] if self.foot else self.rows
        return [[percent(x) if isinstance(x, Interval) else str(x) for x in row] for row in rows]

    def markdown(self) -> str:
        """Returns it as Markdown."""
        lines = [self.head, ["---"] * len(self.head), *self._lines()]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def text(self) -> str:
        """Returns it in columns, numbers to the right; row by row where a terminal is narrower."""
        lines = self._lines()
        cells = list(zip(self.head, *lines, strict=True))
        numbers = [all(cell[:1] in "0123456789+-" for cell in column[1:]) for column in cells]
        widths = [max(map(len, column)) for column in cells]
        wide = sum(widths) + 2 * len(widths) - 2
        if sys.stdout.isatty() and wide > shutil.get_terminal_size().columns:
            pad = max(map(len, self.head[1:]), default=0) + 2
            rows = ([line[0], *zip(self.head[1:], line[1:], strict=True)] for line in lines)
            return "\n".join(
                "\n".join([first, *(f"  {name:{pad}}{cell}".rstrip() for name, cell in others)])
                for first, *others in rows
            )
        return "\n".join(
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(line, widths, numbers, strict=True)
            ).rstrip()
            for line in [self.head, *lines]
        )
