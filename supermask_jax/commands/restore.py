"""Runs and tickets of what a work folder holds."""

from __future__ import annotations

import copy
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from supermask_jax import experiment, tickets
from supermask_jax.config import default_config
from supermask_jax.core.trees import named_leaves
from supermask_jax.data import Split
from supermask_jax.errors import UserError, one_line
from supermask_jax.run_files import read_masks
from supermask_jax.tickets.ticket import nested
from supermask_jax.training import summary
from supermask_jax.training.arrays import read_arrays
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.environment import fixed_settings
from supermask_jax.training.state import TrainState
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.workdir import Workdir

PyTree = Any

_log = logging.getLogger("supermask_jax")


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


def test_part(config: ConfigDict) -> Split:
    """Returns what a run of a config sees of its test set."""
    test = experiment.load_data(config).test
    used = experiment.examples_used(len(test.labels), config)
    return Split(test.images[:used], test.labels[:used])


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
    return Restored(
        job=job,
        state=state,
        frozen=frozen,
        index=job.seeds.index(seed),
        saved=saved | {"seed": seed},
        summary=place.summaries().get(seed, {}),
    )


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
    made = summary.make_ticket(run.saved, run.job.method, network, run.summary)
    return made, named_leaves(network.frozen.get("weights", {}))


def _ticket_of_level(folder: Workdir, saved: dict[str, Any]) -> tickets.Ticket:
    finished = folder.finished_summary()
    if finished is None:
        raise UserError(f"the level in {folder.path} is not finished: run its command again")
    masks = nested(read_masks(folder.masks))
    params = nested(read_arrays(folder.path / "weights_final.npz"))
    accuracy = summary.accuracy_on(saved["data"], finished["test_accuracy"])
    return summary.ticket_of(saved, params, masks, {}, accuracy=accuracy)
