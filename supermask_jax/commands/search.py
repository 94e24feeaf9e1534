"""``supermask search``: settings compared on the validation split."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supermask_jax.analysis.front import best_under, front_table, search_points
from supermask_jax.analysis.intervals import percent
from supermask_jax.commands.common import (
    check_out,
    config_parser,
    guarded,
    minutes,
    seed_list,
)
from supermask_jax.config_files import changes_nothing
from supermask_jax.errors import UserError

_PLACES = ("--workdir", "--out", "--budget_minutes")


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(
        "search",
        "Runs every point of a grid of config entries on the validation split, and prints accuracy "
        "against remaining weights. The test set is never looked at.",
    )
    add = parser.add_argument
    add("--grid", action="append", required=True, metavar="ENTRY=VALUES",
        help="method.threshold.value=0.01,0.02; entries that vary together: a,b=1:2,3:4; may be "
        "given several times: their combinations")  # fmt: skip
    add("--seeds", type=seed_list, default="0", metavar="NUMBERS", help="one run each (default: 0)")
    add("--out", type=Path, required=True, metavar="FILE", help="the log, read to go on")
    add("--budget_minutes", type=minutes, default=float("inf"), help="start no run after this time")
    add("--at_most", type=float, metavar="FRACTION", help="name the best point with so few weights")
    return parser


def _act(argv: Sequence[str]) -> None:
    args, flags = _parser().parse_known_args(argv)
    if args.at_most is not None and not 0 < args.at_most <= 1:
        raise UserError(f"--at_most is a fraction of the weights, in (0, 1], got {args.at_most}")
    from supermask_jax.studies import search

    base = search.load_trial(args.config, flags)
    trials = search.load_trials(args.config, flags, args.grid)
    if args.print_config:
        print(base.config)
    elif args.dry_run:
        print(f"{len(trials)} points x {len(args.seeds)} seeds:")
        print("\n".join(f"  {trial}" for trial in trials))
    else:
        check_out(args.out)
        log = search.open_log(args.out, base.config, _command(argv))
        left = search.search(
            trials,
            args.seeds,
            log,
            workdir=Path(args.workdir or f"runs/search-{base.config.name}"),
            out=args.out,
            budget_minutes=args.budget_minutes,
        )
        print(report(log, left, args.at_most))


def _command(argv: Sequence[str]) -> str:
    """The command as the log keeps it: without what says only where and how fast."""
    kept, skip = [], False
    for word in argv:
        place = word.partition("=")[0] in _PLACES or changes_nothing(word)
        if not (place or skip):
            kept.append(word)
        skip = place and "=" not in word
    return shlex.join(["supermask", "search", *kept])


def report(log: dict[str, Any], left: int, at_most: float | None) -> str:
    """Returns the table of a log, what is missing of it, and the best point under a bound."""
    points = search_points(log)
    parts = [front_table(points)] if points else []
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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
