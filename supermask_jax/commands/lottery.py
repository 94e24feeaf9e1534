"""``supermask lottery``: a grid of ways to prune, and its table."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from supermask_jax import files
from supermask_jax.analysis.intervals import percent
from supermask_jax.analysis.results import ACCURACIES, mean_rows, write_result
from supermask_jax.commands.common import (
    add_plain,
    check_out,
    config_parser,
    default_workdir,
    guarded,
    parse_config,
    seed_list,
)
from supermask_jax.config_files import changes_nothing

# Flag -> entry of config.lottery that it sets.
_AXES = {"criteria": "criterion", "mask1": "mask1", "mask0": "mask0"}

_COLUMNS = ("criterion", "mask1", "mask0", "level", "density")


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(
        "lottery",
        "Trains a dense network, prunes and trains it again in levels, for every combination of "
        "the names given, and prints the table.",
    )
    for flag, what in (
        ("criteria", "mask criteria: which weights are kept, e.g. large_final,movement"),
        ("mask1", "mask-1 actions: where kept weights start again, e.g. rewind,reinit"),
        ("mask0", "mask-0 actions: what pruned weights are frozen at, e.g. zero,variant_1"),
    ):
        parser.add_argument(f"--{flag}", metavar="NAMES", help=what)
    parser.add_argument(
        "--untrained", action="store_true",
        help="evaluate one-shot masks on the weights they start from, without training these",
    )  # fmt: skip
    add_plain(parser)
    add = parser.add_argument
    add(
        "--seeds", type=seed_list, metavar="NUMBERS", help="run each, and give means with intervals"
    )
    add("--out", type=Path, metavar="FILE", help="write the table as JSON too")
    return parser


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, ConfigDict]:
    args, config = parse_config(argv, _parser(), _check)
    for flag, entry in _AXES.items():
        if getattr(args, flag) is not None:
            config.lottery[entry] = getattr(args, flag)
    config.lottery.untrained |= args.untrained
    return args, config


def _check(config: ConfigDict) -> None:
    # Here and not at the top: --help and a misspelt flag need no JAX.
    from supermask_jax import lottery

    lottery.check_config(config)


def _act(argv: Sequence[str]) -> None:
    args, config = _parse(argv)
    from supermask_jax import lottery

    if args.print_config:
        print(config)
    elif args.dry_run:
        print(_describe(config))
    else:
        check_out(args.out)
        from supermask_jax.training.live import plain_lines

        workdir = args.workdir or default_workdir(config, args.config)
        with plain_lines(args.plain):
            if args.seeds is None:
                rows = mean_rows([lottery.run(config, workdir)])
            else:
                rows = _run_seeds(config, args.seeds, Path(workdir))
        print(table(rows))
        print(f"results in {workdir}")
        if args.out:
            result = _result(args, config, rows, argv)
            with files.locked(args.out):
                write_result(args.out, result)


def _run_seeds(config: ConfigDict, seeds: Sequence[int], workdir: Path) -> list[dict[str, Any]]:
    from supermask_jax import lottery

    found = []
    for seed in seeds:
        config.seed = seed
        found.append(lottery.run(config, workdir / f"s{seed}"))
    return mean_rows(found)


def _result(
    args: argparse.Namespace,
    config: ConfigDict,
    rows: Sequence[Mapping[str, Any]],
    argv: Sequence[str],
) -> dict[str, Any]:
    from supermask_jax import lottery
    from supermask_jax.training.environment import environment

    plain = config.to_dict()
    plain["seed"] = [plain["seed"]] if args.seeds is None else args.seeds
    places = ("--workdir", "--out", "--plain")
    kept = (a for a in argv if not (a.startswith(places) or changes_nothing(a)))
    command = ["python", "experiments/lottery.py", *kept]
    return {
        "command": shlex.join(command),
        "config": plain,
        "env": environment(lottery.build(config)[0].convolution),
        "rows": list(rows),
    }


def _describe(config: ConfigDict) -> str:
    from supermask_jax import lottery
    from supermask_jax.commands import dry_run
    from supermask_jax.lottery.recipes import last_level

    cells = lottery.build(config)[1]
    section = config.lottery
    lines = [(recipe.name, last_level(recipe, section.levels)) for recipe in cells]
    runs = 0 if section.untrained else sum(levels for _, levels in lines)
    runs += not section.prune_at_init
    return "\n".join(
        [
            dry_run.describe(lottery.split_config(config)[0]),
            f"pruning: {_count(len(cells), 'cell')}, {_count(runs, 'training run')} in all:",
            *(f"  {name}: {_count(levels, 'level')}" for name, levels in lines),
        ]
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows of `mean_rows` as a table of text; accuracies in percent."""
    measured = [name for name in ACCURACIES if any(name in row for row in rows)]
    lines = [[*_COLUMNS, *(name.replace("_", " ") for name in measured)]]
    for row in rows:
        names = [row[name] or "-" for name in _COLUMNS[:3]]
        shares = [percent(row[name]) if name in row else "-" for name in measured]
        lines.append([*names, str(row["level"]), f"{100 * row['density']:.2f}", *shares])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
