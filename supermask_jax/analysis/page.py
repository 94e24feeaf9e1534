"""RESULTS.md and the README's table as text: figures come from result files alone.

A result is what a file ``results/<row>.json`` holds: what `analysis.results.collect` gives, and the
row's name, the paper's values and the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from supermask_jax.analysis.front import on_front, search_points
from supermask_jax.analysis.intervals import percent
from supermask_jax.analysis.results import extra_flags, seeds_of
from supermask_jax.analysis.rows import Row, Section, page_order
from supermask_jax.errors import UserError

Result = Mapping[str, Any]

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_COMMAND = "python experiments/reproduce.py"
_COLUMNS = ("row", "what it is", "accuracy %", "paper", "remaining %", "paper", "n", "mask bytes",
            "s a run", "device")  # fmt: skip
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
    for section in dict.fromkeys(row.section for row in rows):
        members = [row for row in rows if row.section == section]
        parts.append(_section(section, members, found, section.figure in figures))
    return "\n\n".join([*parts, *sections]) + "\n"


def _section(section: Section, rows: list[Row], found: Mapping[str, Result], figure: bool) -> str:
    parts = [f"## {section.title}"]
    if section.note:
        parts.append(section.note)
    if figure:
        parts.append(f"![{section.title}]({section.figure})")
    parts += [table(rows, found), "\n".join(f"- {line}" for line in _commands(rows, found))]
    return "\n\n".join(parts)


def table(
    rows: Sequence[Row],
    found: Mapping[str, Result],
    columns: Sequence[int] = range(len(_COLUMNS)),
) -> str:
    """Returns a Markdown table of rows: the paper's values beside ours, or 'not run'.

    Args:
      rows: in any order.
      found: row name -> its result.
      columns: which of the columns are shown: the first seven end with the number of seeds.
    """
    lines = [_not_run(row) if row.name not in found else _measured(row, found[row.name])
             for row in page_order(rows)]  # fmt: skip
    shown = [[line[i] for i in columns] for line in lines]
    return markdown([_COLUMNS[i] for i in columns], shown)


def readme_table(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """Returns the table of the headline rows that have been run."""
    found = {result["row"]: result for result in results}
    shown = [row for row in rows if row.headline and row.name in found]
    return table(shown, found, columns=range(7))


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


def _measured(row: Row, result: Result) -> list[str]:
    env, paper = result["env"], result.get("paper") or {}
    dense = not any(run["layer_densities"] for run in result["runs"])
    flags, lost = extra_flags(result), result.get("diverged", ())
    return [
        f"`{row.name}`",
        f"{row.about}; with `{shlex.join(flags)}`" if flags else row.about,
        percent(result["accuracy"]),
        paper.get("accuracy", ""),
        "100" if dense else percent(result["remaining_weights"]),
        paper.get("remaining", ""),
        f"{result['n']} ({len(lost)} diverged)" if lost else str(result["n"]),
        "" if dense else f"{result['mask_bytes']:,}",
        f"{result['seconds']:,.0f}",
        env["device"] if env["backend"] != "cpu" else f"CPU, {env['cpu_count']} cores",
    ]


def _not_run(row: Row) -> list[str]:
    papers = row.paper.get("accuracy", ""), "", row.paper.get("remaining", "")
    return [f"`{row.name}`", row.about, "not run", *papers, "", "", "", ""]


def _commands(rows: Sequence[Row], found: Mapping[str, Result]) -> list[str]:
    """One line for all rows whose commands differ by the row alone, and one for those not run."""
    alike: dict[str, list[str]] = {}
    for row in page_order(rows):
        if row.name in found:
            result = found[row.name]
            rest = shlex.join([f"--seeds={seeds_of(result)}", *extra_flags(result)])
            alike.setdefault(rest, []).append(row.name)
    lines = [f"`{_COMMAND} --rows={','.join(names)} {rest}`" for rest, names in alike.items()]
    for accelerator, where in ((False, ""), (True, ", on an accelerator")):
        names = [
            row.name for row in rows if row.name not in found and row.accelerator is accelerator
        ]
        if names:
            lines.append(f"not run{where}: `{_COMMAND} --rows={','.join(names)}`")
    return lines


def search_lines(log: Mapping[str, Any]) -> str:
    """Returns a search's log as text: its commands, and the points on the front."""
    points = search_points(log)
    lines = [f"- `{command}`" for command in log["commands"]]
    shown = [point for point, front in zip(points, on_front(points), strict=True) if front]
    rows = [
        (f"`{p.label}`", percent(p.remaining), percent(p.accuracy), str(p.accuracy.n))
        for p in sorted(shown, key=lambda point: point.remaining.mean)
    ]
    head = f"{log['config']['name']}: {len(log['runs'])} runs, {len(points)} points."
    columns = ("point", "remaining %", "validation accuracy %", "n")
    return "\n\n".join([head, markdown(columns, rows), "\n".join(lines)])


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
