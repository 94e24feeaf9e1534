"""The composition root: the only reader of a config below the command line.

`build(config)` makes the objects of a run, `run(config, workdir)` trains it and returns its
summary. In a notebook: ``run(load_config("configs/fcn.py"), "runs/mine")``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from supermask_jax import config_files, methods, models
from supermask_jax.analysis.intervals import mean_interval
from supermask_jax.config_files import check_config, default_identity, identity
from supermask_jax.core import initializers, thresholds
from supermask_jax.data import DATASETS, Dataset, load
from supermask_jax.data.pipeline import hold_out, num_batches
from supermask_jax.data.transforms import make_prepare
from supermask_jax.errors import Diverged, UserError, one_line
from supermask_jax.finish import check_left, finish
from supermask_jax.methods import Method
from supermask_jax.models.convolution import resolved
from supermask_jax.training import optimizers, schedules
from supermask_jax.training.compiling import derives_convolution
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.job import Job, Splits, train
from supermask_jax.training.layout import Layout, choose_layout, one_device
from supermask_jax.training.memory import seeds_per_program
from supermask_jax.training.processes import wait_for_all
from supermask_jax.training.programs import Examples, Plan, has_convolutions, steps_in_dispatch
from supermask_jax.training.settings import fixed_settings, seed_key
from supermask_jax.training.step import COMPUTE_DTYPES, linen_apply
from supermask_jax.training.tensorboard import require_tensorboard
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")

# Options of methods that are functions: made from the entries that the config holds for them.
_MAKERS = {
    "score_init": (initializers.get, "distribution"), "threshold": (thresholds.get, "rule"),
}  # fmt: skip


def method_from_config(config: Mapping[str, Any]) -> Method:
    """Makes a method; nested entries become the functions that they name."""
    options = {name: _made(name, value) for name, value in config.items()}
    return methods.get(**options)


def _made(name: str, value: Any) -> Any:
    if name not in _MAKERS:
        return value
    make, key = _MAKERS[name]
    entries = isinstance(value, (Mapping, ConfigDict))
    if not entries or not isinstance(value.get(key), str):
        raise UserError(f"config.method.{name} must say its {key}, got {one_line(str(value))}")
    return make(**value)


@fixed_settings()
def build(config: ConfigDict) -> Job:
    """Makes the objects of a run: of its first seed where `config.num_seeds` asks for more.

    Raises:
      UserError: an entry of the config is unknown, of the wrong type, or impossible.
    """
    check_config(config)
    config_files.warn(config)
    if config.tensorboard or config.tensorboard_masks:
        require_tensorboard()
    spec = DATASETS[config.data.name]
    model = models.get(
        num_classes=spec.num_classes,
        kernel_init=initializers.get(**config.weight_init),
        convolution=config.convolution,
        **config.model,
    )
    image = jnp.zeros((1, *spec.image_shape))
    num_train = examples_used(spec.train_size, config)
    if config.protocol == "validation":
        num_train = len(hold_out(num_train, config.validation_fraction)[0])
    steps_per_epoch = num_batches(num_train, config.batch_size)
    job = Job(
        method=method_from_config(config.method),
        tx=schedules.scheduled(
            lambda factor: optimizers.get(factor=factor, **config.optimizer),
            epochs=config.epochs,
            steps_per_epoch=steps_per_epoch,
            **config.schedule,
        ),
        apply_fn=linen_apply(model, COMPUTE_DTYPES[config.compute_dtype]),
        init_fn=lambda key: model.init(key, image),
        prepare=make_prepare(
            config.data.preprocess, config.data.augment, config.data.name, pad=config.data.pad
        ),
        plan=Plan(
            config.epochs,
            config.batch_size,
            steps_per_epoch,
            config.steps_per_call,
            config.microbatches,
        ),
        layout=_layout(config, 1, config.seed_loop) if config.num_seeds == 1 else one_device(),
        seed=config.seed,
        num_train=num_train,
        shuffle=config.data.shuffle,
        eval_batch_size=config.eval_batch_size,
        checkpoints_to_keep=config.checkpoints_to_keep,
        tensorboard=config.tensorboard,
        tensorboard_masks=config.tensorboard_masks,
    )
    return _planned(job, config)


def _planned(job: Job, config: ConfigDict) -> Job:
    """Traces a job and adds what depends on its network: how it convolves, steps in a dispatch."""
    if job.plan.total_steps >= 2**31:
        raise UserError(f"{job.plan.total_steps:,} steps are more than can be counted")
    traced, shapes = _traced(job, config)
    if has_convolutions(shapes):
        job = job._replace(convolution=resolved(config.convolution))
    if not config.steps_per_call:
        # What draws a network calls it.
        derived = derives_convolution(traced)
        per_call = steps_in_dispatch(job.plan, shapes, derived_convolutions=derived)
        job = job._replace(plan=job.plan._replace(steps_per_call=per_call))
    return job


def _traced(job: Job, config: ConfigDict) -> tuple[Any, Any]:
    """Traces what a run starts from: what cannot work fails now, and not with the data loaded.

    Returns:
      The jaxpr, and the shapes of (state, frozen).
    """
    try:
        return jax.make_jaxpr(job.create, return_shape=True)(seed_key(0))
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        size = " x ".join(map(str, DATASETS[config.data.name].image_shape))
        raise UserError(
            f"model {config.model.name!r} of width {config.model.width} cannot be built for "
            f"{config.data.name} ({size}): {error}"
        ) from error


def _layout(config: ConfigDict, num_seeds: int, seed_loop: str) -> Layout:
    return choose_layout(
        num_seeds=num_seeds,
        batch_size=config.batch_size,
        microbatches=config.microbatches,
        seed=config.mesh.seed if num_seeds > 1 else 0,
        data=config.mesh.data,
        seed_loop=seed_loop,
    )


@fixed_settings()
def programs(config: ConfigDict, job: Job, folder: Workdir | None = None) -> list[Job]:
    """Splits the seeds of a run into programs, one after another: equal where they divide.

    Args:
      config: of the run; ``seeds_per_program`` 0 chooses.
      job: from `build`.
      folder: where a part of the run may be already, whose split is then kept.

    Raises:
      UserError: the seeds of a program do not fit in memory, or cannot be laid on the devices.
    """
    if config.num_seeds == 1:
        return [job]
    state, frozen = jax.eval_shape(job.create, seed_key(0))
    convolutional = has_convolutions((state.trainable, frozen))
    size = folder.part_size(job.seed) if folder is not None else None
    if size is None:
        shape = DATASETS[config.data.name].image_shape
        size = seeds_per_program(
            job, shape, config.num_seeds, config.seeds_per_program, convolutional=convolutional
        )
        size = max(size, config.mesh.seed)
    best = "unroll" if convolutional else "vmap"
    loop = best if config.seed_loop == "auto" else config.seed_loop
    found = []
    for first in range(0, config.num_seeds, size):
        count = min(size, config.num_seeds - first)
        part = {"seed": job.seed + first, "num_seeds": count, "in_set": True}
        found.append(job._replace(layout=_layout(config, count, loop), **part))
    return found


def examples_used(examples: int, config: ConfigDict) -> int:
    """Returns how many of a split's examples a run sees."""
    return min(examples, config.data.subset or examples)


