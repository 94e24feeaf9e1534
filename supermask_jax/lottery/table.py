"""Markdown tables of the result file of `experiments/lottery.py`, and a comparison of criteria.

A cell is one way to prune, ``CRITERION-MASK1-MASK0``; its rows are the levels of one curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.analysis.intervals import Interval, mean_interval, percent
from supermask_jax.analysis.tables import Table

Row = Mapping[str, Any]  # of `results.mean_rows`
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
    untrained = {name: rows for name, rows in cells.items() if not rows[0]["trained"]}
    best = [_best_table(untrained)] if untrained else []
    return "\n\n".join([_level_table(dense, cells), *best])


def _cells(result: Mapping[str, Any]) -> tuple[list[Row], dict[str, list[Row]]]:
    """Returns the row of level 0, if there is one, and {cell: its rows by level}."""
    dense: list[Row] = []
    cells: dict[str, list[Row]] = {}
    for row in result["rows"]:
        name = "-".join(str(row[part]) for part in _NAMES)
        (dense if row["criterion"] is None else cells.setdefault(name, [])).append(row)
    return dense, cells


def _level_table(dense: Sequence[Row], cells: Mapping[str, Sequence[Row]]) -> str:
    columns = {name: [*dense, *rows] for name, rows in cells.items()} or {"dense": dense}
    at = {name: {row["level"]: row for row in rows} for name, rows in columns.items()}
    lines = []
    for level in sorted({level for rows in at.values() for level in rows}):
        found = [rows.get(level) for rows in at.values()]
        first = next(filter(None, found))
        shown = [_cell(row, first["density"]) for row in found]
        lines.append((level, _density(first), *shown, first[_TEST]["n"]))
    return Table(("level", "density %", *columns, "n"), lines).markdown()


def _cell(row: Row | None, density: float) -> str:
    if row is None:
        return "-"
    elsewhere = "" if row["density"] == density else f" (at {_density(row)} %)"
    return percent(row[_TEST]) + elsewhere


def _best_table(cells: Mapping[str, Sequence[Row]]) -> str:
    if not all(_VAL in row for rows in cells.values() for row in rows):
        return "Protocol without a validation split: there is nothing to choose a level by."
    lines = []
    for name, rows in cells.items():
        best = max(rows, key=lambda row: row[_VAL]["mean"])  # Of equal ones that which keeps most.
        shares = [Interval(**best[split]) for split in (_VAL, _TEST)]
        lines.append((name, best["level"], _density(best), *shares, best[_TEST]["n"]))
    head = ("without training", "best level", "density %", "validation %", "test %", "n")
    return Table(head, lines).markdown()


def _density(row: Row) -> str:
    return f"{100 * row['density']:.2f}"


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
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for rows in _cells(result)[1].values():
        actions = rows[0]["mask1"], rows[0]["mask0"]
        groups.setdefault(actions, {})[rows[0]["criterion"]] = rows
    if not any(reference in group for group in groups.values()):
        found = ", ".join(dict.fromkeys(name for group in groups.values() for name in group))
        raise ValueError(f"the result holds no criterion {reference!r}, only: {found or 'none'}")
    compared = []
    for actions, group in groups.items():
        if reference in group:
            compared += _compare(group, reference, *actions)
    return compared


def _compare(
    group: Mapping[str, Sequence[Row]], reference: str, mask1: str, mask0: str
) -> list[Comparison]:
    from scipy.stats import rankdata  # Slow to import.

    levels = {
        name: [(row["level"], round(row["density"], 9)) for row in rows]
        for name, rows in group.items()
    }
    names = [name for name, found in levels.items() if found == levels[reference]]
    accuracy = np.array([[_by_seed(row) for row in group[name]] for name in names])  # [c, level, s]
    ranks, means = rankdata(-accuracy, axis=0).mean(1), accuracy.mean(1)  # [c, s]
    differences = means - means[names.index(reference)]
    rows = []
    for name, *found in zip(names, ranks, means, differences, strict=True):
        intervals = (mean_interval(x.tolist()) for x in found)
        rows.append(Comparison(name, mask1, mask0, len(levels[reference]), *intervals))
    return sorted(rows, key=lambda row: -row.accuracy.mean)


def _by_seed(row: Row) -> Sequence[float]:
    if "by_seed" not in row:
        raise ValueError("the result holds no values by seed: write it again with --out")
    return row["by_seed"][_TEST]


def criteria_page(result: Mapping[str, Any], reference: str = "large_final") -> str:
    """Returns `compare_criteria` as a Markdown table."""
    lines = []
    for row in compare_criteria(result, reference):
        name = f"{row.criterion}-{row.mask1}-{row.mask0}"
        rank = Interval(*(x / 100 for x in row.rank))  # It is printed in percent.
        less = "-" if row.criterion == reference else row.difference
        lines.append((name, rank, row.accuracy, less, row.levels, row.accuracy.n))
    head = ["cell", "mean rank", "mean test %", f"less {reference}, paired", "levels", "n"]
    return Table(head, lines).markdown()
