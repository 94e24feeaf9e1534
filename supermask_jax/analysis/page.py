"""RESULTS.md and the README's table as text: figures come from result files alone.

A result is what a file ``results/<row>.json`` holds: what `analysis.results.collect` gives, and the
row's name, the paper's values and the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from supermask_jax.analysis.front import on_front, search_points
from supermask_jax.analysis.intervals import Interval
from supermask_jax.analysis.results import extra_flags, is_dense, seeds_of
from supermask_jax.analysis.rows import Row, page_order
from supermask_jax.analysis.tables import Table
from supermask_jax.errors import UserError

Result = Mapping[str, Any]

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_COMMAND = "python experiments/reproduce.py"
_COLUMNS = (
    *("row", "what it is", "accuracy %", "paper", "remaining %", "paper", "n"),
    *("mask bytes", "s a run", "device"),
)
_HEAD = f"""\
# Results

Written by `{_COMMAND} --page` from the files in `results/`;
do not edit. Accuracy is that of the last epoch on the test set; means over n seeds, with the 95 %
Student-t interval of the mean. Mask bytes: entropy bound of the masks. Papers' values as printed
there. Seconds are the wall time of a run, on a machine that was not kept free for it."""

SEARCH_NOTE = """\
Settings compared by accuracy on the validation split; the test set has no part in it. Of each log,
the points on the front of accuracy against remaining weights."""


def results_page(
    rows: Sequence[Row],
    results: Sequence[Result],
    figures: Collection[str] = (),
    sections: Iterable[str] = (),
) -> str:
    """Returns the text of RESULTS.md; rows not run say so.

    Args:
      rows: the whole table, most valuable first.
      results: those there are, in any order.
      figures: the sections' figures that exist.
      sections: further sections, as they are.
    """
    found = {result["row"]: result for result in results}
    parts = [_HEAD]
    for section in {row.section.title: row.section for row in rows}.values():
        members = [row for row in rows if row.section == section]
        drawn = f"`supermask front --rows='{section.drawn}' --out={section.figure}` draws:\n\n"
        image = section.figure and f"{drawn}![{section.title}]({section.figure})"
        commands = "\n".join(f"- {line}" for line in _commands(members, found))
        parts += [f"## {section.title}", section.note]
        parts += [image if section.figure in figures else "", table(members, found), commands]
    return "\n\n".join(filter(None, [*parts, *sections])) + "\n"


def table(rows: Sequence[Row], found: Mapping[str, Result]) -> str:
    """Returns a Markdown table of rows: the paper's values beside ours, or 'not run'.

    Args:
      rows: in any order.
      found: row name -> its result.
    """
    lines = [_cells(row, found.get(row.name)) for row in page_order(rows)]
    return Table(_COLUMNS, lines).markdown()


def readme_table(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """Returns the table of the headline rows that have been run."""
    found = {result["row"]: result for result in results}
    return table([row for row in rows if row.headline and row.name in found], found)


def replace_marked(text: str, content: str) -> str:
    """Returns `text` with `content` between the lines `BEGIN` and `END`.

    Raises:
      UserError: the lines are not there, once each and in this order.
    """
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not (begin and end) or BEGIN in after or END in before:
        raise UserError(f"the README needs the lines {BEGIN} and {END}, once each, in this order")
    return f"{before}{begin}\n{content}\n\n{end}{after}"


def _cells(row: Row, result: Result | None) -> list[Any]:
    paper = row.paper if result is None else result.get("paper") or {}
    printed = [paper.get(name, "") for name in ("accuracy", "remaining")]
    if result is None:
        return [f"`{row.name}`", row.about, "not run", printed[0], "", printed[1], "", "", "", ""]
    env, lost, flags = result["env"], result.get("diverged", ()), extra_flags(result)
    dense = is_dense(result)
    return [
        f"`{row.name}`",
        f"{row.about}; with `{shlex.join(flags)}`" if flags else row.about,
        Interval(**result["accuracy"]),
        printed[0],
        "100" if dense else Interval(**result["remaining_weights"]),
        printed[1],
        f"{result['n']} ({len(lost)} diverged)" if lost else result["n"],
        "" if dense else f"{result['mask_bytes']:,}",
        f"{result['seconds']:,.0f}",
        env["device"] if env["backend"] != "cpu" else f"CPU, {env['cpu_count']} cores",
    ]


def _commands(rows: Sequence[Row], found: Mapping[str, Result]) -> list[str]:
    """One line for all rows whose commands differ by the row alone, and one for those not run."""
    alike: dict[str, list[str]] = {}
    for row in page_order(rows):
        if row.name in found:
            result = found[row.name]
            rest = shlex.join([f"--seeds={seeds_of(result)}", *extra_flags(result)])
            alike.setdefault(rest, []).append(row.name)
    lines = [f"`{_COMMAND} --rows={','.join(names)} {rest}`" for rest, names in alike.items()]
    left = [row for row in rows if row.name not in found]
    for where, accelerator in (("", False), (", on an accelerator", True)):
        if names := [row.name for row in left if row.accelerator is accelerator]:
            lines.append(f"not run{where}: `{_COMMAND} --rows={','.join(names)}`")
    return lines


def search_lines(log: Mapping[str, Any]) -> str:
    """Returns a search's log as text: its commands, and the points on the front."""
    points = search_points(log)
    shown = [point for point, front in zip(points, on_front(points), strict=True) if front]
    rows = [
        (f"`{p.label}`", p.remaining, p.accuracy, p.accuracy.n)
        for p in sorted(shown, key=lambda point: point.remaining.mean)
    ]
    head = f"{log['config']['name']}: {len(log['runs'])} runs, {len(points)} points."
    found = Table(("point", "remaining %", "validation accuracy %", "n"), rows).markdown()
    return "\n\n".join([head, found, "\n".join(f"- `{command}`" for command in log["commands"])])
