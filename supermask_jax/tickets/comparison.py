"""Tickets in numbers: overlap of two masks, bytes under ways of storing, and what layers hold."""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets.chain import CHAINS, in_order
from supermask_jax.tickets.file import encode_ticket
from supermask_jax.tickets.numpy_model import reads
from supermask_jax.tickets.positions import matrix_shape
from supermask_jax.tickets.ticket import Arrays, Layer, Ticket


class Overlap(NamedTuple):
    """Two masks of one layer of n weights.

    `expected` and `std` are those of the hypergeometric distribution: of masks with as many weights
    as these, drawn independently and evenly.
    """

    size: int  # n
    kept: tuple[int, int]  # weights that each keeps
    both: int  # weights that both keep
    same_sign: int  # those of them whose effective weights have the same sign
    expected: float  # mean of `both` by chance
    std: float  # its standard deviation

    @property
    def jaccard(self) -> float:
        """Share of the intersection in the union, in [0, 1]; 1 of two empty masks."""
        union = sum(self.kept) - self.both
        return self.both / union if union else 1.0

    @property
    def deviations(self) -> float:
        """Standard deviations by which `both` exceeds chance; 0 where chance has no choice."""
        return (self.both - self.expected) / self.std if self.std else 0.0


def compare(a: Ticket, b: Ticket) -> dict[str, Overlap]:
    """Returns the overlap of each layer of two tickets.

    Raises:
      UserError: their layers differ.

    >>> best, sparse = map(tickets.load_ticket, ("fcn-best", "fcn-sparse"))
    >>> compare(best, sparse)["dense1/kernel"].kept
    (3805, 2166)
    """
    return {name: _overlap(*layers) for name, *layers in _pairs(a, b)}


def union(a: Ticket, b: Ticket) -> Arrays:
    """Returns {layer: bool [*shape]}: True where either ticket keeps a weight.

    Raises:
      UserError: their layers differ.

    >>> best, sparse = map(tickets.load_ticket, ("fcn-best", "fcn-sparse"))
    >>> {name: mask.shape for name, mask in union(best, sparse).items()}["dense3/kernel"]
    (100, 10)
    """
    return {name: x.mask() | y.mask() for name, x, y in _pairs(a, b)}


def intersection(a: Ticket, b: Ticket) -> Arrays:
    """Returns {layer: bool [*shape]}: True where both tickets keep a weight.

    Raises:
      UserError: their layers differ.

    >>> best, sparse = map(tickets.load_ticket, ("fcn-best", "fcn-sparse"))
    >>> both = intersection(best, sparse)["dense1/kernel"]
    >>> int(both.sum()) == compare(best, sparse)["dense1/kernel"].both
    True
    """
    return {name: x.mask() & y.mask() for name, x, y in _pairs(a, b)}


def _pairs(a: Ticket, b: Ticket) -> Iterator[tuple[str, Layer, Layer]]:
    shapes = [{name: layer.shape for name, layer in t.layers.items()} for t in (a, b)]
    if shapes[0] != shapes[1]:
        differing = min(set(shapes[0].items()) ^ set(shapes[1].items()))[0]
        raise UserError(
            f"the tickets cannot be compared: layer {differing!r} is not in both with one shape"
        )
    for name in shapes[0]:
        yield name, a.layers[name], b.layers[name]


def _overlap(a: Layer, b: Layer) -> Overlap:
    _, at_a, at_b = np.intersect1d(
        a.positions, b.positions, assume_unique=True, return_indices=True
    )
    n, k, m = a.size, len(a.positions), len(b.positions)
    mean = k * m / n if n else 0.0
    variance = mean * (n - k) / n * (n - m) / (n - 1) if n > 1 else 0.0
    same = int(np.sum(np.sign(a.values[at_a]) == np.sign(b.values[at_b])))
    return Overlap(n, (k, m), len(at_a), same, mean, math.sqrt(variance))


