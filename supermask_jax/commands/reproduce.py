"""``supermask reproduce``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from supermask_jax.analysis.page import table
from supermask_jax.analysis.rows import Row, select
from supermask_jax.commands.checkout import Checkout, find
from supermask_jax.commands.common import Parser, guarded, minutes, seed_list
from supermask_jax.studies import reproduce

_log = logging.getLogger("supermask_jax")

_EPILOG = """\
Entries of the rows' configs can be set for all of them, e.g. --config.epochs=2
--config.data.data_dir=FOLDER. Finished runs are not repeated. Rows run in the order of the table,
the most valuable first.
"""


def _parser() -> Parser:
    parser = Parser("reproduce", "Runs rows of the results table.", _EPILOG)
    add = parser.add_argument
    add("--rows", default="", metavar="NAMES", help="e.g. fcn-published,conv*; default: all that "
        "this machine can run")  # fmt: skip
    add(
        "--seeds",
        type=seed_list,
        default="0,1,2",
        metavar="NUMBERS",
        help="one run each (default: 0,1,2)",
    )
    add("--budget_minutes", type=minutes, default=float("inf"), help="start no run after this time")
    add("--runs", type=Path, metavar="FOLDER", help="work folders of the runs (default: "
        "runs/reproduce/ of the repository)")  # fmt: skip
    add("--results", type=Path, metavar="FOLDER", help="where <row>.json is written (default: "
        "results/ of the repository)")  # fmt: skip
    add("--together", action="store_true", help="train the seeds of a row as one set; so it is "
        "done on accelerators")  # fmt: skip
    add("--list", action="store_true", help="list the rows and stop")
    add("--page", action="store_true", help="only write RESULTS.md and the README's table")
    return parser


def _accelerated() -> bool:
    import jax  # Here and not at the top: --help and --page need none.

    return jax.default_backend() != "cpu"


def _runnable(rows: Sequence[Row]) -> list[Row]:
    """Returns `rows` without those that need an accelerator, where there is none."""
    if _accelerated():
        return list(rows)
    skipped = ",".join(row.name for row in rows if row.accelerator)
    if skipped:
        _log.info("no accelerator: skipped what is slow without; to run it: --rows=%s", skipped)
    return [row for row in rows if not row.accelerator]


def main(argv: Sequence[str] | None = None, checkout: Checkout | None = None) -> int:
    """Runs the command line `argv` on a table of rows and returns the exit status.

    Args:
      argv: without the program's name; None is the process's.
      checkout: config files, RESULTS.md, README.md, and the table; None is that of `find`.
    """

    def act(argv: Sequence[str]) -> None:
        args, flags = _parser().parse_known_args(argv)
        root, rows = find() if checkout is None else checkout
        chosen = select(rows, args.rows.split(",")) if args.rows else list(rows)
        for row in chosen:  # A wrong flag or file fails now, not after an hour.
            reproduce.row_config(row, root, 0, flags)
        if args.list:
            print("\n".join(map(_line, chosen)))
            return
        results = args.results or root / "results"
        if not args.page:
            done = reproduce.reproduce(
                chosen if args.rows else _runnable(chosen),
                args.seeds,
                root=root,
                runs=args.runs or root / "runs" / "reproduce",
                results=results,
                flags=flags,
                budget_minutes=args.budget_minutes,
                together=args.together or _accelerated(),
            )
            found = {result["row"]: result for result in done}
            print(table([row for row in rows if row.name in found], found))
        if results.resolve() == (root / "results").resolve():
            reproduce.write_pages(root, rows)

    return guarded(act, argv)


def _line(row: Row) -> str:
    where = " (accelerator)" if row.accelerator else ""
    return f"{row.name:24} {row.config:32} {row.about}{where}"
