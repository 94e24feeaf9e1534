"""Markdown tables of the result file of `experiments/lottery.py`, and a comparison of criteria.

A cell is one way to prune, ``CRITERION-MASK1-MASK0``; its rows are the levels of one curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.analysis.intervals import Interval, mean_interval, percent
from supermask_jax.analysis.page import markdown

Row = Mapping[str, Any]  # of `results.mean_rows`
Cells = dict[tuple[str, ...], list[Row]]  # (criterion, mask1, mask0) -> its rows by level
_NAMES = ("criterion", "mask1", "mask0")
_TEST, _VAL = "test_accuracy", "val_accuracy"


def lottery_page(result: Mapping[str, Any]) -> str:
    """Returns the accuracies of a result file as Markdown: a row a level, a column a cell.

    Level 0, the dense network, is every cell's first. Where the density of a cell is not that of
    its row, as under a sign mask, the cell names it. Of masks that were evaluated without training
    a second table gives each cell's best level: best by mean validation accuracy, since the best of
    many test accuracies is too good.

    Args:
      result: as `commands.lottery` writes it, e.g. with ``--out``; of it "rows" is read.

    Raises:
      ValueError: it holds no rows.
    """
    dense, cells = _cells(result)
    if not dense and not cells:
        raise ValueError("the result holds no rows: write it again with --out")
    tables = [_level_table(dense, cells)]
    if untrained := {key: rows for key, rows in cells.items() if not rows[0]["trained"]}:
        tables.append(_best_table(untrained))
    return "\n\n".join(tables)


def _cells(result: Mapping[str, Any]) -> tuple[list[Row], Cells]:
    """Returns the row of level 0, if there is one, and the rows of each cell by level."""
    cells: Cells = {}
    for row in result["rows"]:
        cells.setdefault(tuple(row[part] for part in _NAMES), []).append(row)
    return cells.pop((None, None, None), []), cells


def _level_table(dense: Sequence[Row], cells: Cells) -> str:
    columns = list(map("-".join, cells)) or ["dense"]
    levels: dict[int, list[Any]] = {row["level"]: [row] * len(columns) for row in dense}
    for i, rows in enumerate(cells.values()):
        for row in rows:
            levels.setdefault(row["level"], [None] * len(columns))[i] = row
    lines = []
    for level, found in sorted(levels.items()):
        first = next(filter(None, found))
        shown = [_cell(row, first["density"]) for row in found]
        lines.append([str(level), _density(first), *shown, str(first[_TEST]["n"])])
    return markdown(["level", "density %", *columns, "n"], lines)


def _cell(row: Row | None, density: float) -> str:
    if row is None:
        return "-"
    elsewhere = "" if row["density"] == density else f" (at {_density(row)} %)"
    return percent(row[_TEST]) + elsewhere


def _best_table(cells: Cells) -> str:
    if not all(_VAL in row for rows in cells.values() for row in rows):
        return "Protocol without a validation split: there is nothing to choose a level by."
    lines = []
    for key, rows in cells.items():
        # Of equal levels the first, which keeps most.
        best = max(rows, key=lambda row: row[_VAL]["mean"])
        shares = [_density(best), percent(best[_VAL]), percent(best[_TEST])]
        lines.append(["-".join(key), str(best["level"]), *shares, str(best[_TEST]["n"])])
    head = ["without training", "best level", "density %", "validation %", "test %", "n"]
    return markdown(head, lines)


class Comparison(NamedTuple):
    """One cell beside the others of its mask-1 and mask-0 action; intervals over seeds."""

    criterion: str
    mask1: str
    mask0: str
    levels: int
    rank: Interval  # mean over levels of the rank by test accuracy, 1 the best; ties share theirs
    accuracy: Interval  # mean over levels of the test accuracy
    difference: Interval  # of `accuracy` from the reference's, paired by seed


def compare_criteria(result: Mapping[str, Any], reference: str = "large_final") -> list[Comparison]:
    """Compares criteria by their whole curves, so that their order can be held against a paper's.

    Levels count alike. For each seed ranks and accuracies are averaged over the levels, and of
    these means the intervals are made: seeds are independent, the levels of a curve are not. Left
    out is what does not lie at the reference's densities, such as sign masks: fewer weights pruned
    is no better criterion.

    Args:
      result: as for `lottery_page`, with "by_seed" in its rows.
      reference: the criterion from which differences are taken.

    Returns:
      Comparisons by mask-1 and mask-0 action, in each the best mean accuracy first. A criterion
      differs from the reference where the interval of its difference does not hold 0 (of one pair:
      the intervals are not widened for the number of criteria).

    Raises:
      ValueError: there is no cell of the reference, or no values by seed.
    """
    cells, compared = _cells(result)[1], []
    if not any(criterion == reference for criterion, *_ in cells):
        found = ", ".join(dict.fromkeys(criterion for criterion, *_ in cells))
        raise ValueError(f"the result holds no criterion {reference!r}, only: {found or 'none'}")
    for actions in dict.fromkeys(key[1:] for key in cells):
        group = {key: rows for key, rows in cells.items() if key[1:] == actions}
        if (reference, *actions) in group:
            compared += _compare(group, (reference, *actions))
    return compared


def _compare(group: Cells, reference: tuple[str, ...]) -> list[Comparison]:
    def densities(rows: Sequence[Row]) -> list[tuple[int, float]]:
        return [(row["level"], round(row["density"], 9)) for row in rows]

    wanted = densities(group[reference])
    keys = [key for key, rows in group.items() if densities(rows) == wanted]
    accuracy = np.array([[_by_seed(row) for row in group[key]] for key in keys])  # [c, level, s]
    above = (accuracy[None] > accuracy[:, None]).sum(1)
    equal = (accuracy[None] == accuracy[:, None]).sum(1)  # Each equals itself.
    ranks = (1 + above + (equal - 1) / 2).mean(1)  # [c, s]
    means = accuracy.mean(1)
    columns = (ranks, means, means - means[keys.index(reference)])
    intervals = zip(*(map(mean_interval, column.tolist()) for column in columns), strict=True)
    rows = [Comparison(*key, len(wanted), *of) for key, of in zip(keys, intervals, strict=True)]
    return sorted(rows, key=lambda row: -row.accuracy.mean)


def _by_seed(row: Row) -> Sequence[float]:
    if "by_seed" not in row:
        raise ValueError("the result holds no values by seed: write it again with --out")
    return row["by_seed"][_TEST]


def criteria_page(result: Mapping[str, Any], reference: str = "large_final") -> str:
    """Returns `compare_criteria` as a Markdown table."""
    lines = []
    for row in compare_criteria(result, reference):
        difference = "-" if row.criterion == reference else percent(row.difference)
        shown = [_plain(row.rank), percent(row.accuracy), difference]
        lines.append(["-".join(row[:3]), *shown, str(row.levels), str(row.accuracy.n)])
    head = ["cell", "mean rank", "mean test %", f"less {reference}, paired", "levels", "n"]
    return markdown(head, lines)


def _plain(interval: Interval) -> str:
    """As `percent`, of a number that is no fraction."""
    return percent(Interval(*(x / 100 for x in interval[:3]), interval.n))


def _density(row: Row) -> str:
    return f"{100 * row['density']:.2f}"
