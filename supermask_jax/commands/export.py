"""``supermask export``: tickets of runs, and other formats of tickets."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from supermask_jax import experiment, tickets
from supermask_jax.commands.common import Parser, check_out, guarded
from supermask_jax.config import default_config
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError, one_line
from supermask_jax.run_files import read_masks
from supermask_jax.tickets.chain import CHAINS
from supermask_jax.tickets.exports import KINDS, to_bytes
from supermask_jax.tickets.file import VALUES, write
from supermask_jax.tickets.ticket import nested, without_values
from supermask_jax.training.arrays import read_arrays
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.environment import fixed_settings
from supermask_jax.training.state import TrainState
from supermask_jax.training.summary import accuracy_on, make_ticket
from supermask_jax.training.summary import ticket_of as ticket_of_arrays
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.workdir import Workdir

PyTree = Any

_EPILOG = """\
A ticket is made of the newest checkpoint in a work folder, whether or not the run is finished; of
a level of pruning, of its files. With --ticket, the other formats are made of a ticket.
"""

_log = logging.getLogger("supermask_jax")


def _parser() -> Parser:
    parser = Parser("export", "Makes a ticket of a run, and other files of tickets.", _EPILOG)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", type=Path, metavar="FOLDER", help="work folder of a run")
    source.add_argument("--ticket", type=Path, metavar="FILE", help="a ticket made before")
    add("--seed", type=int, help="which run, where the folder holds several (default: the first "
        "that did not diverge)")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help="where the ticket goes")
    add(
        "--values",
        default="float32",
        choices=(*VALUES, "seed"),
        help="how kept weights are stored where a layer has many magnitudes; seed stores signs "
        "alone, for weights that the same version of JAX draws again (default: float32)",
    )
    add("--measure", action="store_true", help="measure the accuracy anew: loads the data set")
    add("--stablehlo", type=Path, metavar="FILE", help="for jax.export, on CPU, CUDA and TPU")
    add("--onnx", type=Path, metavar="FILE", help="needs pip install supermask-jax[onnx]")
    add("--safetensors", type=Path, metavar="FILE", help="dense weights as PyTorch names them")
    return parser


def full_config(saved: dict[str, Any]) -> ConfigDict:
    """Returns a config of what a work folder's ``config.json`` holds.

    Raises:
      UserError: an entry is of the wrong type.
    """
    config = default_config()
    for name, value in copy.deepcopy(saved).items():
        try:
            if name == "data":
                config.data.update(value)
            elif name in config:
                config[name] = ConfigDict(value) if isinstance(value, dict) else value
        except (TypeError, ValueError) as error:  # ml_collections' own.
            raise UserError(f"config.{name}: {one_line(error)}") from error
    return config


class Restored(NamedTuple):
    """One run of a work folder, from its newest checkpoint.

    Attributes:
      job: the program that it was trained in, of one seed or of several.
      state: of that program, on its devices.
      frozen: likewise.
      index: of the run among the seeds of the program.
      saved: settings of the run, as its ``config.json`` holds them.
      summary: of the run; {} while it is not finished.
    """

    job: Trainer
    state: TrainState
    frozen: PyTree
    index: int
    saved: dict[str, Any]
    summary: dict[str, Any]


@fixed_settings()
def restore(path: Path, seed: int | None = None) -> Restored:
    """Restores a run from the newest checkpoint in its work folder.

    Args:
      path: the folder.
      seed: which one of a set of seeds; None is the first that did not diverge.

    Raises:
      UserError: there is no run in it, no checkpoint that is whole, or it is being trained.
    """
    folder = Workdir(path)
    saved = folder.read_config()
    diverged = DivergedSeeds(folder).read()
    if seed is None:
        seeds = range(saved["seed"], saved["seed"] + saved.get("num_seeds", 1))
        seed = next((seed for seed in seeds if seed not in diverged), saved["seed"])
    try:
        programs = experiment.programs(full_config(saved), folder)
    except UserError as error:
        raise UserError(f"{folder.config}: {error}") from error
    job = next((job for job in programs if seed in job.seeds), None)
    if job is None:
        raise UserError(f"{folder.path} holds no run of seed {seed}")
    # A run alone is as its last checkpoint has it, from before.
    if job.in_set and (step := diverged.get(seed)) is not None:
        raise UserError(f"seed {seed} diverged by step {step}: give another --seed")
    place, restored = job.part(folder), None
    # Of a run that trains, the checkpoints must meet no reader.
    alone = nullcontext() if place.summaries() else folder.locked()
    if place.checkpoints.is_dir():
        with (
            alone,
            Checkpoints(place.checkpoints, max_to_keep=job.plan.checkpoints_to_keep) as saves,
        ):
            restored = saves.restore(*job.like())
    if restored is None:
        raise UserError(f"{place.checkpoints} holds no checkpoint")
    _, state, frozen = restored
    summary = place.summaries().get(seed, {})
    return Restored(job, state, frozen, job.seeds.index(seed), saved | {"seed": seed}, summary)


@fixed_settings()
def ticket_of(path: Path, seed: int | None = None) -> tuple[tickets.Ticket, dict[str, np.ndarray]]:
    """Returns the ticket of a work folder, and {name: [*s]} of its frozen weights.

    Args:
      path: the folder.
      seed: which one of a set of seeds; None is the first that did not diverge.

    Raises:
      UserError: as `restore`, or a level of pruning that is not finished.
    """
    folder = Workdir(path)
    saved = folder.read_config()
    if "recipe" in saved:
        return _ticket_of_level(folder, saved), {}
    run = restore(path, seed)
    if not run.summary:
        _log.info("the run is not finished: this is the ticket of its newest checkpoint")
    network = run.job.networks(run.state, run.frozen)[run.index]
    made = make_ticket(run.saved, run.job.method, network, run.summary)
    return made, named_leaves(network.frozen.get("weights", {}))


def _ticket_of_level(folder: Workdir, saved: dict[str, Any]) -> tickets.Ticket:
    summary = folder.finished_summary()
    if summary is None:
        raise UserError(f"the level in {folder.path} is not finished: run its command again")
    masks = nested(read_masks(folder.masks))
    params = nested(read_arrays(folder.path / "weights_final.npz"))
    accuracy = accuracy_on(saved["data"], summary["test_accuracy"])
    return ticket_of_arrays(saved, params, masks, {}, accuracy=accuracy)


def with_accuracy(ticket: tickets.Ticket) -> tickets.Ticket:
    """Returns the ticket with its accuracy on the test set of its run, measured with NumPy."""
    config = full_config(dict(ticket.config))
    data = experiment.load_data(config)
    value = tickets.accuracy(ticket, data.test.images, data.test.labels)
    return ticket._replace(accuracy=accuracy_on({"name": data.name}, value))


def _export(argv: Sequence[str]) -> None:
    args = _parser().parse_args(argv)
    others = {name: getattr(args, name) for name in KINDS}
    if args.out is None and not any(others.values()):
        raise UserError("nothing to write: give --out, --stablehlo, --onnx or --safetensors")
    for path in (args.out, *others.values()):
        check_out(path)
    ticket, weights = ticket_of(args.workdir, args.seed) if args.workdir else (
        tickets.load_ticket(args.ticket), {})  # fmt: skip
    dtype = "float32" if args.values == "seed" else args.values
    # Rounded weights have an accuracy of their own.
    stored = tickets.rounded(ticket, dtype)
    if args.measure or (tickets.digest(stored) != tickets.digest(ticket)):
        if stored.model["name"] not in CHAINS:
            raise UserError(f"model {stored.model['name']!r} cannot be measured without its run")
        stored = with_accuracy(stored)
    for name, path in others.items():
        if path is not None:
            write(path, to_bytes(stored, name))
            print(f"{path}: {path.stat().st_size:,} bytes")
    if args.out is not None:
        if args.values == "seed":
            stored = without_values(stored, weights)
        tickets.save_ticket(args.out, stored, values=dtype)
        print(f"{args.out}: {args.out.stat().st_size:,} bytes, {_summary(stored)}")


def _summary(ticket: tickets.Ticket) -> str:
    total = sum(layer.size for layer in ticket.layers.values())
    text = f"{ticket.density:.2%} of {total:,} weights"
    return text + (f", accuracy {ticket.accuracy['value']:.2%}" if ticket.accuracy else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_export, argv)
