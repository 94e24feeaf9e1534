"""``supermask ticket``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import add_json
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    from supermask_jax.tickets import Ticket

# What an action found, as JSON and as text.
Answer = tuple[dict[str, Any], str]

# Logits that are equal within float32 rounding may be told apart otherwise elsewhere.
TOLERATED = 5e-4

EPILOG = """\
verify checks the digest, and with --data the stored accuracy; size compares ways of storing the
network; table writes Markdown. See also supermask inspect and supermask compare.
"""
EXAMPLES = (
    "ticket verify tickets/fcn-sparse.safetensors --data=mnist",
    "ticket size tickets/fcn-sparse.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("action", choices=sorted(_ACTIONS), help="what to do")
    add("files", nargs="+", metavar="FILE", help="tickets; table takes any number")
    add("--data", metavar="NAME", help="verify: the data set to measure the accuracy on")
    add("--data_dir", metavar="FOLDER", help="verify: where prepared data sets lie")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Does what the action says."""
    action = _ACTIONS[args.action]
    if action is not _table and len(args.files) != 1:
        raise UserError(f"{args.action} takes one ticket; see supermask ticket --help")
    found, text = action(args, *args.files)
    print(json.dumps(found, indent=2) if args.json else text)


def check_stored(place: str, stored: float, found: float) -> None:
    """Raises UserError unless the accuracy stored at a place is the one that was measured."""
    if abs(found - stored) > TOLERATED:
        raise UserError(
            f"{place} stores an accuracy of {stored:.4%}, but {found:.4%} was measured: the stored "
            "one is wrong, or this device computes something else"
        )


def _layers(ticket: Ticket) -> str:
    from supermask_jax.analysis.tables import Table

    rows = []
    for name, layer in ticket.layers.items():
        shape = " x ".join(map(str, layer.shape))
        kept = len(layer.positions)
        rows.append((name, shape, f"{layer.size:,}", f"{kept:,}", f"{layer.density:.3%}"))
    return Table(("layer", "shape", "weights", "kept", "density"), rows).text()


def _about(path: str, ticket: Ticket) -> dict[str, Any]:
    from supermask_jax.commands.places import about

    layers = {
        name: {"shape": layer.shape, "kept": len(layer.positions), "density": layer.density}
        for name, layer in ticket.layers.items()
    }
    return {"file": path, **about(ticket), "layers": layers}


def _verify(args: argparse.Namespace, path: str) -> Answer:
    from supermask_jax import tickets

    ticket = tickets.load_ticket(path)
    found = _about(path, ticket)
    lines = [
        f"{path}: whole, SHA-256 of its weights {found['sha256']}",
        f"{ticket.density:.4%} of the masked weights are kept",
        _layers(ticket),
    ]
    if args.data is None:
        return found, "\n".join(lines)
    if not ticket.accuracy:
        raise UserError(f"{path} stores no accuracy: see supermask export --measure")
    stored, split = ticket.accuracy["value"], ticket.accuracy["split"]
    if args.data != ticket.accuracy["data"]:
        raise UserError(f"the accuracy stored is that on {ticket.accuracy['data']!r}")
    from supermask_jax.data import load

    examples = getattr(load(args.data, data_dir=args.data_dir), split)
    some = slice(ticket.accuracy["images"])
    measured = tickets.accuracy(ticket, examples.images[some], examples.labels[some])
    check_stored(path, stored, measured)
    lines.append(f"accuracy on {args.data} {split}: {measured:.4%}, stored {stored:.4%}")
    return found | {"measured": measured}, "\n".join(lines)


def _size(args: argparse.Namespace, path: str) -> Answer:
    from supermask_jax import tickets
    from supermask_jax.analysis.tables import Table
    from supermask_jax.tickets.card import ticket_file
    from supermask_jax.tickets.comparison import entropy_bound, sizes

    ticket = tickets.load_ticket(path)
    # Of the file itself: its values may be rounded.
    found = sizes(ticket) | {"ticket": ticket_file(path).stat().st_size}
    bound, dense = entropy_bound(ticket), found["dense float32"]
    rows = [
        (name, f"{size:,.0f}", f"1/{dense / size:,.1f}", f"{size / bound:.3f}")
        for name, size in (found | {"entropy bound": bound}).items()
    ]
    text = Table(("stored as", "bytes", "of dense", "over the bound"), rows).text()
    in_bytes = {name: int(size) for name, size in found.items()}
    return {"file": path, "bytes": in_bytes, "entropy_bound": bound}, text


def table(paths: Sequence[str | Path]) -> str:
    """Returns a Markdown table of tickets, each with the command that checks it.

    Raises:
      UserError: a file is no ticket.
    """
    from supermask_jax import tickets
    from supermask_jax.analysis.tables import Table

    head = (
        "ticket",
        "network",
        "method",
        "density %",
        "test accuracy %",
        "bytes",
        "of dense float32",
    )
    rows, commands = [], []
    for path in sorted(map(Path, paths)):
        ticket, size = tickets.load_ticket(path), path.stat().st_size
        dense = 4 * ticket.num_weights
        measured = ticket.accuracy
        accuracy = f"{100 * measured['value']:.2f}" if measured else ""
        rows.append(
            (
                f"`{path.stem}`",
                ticket.model["name"],
                ticket.method,
                f"{100 * ticket.density:.2f}",
                accuracy,
                f"{size:,}",
                f"1/{dense / size:,.0f}",
            )
        )
        data = f" --data={measured['data']}" if measured else ""
        commands.append(f"supermask ticket verify tickets/{path.name}{data}")
    return "\n".join([Table(head, rows).markdown(), "", "```sh", *commands, "```"])


def _table(args: argparse.Namespace, *paths: str) -> Answer:
    from supermask_jax import tickets

    return {path: _about(path, tickets.load_ticket(path)) for path in paths}, table(paths)


_ACTIONS: dict[str, Callable[..., Answer]] = {"verify": _verify, "size": _size, "table": _table}