def entropy_bound(ticket: Ticket) -> float:
    """Returns the entropy bound in bytes: what positions and values take without structure.

    Sum over layers of n H(density) bits, plus one bit a kept weight, or its float32 where a layer
    has many magnitudes; plus free parameters and batch statistics.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> sizes(ticket)["ticket"] < 1.2 * entropy_bound(ticket)
    True
    """
    bits = 0.0
    for layer in ticket.layers.values():
        for share in (layer.density, 1 - layer.density):
            bits -= layer.size * share * np.log2(share) if share else 0
        bits += len(layer.positions) * (1 if _has_constant(layer) else 32)
    free = (ticket.params | ticket.batch_stats).values()
    return float(bits / 8 + sum(4 * a.size for a in free))


def sizes(ticket: Ticket) -> dict[str, int]:
    """Returns {way of storing it: bytes}, the ticket itself last.

    Free parameters and batch statistics count in each as float32. Ternary packings hold the layer's
    constant too, and are left out where a layer has many magnitudes.

    >>> found = sizes(tickets.load_ticket("fcn-sparse"))
    >>> found["dense float32"], found["2 bits a weight"]
    (1064800, 66562)
    """
    layers = ticket.layers.values()
    rows = sum(matrix_shape(layer.shape)[0] + 1 for layer in layers)
    dense = np.concatenate(
        [np.zeros(0, np.float32), *(layer.dense().reshape(-1) for layer in layers)]
    )
    free = b"".join(a.tobytes() for a in (*ticket.params.values(), *ticket.batch_stats.values()))
    raw = dense.tobytes() + free
    found = {"dense float32": len(raw), "CSR": 8 * np.count_nonzero(dense) + 4 * rows + len(free)}
    if all(map(_has_constant, layers)):
        trits = np.pad(np.sign(dense).astype(np.int8) + 1, (0, -len(dense) % 5)).reshape(-1, 5)
        base3 = (trits @ 3 ** np.arange(5)).astype(np.uint8).tobytes()
        extra = 4 * len(layers) + len(free)
        found |= {
            "2 bits a weight": -(-len(dense) // 4) + extra,
            "base 3, 5 weights a byte": len(base3) + extra,
            "xz of base 3": len(lzma.compress(base3)) + extra,
        }
    else:
        kept = sum(len(layer.positions) for layer in layers)
        found["bit mask and kept float32"] = -(-len(dense) // 8) + 4 * kept + len(free)
    found["gzip of float32"] = len(gzip.compress(raw, 9, mtime=0))
    found["xz of float32"] = len(lzma.compress(raw))
    return found | {"ticket": len(encode_ticket(ticket)[0])}


def _has_constant(layer: Layer) -> bool:
    return layer.pruned is None and len(np.unique(np.abs(layer.values))) <= 1


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

    >>> counts = count_layers(tickets.load_ticket("fcn-sparse"))
    >>> counts["dense3/kernel"].size, counts["dense3/kernel"].units
    (1000, 10)
    """
    unread = _unread(ticket)
    return {
        name: _count(name, layer, (weights or {}).get(name), unread.get(name))
        for name, layer in ticket.layers.items()
    }


def total(counts: Mapping[str, Counts]) -> Counts:
    """Returns the sums over layers; what is not known of one is not known of all.

    >>> total(count_layers(tickets.load_ticket("fcn-sparse"))).size
    266200
    """
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
            found = f"shape {np.shape(start)}, but the layer has {layer.shape}"
            raise UserError(f"the weights at the start of layer {name!r} have {found}")
        before = np.sign(np.reshape(start, -1)[layer.positions])
        flipped = int(np.sum(signs * before < 0))
    units = layer.shape[-1]
    reached = np.zeros(units, bool)
    reached[layer.positions % units] = True
    signs, dead = (positive, negative, flipped), int(np.sum(~reached))
    return Counts(layer.size, len(layer.positions), *signs, units, dead, unread)


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
