"""``supermask ticket``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import add_json
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    from supermask_jax.tickets import Ticket
    from supermask_jax.tickets.comparison import Overlap

# What an action found, as JSON and as text.
Answer = tuple[dict[str, Any], str]

# Logits that are equal within float32 rounding may be told apart otherwise elsewhere.
TOLERATED = 5e-4

EPILOG = """\
verify checks the digest, and with --data the stored accuracy; size compares ways of storing the
network; compare shows the overlap of two masks beside what chance gives; table writes Markdown.
"""
EXAMPLES = (
    "ticket verify tickets/fcn-sparse.safetensors --data=mnist",
    "ticket size tickets/fcn-sparse.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("action", choices=sorted(_ACTIONS), help="what to do")
    add("files", nargs="+", metavar="FILE", help="tickets; compare takes two, table any number")
    add("--data", metavar="NAME", help="verify: the data set to measure the accuracy on")
    add("--data_dir", metavar="FOLDER", help="verify: where prepared data sets lie")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Does what the action says."""
    number, action = _ACTIONS[args.action]
    if number and len(args.files) != number:
        raise UserError(f"{args.action} takes {number} ticket{'s' * (number > 1)}; see --help")
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


def _inspect(args: argparse.Namespace, path: str) -> Answer:
    from supermask_jax import tickets
    from supermask_jax.tickets import card

    ticket = tickets.load_ticket(path)
    model = ", ".join(f"{name} {value}" for name, value in ticket.model.items())
    about = {
        "file": f"{path}, {card.ticket_file(path).stat().st_size:,} bytes",
        **card.about(ticket),
        "model": model,
        "preprocessing": ", ".join(f"{k} {v}" for k, v in ticket.preprocessing.items()),
        "method": ticket.method,
        "made with": ", ".join(f"{k} {v}" for k, v in ticket.versions.items()),
        "SHA-256": tickets.digest(ticket),
        "free arrays": ", ".join([*ticket.params, *ticket.batch_stats]) or "none",
    }
    text = "\n".join([*(f"{name:14} {text}" for name, text in about.items()), _layers(ticket)])
    fields = ("num_classes", "image_shape", "preprocessing", "versions", "config")
    return _about(path, ticket) | {name: getattr(ticket, name) for name in fields}, text


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
    return {"file": path, "bytes": in_bytes, "entropy_bound": float(bound)}, text


def _compare(args: argparse.Namespace, first: str, second: str) -> Answer:
    from supermask_jax import tickets

    overlaps = tickets.compare(tickets.load_ticket(first), tickets.load_ticket(second))
    return overlap_json(overlaps), overlap_table(overlaps)


def overlap_json(overlaps: Mapping[str, Overlap]) -> dict[str, Any]:
    """Returns what `tickets.compare` found as JSON has it."""
    return {
        name: found._asdict() | {"deviations": found.deviations, "jaccard": found.jaccard}
        for name, found in overlaps.items()
    }


def overlap_table(overlaps: Mapping[str, Overlap]) -> str:
    """Returns what `tickets.compare` found as a table of text."""
    from supermask_jax.analysis.tables import Table

    head = ("layer", "kept", "both", "by chance", "deviations", "Jaccard", "same sign")
    rows = [
        (
            name,
            " / ".join(f"{k:,}" for k in found.kept),
            f"{found.both:,}",
            f"{found.expected:,.1f} +- {found.std:.1f}",
            f"{found.deviations:+.1f}",
            f"{found.jaccard:.3f}",
            f"{found.same_sign / max(found.both, 1):.1%}",
        )
        for name, found in overlaps.items()
    ]
    return Table(head, rows).text()


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
        dense = 4 * sum(layer.size for layer in ticket.layers.values())
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


# How many tickets each takes; 0 is any number.
_ACTIONS: dict[str, tuple[int, Callable[..., Answer]]] = {
    "verify": (1, _verify),
    "inspect": (1, _inspect),
    "size": (1, _size),
    "table": (0, _table),
    "compare": (2, _compare),
}
