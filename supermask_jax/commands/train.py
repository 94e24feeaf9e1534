"""``supermask train``: trains one network."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import (
    add_plain,
    config_parser,
    default_workdir,
    guarded,
    parse_config,
)

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def _act(argv: Sequence[str]) -> None:
    parser = config_parser("train", "Trains one network, or one for each of some seeds.")
    add_plain(parser)
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of this job (Slurm, Open MPI, GKE, TPU pods; elsewhere "
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say who they are)",
    )
    args, config = parse_config(argv, parser)
    if args.print_config:
        print(config)
    elif args.dry_run:
        from supermask_jax.dry_run import describe

        print(describe(config))
    elif args.distributed:
        from supermask_jax.training import processes

        processes.join()
        with processes.together():
            _train(args, config)
    else:
        _train(args, config)


def _train(args: argparse.Namespace, config: ConfigDict) -> None:
    # Here and not at the top: what needs no training starts fast.
    from supermask_jax import experiment
    from supermask_jax.training.live import plain_lines
    from supermask_jax.training.processes import is_main

    workdir = args.workdir or default_workdir(config, args.config)
    with plain_lines(args.plain):
        summary = experiment.run(config, workdir)
    if is_main():
        print(f"{config.name}: {_result(summary)}; results in {workdir}")


def _result(summary: Mapping[str, Any]) -> str:
    weights = f"of {summary['num_weights']:,} weights remain"
    if "runs" not in summary:
        accuracy, remaining = summary["test_accuracy"], summary["remaining_weights"]
        return f"test accuracy {accuracy:.2%}, {remaining:.2%} {weights}"
    from supermask_jax.analysis.intervals import percent

    accuracy, remaining = percent(summary["test_accuracy"]), percent(summary["remaining_weights"])
    seeds = summary["test_accuracy"]["n"]  # Those that did not diverge.
    return f"test accuracy {accuracy} %, {remaining} % {weights} (mean of {seeds} seeds)"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
