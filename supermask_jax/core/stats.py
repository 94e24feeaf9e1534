"""Densities, counts and sign flips, computed from masks and never assumed.

Density is the kept fraction, in [0, 1]: the share of non-zero entries of a mask.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from supermask_jax.core.trees import named_leaves, num_params

Array = jax.Array
PyTree = Any

LAYER_SHARES = ("layer_density", "layer_inverted")


class MaskCounts(NamedTuple):
    """How many weights of a layer are kept, inverted and hidden: Python integers.

    >>> MaskCounts(kept=2, inverted=1, hidden=5).density
    0.375
    """

    kept: int
    inverted: int
    hidden: int

    @property
    def density(self) -> float:
        """Kept or inverted fraction, in [0, 1]."""
        return (self.kept + self.inverted) / max(sum(self), 1)


def density(masks: PyTree) -> Array:
    """Returns the fraction of non-zero mask entries over all layers: float32 []; 1 without masks.

    Works inside `jax.jit`. Counts are exact integers, the quotient is rounded once.

    >>> float(density({"dense": jnp.array([1, -1, 0, 0], jnp.int8)}))
    0.5
    """
    leaves = jax.tree.leaves(masks)
    if not leaves:
        return jnp.float32(1)
    remaining = sum(map(jnp.count_nonzero, leaves), jnp.int32(0))
    return remaining.astype(jnp.float32) / num_params(masks)


def layer_counts(masks: PyTree) -> dict[str, MaskCounts]:
    """Returns {layer name: counts} of int8 masks, in tree order; any positive entry is kept.

    >>> layer_counts({"dense": jnp.array([1, -1, 0, 0], jnp.int8)})
    {'dense': MaskCounts(kept=1, inverted=1, hidden=2)}
    """
    counts = {}
    for name, mask in named_leaves(masks).items():
        kept, inverted = int(jnp.sum(mask > 0)), int(jnp.sum(mask < 0))
        counts[name] = MaskCounts(kept, inverted, mask.size - kept - inverted)
    return counts


def layer_densities(masks: PyTree) -> dict[str, float]:
    """Returns {layer name: density in [0, 1]}, in tree order.

    >>> layer_densities({"dense": jnp.array([1, -1, 0, 0], jnp.int8)})
    {'dense': 0.5}
    """
    return {name: counts.density for name, counts in layer_counts(masks).items()}


def layer_shares(masks: PyTree) -> dict[str, dict[str, Array]]:
    """Returns the shares that tell what training does to each layer: {share: {layer: float32 []}}.

    "layer_density" is the kept fraction of a layer's weights, "layer_inverted" the fraction of
    those kept that are inverted (0 where none is kept). Works inside `jax.jit`; {} without masks.

    >>> shares = layer_shares({"dense": jnp.array([1, -1, 0, 0], jnp.int8)})
    >>> {name: float(layers["dense"]) for name, layers in shares.items()}
    {'layer_density': 0.5, 'layer_inverted': 0.5}
    """
    shares: dict[str, dict[str, Array]] = {name: {} for name in LAYER_SHARES}
    for name, mask in named_leaves(masks).items():
        kept = jnp.count_nonzero(mask).astype(jnp.float32)
        shares["layer_density"][name] = kept / mask.size
        shares["layer_inverted"][name] = jnp.sum(mask < 0) / jnp.maximum(kept, 1)
    return shares if shares["layer_density"] else {}


def sign_flips(before: PyTree, after: PyTree) -> Array:
    """Returns the fraction of all weights whose mask went from 1 to -1 or back: float32 [].

    Args:
      before: tree of int8 masks, entries in {-1, 0, 1}.
      after: tree of the same structure and shapes.

    >>> before, after = jnp.array([1, -1, 0, 1]), jnp.array([-1, -1, 1, 0])
    >>> float(sign_flips(before, after))
    0.25
    """
    flips = jax.tree.map(lambda a, b: jnp.sum(a * b == -1), before, after)
    total = max(num_params(before), 1)
    return sum(jax.tree.leaves(flips), jnp.int32(0)).astype(jnp.float32) / total
