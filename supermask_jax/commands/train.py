"""The command line of `experiments/main.py`: trains one network."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from supermask_jax.commands.common import config_parser, default_workdir, guarded, parse_config


def _act(argv: Sequence[str]) -> None:
    args, config = parse_config(argv, config_parser("main.py", "Trains one network."))
    if args.print_config:
        print(config)
    elif args.dry_run:
        from supermask_jax.dry_run import describe

        print(describe(config))
    else:
        _train(args, config)


def _train(args: argparse.Namespace, config: ConfigDict) -> None:
    # Here and not at the top: what needs no training starts fast.
    from supermask_jax import experiment

    workdir = args.workdir or default_workdir(config, args.config)
    summary = experiment.run(config, workdir)
    print(
        f"{config.name}: test accuracy {summary['test_accuracy']:.2%}, "
        f"{summary['remaining_weights']:.2%} of {summary['num_weights']:,} weights remain; "
        f"results in {workdir}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
