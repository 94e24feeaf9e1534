"""``supermask evaluate``: the accuracy of a run or a ticket, measured anew."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from supermask_jax import experiment, tickets
from supermask_jax.analysis.intervals import percent, share_interval
from supermask_jax.commands import export, places
from supermask_jax.commands.common import guarded
from supermask_jax.commands.ticket import TOLERATED
from supermask_jax.config import default_config
from supermask_jax.data import DATASETS
from supermask_jax.errors import UserError, unknown_name
from supermask_jax.tickets.chain import CHAINS
from supermask_jax.tickets.exports import forward
from supermask_jax.training.environment import fixed_settings
from supermask_jax.training.evaluate import Examples, make_evaluate
from supermask_jax.training.sharding import Layout, one_device
from supermask_jax.training.workdir import Workdir

SPLITS = ("test", "val", "train")

_EPILOG = """\
The accuracy comes with its 95 % interval over the images (Wilson). Where the place holds an
accuracy on the same images, the two must agree, or the exit status is 1. val and train are the
parts that the run made of the training set.
"""

_BATCH = 500

_log = logging.getLogger("supermask_jax")


class Measured(NamedTuple):
    """What was found on some images."""

    accuracy: float
    remaining: float  # density, of sampled masks their mean
    images: int
    sampled: int  # masks that were sampled, whose means these are; 0 of a method that samples none
    stored: float | None  # the accuracy that the place holds for the same images


def _examples(config: ConfigDict, layout: Layout, split: str) -> Examples:
    """Returns a split of the data of a config on the devices."""
    found = getattr(experiment.split_data(experiment.load_data(config), config, layout), split)
    if found is None:
        raise UserError("the run trained on the whole training set: there is no split 'val'")
    return found


def _with_data(config: ConfigDict, args: Any) -> ConfigDict:
    """Returns the config with the data set that the flags name, if they do."""
    own = DATASETS[config.data.name]
    if args.data_dir:
        config.data.data_dir = args.data_dir
    if args.data and args.data != config.data.name:
        other = DATASETS[args.data]
        if (other.image_shape, other.num_classes) != (own.image_shape, own.num_classes):
            raise UserError(
                f"{args.data} does not fit: the network takes images of "
                f"{' x '.join(map(str, own.image_shape))} and knows {own.num_classes} classes"
            )
        config.data.name, config.data.subset = args.data, 0
    return config


@fixed_settings()
def _measure_run(path: Path, args: Any) -> Measured:
    run = export.restore(path, args.seed)
    own = export.full_config(run.saved)
    config = _with_data(own.copy_and_resolve_references(), args)
    examples = _examples(config, run.job.layout, args.split)
    rows = make_evaluate(run.job)(run.state, run.frozen, examples, "")
    found = rows[run.index]
    # Where the files lie changes nothing.
    kind = lambda data: (data.name, data.subset)  # noqa: E731
    same = args.split == "test" and kind(config.data) == kind(own.data)
    stored = run.summary.get("test_accuracy") if same else None
    if not run.summary:
        _log.info("the run is not finished: this is its newest checkpoint")
    return Measured(
        found["_accuracy"], found["remaining_weights"], len(examples.labels),
        run.job.method.eval_samples, stored,
    )  # fmt: skip


@fixed_settings()
def _measure_ticket(ticket: tickets.Ticket, args: Any) -> Measured:
    known = ticket.accuracy
    if ticket.config:
        config = export.full_config(dict(ticket.config))
    elif known or args.data:
        config = default_config()
        config.data.name, config.protocol = known.get("data", args.data), "paper"
    else:
        raise UserError("the ticket does not say what it was trained on: give --data")
    config = _with_data(config, args)
    examples = _examples(config, one_device(), args.split)
    images, labels = np.asarray(examples.images), np.asarray(examples.labels)
    same = (config.data.name, args.split, len(labels)) == tuple(
        known.get(name) for name in ("data", "split", "images")
    )
    return Measured(
        _accuracy(ticket, images, labels), ticket.density, len(labels), 0,
        known["value"] if same else None,
    )  # fmt: skip


def _accuracy(ticket: tickets.Ticket, images: np.ndarray, labels: np.ndarray) -> float:
    if ticket.model.get("name") in CHAINS:
        return tickets.accuracy(ticket, images, labels)
    call = jax.jit(forward(ticket))
    starts = range(0, len(images), _BATCH)
    right = sum(
        int(np.sum(np.argmax(call(images[i : i + _BATCH]), -1) == labels[i : i + _BATCH]))
        for i in starts
    )
    return right / len(images)


def _act(argv: Sequence[str]) -> None:
    parser = places.place_parser("evaluate", "Measures the accuracy of a network.", _EPILOG)
    add = parser.add_argument
    add("--data", metavar="NAME", help="data set (default: the run's)")
    add("--split", choices=SPLITS, default="test", help="which part of it (default: test)")
    add("--data_dir", metavar="FOLDER", help="where prepared data sets lie")
    args = parser.parse_args(argv)
    if args.data and args.data not in DATASETS:
        raise unknown_name("data set", args.data, DATASETS)
    (place,) = args.places
    path = places.check_place(place)
    # A level of pruning is kept as weights, and not as a state of training.
    if path.is_dir() and "recipe" not in Workdir(path).read_config():
        found = _measure_run(path, args)
    else:
        found = _measure_ticket(places.find(place, args.seed).ticket, args)
    _tell(place, found, args)


def _tell(place: str, found: Measured, args: Any) -> None:
    interval = share_interval(found.accuracy, found.images)
    if args.json:
        what = {"place": place, "split": args.split, **found._asdict(), "low": interval.low,
                "high": interval.high}  # fmt: skip
        print(json.dumps(what, indent=2))
    else:
        print(f"accuracy   {percent(interval)} % on {args.split}, n = {found.images:,}")
        note = f"; means over {found.sampled} sampled masks" if found.sampled else ""
        print(f"remaining  {100 * found.remaining:.2f} %{note}")
    if found.stored is not None:
        if abs(found.stored - found.accuracy) > TOLERATED:
            raise UserError(
                f"{place} says {found.stored:.4%} and has {found.accuracy:.4%}: it is not the "
                "network that was measured, or this device computes otherwise"
            )
        if not args.json:
            print(f"stored     {100 * found.stored:.2f} %: they agree")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
