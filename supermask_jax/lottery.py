"""Lottery tickets from a config: one dense network, and a grid of ways to prune it.

`run(config, workdir)` returns the rows of the table. In the work folder: ``level_00/`` (the dense
run, shared), ``CRITERION-MASK1-MASK0/level_RR/`` (one cell of the grid), ``lottery.json`` (the rows
of the last command; the levels stay, so a command given again only reads them).
"""

from __future__ import annotations

import copy
import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from supermask_jax import config as defaults
from supermask_jax import config_files, experiment
from supermask_jax.core import stats
from supermask_jax.core.levels import Level, unpruned
from supermask_jax.core.recipes import MODES, Recipe, check_recipe, last_level
from supermask_jax.core.trees import mask_kernels, named_leaves, partition
from supermask_jax.errors import UserError
from supermask_jax.training.environment import fixed_settings, seed_key
from supermask_jax.training.evaluate import make_evaluate
from supermask_jax.training.loop import Trained
from supermask_jax.training.rounds import (
    Dense,
    Rounds,
    check_rewind_steps,
    level_folder,
    make_level,
    replace_leaves,
    run_rounds,
    train_dense,
)
from supermask_jax.training.schedules import CONTROLLERS
from supermask_jax.training.summary import finish
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.workdir import Workdir

Row = dict[str, Any]

_log = logging.getLogger("supermask_jax")


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
    if config.method.get("name") != "dense":
        raise UserError(
            f"config.method.name must be 'dense' under pruning, got {config.method.get('name')!r}"
        )
    config_files.check_entries(section, defaults.lottery(), "lottery.")
    if config.num_seeds != 1:
        raise UserError(
            f"config.num_seeds must be 1 under pruning, got {config.num_seeds}: give --seeds"
        )
    if section.rewind_steps and config.schedule.get("name") in CONTROLLERS:
        raise UserError(
            f"config.schedule.name {config.schedule.name!r} follows the loss from the first epoch "
            "on, and cannot start at config.lottery.rewind_steps: set that to 0"
        )
    if section.levels < 1:
        raise UserError(f"config.lottery.levels must be at least 1, got {section.levels}")


def recipes(section: ConfigDict) -> list[Recipe]:
    """Returns the cells of the grid: every criterion x mask-1 action x mask-0 action."""
    keep: Any = section.keep
    if section.keep_layers:
        keep = {**section.keep_layers.to_dict(), "*": section.keep}
    shared = {name: section[name] for name in Recipe._fields if name in section}
    if section.untrained and section.mode in MODES:  # A misspelt one is for `check_recipe` to find.
        shared["mode"] = "one_shot"  # There is no trained level but level 0 to prune.
    lists = [
        [name.strip() for name in section[axis].split(",") if name.strip()]
        for axis in ("criterion", "mask1", "mask0")
    ]
    return [
        Recipe(**shared | {"criterion": a, "mask1": b, "mask0": c, "keep": keep})
        for a, b, c in itertools.product(*lists)
    ]


@fixed_settings()
def build(config: ConfigDict) -> tuple[Trainer, list[Recipe]]:
    """Makes the job of level 0, and the recipes, and checks them against each other.

    Raises:
      UserError: an entry of the config is unknown, of the wrong type, or impossible.
    """
    check_config(config)
    config, section = split_config(config)
    job = experiment.build(config)
    check_rewind_steps(job, section.rewind_steps)
    cells = recipes(section)
    if not cells:
        raise UserError("config.lottery names no criterion, mask-1 action or mask-0 action")
    params = jax.eval_shape(job.init_fn, seed_key(0))["params"]
    prunable = named_leaves(partition(params, mask_kernels)["mask"])
    sizes = {name: leaf.size for name, leaf in prunable.items()}
    for recipe in cells:
        check_recipe(recipe, sizes, section.levels, trained=not section.prune_at_init)
    return job, cells


@fixed_settings()
def run(config: ConfigDict, workdir: str | os.PathLike[str], *, quiet: bool = False) -> list[Row]:
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
    job, cells = build(config)
    folder = Workdir(workdir)
    with folder.locked():
        if not (folder.is_empty() or level_folder(folder.path, 0).path.is_dir()):
            raise UserError(
                f"work folder {folder.path} is not empty and holds no level 0: choose another"
            )
        return _run(config, job, cells, folder.path, quiet)


