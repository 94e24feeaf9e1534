"""Mask functions and the masked weights they make.

Polarity everywhere: 0 hides a weight, 1 keeps it, -1 inverts it. A hidden weight is exactly zero,
whatever its score is, NaN included.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from supermask_jax.core.estimators import straight_through
from supermask_jax.core.thresholds import Bounds

Array = jax.Array


def signed_mask(scores: Array, bounds: Bounds) -> Array:
    r"""Returns the signed mask: int8 [*s] in {-1, 0, 1}.

    .. math:: m = +1\ \text{if}\ s > \text{high},\quad -1\ \text{if}\ s < \text{low},\quad 0\
      \text{otherwise}.

    Both inequalities are strict, so |s| = threshold hides; a NaN score hides.

    Args:
      scores: float [*s].
      bounds: the layer's cuts, from a `ThresholdRule`.

    Reference: Koster et al., 2022, sec. 3, eq. 2.
    """
    return (scores > bounds.high).astype(jnp.int8) - (scores < bounds.low).astype(jnp.int8)


def _signed(weights: Array, scores: Array, bounds: Bounds) -> Array:
    # Selecting, not multiplying: exact, and zero also where a weight is infinite.
    kept = jnp.where(scores > bounds.high, weights, jnp.zeros((), weights.dtype))
    return jnp.where(scores < bounds.low, -weights, kept)


_signed_straight_through = straight_through(_signed, lambda scores: scores)


def signed_weights(weights: Array, scores: Array, bounds: Bounds) -> Array:
    r"""Returns ``weights * signed_mask(scores, bounds)``, [*s], with a straight-through gradient.

    .. math:: \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    for every entry: no clipping, and hidden entries learn too. Bounds receive no gradient.

    Args:
      weights: frozen weights, float [*s].
      scores: float32 [*s].
      bounds: the layer's cuts, from a `ThresholdRule`.

    Reference: Koster et al., 2022, sec. 3, eq. 2 and 3.
    """
    return _signed_straight_through(weights, scores, bounds)