def load_data(config: ConfigDict) -> Dataset:
    """Loads the data set of a config into memory."""
    return load(
        config.data.name,
        data_dir=config.data.data_dir or None,
        cache_dir=config.data.cache_dir or None,
    )


def split_data(data: Dataset, config: ConfigDict, layout: Layout) -> Splits:
    """Puts a data set on the devices, with part of train held out under 'validation'."""

    def examples(split: Any, rows: Any) -> Examples:
        return layout.put(Examples(split.images[rows], split.labels[rows]))

    num_train = examples_used(len(data.train.labels), config)
    test = examples(data.test, slice(examples_used(len(data.test.labels), config)))
    if config.protocol == "paper":
        return Splits(examples(data.train, slice(num_train)), None, test)
    kept, held_out = hold_out(num_train, config.validation_fraction)
    return Splits(examples(data.train, kept), examples(data.train, held_out), test)


@fixed_settings()
def run(
    config: ConfigDict, workdir: str | os.PathLike[str], *, quiet: bool = False
) -> dict[str, Any]:
    """Trains what `config` describes in `workdir` and returns its summary.

    A run that was stopped goes on where it stopped; a finished one is left alone. With
    ``config.num_seeds`` there is one run a seed in the one folder, and the summary holds those of
    all ("runs") and their means with intervals. A seed whose training diverges does not end the
    others: it is listed apart ("diverged"), with the step by which it was not finite.

    Args:
      config: from `default_config` or a file in ``configs/``.
      workdir: the run's folder; made if it is not there.
      quiet: print no epochs.

    Raises:
      UserError: bad config, data or work folder, or no space.
      Diverged: training did, of all seeds.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    job = build(config)
    folder = Workdir(workdir)
    with folder.locked():
        folder.check(identity(config), default_identity())
        if (summary := folder.finished_summary()) is not None:
            check_left(folder, summary)
            _log.info("%s holds this run, finished: nothing to do", folder.path)
            return summary
        jobs = programs(config, job, folder)
        data = load_data(config)
        folder.create(identity(config), job.convolution)
        trained = _train_all(jobs, data, config, folder, quiet)
        summary = {"name": config.name, "protocol": config.protocol}
        summary |= config_files.with_warnings(trained, config)
        summary["data"] = {"name": data.name, "source": data.source, "digest": data.digest}
        folder.write_json(folder.summary, summary)
        return summary


def _train_all(
    jobs: Sequence[Job], data: Dataset, config: ConfigDict, folder: Workdir, quiet: bool
) -> dict[str, Any]:
    """Trains the programs of a run and returns what they found."""
    if config.num_seeds == 1:
        return _train(jobs[0], data, config, folder, quiet)[0]
    runs: list[dict[str, Any]] = []
    for job in jobs:
        part = job.part(folder)
        if not part.summary.exists():
            _log.info("seeds %d to %d", job.seeds[0], job.seeds[-1])
            folder.write_json(part.summary, _train(job, data, config, folder, quiet))
            wait_for_all("part written")
        runs += part.summaries().values()
    check_left(folder, {"runs": runs})  # Also what a part that was there before has left.
    return _set_summary(config, runs, DivergedSeeds(folder).read())


def _set_summary(
    config: ConfigDict, runs: list[dict[str, Any]], diverged: Mapping[int, int]
) -> dict[str, Any]:
    """Returns the summary of a set: of its seeds but those that `diverged`, {seed: step}."""
    if not runs:
        raise Diverged(
            f"training diverged: none of the {config.num_seeds} seeds stayed finite: lower the "
            "learning rate, or change the initialisers"
        )
    if diverged:
        found = ", ".join(f"{seed} by step {step}" for seed, step in diverged.items())
        _log.warning("the means leave out the seeds that diverged: %s", found)
    means = {
        name: mean_interval([run[name] for run in runs])._asdict()
        for name in ("test_accuracy", "remaining_weights")
    }
    return {
        "num_seeds": config.num_seeds,
        **means,
        "num_weights": runs[0]["num_weights"],
        "seconds": round(sum(run["seconds"] for run in runs), 3),
        "diverged": [{"seed": seed, "step": step} for seed, step in diverged.items()],
        "runs": runs,
    }


def _train(
    job: Job, data: Dataset, config: ConfigDict, folder: Workdir, quiet: bool
) -> list[dict[str, Any]]:
    # A function of its own: its arrays are gone from the devices before the next program.
    splits = split_data(data, config, job.layout)
    return finish(folder, job, train(job, splits, folder, quiet=quiet))
