"""Trains the levels of pruning: each is an ordinary training run in a work folder of its own.

``level_00/`` holds the dense run, ``CRITERION-MASK1-MASK0/level_NN/`` the network pruned NN times.
A level whose summary is there is left alone; one that was killed goes on from its checkpoints. What
a level trains is derived anew from the files of levels before, with a seed and plain NumPy; what a
device computed is computed once and kept in those files, so that a restart sees the same bits:

    weights_at_K.npz    of level 0 after K steps: where tickets rewind to
    weights_final.npz   of a trained level
    gradient_at_K.npz   at the start of a level, for criteria that rank gradients
    fresh_NN.npz        in level 0: what actions that draw anew start level NN of every recipe from

They also outlive the JAX version that drew them: a finished grid is read where random bits differ.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from supermask_jax import experiment
from supermask_jax.config import files as config_files
from supermask_jax.core import stats
from supermask_jax.core.trees import digest, mask_kernels, named_leaves, partition, path_name
from supermask_jax.data import Dataset
from supermask_jax.lottery.actions import MASK1_ACTIONS
from supermask_jax.lottery.criteria import find_criterion
from supermask_jax.lottery.levels import Arrays, Level, next_level, unpruned
from supermask_jax.lottery.recipes import Recipe
from supermask_jax.methods.lottery import lottery_ticket
from supermask_jax.training.arrays import once, read_arrays, write_arrays
from supermask_jax.training.environment import seed_key
from supermask_jax.training.evaluate import make_evaluate
from supermask_jax.training.loop import make_train_steps, train
from supermask_jax.training.streaming import Dispatch, dispatches
from supermask_jax.training.summary import finish
from supermask_jax.training.trainer import Plan, Splits, Trainer
from supermask_jax.training.workdir import Workdir

PyTree = Any

_log = logging.getLogger("supermask_jax")


class Trained(NamedTuple):
    """A level and what its training left; level 0 may not be trained."""

    level: Level
    folder: Workdir
    final: Arrays | None = None  # effective parameters after training, {path: [*s]}
    summary: dict[str, Any] | None = None


def replace_leaves(tree: PyTree, leaves: Mapping[str, Any]) -> PyTree:
    """Returns `tree` with the leaves that `leaves` names by their paths in place of its own."""
    return jax.tree.map_with_path(lambda path, leaf: leaves.get(path_name(path), leaf), tree)


def level_folder(folder: Path, level: int) -> Workdir:
    """Returns the work folder of a level: ``folder/level_NN``."""
    return Workdir(folder / f"level_{level:02d}")


@dataclasses.dataclass
class LevelTrainer:
    """The levels of one dense network in one folder: trained, or read where they are finished.

    Its methods raise a UserError where a folder is another run's or a file in it is broken, and
    what `training.loop.train` raises.

    Attributes:
      config: of the dense network.
      trainer: of the dense network, as `experiment.build` makes it of `config`.
      root: the folder.
      rewind_steps: K: levels after 0 start from the weights of level 0 after K steps, at step K of
        schedule and data order. Moments of the optimiser start at zero, as in open_lth.
      prune_at_init: level 0 is not trained.
      options: of `lottery_ticket`, for levels after 0.
      quiet: print no epochs.
    """

    config: ConfigDict
    trainer: Trainer
    root: Path
    rewind_steps: int = 0
    prune_at_init: bool = False
    options: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    quiet: bool = False

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """The settings of level 0, for ``config.json``."""
        return config_files.identity(self.config)

    @functools.cached_property
    def data(self) -> Dataset:
        """The data set, loaded when something is left to compute."""
        return experiment.load_data(self.config)

    @functools.cached_property
    def splits(self) -> Splits:
        """The data on the devices."""
        return experiment.split_data(self.data, self.config, self.trainer.layout)

    @functools.cached_property
    def variables(self) -> PyTree:
        """The model's variables that levels after 0 start from: level 0's after K steps."""
        folder = level_folder(self.root, 0)
        with folder.locked():
            folder.check(self.identity, config_files.default_identity())
            if not folder.config.exists():
                folder.create(self.identity, self.trainer.convolution)
            path = folder.path / f"weights_at_{self.rewind_steps}.npz"
            saved = once(path, lambda: named_leaves(self._variables_at(self.rewind_steps)))
        return replace_leaves(jax.eval_shape(self.trainer.init_fn, seed_key(0)), saved)

    @functools.cached_property
    def dense(self) -> Trained:
        """Level 0."""
        weights = named_leaves(partition(self.variables["params"], mask_kernels)["mask"])
        level, folder = unpruned(weights), level_folder(self.root, 0)
        if self.prune_at_init:
            return Trained(level, folder)
        return self._train(level, self.trainer, folder, self.identity)

    def train_levels(self, recipe: Recipe, last: int) -> list[dict[str, Any]]:
        """Trains levels 1 ... `last` of a recipe and returns their summaries."""
        summaries, before = [], self.dense
        for number in range(1, last + 1):
            level = self.prune(recipe, before, number)
            folder = level_folder(self.root / recipe.name, number)
            identity = {
                **self.identity,
                "level": number,
                "recipe": recipe._asdict(),
                "rewind_steps": self.rewind_steps,
                **{name: True for name, chosen in self.options.items() if chosen},
                "level_sha256": digest(level._asdict())[:16],
            }
            if folder.finished_summary() is None:
                percent = 100 * float(stats.density(level.masks))
                _log.info("%s, level %d of %d: density %.2f %%", recipe.name, number, last, percent)
            ended = before.final if MASK1_ACTIONS[recipe.mask1].continues else None
            trainer = self.level_trainer(level, ended, **self.options)
            trained = self._train(level, trainer, folder, identity)
            summaries.append(trained.summary)
            if recipe.mode == "iterative":
                before = trained
        return summaries

    def prune(self, recipe: Recipe, before: Trained, number: int) -> Level:
        """Returns the level of this number, pruned from `before`."""
        needed = {}
        if "gradient" in find_criterion(recipe.criterion).needs:
            path = before.folder.path / f"gradient_at_{self.rewind_steps}.npz"
            needed["gradient"] = once(path, lambda: self._gradient(before.level))
        if "fresh" in MASK1_ACTIONS[recipe.mask1].needs:
            path = self.dense.folder.path / f"fresh_{number:02d}.npz"
            needed["fresh"] = once(path, lambda: self._fresh(number))
        origin, seed = self.dense.level.start, self.trainer.seeds[0]
        return next_level(
            recipe, origin, before.level, before.final, level=number, seed=seed, **needed
        )

    def level_trainer(self, level: Level, params: Arrays | None = None, **options: bool) -> Trainer:
        """Returns the trainer of a level.

        Args:
          level: it.
          params: where free parameters start; None is where level 0 rewinds to.
          options: of `lottery_ticket`.
        """
        start = {**(params or {}), **level.start}
        params = replace_leaves(self.variables["params"], start)
        return self.trainer._replace(
            method=lottery_ticket(level.masks, level.values, **options),
            init_fn=lambda key: {**self.variables, "params": params},
            first_step=self.rewind_steps,
        )

    @functools.cached_property
    def _evaluation(self) -> tuple[Any, ...]:
        return make_evaluate(self.trainer), *self.trainer.start()  # Compiled once for all levels.

    def evaluate_levels(self, recipe: Recipe, last: int) -> list[dict[str, Any]]:
        """Measures levels 1 ... `last` of a recipe, pruned from level 0, before any training.

        Reference: Zhou et al., 2019, arXiv:1905.01067, sec. 4 and 5.
        """
        _log.info("%s: %d masks without training", recipe.name, last)
        return [self._evaluate(self.prune(recipe, self.dense, n)) for n in range(1, last + 1)]

    def _evaluate(self, level: Level) -> dict[str, Any]:
        measure, state, frozen = self._evaluation
        # As the parameters of a dense network, of one seed.
        found = {
            "trainable": {"params": replace_leaves(self.variables["params"], level.weights())},
            "batch_stats": self.variables.get("batch_stats", {}),
        }
        state = state.replace(**jax.tree.map(lambda x: jnp.asarray(x)[None], found))
        measured: dict[str, Any] = {}
        for name, examples in self.splits._asdict().items():
            if examples is not None:
                measured |= measure(state, frozen, examples, name)[0]
        # The masks are the level's; a dense network has none.
        return measured | {"remaining_weights": float(stats.density(level.masks))}

    def _train(
        self, level: Level, trainer: Trainer, folder: Workdir, identity: Mapping[str, Any]
    ) -> Trained:
        path = folder.path / "weights_final.npz"
        with folder.locked():
            folder.check(identity, config_files.default_identity())
            if (summary := folder.finished_summary()) is None:
                folder.create(identity, trainer.convolution)
                trained = train(trainer, self.splits, folder, quiet=self.quiet)
                (network,) = trainer.networks(trained.state, trained.frozen)
                write_arrays(path, named_leaves(network.params))
                (found,) = finish(folder, trainer, trained)
                summary = experiment.summary_of(self.config, self.data, found)
                folder.write_json(folder.summary, summary)
            return Trained(level, folder, read_arrays(path), summary)

    def _variables_at(self, step: int) -> PyTree:
        """Returns the model's variables after `step` steps of level 0.

        They are taken again from the seed: the same bits where runs are stable, as on one thread.
        """
        trainer, plan = self.trainer, self.trainer.plan
        state, frozen = trainer.start()
        done, order, train_steps = 0, trainer.order(), make_train_steps(trainer)
        while done < step:
            epoch, index = divmod(done, plan.steps_per_epoch)
            short = plan._replace(steps_per_epoch=min(plan.steps_per_epoch, index + step - done))
            for part in self._dispatches(order(epoch), index, short):
                state, _ = train_steps(state, frozen, *part)
                done += part.count
        (network,) = trainer.networks(state, frozen)
        statistics = {"batch_stats": network.batch_stats} if network.batch_stats else {}
        return {"params": network.params} | statistics

    def _fresh(self, number: int) -> Arrays:
        """Draws the initial weights of a level anew."""
        # The two keys of a run are the first two of this split.
        key = jax.random.split(seed_key(self.trainer.seeds[0]), 3)[2]
        variables = jax.jit(self.trainer.init_fn)(jax.random.fold_in(key, number))
        drawn = named_leaves(variables["params"])
        return {name: drawn[name] for name in self.dense.level.start}

    def _gradient(self, level: Level) -> Arrays:
        """Returns the loss gradient at the start of a level, on its first batch."""
        keep_gradient = optax.GradientTransformation(
            init=lambda params: jax.tree.map(jnp.zeros_like, params),
            update=lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), grads),
        )
        trainer = self.level_trainer(level)._replace(tx=keep_gradient)
        state, frozen = trainer.start()
        epoch, index = divmod(trainer.first_step, trainer.plan.steps_per_epoch)
        one = trainer.plan._replace(steps_per_epoch=index + 1)
        (part,) = self._dispatches(trainer.order()(epoch), index, one)
        state, _ = make_train_steps(trainer)(state, frozen, *part)
        return named_leaves(trainer.layout.seeds_of(state.opt_state["weights"])[0])

    def _dispatches(self, order: jax.Array, index: int, plan: Plan) -> Iterator[Dispatch]:
        return dispatches(self.splits.train, order, index, plan, self.trainer.layout.fetch)
