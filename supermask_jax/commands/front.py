"""``supermask front``: accuracy against remaining weights, as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supermask_jax.analysis.front import front_table, row_points
from supermask_jax.analysis.rows import select
from supermask_jax.commands.checkout import Checkout, find
from supermask_jax.commands.common import Parser, check_out, guarded
from supermask_jax.errors import UserError
from supermask_jax.studies import reproduce

_EPILOG = """\
Points are rows that have been run: means over seeds with 95 % intervals. The papers' points are
those of the rows, and a dense row is the band. Nothing is trained.
"""


def _parser() -> Parser:
    parser = Parser("front", "Draws accuracy against remaining weights.", _EPILOG)
    add = parser.add_argument
    add("--rows", required=True, metavar="NAMES", help="e.g. 'fcn-*', with its dense baseline")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="an .svg or .pdf file; default: print the table only",
    )
    add("--results", type=Path, metavar="FOLDER", help="default: results/ of the repository")
    add("--title", default="", help="default: the title of the rows' table")
    return parser


def main(argv: Sequence[str] | None = None, checkout: Checkout | None = None) -> int:
    """Runs the command line `argv` on a table of rows and returns the exit status.

    Args:
      argv: without the program's name; None is the process's.
      checkout: where ``results/`` is, and the table; None is that of `find`.
    """

    def act(argv: Sequence[str]) -> None:
        args = _parser().parse_args(argv)
        root, rows = find() if checkout is None else checkout
        if args.out is not None and args.out.suffix not in (".svg", ".pdf"):
            raise UserError(f"--out must end in .svg or .pdf, got {args.out}")
        check_out(args.out)
        chosen = select(rows, args.rows.split(","))
        results = args.results or root / "results"
        section = chosen[0].section
        found = row_points(reproduce.load_results(results, chosen), section.paper or "paper")
        if not found.ours:
            raise UserError(
                f"{results} holds no masked row of {args.rows}: run `supermask reproduce` first"
            )
        print(front_table([*found.ours, *found.dense]))
        if args.out is not None:
            from supermask_jax.analysis.charts import front, theme

            spec = front.front_of_rows(found, args.title or section.title)
            theme.save(spec, args.out, width=690, height=420)

    return guarded(act, argv)
