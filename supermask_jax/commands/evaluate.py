"""``supermask evaluate``."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import PLACES_EPILOG, add_places
from supermask_jax.commands.ticket import check_stored
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from supermask_jax.data.pipeline import Examples
    from supermask_jax.tickets import Ticket
    from supermask_jax.training.sharding import Layout
    from supermask_jax.training.streaming import Stream

EPILOG = f"""\
{PLACES_EPILOG}
The accuracy comes with its 95 % interval over the images (Wilson). Where the place holds an
accuracy on the same images, the two must agree, or the exit status is 1. val and train are the
parts that the run made of the training set.
"""
EXAMPLES = (
    "evaluate runs/quickstart-s0",
    "evaluate tickets/fcn-sparse.safetensors --split=test --json",
)

_log = logging.getLogger("supermask_jax")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_places(parser)
    add = parser.add_argument
    add("--data", metavar="NAME", help="data set (default: the run's)")
    splits = ("test", "val", "train")
    add("--split", choices=splits, default="test", help="which part of it (default: test)")
    add("--data_dir", metavar="FOLDER", help="where prepared data sets lie")


def run(args: argparse.Namespace) -> None:
    """Measures what is at a place, and compares that with what it stores."""
    from supermask_jax.analysis.intervals import percent, share_interval
    from supermask_jax.commands import places
    from supermask_jax.data.datasets import check_name
    from supermask_jax.training.environment import fixed_settings
    from supermask_jax.training.workdir import Workdir

    if args.data:
        check_name(args.data)
    (place,) = args.places
    path = places.check_place(place)
    with fixed_settings():
        # A level of pruning is kept as weights, and not as a state of training.
        if path.is_dir() and "recipe" not in Workdir(path).read_config():
            found = _measure_run(path, args)
        else:
            found = _measure_ticket(places.find(place, args.seed).ticket, args)
    interval = share_interval(found["accuracy"], found["images"])
    if args.json:
        bounds = {"low": interval.low, "high": interval.high}
        print(json.dumps({"place": place, "split": args.split, **found, **bounds}, indent=2))
    else:
        print(f"accuracy   {percent(interval)} % on {args.split}, n = {found['images']:,}")
        note = f"; means over {found['sampled']} sampled masks" if found["sampled"] else ""
        print(f"remaining  {100 * found['remaining']:.2f} %{note}")
    if (stored := found["stored"]) is not None:
        check_stored(place, stored, found["accuracy"])
        if not args.json:
            print(f"stored     {100 * stored:.2f} %: they agree")


def _examples(config: ConfigDict, layout: Layout, args: Any) -> Examples | Stream:
    """Returns a split, on the devices, of the data set of the flags, or else of the config."""
    from supermask_jax import experiment
    from supermask_jax.data import spec_of

    if args.data_dir:
        config.data.data_dir = args.data_dir
    if args.data and args.data != config.data.name:
        own = spec_of(config.data)
        config.data.name, config.data.subset, config.data.digest = args.data, 0, ""
        other = spec_of(config.data)
        if (other.image_shape, other.num_classes) != (own.image_shape, own.num_classes):
            raise UserError(
                f"{args.data} does not fit: the network takes images of "
                f"{' x '.join(map(str, own.image_shape))} and knows {own.num_classes} classes"
            )
    splits = experiment.split_data(experiment.load_data(config), config, layout)
    if (found := getattr(splits, args.split)) is None:
        raise UserError("the run trained on the whole training set: there is no split 'val'")
    return found


def _measure_run(path: Path, args: Any) -> dict[str, Any]:
    """Measures a run: means over masks where its method samples them.

    Returns:
      {"accuracy", "remaining": density, "images": how many, "sampled": how many masks, or 0,
      "stored": the accuracy that the place holds for the same images, or None}.
    """
    from supermask_jax.commands.restore import full_config, restore
    from supermask_jax.training.evaluate import make_evaluate
    from supermask_jax.training.streaming import size_of

    run = restore(path, args.seed)
    config = full_config(run.saved)
    # Where the files lie changes nothing.
    own = config.data.name, config.data.subset
    examples = _examples(config, run.job.layout, args)
    found = make_evaluate(run.job)(run.state, run.frozen, examples, "")[run.index]
    same = args.split == "test" and own == (config.data.name, config.data.subset)
    if not run.summary:
        _log.info("the run is not finished: this is its newest checkpoint")
    return {
        "accuracy": found["_accuracy"],
        "remaining": found["remaining_weights"],
        "images": size_of(examples),
        "sampled": run.job.method.eval_samples,
        "stored": run.summary.get("test_accuracy") if same else None,
    }


def _measure_ticket(ticket: Ticket, args: Any) -> dict[str, Any]:
    """Returns the same as `_measure_run`, of a ticket."""
    from supermask_jax.commands.restore import full_config
    from supermask_jax.training.sharding import one_device
    from supermask_jax.training.streaming import size_of

    known = ticket.accuracy
    config = full_config(dict(ticket.config))
    if not ticket.config:
        if not (known or args.data):
            raise UserError("the ticket does not say what it was trained on: give --data")
        config.data.name, config.protocol = known.get("data", args.data), "paper"
    examples = _examples(config, one_device(), args)
    count = size_of(examples)
    measured = {"data": config.data.name, "split": args.split, "images": count}
    same = all(known.get(name) == value for name, value in measured.items())
    return {
        "accuracy": _accuracy(ticket, examples),
        "remaining": ticket.density,
        "images": count,
        "sampled": 0,
        "stored": known["value"] if same else None,
    }


def _accuracy(ticket: Ticket, examples: Examples | Stream) -> float:
    from supermask_jax import tickets
    from supermask_jax.tickets.chain import CHAINS
    from supermask_jax.tickets.exports import measurer
    from supermask_jax.training.streaming import on_host

    chain = ticket.model.get("name") in CHAINS
    measure = tickets.accuracy if chain else measurer(ticket)
    found = [(measure(ticket, *part), len(part[1])) for part in on_host(examples)]
    correct = sum(round(share * count) for share, count in found)
    return correct / sum(count for _, count in found)
