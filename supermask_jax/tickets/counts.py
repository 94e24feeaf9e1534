"""What a ticket's layers consist of: signs, flips against the start, and units that do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets.inference import reads
from supermask_jax.tickets.layers import CHAINS, in_order
from supermask_jax.tickets.ticket import Layer, Ticket


class Counts(NamedTuple):
    """A masked layer in numbers; None is not known.

    Attributes:
      size: weights of the layer.
      kept: those of them that the mask keeps.
      positive: kept weights whose effective weight is above 0.
      negative: below 0.
      flipped: kept weights whose effective weight has another sign than the weight at the start.
      units: outputs: features of a dense layer, channels of a convolution.
      dead: units that no kept weight leads to: they give a constant.
      unread: units that no kept weight of the next layer takes; not known of the last layer, nor
        where layers are no chain.
    """

    size: int
    kept: int
    positive: int | None
    negative: int | None
    flipped: int | None
    units: int
    dead: int
    unread: int | None

    @property
    def hidden(self) -> int:
        """Weights that the mask does not keep."""
        return self.size - self.kept

    @property
    def density(self) -> float:
        """Kept fraction, in [0, 1]."""
        return self.kept / max(self.size, 1)


def count_layers(
    ticket: Ticket, weights: Mapping[str, np.ndarray] | None = None
) -> dict[str, Counts]:
    """Counts every masked layer of a ticket.

    Args:
      ticket: it.
      weights: name -> weights at the start [*shape], the frozen ones of a supermask; without a
        layer's, its flips are not known (but for one that is stored as signs of drawn weights).

    Raises:
      UserError: weights of a layer are of another shape.
    """
    unread = _unread(ticket)
    return {
        name: _count(name, layer, (weights or {}).get(name), unread.get(name))
        for name, layer in ticket.layers.items()
    }


def total(counts: Mapping[str, Counts]) -> Counts:
    """Returns the sums over layers; what is not known of one is not known of all."""
    columns = [[getattr(c, field) for c in counts.values()] for field in Counts._fields]
    return Counts(*(None if None in column else sum(column) for column in columns))


def _count(name: str, layer: Layer, start: np.ndarray | None, unread: int | None) -> Counts:
    signs = np.sign(layer.values)
    positive, negative = int(np.sum(signs > 0)), int(np.sum(signs < 0))
    flipped: int | None = None
    if layer.drawn:  # These signs are those of the mask.
        positive, negative, flipped = None, None, negative
    elif start is not None:
        if np.shape(start) != layer.shape:
            raise UserError(f"the weights of {name!r} are of shape {np.shape(start)}")
        before = np.sign(np.reshape(start, -1)[layer.positions])
        flipped = int(np.sum(signs * before < 0))
    units = layer.shape[-1]
    reached = np.zeros(units, bool)
    reached[layer.positions % units] = True
    return Counts(layer.size, len(layer.positions), positive, negative, flipped, units,
                  int(np.sum(~reached)), unread)  # fmt: skip


def _unread(ticket: Ticket) -> dict[str, int]:
    """Returns {layer: number of its units that the next layer does not read} of a chain."""
    if ticket.model.get("name") not in CHAINS:
        return {}
    order = in_order([*ticket.layers, *ticket.params])
    found = {}
    for name, reader in zip(order, order[1:], strict=False):
        if name in ticket.layers:
            units = ticket.layers[name].shape[-1]
            masked = ticket.layers.get(reader)
            kernel = ticket.params[reader] if masked is None else masked.mask()
            found[name] = int(np.sum(~reads(kernel, units)))
    return found
