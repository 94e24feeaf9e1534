"""One table, printed as text for terminals and as Markdown for pages; the report has it as HTML."""

from __future__ import annotations

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
        """Returns it in columns, as wide as it is or as the terminal; numbers to the right."""
        from rich.console import Console
        from rich.table import Table as Columns
        from rich.text import Text

        lines = self._lines()
        found = Columns(box=None, pad_edge=False)
        for i, name in enumerate(self.head):
            number = all(line[i][:1] in "0123456789+-" for line in lines)
            found.add_column(Text(name), justify="right" if number else "left", no_wrap=number)
        for line in lines:
            found.add_row(*map(Text, line))
        console = Console(width=None if sys.stdout.isatty() else 10_000)
        with console.capture() as captured:
            console.print(found)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())
