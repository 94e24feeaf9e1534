"""What a run would do, without doing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from supermask_jax.analysis.tables import Table
from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.data import spec_of
from supermask_jax.experiment import examples_used, programs
from supermask_jax.training.environment import fixed_settings, seed_key
from supermask_jax.training.memory import plan_step
from supermask_jax.training.state import TrainState
from supermask_jax.training.trainer import Plan, Trainer
from supermask_jax.training.waiting import waiting

PyTree = Any


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def describe(config: ConfigDict, *, memory: bool = True) -> Iterator[str]:
    """Yields data, layers, weight counts, steps and memory of a run as text, as they are known.

    Without `memory` the last one is left out, and nothing is compiled.

    Raises:
      UserError: the config is wrong.
    """
    with fixed_settings():
        with waiting("building the network"):
            trainers = programs(config)
        first = trainers[0]
        state, frozen = jax.eval_shape(first.create, seed_key(0))
        yield f"{config.name}: {config.model.name}, method {config.method.name}, seed {config.seed}"
        yield _data(config, first.plan)
        yield _layers(state, frozen)
        yield _steps(first.plan)
        yield f"devices: {first.layout.describe()}" + _seeds(trainers)
        if not memory:
            return
        with waiting("compiling a step for the memory it takes"):
            found = _memory(config, first, state, frozen)
        yield found


def _data(config: ConfigDict, plan: Plan) -> str:
    spec = spec_of(config.data)
    num_train, num_test = (
        examples_used(size, config) for size in (spec.train_size, spec.test_size)
    )
    shape = " x ".join(map(str, spec.image_shape))
    return (
        f"data: {config.data.name}, images {shape}, {spec.num_classes} classes: "
        f"{plan.num_train:,} train, {num_train - plan.num_train:,} validation, {num_test:,} test"
    )


def _layers(state: TrainState, frozen: PyTree) -> str:
    """Returns the table of layers, shapes and counts."""
    weights, params = frozen.get("weights", {}), state.trainable["params"]
    masked, rows = named_leaves(weights), []
    for name, leaf in sorted({**masked, **named_leaves(params)}.items()):
        kind = "masked" if name in masked else "trained"
        rows.append((name, " x ".join(map(str, leaf.shape)), f"{leaf.size:,}", kind))
    total = num_params(weights) + num_params(params)
    foot = ("total", "", f"{total:,}", f"{num_params(weights):,} masked")
    return Table(("layer", "shape", "weights", "kind"), rows, foot).text()


def _memory(config: ConfigDict, trainer: Trainer, state: TrainState, frozen: PyTree) -> str:
    spec = spec_of(config.data)
    images = (spec.train_size + spec.test_size) * math.prod(spec.image_shape)
    return (
        f"memory: {_mib(images)} data, {_mib(_bytes(frozen.get('weights', {})))} frozen weights, "
        f"{_mib(_bytes((state.trainable, state.opt_state)))} trained and optimiser, "
        f"{_mib(plan_step(trainer, spec.image_shape).temporaries)} temporaries of a step"
    )


def _steps(plan: Plan) -> str:
    in_dispatch = f"up to {plan.steps_per_call}" if plan.steps_per_call > 1 else "one"
    parts = f" in {plan.microbatches} microbatches" if plan.microbatches > 1 else ""
    return (
        f"steps: {plan.epochs} epochs of {plan.steps_per_epoch} steps of {plan.batch_size} "
        f"images{parts} = {plan.total_steps:,}, {in_dispatch} in a dispatch on "
        f"{jax.default_backend()}"
    )


def _seeds(trainers: Sequence[Trainer]) -> str:
    if not trainers[0].in_set:
        return ""
    seeds = sum(len(trainer.seeds) for trainer in trainers)
    return f"; {seeds} seeds in {len(trainers)} programs of up to {len(trainers[0].seeds)}"
