"""``supermask front``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from supermask_jax.commands.common import add_json, check_out, find_checkout, points_json
from supermask_jax.errors import UserError

EPILOG = """\
Points are rows that have been run: means over seeds with 95 % intervals. The papers' points are
those of the rows, and a dense row is the band. Nothing is trained.
"""
EXAMPLES = ("front --rows='fcn-*'", "front --rows='fcn-*' --out=front.svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--rows", required=True, metavar="NAMES", help="e.g. 'fcn-*', with its dense baseline")
    add("--out", type=Path, metavar="FILE", help=".svg or .pdf; default: print the table only")
    add("--results", type=Path, metavar="FOLDER", help="default: results/ of the repository")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Prints the points, and draws them."""
    from supermask_jax.analysis.front import front_table, row_points
    from supermask_jax.analysis.rows import select
    from supermask_jax.studies import reproduce

    root, rows = find_checkout()
    if args.out is not None and args.out.suffix not in (".svg", ".pdf"):
        raise UserError(f"--out must end in .svg or .pdf, got {args.out}")
    check_out(args.out)
    chosen = select(rows, args.rows.split(","))
    results = args.results or root / "results"
    section = chosen[0].section
    found = row_points(reproduce.load_results(results, chosen), section)
    if not found.ours:
        raise UserError(
            f"{results} holds no masked row of {args.rows}: run `supermask reproduce` first"
        )
    points = [*found.ours, *found.dense]
    print(json.dumps(points_json(points), indent=2) if args.json else front_table(points).text())
    if args.out is not None:
        from supermask_jax.analysis.charts import front, theme

        spec = front.front_of_rows(found, section.title)
        theme.save(spec, args.out, width=690, height=420)
