"""``supermask compare``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import PLACES_EPILOG, add_places
from supermask_jax.commands.ticket import overlap_json, overlap_table
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    from supermask_jax.tickets import Ticket

EPILOG = f"""\
{PLACES_EPILOG}
Accuracies come with 95 % intervals over the test images (Wilson). Masks are compared with two that
were drawn at random with as many weights; same sign: share of the weights kept by both whose
effective weights agree in sign.
"""
EXAMPLES = (
    "compare runs/quickstart-s0 runs/quickstart-s1",
    "compare tickets/fcn-best.safetensors tickets/fcn-sparse.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_places(parser, number=2)


def run(args: argparse.Namespace) -> None:
    """Prints two places side by side."""
    from supermask_jax import tickets
    from supermask_jax.analysis.tables import Table
    from supermask_jax.commands import places
    from supermask_jax.tickets import card

    a, b = pair = [places.find(place, args.seed).ticket for place in args.places]
    overlaps, why_none = {}, "one of them is dense: there are no masks to compare"
    if a.layers and b.layers:
        try:
            overlaps, why_none = tickets.compare(a, b), ""
        except UserError as error:
            why_none = str(error)
    if args.json:
        print(_as_json(pair, overlaps))
        return
    rows = [
        ("method", *(t.method or "unknown" for t in pair)),
        ("model", *map(_model, pair)),
        *((name, *(card.about(t)[name] for t in pair)) for name in ("accuracy", "remaining")),
    ]
    print(Table(("", *args.places), rows).text())
    print("\n".join(["", *config_lines(a, b), ""]))
    print(why_none or overlap_table(overlaps))


def _model(ticket: Ticket) -> str:
    options = dict(ticket.model)
    name = options.pop("name", "unknown")
    return ", ".join([name, *(f"{key} {value}" for key, value in options.items() if value)])


def config_lines(a: Ticket, b: Ticket) -> list[str]:
    """Returns the differing entries of the configs of two tickets, each as ``key: a -> b``."""
    from supermask_jax.config.files import default_identity
    from supermask_jax.run_files import flat
    from supermask_jax.training.workdir import config_differences

    if not (a.config and b.config):
        return ["config: not known of both"]
    defaults, old, new = map(flat, (default_identity(), a.config, b.config))
    # Either may be of an older version, and lack entries.
    new = {key: defaults[key] for key in old.keys() & defaults.keys()} | new
    lines = config_differences(old, new, defaults)
    head = f"config: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}"
    return [head, *(f"  {line}" for line in lines)]


def _as_json(pair: Sequence[Ticket], overlaps: Mapping[str, Any]) -> str:
    from supermask_jax.analysis.intervals import share_interval
    from supermask_jax.commands import places

    found = []
    for ticket in pair:
        known = ticket.accuracy
        shown = share_interval(known["value"], known["images"])[1:3] if known else None
        found.append(places.about(ticket) | {"accuracy_interval": shown})
    return json.dumps({"places": found, "layers": overlap_json(overlaps)}, indent=2)
