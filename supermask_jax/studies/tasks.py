"""Several tasks over one frozen network: a mask for each, and the task that an image belongs to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from supermask_jax import experiment
from supermask_jax.core.superposition import infer_task
from supermask_jax.data import Split, spec_of
from supermask_jax.data.tasks import numbers
from supermask_jax.errors import UserError
from supermask_jax.tickets import Ticket, load_ticket
from supermask_jax.tickets.chain import preprocess
from supermask_jax.tickets.exports import measurer, model
from supermask_jax.tickets.sanity import factors
from supermask_jax.tickets.ticket import nested
from supermask_jax.training.waiting import Points
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")


def task_names(texts: Sequence[str]) -> list[str]:
    """Returns names of data sets; ``permuted:NAME:0-4`` is five of them.

    Raises:
      UserError: one is there twice, or there are fewer than two.
    """
    names: list[str] = []
    for text in texts:
        kind, _, place = text.partition(":")
        data, _, seeds = place.rpartition(":")
        if kind == "permuted" and data:
            names += [f"permuted:{data}:{seed}" for seed in numbers(seeds)]
        else:
            names.append(text)
    if len(set(names)) < len(names):
        raise UserError(f"a task is given twice: {', '.join(names)}")
    if len(names) < 2:
        raise UserError("give at least two tasks, such as --task=permuted:mnist:0-4")
    return names


def task_configs(config: ConfigDict, names: Sequence[str]) -> dict[str, ConfigDict]:
    """Returns the config of each task: they differ in their data alone.

    Raises:
      UserError: the tasks do not fit one network, or it is not frozen.
    """
    if config.num_seeds != 1:
        raise UserError("the tasks share the weights of one seed: leave out config.num_seeds")
    if config.method.name == "dense":
        raise UserError("the tasks share frozen weights, and method dense trains them")
    found: dict[str, ConfigDict] = {}
    shapes: dict[tuple[Any, ...], str] = {}
    for name in names:
        found[name] = config.copy_and_resolve_references()
        found[name].data.name = name
        spec = spec_of(found[name].data)
        shapes.setdefault((spec.image_shape, spec.num_classes), name)
    if len(shapes) > 1:
        shown = "; ".join(
            f"{name}: {' x '.join(map(str, shape))}, {classes} classes"
            for (shape, classes), name in shapes.items()
        )
        raise UserError(f"one network needs images of one shape and one number of classes: {shown}")
    return found


def train(configs: Mapping[str, ConfigDict], workdir: Path, *, quiet: bool) -> dict[str, Ticket]:
    """Trains a mask for each task, in ``workdir/task_00`` and so on; what is finished stays.

    Raises:
      UserError: as `experiment.run`.
    """
    points, found = Points(len(configs)), {}
    for index, (name, config) in enumerate(configs.items()):
        _log.info("task %s: %s", next(points), name)
        folder = Workdir(workdir / f"task_{index:02d}")
        experiment.run(config, folder.path, quiet=quiet)
        found[name] = load_ticket(folder.ticket)
    return found


def accuracies(tickets: Mapping[str, Ticket], tests: Mapping[str, Split]) -> np.ndarray:
    """Returns the accuracy of every task's network (rows) on every task's images, [k, k]."""
    measure = measurer(next(iter(tickets.values())))
    rows = [[measure(ticket, *test) for test in tests.values()] for ticket in tickets.values()]
    return np.array(rows)


def inferred(
    tickets: Mapping[str, Ticket],
    weights: Mapping[str, np.ndarray],
    tests: Mapping[str, Split],
    images: int,
    rule: str = "one_shot",
) -> dict[str, np.ndarray]:
    """Finds the task of single images by the entropy of superposed masks.

    Args:
      tickets: task -> network.
      weights: name -> frozen weights [*shape], which all of them mask.
      tests: task -> its images.
      images: how many of each task, the first of its test set.
      rule: as in `infer_task`.

    Returns:
      Task -> index of the task that each image is taken for, int32 [images].

    Raises:
      UserError: the tasks do not share all that is not masked, such as batch statistics.
    """
    one = next(iter(tickets.values()))
    if any(ticket.params or ticket.batch_stats for ticket in tickets.values()):
        raise UserError("the task is inferred where nothing but masks differs between tasks")
    masks = [nested(factors(ticket, weights)) for ticket in tickets.values()]
    tree, module = nested(weights), model(one)

    @jax.jit
    def infer(images: jax.Array) -> jax.Array:
        def of_one(image: jax.Array) -> jax.Array:
            x = preprocess(one, image[None], jnp)
            logits_fn = lambda params: module.apply({"params": params}, x)  # noqa: E731
            return infer_task(logits_fn, tree, masks, rule)

        return jax.lax.map(of_one, images)

    return {name: np.asarray(infer(test.images[:images])) for name, test in tests.items()}
