"""``supermask inspect``: a run or a ticket layer by layer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from supermask_jax.analysis.tables import Table
from supermask_jax.commands import places
from supermask_jax.commands.common import guarded
from supermask_jax.tickets.comparison import Counts, count_layers, total

_EPILOG = """\
positive, hidden and negative count the signs of the effective weights: the ternary network.
flipped: kept weights of another sign than at the start, which a ticket alone does not know: "-".
dead: units that no kept weight leads to. unread: units that no kept weight of the next layer takes;
known of chains of layers only.
"""

_COLUMNS = ("layer", "shape", "weights", "positive", "hidden", "negative", "density", "flipped",
            "units", "dead", "unread")  # fmt: skip


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _row(name: str, shape: str, counts: Counts) -> tuple[str, ...]:
    return (
        name, shape, _number(counts.size), _number(counts.positive), _number(counts.hidden),
        _number(counts.negative), f"{counts.density:.2%}", _number(counts.flipped),
        _number(counts.units), _number(counts.dead), _number(counts.unread),
    )  # fmt: skip


def table(found: places.Found, counts: Mapping[str, Counts]) -> str:
    """Returns the layers as a table of text, with a row of their sums."""
    layers = found.ticket.layers
    rows = [_row(name, " x ".join(map(str, layers[name].shape)), c) for name, c in counts.items()]
    return Table(_COLUMNS, rows, _row("total", "", total(counts))).text()


def _act(argv: Sequence[str]) -> None:
    parser = places.place_parser("inspect", "Shows a run or a ticket layer by layer.", _EPILOG)
    args = parser.parse_args(argv)
    found = places.find(*args.places, args.seed)
    ticket, counts = found.ticket, count_layers(*found)
    if args.json:
        layers = {
            name: {"shape": list(ticket.layers[name].shape), **c._asdict(), "hidden": c.hidden,
                   "density": c.density}
            for name, c in counts.items()
        }  # fmt: skip
        print(json.dumps(places.about(ticket) | {"layers": layers}, indent=2))
        return
    model = ticket.model.get("name", "unknown model")
    print(f"{args.places[0]}: {ticket.method or 'unknown method'} on {model}")
    print(f"accuracy   {places.accuracy_text(ticket)}")
    print(f"remaining  {places.remaining_text(ticket)}")
    if counts:
        print(table(found, counts))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
