"""The ticket of a run: what the config says of a network, put beside its weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supermask_jax.data import DATASETS
from supermask_jax.errors import UserError
from supermask_jax.methods import Method
from supermask_jax.tickets import Ticket, from_run, save_ticket

PyTree = Any

_log = logging.getLogger("supermask_jax")


def make_ticket(
    config: Mapping[str, Any],
    method: Method,
    params: PyTree,
    masks: PyTree,
    batch_stats: PyTree,
    metrics: Mapping[str, float],
) -> Ticket:
    """Makes the ticket of a finished run.

    Args:
      config: settings of the run as a plain dict, as its ``config.json`` holds them.
      method: the run's.
      params: nested effective parameters of one seed.
      masks: nested masks: what is not 0 is kept.
      batch_stats: nested running statistics, {} without batch norm.
      metrics: where `test_accuracy` is; it is stored if it is that of the ticket itself, and not
        of masks that were sampled.

    Raises:
      UserError: a weight is not finite.
    """
    accuracy = None
    if not method.eval_samples and "test_accuracy" in metrics:
        accuracy = accuracy_on(config["data"], metrics["test_accuracy"])
    return describe(config, params, masks, batch_stats, accuracy=accuracy)


def leave_ticket(path: Path, *args: Any) -> None:
    """Writes `make_ticket(*args)` to `path`; where it cannot be made, says so and leaves none."""
    try:
        save_ticket(path, make_ticket(*args))
    except UserError as error:
        _log.warning("no ticket: %s", error)


def describe(
    config: Mapping[str, Any],
    params: PyTree,
    masks: PyTree,
    batch_stats: PyTree,
    *,
    accuracy: Mapping[str, Any] | None,
) -> Ticket:
    """Makes the ticket of nested NumPy arrays and a config.

    Raises:
      UserError: as `supermask_jax.tickets.from_run`.
    """
    spec = DATASETS[config["data"]["name"]]
    preprocessing = {"name": config["data"].get("preprocess", "standardize")}
    if preprocessing["name"] == "mean_std":
        preprocessing |= {"mean": list(spec.mean), "std": list(spec.std)}
    return from_run(
        params,
        masks,
        batch_stats,
        model=config["model"],
        num_classes=spec.num_classes,
        image_shape=spec.image_shape,
        preprocessing=preprocessing,
        method="lottery" if "recipe" in config else config["method"]["name"],
        config=config,
        accuracy=accuracy,
    )


def accuracy_on(data: Mapping[str, Any], value: float) -> dict[str, Any]:
    """Returns the entry of a ticket for an accuracy on the test split.

    Args:
      data: the section of the config: where it has a `subset`, so many of the first images.
      value: the accuracy, in [0, 1].
    """
    size = DATASETS[data["name"]].test_size
    images = min(size, data.get("subset") or size)
    return {"data": data["name"], "split": "test", "images": images, "value": value}
