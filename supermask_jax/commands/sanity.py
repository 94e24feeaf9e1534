"""``supermask sanity``."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import PLACES_EPILOG, add_places, at_least
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict

    from supermask_jax.tickets import Ticket

_log = logging.getLogger("supermask_jax")

EPILOG = f"""\
{PLACES_EPILOG}
The accuracy of the ticket on its test set stands beside what is left of it when a part is
replaced: its masks shuffled in each layer (shuffled); their signs alone (signs shuffled, of masks
that invert); what they hide kept instead (inverted); masks drawn at the densities of the layers
(random); the frozen weights drawn from other seeds (redrawn). Nothing is trained anew. Intervals of
95 % are over draws, those of one network over the test images (Wilson). In the work folder of a
finished run the result is kept as sanity.json, which its report shows.
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
    from supermask_jax import experiment
    from supermask_jax.analysis.intervals import mean_interval, share_interval
    from supermask_jax.analysis.report.tables import sanity_table
    from supermask_jax.commands import places
    from supermask_jax.tickets.exports import measurer
    from supermask_jax.training.environment import fixed_settings

    (place,) = args.places
    with fixed_settings():
        found = places.find(place, args.seed)
        config = _config(found.ticket, args.data_dir)
        test, measure = experiment.load_data(config).test, measurer(found.ticket)
        images = experiment.examples_used(len(test.labels), config)
        test = test.images[:images], test.labels[:images]
        shown: dict[str, list[float]] = {}
        for name, ticket in _variants(found.ticket, found.start, config, args.draws):
            shown.setdefault(name, []).append(measure(ticket, *test))
    rows = {
        name: share_interval(values[0], images) if len(values) == 1 else mean_interval(values)
        for name, values in shown.items()
    }
    checks = {
        name: {"accuracies": shown[name], "mean": row.mean, "low": row.low, "high": row.high}
        for name, row in rows.items()
    }
    measured = {"images": images, "checks": checks}
    _keep(place, config, measured)
    if args.json:
        print(json.dumps({"place": place, **measured}, indent=2))
    else:
        print(sanity_table(measured).text())


def _keep(place: str, config: ConfigDict, measured: dict[str, Any]) -> None:
    """Writes what was measured into the work folder of a finished run, for its report."""
    from supermask_jax.training.workdir import Workdir

    folder = Workdir(place)
    if not folder.path.is_dir() or folder.finished_summary() is None:
        return
    in_set = folder.read_config().get("num_seeds", 1) > 1
    path = folder.of_seed(folder.sanity, config.seed) if in_set else folder.sanity
    try:
        folder.write_json(path, measured)
    except OSError as error:  # Runs of others can be checked too.
        _log.warning("cannot write %s: %s", path, error.strerror or error)


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
    ticket: Ticket, start: dict[str, np.ndarray], config: ConfigDict, draws: int
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
        yield (
            "redrawn",
            sanity.combined(ticket, drawn_weights(_of_seed(config, config.seed + seed)), masks),
        )


def _of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed, config.num_seeds = seed % 2**32, 1
    return config
