"""A run from its config: `build` makes its trainer, `run` trains it in a work folder.

In a notebook: ``run(load_config("configs/fcn.py"), "runs/mine")`` returns the summary.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from supermask_jax import methods, models
from supermask_jax.analysis.intervals import mean_interval
from supermask_jax.config import files as config_files
from supermask_jax.config.files import check_config, default_identity, identity
from supermask_jax.core import initializers
from supermask_jax.core.trees import named_leaves
from supermask_jax.data import Dataset, own, spec_of
from supermask_jax.data.pipeline import hold_out, num_batches
from supermask_jax.data.transforms import make_prepare
from supermask_jax.errors import Diverged, UserError
from supermask_jax.models.convolution import resolved
from supermask_jax.splits import examples_used, load_data, split_data
from supermask_jax.training import extension, optimizers, schedules, streaming
from supermask_jax.training.distributed import wait_for_all
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.environment import fixed_settings, seed_key
from supermask_jax.training.evaluate import COMPUTE_DTYPES, linen_apply
from supermask_jax.training.loop import train
from supermask_jax.training.memory import seeds_per_program
from supermask_jax.training.pretrained import from_ticket
from supermask_jax.training.sharding import Layout, choose_layout, one_device
from supermask_jax.training.state import create_state
from supermask_jax.training.summary import check_left, finish
from supermask_jax.training.tensorboard import require_tensorboard
from supermask_jax.training.trackers import Callback
from supermask_jax.training.trainer import Plan, Trainer
from supermask_jax.training.waiting import waiting
from supermask_jax.training.workdir import Workdir
from supermask_jax.training.xla_cpu import steps_in_dispatch

_log = logging.getLogger("supermask_jax")


@fixed_settings()
def build(config: ConfigDict) -> Trainer:
    """Makes the trainer of a run: of its first seed where `config.num_seeds` asks for more.

    Raises:
      UserError: an entry of the config is unknown, of the wrong type, or impossible.
    """
    make = _parts(config)
    layout = _layout(config, 1) if config.num_seeds == 1 else one_device()
    return make(layout=layout, seeds=range(config.seed, config.seed + 1))


@fixed_settings()
def programs(config: ConfigDict, folder: Workdir | None = None) -> list[Trainer]:
    """Makes the trainers of all seeds of a run, one after another: of as many where they divide.

    Args:
      config: of the run; ``seeds_per_program`` 0 chooses.
      folder: where a part of the run may be already, whose split is then kept.

    Raises:
      UserError: as `build`; or the seeds of a program do not fit in memory, or cannot be laid on
        the devices.
    """
    if config.num_seeds == 1:
        return [build(config)]
    make, first = _parts(config), config.seed
    size = folder.part_size(first) if folder is not None else None
    if streaming.wanted(spec_of(config.data), config.data.streaming):
        if max(size or 1, config.mesh.seed, config.seeds_per_program) > 1:
            raise UserError(
                "data that stay on the host feed one seed after another: set config.data.streaming="
                "never, or leave out mesh.seed and seeds_per_program"
            )
        size = 1
    if size is None:
        one = make(layout=one_device(), seeds=range(first, first + 1))
        shape = spec_of(config.data).image_shape
        size = seeds_per_program(one, shape, config.num_seeds, config.seeds_per_program)
        size = max(size, config.mesh.seed)
    last = first + config.num_seeds
    parts = [range(seed, min(seed + size, last)) for seed in range(first, last, size)]
    loop = config.seed_loop
    if loop == "auto":
        loop = "unroll" if make.keywords["convolution"] else "vmap"
    return [make(layout=_layout(config, len(p), loop), seeds=p, in_set=True) for p in parts]


def _parts(config: ConfigDict) -> partial[Trainer]:
    """Returns `Trainer` with all its parts but the seeds and where they lie."""
    check_config(config)
    for line in config_files.warnings(config):
        _log.warning("%s", line)
    if config.tensorboard or config.tensorboard_masks:
        require_tensorboard()
    spec = spec_of(config.data)
    model = models.get(
        num_classes=spec.num_classes,
        kernel_init=initializers.get(**config.weight_init),
        convolution=config.convolution,
        **config.model,
    )
    num_train = examples_used(spec.train_size, config)
    if config.protocol == "validation":
        num_train = len(hold_out(num_train, config.validation_fraction)[0])
    steps = num_batches(num_train, config.batch_size)
    if config.epochs * steps >= 2**31:
        raise UserError(f"{config.epochs * steps:,} steps are more than can be counted")
    init_fn = lambda key: model.init(key, jnp.zeros((1, *spec.image_shape)))  # noqa: E731
    drawn = {
        "init_fn": from_ticket(init_fn, config.pretrained) if config.pretrained else init_fn,
        "method": methods.of_config(config.method, config.source, config.layers),
        "tx": schedules.scheduled(
            lambda factor: optimizers.get(factor=factor, **config.optimizer),
            epochs=config.epochs,
            steps_per_epoch=steps,
            **config.schedule,
        ),
    }
    traced, convolutional = _traced(config, partial(create_state, **drawn))
    # What draws a network calls it.
    per_call = steps_in_dispatch(steps, traced, convolutional=convolutional)
    data = config.data
    sizes = {name: config[name] for name in Plan._fields if name in config}
    sizes |= {"num_train": num_train, "shuffle": data.shuffle}
    sizes |= {"steps_per_epoch": steps, "steps_per_call": config.steps_per_call or per_call}
    return partial(
        Trainer,
        **drawn,
        apply_fn=linen_apply(model, COMPUTE_DTYPES[config.compute_dtype]),
        prepare=make_prepare(data.preprocess, data.augment, spec, pad=data.pad),
        plan=Plan(**sizes),
        tensorboard="masks" if config.tensorboard_masks else "metrics" * config.tensorboard,
        convolution=resolved(config.convolution) if convolutional else "",
    )


def _traced(config: ConfigDict, create: Callable[[jax.Array], Any]) -> tuple[Any, bool]:
    """Traces what a run starts from: what cannot work fails now, and not with the data loaded.

    Returns:
      The jaxpr, and whether there are kernels of convolutions in it.
    """
    try:
        traced, shapes = jax.make_jaxpr(create, return_shape=True)(seed_key(0))
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        size = " x ".join(map(str, spec_of(config.data).image_shape))
        raise UserError(
            f"model {config.model.name!r} of width {config.model.width} cannot be built for "
            f"{config.data.name} ({size}): {error}"
        ) from error
    return traced, any(len(leaf.shape) > 2 for leaf in jax.tree.leaves(shapes))


def _layout(config: ConfigDict, num_seeds: int, seed_loop: str = "vmap") -> Layout:
    return choose_layout(
        num_seeds=num_seeds,
        batch_size=config.batch_size,
        microbatches=config.microbatches,
        seed=config.mesh.seed if num_seeds > 1 else 0,
        data=config.mesh.data,
        seed_loop=seed_loop,
    )


@fixed_settings()
def run(
    config: ConfigDict,
    workdir: str | os.PathLike[str],
    *,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
    data: Dataset | None = None,
) -> dict[str, Any]:
    """Trains what `config` describes in `workdir` and returns its summary.

    A run that was stopped goes on where it stopped; a finished one is left alone, or goes on where
    nothing but more epochs is asked for. With ``config.num_seeds`` there is one run a seed in the
    one folder, and the summary holds those of all ("runs") and their means with intervals. A seed
    whose training diverges does not end the others: it is listed apart ("diverged"), with the step
    by which it was not finite.

    Args:
      config: from `default_config` or a file in ``configs/``.
      workdir: the run's folder; made if it is not there.
      callbacks: called with the metrics of each epoch: see `training.trackers`.
      quiet: print no epochs.
      data: to train on, in place of the data set that the config names: from `data.from_arrays`.

    Raises:
      UserError: bad config, data or work folder, or no space; or what the run did depends on the
        number of its epochs, and it cannot have more.
      Diverged: training did, of all seeds.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    if data is not None:
        config = config.copy_and_resolve_references()
        config.data.name = own.give(data)
    check_config(config)
    folder, wanted = Workdir(workdir), (identity(config), default_identity())
    had = extension.epochs_before(folder, *wanted)
    if had is not None:
        before = ConfigDict(config.to_dict() | {"epochs": had})
        shape = spec_of(config.data).image_shape
        extension.check_longer(build(before), build(config), shape, config.schedule.name)
    with folder.locked(changing=had is not None):
        if had is not None and extension.epochs_before(folder, *wanted) == had:
            extension.reopen(folder, config.epochs)
        folder.check(*wanted)
        if (summary := folder.finished_summary()) is not None:
            check_left(folder, summary)
            _log.info("%s holds this run, finished: nothing to do", folder.path)
            return summary
        with waiting(f"building {config.model.name} and reading {config.data.name}"):
            trainers = [t._replace(callbacks=tuple(callbacks)) for t in programs(config, folder)]
            data = load_data(config)
        folder.create(wanted[0], trainers[0].convolution)
        runs: list[dict[str, Any]] = []
        for trainer in trainers:
            part = trainer.part(folder)
            if trainer.in_set:
                if part.summary.exists():
                    runs += part.summaries().values()
                    continue
                _log.info("seeds %d to %d", trainer.seeds[0], trainer.seeds[-1])
            splits = split_data(data, config, trainer.layout)
            trained = train(trainer, splits, folder, quiet=quiet)
            found = finish(folder, trainer, trained)
            del splits, trained  # Gone from the devices before the next program.
            if trainer.in_set:
                folder.write_json(part.summary, found)
                wait_for_all("part written")
            runs += found
        found = runs[0] if runs else {}
        if trainers[0].in_set:
            check_left(folder, {"runs": runs})  # Also what a part that was there before has left.
            found = _set_summary(config, runs, DivergedSeeds(folder).read())
        summary = summary_of(config, data, found)
        folder.write_json(folder.summary, summary)
        return summary


@fixed_settings()
def drawn_weights(config: ConfigDict) -> dict[str, np.ndarray]:
    """Returns the frozen weights that a run of a config starts from: name -> float32 [*shape]."""
    trainer = build(config)
    (frozen,) = trainer.layout.seeds_of(trainer.start()[1])
    return named_leaves(frozen["weights"])


def summary_of(config: ConfigDict, data: Dataset, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the summary of a run, of what its training `found`."""
    about = {"data": {"name": data.name, "source": data.source, "digest": data.digest}}
    summary = {"name": config.name, "protocol": config.protocol, **found, **about}
    warnings = [*config_files.warnings(config), *summary.get("warnings", ())]
    return summary | ({"warnings": warnings} if warnings else {})


def _set_summary(
    config: ConfigDict, runs: list[dict[str, Any]], diverged: Mapping[int, int]
) -> dict[str, Any]:
    """Returns the summary of a set: of its seeds but those that `diverged`, {seed: step}."""
    if not runs:
        none = f"none of the {config.num_seeds} seeds stayed finite"
        raise Diverged(
            f"training diverged: {none}: lower the learning rate, or change the initialisers"
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
