"""Rounds of pruning: each level is an ordinary training run in a work folder of its own.

``level_00/`` holds the dense run, ``level_RR/`` the network after RR rounds. A level whose summary
is there is left alone; one that was killed goes on from its checkpoints. What a level trains is
derived anew from the files of levels before, with a seed and plain NumPy; what a device computed is
computed once and kept in those files, so that a restart sees the same bits:

    weights_at_K.npz    of level 0 after K steps: where tickets rewind to
    weights_final.npz   of a trained level
    gradient_at_K.npz   at the start of a level, for criteria that rank gradients
    fresh_RR.npz        in level 0: what actions that draw anew start level RR of every recipe from

They also outlive the JAX version that drew them: a finished grid is read where random bits differ.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from supermask_jax.core import stats
from supermask_jax.core.levels import Arrays, Level, next_level, unpruned
from supermask_jax.core.recipes import Recipe
from supermask_jax.core.trees import digest, mask_kernels, named_leaves, partition, path_name
from supermask_jax.errors import UserError
from supermask_jax.methods.lottery import lottery_ticket
from supermask_jax.training.arrays import once, read_arrays, write_arrays
from supermask_jax.training.environment import seed_key
from supermask_jax.training.loop import Trained, make_train_steps, train
from supermask_jax.training.trainer import Splits, Trainer
from supermask_jax.training.workdir import Workdir

PyTree = Any

_log = logging.getLogger("supermask_jax")


class Rounds(NamedTuple):
    """What all levels share.

    Attributes:
      job: level 0: the dense network.
      splits: gives the data; called only where something is left to compute.
      identity: settings of the job, for the folders' ``config.json``.
      summarize: (folder, job, trained) -> summary of a level.
      rewind_steps: K: levels after 0 start from the weights of level 0 after K steps, at step K of
        schedule and data order. Moments of the optimiser start at zero, as in open_lth.
      prune_at_init: level 0 is not trained.
      defaults: values of settings that folders of an older version lack.
      quiet: print no epochs.
    """

    job: Trainer
    splits: Callable[[], Splits]
    identity: Mapping[str, Any]
    summarize: Callable[[Workdir, Trainer, Trained], dict[str, Any]]
    rewind_steps: int = 0
    prune_at_init: bool = False
    defaults: Mapping[str, Any] = MappingProxyType({})
    quiet: bool = False


class Dense(NamedTuple):
    """Level 0."""

    folder: Workdir
    variables: PyTree  # of the model, at the step that later levels rewind to
    weights: Arrays  # those of them that are pruned, {path: [*s]}
    final: Arrays | None  # the same after training
    summary: dict[str, Any] | None


def replace_leaves(tree: PyTree, leaves: Mapping[str, Any]) -> PyTree:
    """Returns `tree` with the leaves that `leaves` names by their paths in place of its own."""
    return jax.tree.map_with_path(lambda path, leaf: leaves.get(path_name(path), leaf), tree)


def level_folder(folder: str | Path, level: int) -> Workdir:
    """Returns the work folder of a level: ``folder/level_RR``."""
    return Workdir(Path(folder) / f"level_{level:02d}")


def check_rewind_steps(job: Trainer, steps: int) -> None:
    """Raises a UserError unless levels after 0 can start from step `steps` of a run of `job`."""
    if not 0 <= steps < job.plan.total_steps:
        raise UserError(
            f"rewind_steps must be from 0 to {job.plan.total_steps - 1:,}, the steps of a level "
            f"less one, got {steps}"
        )


def train_dense(rounds: Rounds, folder: str | Path) -> Dense:
    """Trains level 0 in ``folder/level_00``; reads it where it is finished.

    Raises:
      UserError: `rewind_steps` is outside the run, the folder is another run's, a file in it is
        broken, or as `training.loop.train`.
    """
    job, steps, workdir = rounds.job, rounds.rewind_steps, level_folder(folder, 0)
    check_rewind_steps(job, steps)
    with workdir.locked():
        workdir.check(rounds.identity, rounds.defaults)
        if not workdir.config.exists():
            workdir.create(rounds.identity, job.convolution)
        saved = once(
            workdir.path / f"weights_at_{steps}.npz",
            lambda: named_leaves(weights_at(job, rounds.splits, steps)),
        )
    like = jax.eval_shape(job.init_fn, seed_key(0))
    variables = replace_leaves(like, saved)
    weights = named_leaves(partition(variables["params"], mask_kernels)["mask"])
    summary = final = None
    if not rounds.prune_at_init:
        summary, final = _train_level(rounds, workdir, job, rounds.identity)
    return Dense(workdir, variables, weights, final, summary)


def run_rounds(
    rounds: Rounds, dense: Dense, folder: str | Path, recipe: Recipe, levels: int
) -> list[dict[str, Any]]:
    """Trains levels 1 ... `levels` in ``folder/level_RR`` and returns their summaries.

    Raises:
      UserError: the recipe is wrong, a folder is another run's, a file in it is broken, or as
        `training.loop.train`.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    summaries = []
    before, final, source = unpruned(dense.weights), dense.final, dense.folder
    for number in range(1, levels + 1):
        level = make_level(rounds, dense, recipe, before, final, source, number)
        job, workdir = level_job(rounds, dense, level), level_folder(folder, number)
        identity = {
            **rounds.identity,
            "level": number,
            "recipe": recipe._asdict(),
            "rewind_steps": rounds.rewind_steps,
            "level_sha256": digest(level._asdict())[:16],
        }
        if workdir.finished_summary() is None:
            density = float(stats.density(level.masks))
            _log.info("%s, level %d of %d: density %.2f %%", recipe.name, number, levels,
                      100 * density)  # fmt: skip
        summary, trained = _train_level(rounds, workdir, job, identity)
        summaries.append(summary)
        if recipe.mode == "iterative":
            before, final, source = level, trained, workdir
    return summaries


