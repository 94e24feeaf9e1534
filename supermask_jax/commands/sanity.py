"""``supermask sanity``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from supermask_jax.commands.common import PLACES_EPILOG, add_places, at_least
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict

    from supermask_jax.analysis.intervals import Interval
    from supermask_jax.commands.places import Found
    from supermask_jax.tickets import Ticket

EPILOG = f"""\
{PLACES_EPILOG}
The accuracy of the ticket on its test set stands beside what is left of it when a part is
replaced: its masks shuffled in each layer (shuffled); their signs alone (signs shuffled, of masks
that invert); what they hide kept instead (inverted); masks drawn at the densities of the layers
(random); the frozen weights drawn from other seeds (redrawn). Nothing is trained anew. Intervals of
95 % are over draws, those of one network over the test images (Wilson).
"""

EXAMPLES = (
    "sanity runs/quickstart-s0 --draws=10",
    "sanity tickets/fcn-sparse.safetensors --data_dir=data",
)

_DRAWS = "how many networks each check draws (default: 5)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_places(parser)
    add = parser.add_argument
    add("--draws", type=at_least(1), default=5, metavar="NUMBER", help=_DRAWS)
    add("--data_dir", metavar="FOLDER", help="where prepared data sets lie")


def run(args: argparse.Namespace) -> None:
    """Measures the ticket of a place, and what chance makes of it."""
    from supermask_jax.analysis.intervals import percent
    from supermask_jax.analysis.tables import Table
    from supermask_jax.commands import places

    (place,) = args.places
    checks = measured(places.find(place, args.seed), args.draws, args.data_dir)
    if args.json:
        told = {
            name: {"accuracies": values, "mean": row.mean, "low": row.low, "high": row.high}
            for name, (values, row) in checks.rows.items()
        }
        print(json.dumps({"place": place, "images": checks.images, "checks": told}, indent=2))
        return
    cells = [(name, percent(row), str(len(found))) for name, (found, row) in checks.rows.items()]
    print(Table((f"{checks.images:,} test images", "accuracy %", "draws"), cells).text())


class Checks(NamedTuple):
    """What is left of a ticket under each check.

    Attributes:
      images: of the test set, that each network was measured on.
      rows: check -> (accuracy of each draw, mean with 95 % interval); the first is the ticket.
    """

    images: int
    rows: Mapping[str, tuple[list[float], Interval]]


def measured(found: Found, draws: int, data_dir: str | None = None) -> Checks:
    """Measures the ticket of a place under every check.

    Args:
      found: from `places.find`.
      draws: how many networks a check draws.
      data_dir: where prepared data sets lie; None: where the run found them.

    Raises:
      UserError: it has no mask, its weights were trained, or its data are not there.
    """
    from supermask_jax.analysis.intervals import mean_interval, share_interval
    from supermask_jax.commands import restore
    from supermask_jax.tickets.exports import measurer
    from supermask_jax.training.environment import fixed_settings

    with fixed_settings():
        config = _config(found.ticket, data_dir)
        test, measure = restore.test_part(config), measurer(found.ticket)
        images = len(test.labels)
        shown: dict[str, list[float]] = {}
        for name, ticket in _variants(found.ticket, found.start, config, draws):
            shown.setdefault(name, []).append(measure(ticket, *test))
    rows = {
        name: (x, share_interval(x[0], images) if len(x) == 1 else mean_interval(x))
        for name, x in shown.items()
    }
    return Checks(images, rows)


def _config(ticket: Ticket, data_dir: str | None) -> ConfigDict:
    from supermask_jax.commands.restore import full_config

    if not ticket.layers:
        raise UserError("the network is dense: it has no mask to check")
    if not ticket.config:
        raise UserError("the ticket does not hold the settings of its run: give its work folder")
    if "recipe" in ticket.config:
        raise UserError(
            "the weights of a level of pruning are trained, and so are those of its checks: run "
            "supermask lottery with --mask1=rewind,reinit and --criteria=large_final,random"
        )
    config = full_config(dict(ticket.config))
    if data_dir:
        config.data.data_dir = data_dir
    return config


def _variants(
    ticket: Ticket, start: Mapping[str, np.ndarray], config: ConfigDict, draws: int
) -> Iterator[tuple[str, Ticket]]:
    """Yields (check, a network of it); the first is the ticket itself."""
    from supermask_jax.experiment import drawn_weights
    from supermask_jax.tickets import sanity

    weights = start or drawn_weights(_of_seed(config, config.seed))
    masks = sanity.factors(ticket, weights)
    yield "ticket", sanity.combined(ticket, weights, masks)
    invert = any((mask < 0).any() for mask in masks.values())
    for name in sanity.CHECKS:
        if name == "signs shuffled" and not invert:
            continue
        for seed in range(1 if name == "inverted" else draws):
            yield name, sanity.checked(name, ticket, weights, masks, seed)
    for seed in range(1, draws + 1):
        weights = drawn_weights(_of_seed(config, config.seed + seed))
        yield "redrawn", sanity.combined(ticket, weights, masks)


def _of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed, config.num_seeds = seed % 2**32, 1
    return config
