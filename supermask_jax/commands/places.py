"""What is at a PLACE of a command line: the ticket of a run's work folder, of a file, or a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from supermask_jax import tickets
from supermask_jax.errors import UserError, expanded
from supermask_jax.tickets.card import ticket_file

_SHOWN = 3


class Found(NamedTuple):
    """What is at a place.

    Attributes:
      ticket: of the run, or the ticket itself.
      start: name -> weights at the start [*shape]; {} where they are not known.
    """

    ticket: tickets.Ticket
    start: Mapping[str, np.ndarray]


def check_place(place: str) -> Path:
    """Returns the path of a place: of a ticket that ships, or is on the Hub, that of its file.

    Raises:
      UserError: nothing is there, or a folder that is no run's; runs below it are named.
    """
    path = expanded(place)
    if path.is_file() or (path / "config.json").is_file():
        return path
    if not path.is_dir():
        try:
            return ticket_file(place)
        except UserError as error:
            raise UserError(f"there is no work folder {place}, and {error}") from error
    runs = sorted(found.parent for found in path.glob("**/config.json"))
    if not runs:
        raise UserError(f"{place} holds no run: give a work folder, or the file of a ticket")
    more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
    raise UserError(
        f"{place} is not the work folder of a run, but there are some in it; give one of them: "
        f"{', '.join(map(str, runs[:_SHOWN]))}{more}"
    )


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


def sampled_text(place: str, seed: int | None = None) -> str:
    """Returns what a finished run of sampled masks has stored; "" of any other place.

    Raises:
      UserError: its files are damaged.
    """
    from supermask_jax.analysis.report.groups import group_runs
    from supermask_jax.analysis.runs import NothingToReport, read_folders
    from supermask_jax.config.files import default_identity

    try:
        path = check_place(place)
        runs = [] if path.is_file() else read_folders([path])
    except NothingToReport:
        return ""
    done = [run for run in runs if run.summary and seed in (None, run.seed)]
    if not done or not (sampled := group_runs(done, default_identity())[0].sampled):
        return ""
    shares = (done[0].summary[name] for name in ("test_accuracy", "remaining_weights"))
    accuracy, remaining = (f"{100 * share:.2f} %" for share in shares)
    return f"{accuracy} on the test images, {remaining} remaining: {sampled}"


def model_text(ticket: tickets.Ticket) -> str:
    """Returns e.g. ``fcn, activation elu, norm none, width 1.0``."""
    options = dict(ticket.model)
    name = options.pop("name", "unknown")
    return ", ".join([name, *(f"{key} {value}" for key, value in options.items() if value)])


def about(ticket: tickets.Ticket) -> dict[str, Any]:
    """Returns what a ticket is, for JSON."""
    return {
        "method": ticket.method,
        "model": dict(ticket.model),
        "num_classes": ticket.num_classes,
        "image_shape": ticket.image_shape,
        "preprocessing": dict(ticket.preprocessing),
        "density": ticket.density,
        "weights": ticket.num_weights,
        "accuracy": dict(ticket.accuracy),
        "sha256": tickets.digest(ticket),
    }
