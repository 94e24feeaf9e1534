"""``supermask report``: one HTML file about runs, finished or not."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from supermask_jax import files
from supermask_jax.analysis.charts import theme
from supermask_jax.analysis.report import page, reading
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


def _checkout() -> Checkout | None:
    try:
        return find()
    except UserError:  # Without it the report lacks the papers' points and nothing else.
        return None


def main(argv: Sequence[str] | None = None, checkout: Checkout | None = None) -> int:
    """Runs the command line `argv` and returns the exit status.

    Args:
      argv: without the program's name; None is the process's.
      checkout: has the papers' points; None is the one around, if there is one.
    """

    def act(argv: Sequence[str]) -> None:
        args = _parser().parse_args(argv)
        groups = reading.group_runs(reading.read_folders(args.folders), default_identity())
        out = args.out or _first(args.folders) / "report.html"
        check_out(out)
        check_out(args.figures and args.figures / "front.svg")
        from supermask_jax.commands import report_arrays  # JAX: not for --help.

        details = [report_arrays.details_of(group, quick=args.quick) for group in groups]
        place = checkout or _checkout()
        papers = [] if place is None else report_arrays.paper_points(
            groups, place.rows, place.root)  # fmt: skip
        command = f"supermask report {shlex.join(argv)}"
        origin = page.Origin(command, time.strftime("%Y-%m-%d %H:%M %Z"))
        sections = page.sections(groups, details, papers)
        text = page.report(groups, sections, origin)
        files.write(out, text.encode())
        print(f"{out}: {len(text.encode()):,} bytes, {_count(groups)}")
        if args.figures is not None:
            charts = list(page.charts_of(sections))
            for chart in charts:
                for ending in (".svg", ".pdf", ".csv"):
                    theme.save(chart["spec"], args.figures / f"{chart['name']}{ending}")
            print(f"{args.figures}: {len(charts)} charts as SVG, PDF and CSV")

    return guarded(act, argv)


def _first(folders: Sequence[Path]) -> Path:
    """Returns the first that is a folder: of several, files are left out."""
    return next(filter(Path.is_dir, map(expanded, folders)))


def _count(groups: Sequence[reading.Group]) -> str:
    runs = sum(len(group.runs) for group in groups)
    return f"{runs} run{'s' * (runs > 1)} of {len(groups)} config{'s' * (len(groups) > 1)}"
