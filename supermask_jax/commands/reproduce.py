"""The command line of `experiments/reproduce.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supermask_jax import reproduce
from supermask_jax.analysis.results import table
from supermask_jax.commands.common import Parser, guarded, seed_list

_EPILOG = """\
Entries of the rows' configs can be set for all of them, e.g. --config.epochs=2
--config.data.data_dir=FOLDER. Finished runs are not repeated.
"""


def _parser() -> Parser:
    parser = Parser("reproduce.py", "Runs rows of the results table.", _EPILOG)
    add = parser.add_argument
    add("--rows", default="", metavar="NAMES", help="e.g. fcn-published,conv*; default: all")
    add(
        "--seeds",
        type=seed_list,
        default="0,1,2",
        metavar="NUMBERS",
        help="one run each (default: 0,1,2)",
    )
    add("--budget_minutes", type=float, default=float("inf"), help="start no run after this time")
    add("--runs", default="runs/reproduce", metavar="FOLDER", help="work folders of the runs")
    add("--results", default="results", metavar="FOLDER", help="where <row>.json is written")
    add("--list", action="store_true", help="list the rows and stop")
    add("--page", action="store_true", help="only write RESULTS.md from the result files")
    return parser


def main(rows: Sequence[reproduce.Row], root: Path, argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` on a table of rows and returns the exit status.

    Args:
      rows: the table, most valuable first.
      root: folder of the repository: config files, and RESULTS.md.
      argv: without the program's name; None is the process's.
    """

    def act(argv: Sequence[str]) -> None:
        args, flags = _parser().parse_known_args(argv)
        chosen = reproduce.select(rows, args.rows.split(",")) if args.rows else list(rows)
        for row in chosen:  # A wrong flag or file fails now, not after an hour.
            reproduce.row_config(row, root, 0, flags)
        if args.list:
            print("\n".join(f"{row.name:24} {row.config:32} {row.about}" for row in chosen))
            return
        if not args.page:
            done = reproduce.reproduce(
                chosen,
                args.seeds,
                root=root,
                runs=Path(args.runs),
                results=Path(args.results),
                flags=flags,
                budget_minutes=args.budget_minutes,
            )
            print(table(done))
        if Path(args.results).resolve() == root / "results":
            (root / "RESULTS.md").write_text(reproduce.results_page(Path(args.results), rows))

    return guarded(act, argv)