def make_level(
    rounds: Rounds,
    dense: Dense,
    recipe: Recipe,
    before: Level,
    final: Arrays | None,
    source: Workdir,
    number: int,
) -> Level:
    """Prunes the level `before`, which ended with `final` and whose folder is `source`."""
    gradient = fresh = None
    if recipe.needs_gradient:
        gradient = once(
            source.path / f"gradient_at_{rounds.rewind_steps}.npz",
            lambda: _gradient(level_job(rounds, dense, before), rounds.splits()),
        )
    if recipe.needs_fresh:
        fresh = once(
            dense.folder.path / f"fresh_{number:02d}.npz",
            lambda: _fresh(rounds.job, dense.weights, number),
        )
    return next_level(
        recipe, dense.weights, before, final,
        level=number, seed=rounds.job.seeds[0], gradient=gradient, fresh=fresh,
    )  # fmt: skip


def level_job(rounds: Rounds, dense: Dense, level: Level) -> Trainer:
    """Returns the job that trains a level: its free parameters start where level 0 rewinds to."""
    params = replace_leaves(dense.variables["params"], level.start)
    return rounds.job._replace(
        method=lottery_ticket(level.masks, level.values),
        init_fn=lambda key: {**dense.variables, "params": params},
        first_step=rounds.rewind_steps,
    )


def _train_level(
    rounds: Rounds, folder: Workdir, job: Trainer, identity: Mapping[str, Any]
) -> tuple[dict[str, Any], Arrays]:
    """Returns the summary and the final effective parameters of a level, trained if need be."""
    path = folder.path / "weights_final.npz"
    with folder.locked():
        folder.check(identity, rounds.defaults)
        if (summary := folder.finished_summary()) is None:
            folder.create(identity, job.convolution)
            trained = train(job, rounds.splits(), folder, quiet=rounds.quiet)
            (network,) = job.networks(trained.state, trained.frozen)
            write_arrays(path, named_leaves(network.params))
            summary = rounds.summarize(folder, job, trained)
            folder.write_json(folder.summary, summary)
        return summary, read_arrays(path)


def weights_at(job: Trainer, splits: Callable[[], Splits], step: int) -> PyTree:
    """Returns the model's variables after `step` steps of a run.

    They are taken again from the seed: the same bits where runs are stable, as on one thread.
    """
    state, frozen = job.start()
    if step:
        order, plan, train_steps = job.order(), job.plan, make_train_steps(job)
        data, done = splits().train, 0
        while done < step:
            epoch, index = divmod(done, plan.steps_per_epoch)
            count = min(plan.steps_per_call, plan.steps_per_epoch - index, step - done)
            state, _ = train_steps(state, frozen, data, order(epoch), index, count)
            done += count
    (network,) = job.networks(state, frozen)
    stats = network.batch_stats
    return {"params": network.params} | ({"batch_stats": stats} if stats else {})


def _fresh(job: Trainer, names: Iterable[str], number: int) -> Arrays:
    """Draws the initial weights of a level anew."""
    # The two keys of a run are the first two of this split.
    key = jax.random.split(seed_key(job.seeds[0]), 3)[2]
    drawn = named_leaves(jax.jit(job.init_fn)(jax.random.fold_in(key, number))["params"])
    return {name: drawn[name] for name in names}


def _gradient(job: Trainer, splits: Splits) -> Arrays:
    """Returns the loss gradient at a level's start on the batch that it would train on first."""
    keep_gradient = optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), grads),
    )
    job = job._replace(tx=keep_gradient)
    state, frozen = job.start()
    epoch, index = divmod(job.first_step, job.plan.steps_per_epoch)
    state, _ = make_train_steps(job)(state, frozen, splits.train, job.order()(epoch), index, 1)
    return named_leaves(job.layout.seeds_of(state.opt_state["weights"])[0])
