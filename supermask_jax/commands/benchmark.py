"""The command line of `experiments/benchmark.py`."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from supermask_jax import files
from supermask_jax.benchmark.suite import PARTS, Options, model_config, run
from supermask_jax.benchmark.table import table
from supermask_jax.commands.common import Parser, check_out, guarded
from supermask_jax.config_files import load_config
from supermask_jax.errors import UserError
from supermask_jax.training.workdir import Workdir

_EPILOG = """\
Data is synthetic, of the real sizes: nothing is downloaded. Steps of the masked network and of its
dense twin take turns in one process; on a busy machine trust the ratio and the CPU times.
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parser() -> Parser:
    parser = Parser("benchmark.py", "Measures steps, epochs and starts.", _EPILOG)
    add = parser.add_argument
    add("--models", type=_names, metavar="NAME,...", help="models (default: fcn, without --config)")
    add(
        "--config",
        action="append",
        default=[],
        metavar="FILE[:VARIANT]",
        help="a config file to measure; may be given again",
    )
    add(
        "--only",
        type=_names,
        default=PARTS,
        metavar="PART,...",
        help=f"parts to measure (default: {','.join(PARTS)}; memory: of the batch, of four times "
        "as much, and of that in four microbatches)",
    )
    add("--repeats", type=int, default=7, help="pairs of chunks of steps (default: 7)")
    add(
        "--steps",
        type=int,
        default=0,
        help="steps in a chunk (default: a dispatch of at most 100, or 3 of one step each)",
    )
    add("--epochs", type=int, default=8, help="timed epochs (default: 8)")
    add("--seeds", type=int, default=4, help="seeds in one program (default: 4)")
    add("--batch_size", type=int, default=None, help="images in a batch (default: the config's)")
    add(
        "--compute_dtype",
        default=None,
        metavar="DTYPE",
        help="float32 or bfloat16 (default: the config's)",
    )
    add(
        "--peer",
        metavar="NAME",
        help="time the step against the same one in another framework, checked to be the same, "
        "and nothing else: torch",
    )
    add(
        "--peer_python",
        default="",
        metavar="COMMAND",
        help="the Python that has the other framework (default: this one)",
    )
    add("--out", type=Path, metavar="FILE", help="where the figures go as JSON")
    return parser  # fmt: skip


def _configs(args: argparse.Namespace) -> dict[str, ConfigDict]:
    names = args.models if args.models is not None else () if args.config else ("fcn",)
    configs = {name: model_config(name) for name in names}
    for spec in args.config:
        config = load_config(spec)
        configs[config.name] = config
    if not configs:
        raise UserError("--models names no model; see --help")
    for config in configs.values():
        if args.batch_size is not None:
            config.batch_size = args.batch_size
        config.compute_dtype = args.compute_dtype or config.compute_dtype
    return configs


def _measure(argv: Sequence[str]) -> None:
    args = _parser().parse_args(argv)
    configs = _configs(args)
    parts = ("peer",) if args.peer else args.only
    options = Options(
        parts, args.repeats, args.steps, args.epochs, args.seeds, args.peer, args.peer_python
    )
    check_out(args.out)
    # The runs that are measured have nothing to tell.
    logging.getLogger("supermask_jax").setLevel(logging.ERROR)
    note = lambda text: print(f"measuring {text}", file=sys.stderr)  # noqa: E731
    command = shlex.join(["python", "experiments/benchmark.py", *argv])
    result = {"command": command, **run(configs, options, note)}
    print(table(result))
    if args.out is not None:
        with files.locked(args.out):
            Workdir.write_json(args.out, result)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_measure, argv)
