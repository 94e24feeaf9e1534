"""Masks as sets: union, intersection, and overlap against what chance gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from supermask_jax.errors import UserError
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
    """
    return {name: _overlap(*layers) for name, *layers in _pairs(a, b)}


def union(a: Ticket, b: Ticket) -> Arrays:
    """Returns {layer: bool [*shape]}: True where either ticket keeps a weight.

    Raises:
      UserError: their layers differ.
    """
    return _combined(a, b, np.logical_or)


def intersection(a: Ticket, b: Ticket) -> Arrays:
    """Returns {layer: bool [*shape]}: True where both tickets keep a weight.

    Raises:
      UserError: their layers differ.
    """
    return _combined(a, b, np.logical_and)


def _combined(a: Ticket, b: Ticket, rule: Callable[..., np.ndarray]) -> Arrays:
    return {name: rule(x.mask(), y.mask()) for name, x, y in _pairs(a, b)}


def _pairs(a: Ticket, b: Ticket) -> Iterator[tuple[str, Layer, Layer]]:
    shapes = [{name: layer.shape for name, layer in t.layers.items()} for t in (a, b)]
    if shapes[0] != shapes[1]:
        differing = min(set(shapes[0].items()) ^ set(shapes[1].items()))[0]
        raise UserError(f"the tickets are of different networks: their layers {differing!r} differ")
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
