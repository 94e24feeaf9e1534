"""How long runs take on this machine: steps times a measured step."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from supermask_jax import experiment
from supermask_jax.analysis.report.tables import duration
from supermask_jax.data import spec_of
from supermask_jax.training.evaluate import Examples
from supermask_jax.training.loop import make_train_steps
from supermask_jax.training.trainer import Trainer

_log = logging.getLogger("supermask_jax")


def expected_seconds(runs: Mapping[Path, ConfigDict]) -> dict[Path, float]:
    """Returns the seconds that runs take here, by their folders, and logs them by row.

    A step is measured once for each network and batch: methods differ by little. Evaluation and
    compilation are not counted.

    Args:
      runs: {``<row>/<seeds>``: config}, in their order.
    """
    measured: dict[str, float] = {}  # by network and batch
    each: dict[str, float] = {}  # a seed, by row
    found: dict[Path, float] = {}
    for folder, config in runs.items():
        if (row := folder.parent.name) not in each:
            trainer = experiment.build(config)
            key = str((config.model, config.batch_size, config.microbatches, config.compute_dtype))
            if key not in measured:
                _log.info(
                    "measuring a step of %s, batches of %d", config.model.name, config.batch_size
                )
                shape = spec_of(config.data).image_shape
                measured[key] = seconds_of_step(trainer, shape)
            each[row] = measured[key] * trainer.plan.total_steps
        found[folder] = each[row] * config.num_seeds
    for row in dict.fromkeys(folder.parent.name for folder in found):
        own = [seconds for folder, seconds in found.items() if folder.parent.name == row]
        _log.info("  %-24s %d x %s", row, len(own), duration(sum(own) / len(own)))
    if found:
        _log.info("expected on this machine: %s in all", duration(sum(found.values())))
    return found


def seconds_of_step(trainer: Trainer, image_shape: tuple[int, ...], steps: int = 8) -> float:
    """Measures a train step of one seed on this machine, on images that are all black.

    Args:
      trainer: from `experiment.build`.
      image_shape: (H, W, C).
      steps: timed, after as many that compile; fewer where the run dispatches fewer at once.
    """
    plan = trainer.plan
    examples = Examples(
        jnp.zeros((plan.batch_size, *image_shape), jnp.uint8), jnp.zeros(plan.batch_size, jnp.int32)
    )
    order = jnp.arange(plan.steps_per_epoch * plan.batch_size)[None] % plan.batch_size
    train_steps, (state, frozen) = make_train_steps(trainer), trainer.start()
    count = min(steps, plan.steps_per_call)
    for _ in range(2):
        started = time.perf_counter()
        state, health = train_steps(state, frozen, examples, order, 0, count)
        jax.block_until_ready((state.step, health))
        seconds = time.perf_counter() - started
    return seconds / count
