"""The rows of the results table: what is run, and where it stands on the page."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from supermask_jax.errors import unknown_name


class Section(NamedTuple):
    """A table of the results page.

    Attributes:
      title: its heading.
      note: a sentence under the heading: the source of the papers' values.
      figure: an image, relative to the repository; shown where the file is there.
      drawn: the rows in the figure, as `supermask front` takes them.
      paper: whose values stand beside ours, as a chart names them.
      quoted: values of other papers for the chart: {paper: {family of rows: (accuracy,
        remaining)}}, in percent, as printed.
    """

    title: str
    note: str = ""
    figure: str = ""
    drawn: str = "*"
    paper: str = ""
    quoted: Mapping[str, Mapping[str, tuple[str, str]]] = {}


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      name: unique; names the result file and the work folders. Begins with the name of what the
        row is compared within, up to the first dash: ``conv2-published``, ``mnist-biprop``.
      config: config file and variant, relative to the repository.
      flags: overrides of config entries, as on the command line.
      paper: {"accuracy": ..., "remaining": ...} as the paper prints them, in percent.
      about: what the row is, in a few words.
      section: the table it stands in.
      dense: a baseline without a mask; the table shows it above what is compared with it.
      accelerator: runs too long for a CPU: there it is skipped unless it is named.
      headline: shown in the README.
    """

    name: str
    config: str
    flags: tuple[str, ...] = ()
    paper: Mapping[str, str] = {}
    about: str = ""
    section: Section = Section("Rows")
    dense: bool = False
    accelerator: bool = False
    headline: bool = False

    @property
    def family(self) -> str:
        """The name up to the first dash."""
        return self.name.partition("-")[0]


def select(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Returns the rows named, in the order of `rows`; names may be globs: ``conv*``.

    Raises:
      UserError: no row has a name.
    """
    every = [row.name for row in rows]
    chosen = []
    for name in names:
        if not (found := fnmatch.filter(every, name)):
            raise unknown_name("row", name, every)
        chosen += found
    return [row for row in rows if row.name in chosen]


def page_order(rows: Sequence[Row]) -> list[Row]:
    """Returns `rows` family by family as each first comes, dense baselines first within each."""
    families = list(dict.fromkeys(row.family for row in rows))
    return sorted(rows, key=lambda row: (families.index(row.family), not row.dense))
