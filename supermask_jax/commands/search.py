"""``supermask search``."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from supermask_jax.commands.common import (
    CONFIG_EPILOG,
    add_budget,
    add_config,
    add_json,
    check_out,
    points_json,
    recorded,
)
from supermask_jax.errors import UserError

EPILOG = f"""\
Every point of a grid of config entries is run on the validation split, and accuracy is printed
against remaining weights. The test set is never looked at.

{CONFIG_EPILOG}"""
EXAMPLES = (
    "search quickstart --grid=optimizer.learning_rate=0.02,0.05 --out=search.json",
    "search fcn --grid=method.threshold.value=0.01,0.02 --seeds=0,1 --out=fcn.json",
)

_GRID = """\
method.threshold.value=0.01,0.02; entries that vary together: a,b=1:2,3:4; may be given several
times: their combinations"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_config(parser)
    add = parser.add_argument
    add("--grid", action="append", required=True, metavar="ENTRY=VALUES", help=_GRID)
    add("--out", type=Path, required=True, metavar="FILE", help="the log, read to go on")
    add_budget(parser, "0")
    add_json(parser)
    add("--at_most", type=float, metavar="FRACTION", help="name the best point with so few weights")


def run(args: argparse.Namespace) -> None:
    """Runs what the log lacks, and prints the table."""
    if args.at_most is not None and not 0 < args.at_most <= 1:
        raise UserError(f"--at_most is a fraction of the weights, in (0, 1], got {args.at_most}")
    from supermask_jax.studies import search

    base = search.load_trial(args.config, args.overrides)
    trials = search.load_trials(args.config, args.overrides, args.grid)
    if args.print_config:
        print(base.config)
    elif args.dry_run:
        print(f"{len(trials)} points x {len(args.seeds)} seeds:")
        print("\n".join(f"  {trial}" for trial in trials))
    else:
        check_out(args.out)
        kept = recorded(args.words, ("--workdir", "--out", "--budget_minutes"))
        command = shlex.join(["supermask", "search", *kept])
        log = search.open_log(args.out, base.config, command)
        left = search.search(
            trials,
            args.seeds,
            log,
            workdir=Path(args.workdir or f"runs/search-{base.config.name}"),
            out=args.out,
            budget_minutes=args.budget_minutes,
        )
        print(as_json(log, left) if args.json else report(log, left, args.at_most))


def as_json(log: dict[str, Any], left: int) -> str:
    """Returns the points of a log, the runs that failed, and how many are left."""
    from supermask_jax.analysis.front import search_points

    failed = [run for run in log["runs"] if "failed" in run]
    found = {"points": points_json(search_points(log)), "failed": failed, "left": left}
    return json.dumps(found, indent=2)


def report(log: dict[str, Any], left: int, at_most: float | None) -> str:
    """Returns the table of a log, what is missing of it, and the best point under a bound."""
    from supermask_jax.analysis.front import best_under, front_table, search_points
    from supermask_jax.analysis.intervals import percent

    points = search_points(log)
    parts = [front_table(points).text()] if points else []
    if failed := [run for run in log["runs"] if "failed" in run]:
        parts.append(f"{len(failed)} runs failed, the first: {failed[0]['failed']}")
    if left:
        parts.append(f"{left} runs left: give the same command to go on")
    if at_most is not None:
        best = best_under(points, at_most)
        parts.append(
            f"no point has at most {at_most:.2%} of the weights"
            if best is None
            else f"best with at most {at_most:.2%} of the weights: {best.label} "
            f"({percent(best.accuracy)} % on validation, {percent(best.remaining)} % remaining)"
        )
    return "\n".join(parts)
