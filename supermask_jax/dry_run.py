"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.data import DATASETS
from supermask_jax.experiment import build, examples_used, programs
from supermask_jax.training.job import Job
from supermask_jax.training.memory import plan_step

PyTree = Any


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def describe(config: ConfigDict) -> str:
    """Returns data, layers, weight counts, memory and steps of a run as text.

    Raises:
      UserError: the config is wrong.
    """
    job = build(config)
    jobs = programs(config, job)
    spec, plan = DATASETS[config.data.name], job.plan
    state, frozen = jax.eval_shape(job.create, jax.random.key(0))
    frozen_weights = frozen.get("weights", {})
    masked = named_leaves(frozen_weights)
    free = named_leaves(state.trainable["params"])
    rows = [("layer", "shape", "weights", "")]
    for name, leaf in sorted({**masked, **free}.items()):
        kind = "masked" if name in masked else "trained"
        rows.append((name, " x ".join(map(str, leaf.shape)), f"{leaf.size:,}", kind))
    total = num_params(frozen_weights) + num_params(state.trainable["params"])
    rows.append(("total", "", f"{total:,}", f"{num_params(frozen_weights):,} masked"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    table = [f"  {a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    images = (spec.train_size + spec.test_size) * int(jnp.prod(jnp.array(spec.image_shape)))
    num_train, num_test = (
        examples_used(size, config) for size in (spec.train_size, spec.test_size)
    )
    held_out = num_train - job.num_train
    shape = " x ".join(map(str, spec.image_shape))
    return "\n".join(
        [
            f"{config.name}: {config.model.name}, method {config.method.name}, seed {config.seed}",
            f"data: {config.data.name}, images {shape}, {spec.num_classes} classes: "
            f"{job.num_train:,} train, {held_out:,} validation, {num_test:,} test",
            *table,
            f"memory: {_mib(images)} data, {_mib(_bytes(frozen_weights))} frozen weights, "
            f"{_mib(_bytes((state.trainable, state.opt_state)))} trained and optimiser, "
            f"{_mib(plan_step(job, spec.image_shape).temporaries)} temporaries of a step",
            f"steps: {plan.epochs} epochs of {plan.steps_per_epoch} steps of {plan.batch_size} "
            f"images = {plan.total_steps:,}, "
            f"{'up to ' + str(plan.steps_per_call) if plan.steps_per_call > 1 else 'one'} "
            f"in a dispatch on {jax.default_backend()}",
            f"devices: {jobs[0].layout.describe()}" + _seeds(jobs),
        ]
    )


def _seeds(jobs: Sequence[Job]) -> str:
    if len(jobs) == jobs[0].num_seeds == 1:
        return ""
    return (
        f"; {sum(job.num_seeds for job in jobs)} seeds in {len(jobs)} programs of up to "
        f"{jobs[0].num_seeds}"
    )
