"""``supermask train``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from supermask_jax.commands.common import CONFIG_EPILOG, add_config, add_output, default_workdir
from supermask_jax.errors import UserError

EPILOG = CONFIG_EPILOG
EXAMPLES = (
    "train conv8 --epochs=3 --config.optimizer=adamw",
    "train edge_popup:conv4 --config.method.density=0.1 --dry_run",
)

_DISTRIBUTED = """\
join the other processes of this job (Slurm, Open MPI, GKE, TPU pods; elsewhere
JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say who they are)"""
_DEVICES = "with --dry_run: what each of N devices would hold, whichever there are here"
_TFLOPS = "with --dry_run: estimate hours, from the TFLOP/s that a device sustains in training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_config(parser)
    add_output(parser)
    parser.add_argument("--distributed", action="store_true", help=_DISTRIBUTED)
    parser.add_argument("--devices", type=int, default=0, metavar="N", help=_DEVICES)
    parser.add_argument("--tflops", type=float, default=0.0, metavar="RATE", help=_TFLOPS)


def run(args: argparse.Namespace) -> None:
    """Trains what the command line says, and prints what came of it."""
    from supermask_jax.config.files import load_with_overrides
    from supermask_jax.training.waiting import plain_lines, waiting

    config = load_with_overrides(args.config, args.overrides)
    if args.print_config:
        print(config)
        return
    if args.dry_run:
        with waiting("loading JAX"):
            from supermask_jax.commands.plan import described

        for part in described(config, args.devices, args.tflops):
            print(part, flush=True)
        return
    if args.devices or args.tflops:
        raise UserError("--devices and --tflops are of --dry_run: training takes --config.mesh")
    with plain_lines(args.plain), waiting("loading JAX"):
        from supermask_jax import experiment
        from supermask_jax.training import distributed

    workdir = args.workdir or default_workdir(config, args.config)
    with distributed.together(args.distributed), plain_lines(args.plain):
        summary = experiment.run(config, workdir, quiet=args.quiet or args.json)
        if distributed.is_main() and args.json:
            print(json.dumps(summary, indent=2))
        elif distributed.is_main():
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
