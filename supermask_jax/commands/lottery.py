"""The command line of `experiments/lottery.py`: a grid of ways to prune, and its table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from supermask_jax.commands.common import config_parser, default_workdir, guarded, parse_config

# Flag -> entry of config.lottery that it sets.
_AXES = {"criteria": "criterion", "mask1": "mask1", "mask0": "mask0"}

_COLUMNS = ("criterion", "mask1", "mask0", "level", "density")
_ACCURACIES = ("train_accuracy", "val_accuracy", "test_accuracy")


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(
        "lottery.py",
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
        workdir = args.workdir or default_workdir(config, args.config)
        print(table(lottery.run(config, workdir)))
        print(f"results in {workdir}")


def _describe(config: ConfigDict) -> str:
    from supermask_jax import dry_run, lottery

    cells = lottery.build(config)[1]
    levels = config.lottery.levels
    runs = 1 if config.lottery.untrained else 1 + len(cells) * levels
    return "\n".join(
        [
            dry_run.describe(lottery.split_config(config)[0]),
            f"pruning: {levels} levels x {len(cells)} cells, {runs} training runs in all:",
            *(f"  {recipe.name}" for recipe in cells),
        ]
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows of `supermask_jax.lottery.run` as a table of text; accuracies in percent."""
    measured = [name for name in _ACCURACIES if any(name in row for row in rows)]
    lines = [[*_COLUMNS, *(name.replace("_", " ") for name in measured)]]
    for row in rows:
        names = [row[name] or "-" for name in _COLUMNS[:3]]
        shares = [f"{row[name]:.2%}" if name in row else "-" for name in ("density", *measured)]
        lines.append([*names, str(row["level"]), *shares])
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
