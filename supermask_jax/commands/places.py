"""What is at a PLACE of a command line: the ticket of a run's work folder, or of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from supermask_jax import tickets
from supermask_jax.errors import UserError, expanded


class Found(NamedTuple):
    """What is at a place.

    Attributes:
      ticket: of the run, or the ticket itself.
      start: name -> weights at the start [*shape]; {} where they are not known.
    """

    ticket: tickets.Ticket
    start: Mapping[str, np.ndarray]


def check_place(place: str) -> Path:
    """Returns the path of a place.

    Raises:
      UserError: nothing is there, or a folder that is no run's.
    """
    path = expanded(place)
    if path.is_file() or (path / "config.json").is_file():
        return path
    if not path.is_dir():
        raise UserError(f"there is no work folder and no ticket {place}")
    raise UserError(f"{place} holds no run: give its work folder, or the file of a ticket")


def find(place: str, seed: int | None = None) -> Found:
    """Reads the ticket of a place, and the weights that its run started from.

    Raises:
      UserError: there is no run or ticket, or it cannot be read.
    """
    path = check_place(place)
    if path.is_file():
        return Found(tickets.load_ticket(path), {})
    from supermask_jax.commands import restore  # Here and not at the top: tickets need no JAX.

    ticket, start = restore.ticket_of(path, seed)
    return Found(ticket, start or _level_start(path))


def _level_start(path: Path) -> dict[str, np.ndarray]:
    """Returns the weights that a level of pruning descends from, if they are at hand."""
    file = path.resolve().parent.parent / "level_00" / "weights_at_0.npz"
    if not file.is_file():
        return {}
    from supermask_jax.training.arrays import read_arrays

    arrays = read_arrays(file)
    return {name.removeprefix("params/"): array for name, array in arrays.items()}


def about(ticket: tickets.Ticket) -> dict[str, Any]:
    """Returns what a ticket is, for JSON."""
    return {
        "method": ticket.method,
        "model": dict(ticket.model),
        "density": ticket.density,
        "weights": sum(layer.size for layer in ticket.layers.values()),
        "accuracy": dict(ticket.accuracy),
        "sha256": tickets.digest(ticket),
    }
