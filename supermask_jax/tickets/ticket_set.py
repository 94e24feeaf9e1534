"""Several tickets in one file: of the tasks that one frozen network has learnt.

What they share, such as the names of layers and settings, takes nearly no bytes a second time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from supermask_jax.errors import UserError
from supermask_jax.tickets import file, metadata
from supermask_jax.tickets.ticket import Ticket


def save_tickets(
    path: str | os.PathLike[str], tickets: Mapping[str, Ticket], *, values: str = "float32"
) -> None:
    """Writes tickets to one file.

    Args:
      path: the file.
      tickets: name -> ticket. Those whose weights are drawn from a seed (``without_values``) store
        masks alone.
      values: as in `save_ticket`.

    Raises:
      UserError: there are none, a value is not finite, or the file cannot be written.

    >>> pair = {name: tickets.load_ticket(name) for name in ("fcn-best", "fcn-sparse")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tickets(f"{folder}/pair.safetensors", pair)
    ...     found = load_tickets(f"{folder}/pair.safetensors")
    >>> list(found)
    ['fcn-best', 'fcn-sparse']
    """
    file.write(path, encode_tickets(tickets, values=values))


def encode_tickets(tickets: Mapping[str, Ticket], *, values: str = "float32") -> bytes:
    """Returns the bytes of `save_tickets`.

    Raises:
      UserError: as it.
    """
    if not tickets:
        raise UserError("there is no ticket to save")
    described, tensors = file.encode([file.rounded(t, values) for t in tickets.values()], values)
    content = {"names": list(tickets), "tickets": described}
    return file.container(content, tensors, file.FORMAT_OF_SET)


def load_tickets(path: str | os.PathLike[str]) -> dict[str, Ticket]:
    """Reads the tickets of a file, with NumPy alone, and checks each against its digest.

    Raises:
      UserError: the file cannot be read, is no set of tickets, or is not as it was written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tickets(f"{folder}/one.safetensors", {"mnist": tickets.load_ticket("fcn-sparse")})
    ...     found = load_tickets(f"{folder}/one.safetensors")
    >>> found["mnist"].method
    'signed'
    """
    try:
        described, tensors = file.opened(Path(path).read_bytes(), file.FORMAT_OF_SET)
        names, found = described.get("names"), described.get("tickets")
        lists = isinstance(names, list) and isinstance(found, list)
        if not lists or len(names) != len(found) or {*map(type, names)} - {str}:
            raise UserError("its metadata are not those of tickets with names")
        if len(set(names)) < len(names):
            raise UserError("two of its tickets have one name")
        return dict(
            zip(names, file.decode([metadata.checked(one) for one in found], tensors), strict=True)
        )
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"cannot use tickets {path}: {error}") from error