def _run(
    config: ConfigDict, job: Trainer, cells: Sequence[Recipe], root: Path, quiet: bool
) -> list[Row]:
    settings, section = split_config(config)
    rounds = _rounds(settings, section, job, quiet)
    dense = train_dense(rounds, root)
    rows = [] if dense.summary is None else [_row(None, 0, dense.summary)]
    if section.untrained:
        found = _untrained(rounds, dense, cells, section.levels)
    else:
        found = _trained(rounds, dense, cells, section.levels, root)
    for more in found:
        rows += more
        report = {"name": settings.name, "lottery": section.to_dict(), "rows": rows}
        Workdir.write_json(root / "lottery.json", report)
    return rows


def _rounds(settings: ConfigDict, section: ConfigDict, job: Trainer, quiet: bool) -> Rounds:
    data = functools.cache(lambda: experiment.load_data(settings))

    def summarize(folder: Workdir, job: Trainer, trained: Trained) -> dict[str, Any]:
        summary = {
            "name": settings.name,
            "protocol": settings.protocol,
            **finish(folder, job, trained)[0],
            "data": {"name": data().name, "source": data().source, "digest": data().digest},
        }
        return config_files.with_warnings(summary, settings)

    return Rounds(
        job=job,
        splits=functools.cache(lambda: experiment.split_data(data(), settings, job.layout)),
        identity=config_files.identity(settings),
        defaults=config_files.default_identity(),
        summarize=summarize,
        rewind_steps=section.rewind_steps,
        prune_at_init=section.prune_at_init,
        quiet=quiet,
    )


def _row(recipe: Recipe | None, level: int, measured: dict[str, Any], trained: bool = True) -> Row:
    row = {name: getattr(recipe, name, None) for name in ("criterion", "mask1", "mask0")}
    row |= {"level": level, "density": measured["remaining_weights"], "trained": trained}
    names = [f"{split}_accuracy" for split in ("train", "val", "test")]
    return row | {name: measured[name] for name in names if name in measured}


def _evaluator(rounds: Rounds, dense: Dense) -> Callable[[Level], dict[str, float]]:
    """Builds level -> its accuracies before any training; one compilation serves all levels."""
    splits, job = rounds.splits(), rounds.job
    state, frozen = job.start()
    one_seed = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)  # noqa: E731
    state = state.replace(batch_stats=one_seed(dense.variables.get("batch_stats", {})))
    measure = make_evaluate(job)

    def evaluate(level: Level) -> dict[str, float]:
        # As the parameters of a dense network.
        params = replace_leaves(dense.variables["params"], level.weights())
        measured: dict[str, float] = {}
        for name, examples in splits._asdict().items():
            if examples is not None:
                dense_state = state.replace(trainable={"params": one_seed(params)})
                measured |= measure(dense_state, frozen, examples, name)[0]
        return measured | {"remaining_weights": float(stats.density(level.masks))}

    return evaluate


def _untrained(
    rounds: Rounds, dense: Dense, cells: Sequence[Recipe], levels: int
) -> Iterator[list[Row]]:
    """Yields the rows of each cell, its masks made of level 0 in one shot, nothing trained.

    Reference: Zhou et al., 2019, arXiv:1905.01067, sec. 4 and 5.
    """
    evaluate = _evaluator(rounds, dense)
    before = unpruned(dense.weights)
    for cell in cells:
        last, rows = last_level(cell, levels), []
        _log.info("%s: %d masks without training", cell.name, last)
        for number in range(1, last + 1):
            level = make_level(rounds, dense, cell, before, dense.final, dense.folder, number)
            rows.append(_row(cell, number, evaluate(level), trained=False))
        yield rows


def _trained(
    rounds: Rounds, dense: Dense, cells: Sequence[Recipe], levels: int, root: Path
) -> Iterator[list[Row]]:
    """Yields the rows of each cell."""
    for recipe in cells:
        last = last_level(recipe, levels)
        summaries = run_rounds(rounds, dense, root / recipe.name, recipe, last)
        yield [_row(recipe, level, line) for level, line in enumerate(summaries, start=1)]
