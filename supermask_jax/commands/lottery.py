"""``supermask lottery``."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import (
    CONFIG_EPILOG,
    add_config,
    add_output,
    check_out,
    default_workdir,
    recorded,
    seed_list,
)

if TYPE_CHECKING:
    from ml_collections import ConfigDict

EPILOG = f"""\
A dense network is trained once; every combination of the names given prunes it in its own way. The
command prints the table.

{CONFIG_EPILOG}"""
EXAMPLES = (
    "lottery lottery_fcn --config.lottery.levels=3",
    "lottery lottery_fcn --criteria=large_final,random --seeds=0,1,2",
)

_log = logging.getLogger("supermask_jax")

# Flag -> entry of config.lottery that it sets, and what it is.
_AXES = {
    "criteria": ("criterion", "mask criteria: which weights are kept, e.g. large_final,movement"),
    "mask1": ("mask1", "mask-1 actions: where kept weights start again, e.g. rewind,reinit"),
    "mask0": ("mask0", "mask-0 actions: what pruned weights are frozen at, e.g. zero,variant_1"),
}
_UNTRAINED = "evaluate one-shot masks on the weights they start from, without training these"
_COLUMNS = ("criterion", "mask1", "mask0", "level", "density")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_config(parser)
    add = parser.add_argument
    for flag, (_, what) in _AXES.items():
        add(f"--{flag}", metavar="NAMES", help=what)
    add("--untrained", action="store_true", help=_UNTRAINED)
    add_output(parser)
    add("--seeds", type=seed_list, metavar="NUMBERS", help="run each, give means with intervals")
    add("--out", type=Path, metavar="FILE", help="write the table as JSON too")


def run(args: argparse.Namespace) -> None:
    """Prunes what the command line says, and prints the table."""
    from supermask_jax import files, lottery
    from supermask_jax.analysis.results import mean_rows, write_result
    from supermask_jax.config.files import load_with_overrides
    from supermask_jax.training.waiting import Points, plain_lines

    config = load_with_overrides(args.config, args.overrides, lottery.check_config)
    for flag, (entry, _) in _AXES.items():
        if getattr(args, flag) is not None:
            config.lottery[entry] = getattr(args, flag)
    config.lottery.untrained |= args.untrained
    if args.print_config:
        print(config)
        return
    if args.dry_run:
        for part in _describe(config):
            print(part, flush=True)
        return
    check_out(args.out)
    workdir, found = args.workdir or default_workdir(config, args.config), []
    seeds = [config.seed] if args.seeds is None else args.seeds
    points = Points(len(seeds))
    with plain_lines(args.plain):
        for seed in seeds:
            config.seed = seed
            if len(seeds) > 1:
                _log.info("seed %d: %s", seed, next(points))
            place = workdir if args.seeds is None else Path(workdir) / f"s{seed}"
            found.append(lottery.run(config, place, quiet=args.quiet or args.json))
    rows = mean_rows(found)
    print(json.dumps(rows, indent=2) if args.json else f"{table(rows)}\nresults in {workdir}")
    if args.out:
        with files.locked(args.out):
            write_result(args.out, result(args, config, rows))


def result(
    args: argparse.Namespace, config: ConfigDict, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns what ``--out`` holds."""
    from supermask_jax import lottery
    from supermask_jax.training.environment import environment

    kept = recorded(args.words, ("--workdir", "--out"))
    return {
        "command": shlex.join(["python", "experiments/lottery.py", *kept]),
        "config": config.to_dict() | {"seed": args.seeds or [config.seed]},
        "env": environment(lottery.build(config)[0].convolution),
        "rows": list(rows),
    }


def _describe(config: ConfigDict) -> Iterator[str]:
    from supermask_jax import lottery
    from supermask_jax.commands import dry_run
    from supermask_jax.lottery.recipes import last_level

    cells, section = lottery.build(config)[1], config.lottery
    levels = {recipe.name: last_level(recipe, section.levels) for recipe in cells}
    runs = (not section.prune_at_init) + (0 if section.untrained else sum(levels.values()))
    yield f"pruning: {_count(len(cells), 'cell')}, {_count(runs, 'training run')} in all:"
    yield from (f"  {name}: {_count(number, 'level')}" for name, number in levels.items())
    yield from dry_run.describe(lottery.split_config(config)[0])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows of `mean_rows` as a table of text; accuracies in percent."""
    from supermask_jax.analysis.intervals import percent
    from supermask_jax.analysis.results import ACCURACIES
    from supermask_jax.analysis.tables import Table

    measured = [name for name in ACCURACIES if any(name in row for row in rows)]
    lines = []
    for row in rows:
        names = [row[name] or "-" for name in _COLUMNS[:3]]
        shares = [percent(row[name]) if name in row else "-" for name in measured]
        lines.append([*names, row["level"], f"{100 * row['density']:.2f}", *shares])
    return Table([*_COLUMNS, *(name.replace("_", " ") for name in measured)], lines).text()
