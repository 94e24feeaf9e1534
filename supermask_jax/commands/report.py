"""``supermask report``."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from supermask_jax import files
from supermask_jax.commands.common import Checkout, at_least, check_out, find_checkout
from supermask_jax.errors import UserError, expanded

EPILOG = """\
Runs that differ in their seed alone are one curve with a band; others are compared. The file needs
no network and nothing beside it. What needs a checkpoint or the data set (scores, pictures,
mistakes) is of the first seed, and left out with its reason where there is none.
"""
EXAMPLES = (
    "report runs",
    "report runs/quickstart-s0 runs/quickstart-s1 --out=both.html --figures=figures",
)

_FOLDERS = "work folders, of any configs, or what they lie in, such as runs/ or a lottery's folder"
_QUICK = "metrics and masks only: restore no checkpoint, load no data set"
_SANITY = "what chance leaves of each first seed's ticket, as `supermask sanity` measures it"
_FIGURES = """\
write each chart there too: SVG and PDF, as wide as a paper's single column (84 mm), and its data as
CSV"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="WORKDIR", help=_FOLDERS)
    add("--out", type=Path, metavar="FILE", help="default: report.html in the first folder")
    add("--quick", action="store_true", help=_QUICK)
    add("--sanity", type=at_least(1), metavar="DRAWS", help=_SANITY)
    add("--figures", type=Path, metavar="DIR", help=_FIGURES)


def run(args: argparse.Namespace) -> None:
    """Writes the report, and its charts as files."""
    from supermask_jax.analysis.charts import theme  # Charts and JAX: not for --help.
    from supermask_jax.analysis.report import page
    from supermask_jax.analysis.report.groups import group_runs
    from supermask_jax.analysis.runs import read_folders
    from supermask_jax.commands import report_arrays
    from supermask_jax.config.files import default_identity

    groups = group_runs(read_folders(args.folders), default_identity())
    out = args.out or _first(args.folders) / "report.html"
    check_out(out)
    check_out(args.figures and args.figures / "front.svg")
    details = [
        report_arrays.details_of(group, quick=args.quick, draws=args.sanity or 0)
        for group in groups
    ]
    place = _checkout()
    papers = report_arrays.paper_points(groups, place.rows, place.root) if place else []
    found = page.content(groups, details, papers)
    written = time.strftime("%Y-%m-%d %H:%M %Z")
    text = page.render(found, page.Origin(f"supermask report {shlex.join(args.words)}", written))
    files.write(out, text.encode())
    count, configs = sum(len(group.runs) for group in groups), len(groups)
    runs, settings = f"run{'s' * (count > 1)}", f"config{'s' * (configs > 1)}"
    print(f"{out}: {len(text.encode()):,} bytes, {count} {runs} of {configs} {settings}")
    if args.figures is not None:
        for name, spec in found["charts"].items():
            for ending in (".svg", ".pdf", ".csv"):
                theme.save(spec, args.figures / f"{name}{ending}")
        print(f"{args.figures}: {len(found['charts'])} charts as SVG, PDF and CSV")


def _checkout() -> Checkout | None:
    try:
        return find_checkout()
    except UserError:  # Without it the report lacks the papers' points and nothing else.
        return None


def _first(folders: Sequence[Path]) -> Path:
    """Returns the first that is a folder: of several, files are left out."""
    return next(filter(Path.is_dir, map(expanded, folders)))
