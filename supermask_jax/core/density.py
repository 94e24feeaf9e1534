"""Setting a density: exact counts, annealed; and the controller of thresholded masks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Array = jax.Array
PyTree = Any


def check_density(density: float, name: str = "density") -> float:
    """Returns `density` if it is a fraction in [0, 1].

    Raises:
      ValueError: it is not.
    """
    if not 0 <= density <= 1:
        raise ValueError(f"{name} is a kept fraction in [0, 1], got {density}")
    return density


def num_kept(density: float, size: int) -> int:
    """Returns how many of `size` weights a density keeps, rounded half to even."""
    return round(density * size)


def ramp(progress: ArrayLike, until: float) -> Array:
    r"""Returns the cubic ramp :math:`(1 - p / \text{until})^3`, from 1 at 0 to exactly 0: float32.

    0 from progress `until` on; `until` 0 means 0 throughout.

    Reference: Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878, eq. 1.
    """
    if until == 0:
        return jnp.float32(0)
    return jnp.maximum(1 - jnp.asarray(progress, jnp.float32) / until, 0) ** 3


def annealed_count(start: float, end: float, size: int, progress: ArrayLike, until: float) -> Array:
    """Returns the count kept of `size` weights while annealing from density `start` to `end`.

    int32 []. Exactly ``num_kept(end, size)`` from progress `until` on: the counts are Python
    integers, only their difference is scaled.
    """
    last = num_kept(end, size)
    extra = (num_kept(start, size) - last) * ramp(progress, until)
    return last + jnp.round(extra).astype(jnp.int32)


def log_path(start: ArrayLike, end: float, progress: ArrayLike, until: float) -> Array:
    """Returns the target density on the way from `start` to `end`, linear in log density.

    float32 []; `end` from progress `until` on.
    """
    done = jnp.clip(jnp.asarray(progress, jnp.float32) / max(until, 1e-9), 0, 1)
    return jnp.exp((1 - done) * jnp.log(start) + done * jnp.log(jnp.float32(end)))


def scale_to_density(scores: PyTree, density: Array, target: Array, gain: float) -> PyTree:
    r"""One step of the density controller of thresholded masks.

    .. math:: s \leftarrow s \cdot \Big(\frac{d^*}{d}\Big)^{\gamma}

    Scaling all scores by c is the same as dividing every threshold by c, so this is integral
    control, in logarithms, of the threshold; the controller's state is the scale of the scores.
    With :math:`\varepsilon = \partial \log d / \partial \log c`, the error of log d shrinks by
    :math:`1 - \gamma \varepsilon` a step; :math:`\varepsilon \approx -\log d` for scores with
    exponential tails, so a gain of 0.1 is stable down to densities of about 1e-8.

    Args:
      scores: tree of float arrays.
      density: measured now, float32 [].
      target: wanted now, float32 [].
      gain: the exponent.
    """
    # A density of 0 asks for the largest step, not for an infinite one.
    ratio = target / jnp.maximum(density, 1e-3 * target)
    factor = ratio**gain
    return jax.tree.map(lambda s: s * factor, scores)
