"""Tickets as a reader sees them: five lines of text, a card in a notebook, and those that ship."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from supermask_jax.analysis.intervals import percent, share_interval
from supermask_jax.errors import UserError, unknown_name
from supermask_jax.tickets.chain import CHAINS

if TYPE_CHECKING:
    from supermask_jax.tickets import Ticket

SHIPPED_LICENSE = "Apache-2.0"  # of the package, and so of the tickets in it
_MOST_LAYERS = 4  # in the text; the card shows all
_MOST_PIXELS = 256  # a side of the picture


def shipped_tickets() -> dict[str, Path]:
    """Returns {name: file} of the tickets that come with the package, those in ``tickets/``.

    >>> shipped_tickets()["fcn-sparse"].name
    'fcn-sparse.safetensors'
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "shipped"
    folder = inside if inside.is_dir() else package.parent / "tickets"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def ticket_file(place: str) -> Path:
    """Returns the file at a place, on the Hub (``hf://OWNER/NAME``), or that ships under a name.

    Raises:
      UserError: there is none.
    """
    if place.startswith("hf://"):
        from supermask_jax.tickets import hub

        return hub.download(place)
    path, shipped = Path(place), shipped_tickets()
    if path.is_file():
        return path
    if path.name != place or path.suffix in (".safetensors", ".npz"):
        raise UserError(f"there is no file {place}")
    if place not in shipped:
        raise unknown_name("ticket", place, shipped)
    return shipped[place]


def usage(ticket: Ticket) -> str:
    """Returns the line of code that runs a ticket."""
    if ticket.model.get("name") in CHAINS:
        return "logits = tickets.predict(ticket, images)  # uint8 [N, H, W, C]; NumPy and SciPy"
    images = "tickets.preprocess(ticket, images)"
    return f"logits = model.apply(tickets.to_variables(ticket), {images})  # uint8 [N, H, W, C]"


def about(ticket: Ticket) -> dict[str, str]:
    """Returns what every form says."""
    shape = " x ".join(map(str, ticket.image_shape))
    known, total, accuracy = ticket.accuracy, ticket.num_weights, "not measured"
    if known:
        shown = percent(share_interval(known["value"], known["images"]))
        accuracy = f"{shown} % on {known['data']} {known['split']}, n = {known['images']:,}"
    kept = f"{ticket.density:.2%} of {total:,} weights" if total else "dense: no weight is masked"
    model = ticket.model.get("name", "an unknown network")
    return {
        "network": f"{model}, images {shape}, {ticket.num_classes} classes",
        "accuracy": accuracy,
        "remaining": kept,
        "licence": ticket.license or "not stated",
    }


def text(ticket: Ticket) -> str:
    """Returns a ticket in five lines: the card says its licence too."""
    layers = [f"{name} {layer.density:.2%}" for name, layer in ticket.layers.items()]
    more = len(layers) - _MOST_LAYERS
    shown = [*layers[:_MOST_LAYERS], *([f"and {more} more"] if more > 0 else [])]
    rows = about(ticket) | {"layers": ", ".join(shown) or "none"}
    del rows["licence"]
    lines = [f"{name:10} {value}" for name, value in rows.items()]
    return "\n".join([f"Ticket of {ticket.method or 'an unknown method'}", *lines])


def html(ticket: Ticket) -> str:
    """Returns a card for notebooks: what `text` says, densities by layer, a mask, how to use it."""
    rows = about(ticket) | {"preprocessing": str(ticket.preprocessing.get("name", "unknown"))}
    cells = [_row(name, value) for name, value in rows.items()]
    cells += [
        _row(name, f"{layer.density:.2%} of {' x '.join(map(str, layer.shape))}")
        for name, layer in ticket.layers.items()
    ]
    title = escape(f"Ticket of {ticket.method or 'an unknown method'}")
    return (
        f"<div><b>{title}</b><table>{''.join(cells)}</table>{_picture(ticket)}"
        f"<pre>{escape(usage(ticket))}</pre></div>"
    )


def _row(name: str, value: str) -> str:
    return f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"


def _picture(ticket: Ticket) -> str:
    """Returns the corner of the first layer's signs as an image; nothing where all are there."""
    from supermask_jax.analysis.report.images import picture, signed_pixels  # Pillow.

    for name, layer in ticket.layers.items():
        signs = np.zeros(layer.size, np.int8)
        signs[layer.positions] = np.sign(layer.values)
        corner: Any = signs.reshape(-1, layer.shape[-1])[:_MOST_PIXELS, :_MOST_PIXELS].T
        shown = picture(signed_pixels(corner), f"weights of {name}", 2 * _MOST_PIXELS)
        caption = f"{name}: blue is positive, orange negative; what is hidden has no colour"
        return f"<img src='{shown.uri}' alt='{escape(shown.alt)}'><br>{escape(caption)}"
    return ""
