"""``supermask inspect``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from supermask_jax.commands.common import PLACES_EPILOG, add_places

if TYPE_CHECKING:
    from supermask_jax.tickets import Ticket
    from supermask_jax.tickets.comparison import Counts

EPILOG = f"""\
{PLACES_EPILOG}
positive, hidden and negative count the signs of the effective weights: the ternary network.
flipped: kept weights of another sign than at the start, which a ticket alone does not know: "-".
dead: units that no kept weight leads to. unread: units that no kept weight of the next layer takes;
known of chains of layers only.
"""
EXAMPLES = ("inspect runs/quickstart-s0", "inspect fcn-sparse --json")

_COUNTS = "size positive hidden negative density flipped units dead unread".split()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_places(parser)


def run(args: argparse.Namespace) -> None:
    """Prints what is at a place, layer by layer."""
    from supermask_jax.analysis.tables import Table
    from supermask_jax.commands import places
    from supermask_jax.tickets import card
    from supermask_jax.tickets.comparison import count_layers, total

    found = places.find(*args.places, args.seed)
    ticket, counts = found.ticket, count_layers(*found)
    shapes = {name: ticket.layers[name].shape for name in counts}
    if args.json:
        layers = {
            name: {"shape": shapes[name], **c._asdict(), "hidden": c.hidden, "density": c.density}
            for name, c in counts.items()
        }
        more = {"versions": dict(ticket.versions), "config": dict(ticket.config)}
        print(json.dumps(places.about(ticket) | more | {"layers": layers}, indent=2))
        return
    print(f"{args.places[0]}: {ticket.method or 'unknown method'} on {places.model_text(ticket)}")
    told = card.about(ticket)
    for name, text in _described(ticket, told["licence"]):
        print(f"{name:10} {text}")
    stored = "" if ticket.accuracy else places.sampled_text(args.places[0], args.seed)
    masks = " for the most probable masks, of which the rest is told" if stored else ""
    print(f"accuracy   {told['accuracy']}{masks}")
    if stored:
        print(f"stored     {stored}")
    print(f"remaining  {told['remaining']}")
    if counts:
        head = ("layer", "shape", "weights", *_COUNTS[1:])
        rows = [(name, " x ".join(map(str, shapes[name])), *_row(c)) for name, c in counts.items()]
        print(Table(head, rows, ("total", "", *_row(total(counts)))).text())


def _described(ticket: Ticket, licence: str) -> Iterator[tuple[str, str]]:
    """Yields what a ticket says of itself beside its layers."""
    from supermask_jax import tickets

    shape = " x ".join(map(str, ticket.image_shape))
    prepared = ", ".join(f"{key} {value}" for key, value in ticket.preprocessing.items())
    yield "images", f"{shape}, {ticket.num_classes} classes, {prepared.removeprefix('name ')}"
    yield "made with", ", ".join(map(" ".join, ticket.versions.items())) or "unknown versions"
    yield "licence", licence
    yield "SHA-256", tickets.digest(ticket)
    if free := [*ticket.params, *ticket.batch_stats]:
        yield "free", ", ".join(free)


def _row(counts: Counts) -> list[str]:
    values = {name: getattr(counts, name) for name in _COUNTS}
    return [
        "-" if value is None else f"{value:.2%}" if name == "density" else f"{value:,}"
        for name, value in values.items()
    ]
