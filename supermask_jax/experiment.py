"""The composition root: the only reader of a config below the command line.

`build(config)` makes the objects of a run, `run(config, workdir)` trains it and returns its
summary. In a notebook: ``run(load_config("configs/fcn.py"), "runs/mine")``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from supermask_jax import methods, models
from supermask_jax.config_files import check_config, identity
from supermask_jax.core import initializers, stats, thresholds, trees
from supermask_jax.data import DATASETS, Dataset, load
from supermask_jax.data.pipeline import hold_out, num_batches
from supermask_jax.errors import UserError
from supermask_jax.methods import Method
from supermask_jax.training import optimizers, schedules
from supermask_jax.training.job import Job, Splits, Trained, train
from supermask_jax.training.loop import Examples, Plan, use_device_loop
from supermask_jax.training.progress import require_tensorboard
from supermask_jax.training.step import linen_apply
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")

# Options of methods that are functions: made from the entries that the config holds for them.
_MAKERS = {"score_init": initializers.get, "threshold": thresholds.get}


def method_from_config(config: Mapping[str, Any]) -> Method:
    """Makes a method; nested entries become the functions that they name."""
    options = {
        name: _MAKERS[name](**value) if name in _MAKERS else value for name, value in config.items()
    }
    return methods.get(**options)


def build(config: ConfigDict) -> Job:
    """Makes the objects of a run.

    Raises:
      UserError: an entry of the config is unknown, of the wrong type, or impossible.
    """
    check_config(config)
    if config.tensorboard:
        require_tensorboard()
    spec = DATASETS[config.data.name]
    model = models.get(
        num_classes=spec.num_classes,
        kernel_init=initializers.get(**config.weight_init),
        **config.model,
    )
    image = jnp.zeros((1, *spec.image_shape))
    num_train = spec.train_size
    if config.protocol == "validation":
        num_train = len(hold_out(spec.train_size, config.validation_fraction)[0])
    steps_per_epoch = num_batches(num_train, config.batch_size)
    schedule = schedules.get(epochs=config.epochs, **config.schedule)
    job = Job(
        method=method_from_config(config.method),
        tx=optimizers.get(factor=lambda step: schedule(step / steps_per_epoch), **config.optimizer),
        apply_fn=linen_apply(model),
        init_fn=lambda key: model.init(key, image),
        plan=Plan(config.epochs, config.batch_size, steps_per_epoch, config.steps_per_call),
        seed=config.seed,
        num_train=num_train,
        shuffle=config.data.shuffle,
        eval_batch_size=config.eval_batch_size,
        checkpoints_to_keep=config.checkpoints_to_keep,
        tensorboard=config.tensorboard,
    )
    if job.plan.total_steps >= 2**31:
        raise UserError(f"{job.plan.total_steps:,} steps are more than can be counted")
    # Traced now: what cannot work fails here, and not after the data is loaded.
    try:
        state, frozen = jax.eval_shape(job.create, jax.random.key(0))
    except (TypeError, ValueError) as error:
        size = " x ".join(map(str, spec.image_shape))
        raise UserError(
            f"model {config.model.name!r} of width {config.model.width} cannot be built for "
            f"{config.data.name} ({size}): {error}"
        ) from error
    if not config.steps_per_call:
        per_call = steps_per_epoch if use_device_loop((state.trainable, frozen)) else 1
        job = job._replace(plan=job.plan._replace(steps_per_call=per_call))
    return job


def load_data(config: ConfigDict) -> Dataset:
    """Loads the data set of a config into memory."""
    return load(
        config.data.name,
        data_dir=config.data.data_dir or None,
        cache_dir=config.data.cache_dir or None,
    )


def split_data(data: Dataset, config: ConfigDict) -> Splits:
    """Puts a data set on the device, with part of train held out under 'validation'."""

    def examples(split: Any, rows: Any = slice(None)) -> Examples:
        return Examples(jnp.asarray(split.images[rows]), jnp.asarray(split.labels[rows]))

    test = examples(data.test)
    if config.protocol == "paper":
        return Splits(examples(data.train), None, test)
    kept, held_out = hold_out(len(data.train.labels), config.validation_fraction)
    return Splits(examples(data.train, kept), examples(data.train, held_out), test)


def run(
    config: ConfigDict, workdir: str | os.PathLike[str], *, quiet: bool = False
) -> dict[str, Any]:
    """Trains what `config` describes in `workdir` and returns its summary.

    A run that was stopped goes on where it stopped; a finished one is left alone.

    Args:
      config: from `default_config` or a file in ``configs/``.
      workdir: the run's folder; made if it is not there.
      quiet: print no epochs.

    Raises:
      UserError: bad config, data or work folder, no space, or training diverged.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    job = build(config)
    folder = Workdir(workdir)
    folder.check(identity(config))
    if (summary := folder.finished_summary()) is not None:
        _log.info("%s holds this run, finished: nothing to do", folder.path)
        return summary
    data = load_data(config)
    folder.create(identity(config))
    trained = train(job, split_data(data, config), folder, quiet=quiet)
    summary = {"name": config.name, "protocol": config.protocol, **finish(folder, job, trained)}
    summary["data"] = {"name": data.name, "source": data.source, "digest": data.digest}
    folder.write_json(folder.summary, summary)
    return summary


def finish(folder: Workdir, job: Job, trained: Trained) -> dict[str, Any]:
    """Writes the masks of a finished run and returns its part of the summary."""
    masks = job.method.masks(trained.state.trainable, trained.frozen)
    folder.write_masks(masks)
    lines = folder.read_metrics()
    if not lines:
        raise UserError(f"{folder.metrics} is gone: start again in another work folder")
    counts = stats.layer_counts(masks)
    # Accuracy and remaining weights are means over sampled masks where a method samples; the
    # masks that are written, and `layers`, are then those with a probability above 1/2.
    kind = "most probable" if job.method.eval_samples else "final"
    return {
        "masks": kind,
        **lines[-1],
        **trained.metrics,
        "seconds": round(sum(line["seconds"] for line in lines), 3),
        "num_weights": sum(map(sum, counts.values())) or trees.num_params(trained.state.trainable),
        "layers": {
            name: layer._asdict() | {"density": layer.density} for name, layer in counts.items()
        },
        "frozen_sha256": trees.digest(trained.frozen),
    }
