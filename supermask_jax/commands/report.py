"""``supermask report``: one HTML file about runs, finished or not."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from supermask_jax import files
from supermask_jax.commands.checkout import Checkout, find
from supermask_jax.commands.common import Parser, check_out, guarded
from supermask_jax.config_files import default_identity
from supermask_jax.errors import UserError, expanded

_EPILOG = """\
Runs that differ in their seed alone are one curve with a band; others are compared. The file needs
no network and nothing beside it. What needs a checkpoint or the data set (scores, pictures,
mistakes) is of the first seed, and left out with its reason where there is none.
"""


def _parser() -> Parser:
    parser = Parser("report", "Writes one HTML file about runs.", _EPILOG)
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="WORKDIR", help="work folders, of any configs, "
        "or what they lie in, such as runs/ or a lottery's folder")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help="default: report.html in the first folder")
    add("--quick", action="store_true",
        help="metrics and masks only: restore no checkpoint, load no data set")  # fmt: skip
    add("--figures", type=Path, metavar="DIR", help="write each chart there too: SVG and PDF, as "
        "wide as a paper's single column (84 mm), and its data as CSV")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None, checkout: Checkout | None = None) -> int:
    """Runs the command line `argv` and returns the exit status.

    Args:
      argv: without the program's name; None is the process's.
      checkout: has the papers' points; None is the one around, if there is one.
    """

    def act(argv: Sequence[str]) -> None:
        args = _parser().parse_args(argv)
        from supermask_jax.analysis.charts import theme  # Charts and JAX: not for --help.
        from supermask_jax.analysis.report import page
        from supermask_jax.analysis.report.groups import group_runs
        from supermask_jax.analysis.runs import read_folders
        from supermask_jax.commands import report_arrays

        runs = read_folders(args.folders)
        groups = group_runs(runs, default_identity())
        out = args.out or _first(args.folders) / "report.html"
        check_out(out)
        check_out(args.figures and args.figures / "front.svg")
        details = [report_arrays.details_of(group, quick=args.quick) for group in groups]
        place = checkout or _checkout()
        papers = report_arrays.paper_points(groups, place.rows, place.root) if place else []
        found = page.content(groups, details, papers)
        written = time.strftime("%Y-%m-%d %H:%M %Z")
        text = page.render(found, page.Origin(f"supermask report {shlex.join(argv)}", written))
        files.write(out, text.encode())
        count, configs = sum(len(group.runs) for group in groups), len(groups)
        print(f"{out}: {len(text.encode()):,} bytes, {count} run{'s' * (count > 1)} of {configs} "
              f"config{'s' * (configs > 1)}")  # fmt: skip
        if args.figures is not None:
            for name, spec in found["charts"].items():
                for ending in (".svg", ".pdf", ".csv"):
                    theme.save(spec, args.figures / f"{name}{ending}")
            print(f"{args.figures}: {len(found['charts'])} charts as SVG, PDF and CSV")

    return guarded(act, argv)


def _checkout() -> Checkout | None:
    try:
        return find()
    except UserError:  # Without it the report lacks the papers' points and nothing else.
        return None


def _first(folders: Sequence[Path]) -> Path:
    """Returns the first that is a folder: of several, files are left out."""
    return next(filter(Path.is_dir, map(expanded, folders)))
