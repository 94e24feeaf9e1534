"""Lottery tickets from a config: one dense network, and a grid of ways to prune it.

`run(config, workdir)` returns the rows of the table. In the work folder: ``level_00/`` (the dense
run, shared), ``CRITERION-MASK1-MASK0/level_NN/`` (one cell of the grid), ``lottery.json`` (the rows
of the last command; the levels stay, so a command given again only reads them).
"""

from __future__ import annotations

import copy
import itertools
import logging
import os
from typing import Any

import jax
from ml_collections import ConfigDict

from supermask_jax import config as defaults
from supermask_jax import experiment
from supermask_jax.config import files as config_files
from supermask_jax.core.trees import mask_kernels, named_leaves, partition
from supermask_jax.errors import UserError
from supermask_jax.lottery.recipes import MODES, Recipe, check_recipe, last_level
from supermask_jax.lottery.trainer import LevelTrainer, level_folder
from supermask_jax.training.environment import fixed_settings, seed_key
from supermask_jax.training.schedules import CONTROLLERS
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.waiting import Points
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")

_AXES = ("criterion", "mask1", "mask0")


def split_config(config: ConfigDict) -> tuple[ConfigDict, ConfigDict]:
    """Returns the config of level 0, and the section on pruning.

    Raises:
      UserError: there is no such section.
    """
    if "lottery" not in config:
        raise UserError(
            "the config has no section 'lottery': take configs/lottery_fcn.py, or set "
            "config.lottery = supermask_jax.config.lottery()"
        )
    config = copy.deepcopy(config)
    section = config.lottery
    with config.unlocked():
        del config.lottery
    return config, section


def check_config(config: ConfigDict) -> None:
    """Checks all that needs no model.

    Raises:
      UserError: an entry is missing, unknown, of the wrong type, or out of range.
    """
    config, section = split_config(config)
    config_files.check_config(config)
    if (name := config.method.get("name")) != "dense":
        raise UserError(f"config.method.name must be 'dense' under pruning, got {name!r}")
    if config.layers:
        raise UserError(
            "config.layers is for masks that are learned: under pruning, leave a layer alone with "
            "--config.lottery.keep_layers='{\"dense3\": 1.0}'"
        )
    config_files.check_entries(section, defaults.lottery(), "lottery.")
    if (seeds := config.num_seeds) != 1:
        raise UserError(f"config.num_seeds must be 1 under pruning, got {seeds}: give --seeds")
    if section.rewind_steps and config.schedule.get("name") in CONTROLLERS:
        raise UserError(
            f"config.schedule.name {config.schedule.name!r} follows the loss from the first epoch "
            "on, and cannot start at config.lottery.rewind_steps: set that to 0"
        )
    if section.levels < 1:
        raise UserError(f"config.lottery.levels must be at least 1, got {section.levels}")


def recipes(section: ConfigDict) -> list[Recipe]:
    """Returns the cells of the grid: every criterion x mask-1 action x mask-0 action."""
    shared = {name: section[name] for name in Recipe._fields if name in section}
    if section.keep_layers:
        shared["keep"] = {**section.keep_layers.to_dict(), "*": section.keep}
    if section.untrained and section.mode in MODES:  # A misspelt one is for `check_recipe` to find.
        shared["mode"] = "one_shot"  # There is no trained level but level 0 to prune.
    names = [[name.strip() for name in section[axis].split(",") if name.strip()] for axis in _AXES]
    cells = (dict(zip(_AXES, cell, strict=True)) for cell in itertools.product(*names))
    return [Recipe(**shared | cell) for cell in cells]


@fixed_settings()
def build(config: ConfigDict) -> tuple[Trainer, list[Recipe]]:
    """Makes the trainer of level 0, and the recipes, and checks them against each other.

    Raises:
      UserError: an entry of the config is unknown, of the wrong type, or impossible.
    """
    check_config(config)
    config, section = split_config(config)
    trainer = experiment.build(config)
    steps, last = section.rewind_steps, trainer.plan.total_steps - 1
    if not 0 <= steps <= last:
        raise UserError(f"config.lottery.rewind_steps must be from 0 to {last:,}, got {steps}")
    cells = recipes(section)
    if not cells:
        raise UserError("config.lottery names no criterion, mask-1 action or mask-0 action")
    params = jax.eval_shape(trainer.init_fn, seed_key(0))["params"]
    prunable = named_leaves(partition(params, mask_kernels)["mask"])
    sizes = {name: leaf.size for name, leaf in prunable.items()}
    for recipe in cells:
        check_recipe(recipe, sizes, section.levels, trained=not section.prune_at_init)
    return trainer, cells


@fixed_settings()
def run(
    config: ConfigDict, workdir: str | os.PathLike[str], *, quiet: bool = False
) -> list[dict[str, Any]]:
    """Trains level 0 and every cell of the grid in `workdir`, and returns the table.

    A level that is finished is read, one that was stopped goes on. With ``lottery.untrained``, no
    level after 0 is trained: the masks are evaluated on the weights they would start from.

    Args:
      config: with a section `lottery`: see `supermask_jax.config.lottery`.
      workdir: made if it is not there.
      quiet: print no epochs.

    Returns:
      One dict a level: criterion, mask1 and mask0 (None at level 0), level, density, trained, and
      what was measured.

    Raises:
      UserError: bad config, data or work folder, no space, or training diverged.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    trainer, cells = build(config)
    config, section = split_config(config)
    folder = Workdir(workdir)
    options = {name: section[name] for name in ("rewind_steps", "prune_at_init")}
    options["options"] = {name: section[name] for name in ("sign_in", "interpolate_norm")}
    levels = LevelTrainer(config, trainer, folder.path, quiet=quiet, **options)
    with folder.locked():
        if not (folder.is_empty() or level_folder(folder.path, 0).path.is_dir()):
            raise UserError(
                f"work folder {folder.path} is not empty, and its files are not of a lottery run: "
                "choose another --workdir"
            )
        dense = levels.dense.summary
        rows = [] if dense is None else [_row(None, 0, dense)]
        points = Points(len(cells))
        for recipe in cells:
            _log.info("cell %s: %s", next(points), recipe.name)
            last = last_level(recipe, section.levels)
            make = levels.evaluate_levels if section.untrained else levels.train_levels
            for number, measured in enumerate(make(recipe, last), start=1):
                rows.append(_row(recipe, number, measured, not section.untrained))
            report = {"name": config.name, "lottery": section.to_dict(), "rows": rows}
            folder.write_json(folder.path / "lottery.json", report)
        return rows


def _row(
    recipe: Recipe | None, level: int, measured: dict[str, Any], trained: bool = True
) -> dict[str, Any]:
    row = {name: getattr(recipe, name, None) for name in _AXES}
    row |= {"level": level, "density": measured["remaining_weights"], "trained": trained}
    names = [f"{split}_accuracy" for split in ("train", "val", "test")]
    return row | {name: measured[name] for name in names if name in measured}
