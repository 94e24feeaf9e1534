"""``supermask reproduce``."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from supermask_jax.commands.common import add_budget, add_output, find_checkout

if TYPE_CHECKING:
    from supermask_jax.analysis.rows import Row

_log = logging.getLogger("supermask_jax")

EPILOG = """\
Entries of the rows' configs can be set for all of them, e.g. --config.epochs=2
--config.data.data_dir=FOLDER. Finished runs are not repeated. Rows run in the order of the table,
the most valuable first.
"""
EXAMPLES = (
    "reproduce --list",
    "reproduce --rows=fcn-published --seeds=0 --epochs=2 --results=short",
)

_ROWS = "e.g. fcn-published,conv*; default: all that this machine can run"
_OF = "(default: {}/ of the repository)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.set_defaults(overrides=())
    add = parser.add_argument
    add("--rows", default="", metavar="NAMES", help=_ROWS)
    add_budget(parser, "0,1,2")
    add("--runs", type=Path, metavar="FOLDER", help=f"work folders {_OF.format('runs/reproduce')}")
    add("--results", type=Path, metavar="FOLDER", help=f"for <row>.json {_OF.format('results')}")
    add("--list", action="store_true", help="list the rows and stop")
    add_output(parser)
    add("--page", action="store_true", help="only write RESULTS.md and the README's table")


def run(args: argparse.Namespace) -> None:
    """Runs rows, prints their table, and writes the pages that show the results."""
    from supermask_jax.analysis.page import table
    from supermask_jax.analysis.rows import select
    from supermask_jax.studies import reproduce
    from supermask_jax.training.waiting import plain_lines

    root, rows = find_checkout()
    chosen = select(rows, args.rows.split(",")) if args.rows else list(rows)
    for row in chosen:  # A wrong flag or file fails now, not after an hour.
        reproduce.row_config(row, root, 0, args.overrides)
    if args.list:
        for row in chosen:
            where = " (accelerator)" if row.accelerator else ""
            print(f"{row.name:24} {row.config:32} {row.about}{where}")
        return
    results = args.results or root / "results"
    if not args.page:
        with plain_lines(args.plain):
            done = reproduce.reproduce(
                chosen if args.rows else _runnable(chosen),
                args.seeds,
                root=root,
                runs=args.runs or root / "runs" / "reproduce",
                results=results,
                flags=args.overrides,
                budget_minutes=args.budget_minutes,
                together=_accelerated(),
                estimate=True,
                quiet=args.quiet or args.json,
            )
        found = {result["row"]: result for result in done}
        shown = table([row for row in rows if row.name in found], found)
        print(json.dumps(done, indent=2) if args.json else shown)
    if results.resolve() == (root / "results").resolve():
        reproduce.write_pages(root, rows)


def _accelerated() -> bool:
    import jax

    return jax.default_backend() != "cpu"


def _runnable(rows: Sequence[Row]) -> list[Row]:
    """Returns `rows` without those that need an accelerator, where there is none."""
    if _accelerated():
        return list(rows)
    skipped = ",".join(row.name for row in rows if row.accelerator)
    if skipped:
        _log.info("rows too slow for a CPU are skipped; to run them: --rows=%s", skipped)
    return [row for row in rows if not row.accelerator]
