"""Setting a density: exact counts, annealed; and the controller of thresholded masks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.counting import num_kept
from supermask_jax.core.order import from_sortable, kth_largest_key, sortable

Array = jax.Array
PyTree = Any


def check_density(density: float, name: str = "density") -> float:
    """Returns `density` if it is a fraction in [0, 1].

    Raises:
      ValueError: it is not.

    >>> check_density(0.05)
    0.05
    """
    if not 0 <= density <= 1:
        raise ValueError(f"{name} is a fraction in [0, 1], got {density}")
    return density


def ramp(progress: ArrayLike, until: float) -> Array:
    r"""Returns the cubic ramp :math:`(1 - p / \text{until})^3`, from 1 at 0 to exactly 0: float32.

    0 from progress `until` on; `until` 0 means 0 throughout.

    Reference: Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878, eq. 1.

    >>> [float(ramp(progress, until=0.5)) for progress in (0.0, 0.25, 0.5)]
    [1.0, 0.125, 0.0]
    """
    if until == 0:
        return jnp.float32(0)
    return jnp.maximum(1 - jnp.asarray(progress, jnp.float32) / until, 0) ** 3


def annealed_count(
    start: float,
    end: float,
    size: int,
    progress: ArrayLike,
    until: float,
    counting: str = "nearest",
) -> Array:
    """Returns the count kept of `size` weights while annealing from density `start` to `end`.

    int32 []. Exactly ``num_kept(end, size, counting)`` from progress `until` on: the counts are
    Python integers, only their difference is scaled.

    >>> [int(annealed_count(1.0, 0.1, 1000, p, until=0.5)) for p in (0.0, 0.25, 0.5, 1.0)]
    [1000, 212, 100, 100]
    """
    last = num_kept(end, size, counting)
    extra = (num_kept(start, size, counting) - last) * ramp(progress, until)
    return last + jnp.round(extra).astype(jnp.int32)


def log_path(start: ArrayLike, end: float, progress: ArrayLike, until: float) -> Array:
    """Returns the target density on the way from `start` to `end`, linear in log density.

    float32 []; `end` from progress `until` on.

    >>> [round(float(log_path(1.0, 0.01, p, until=0.5)), 3) for p in (0.0, 0.25, 0.5)]
    [1.0, 0.1, 0.01]
    """
    done = jnp.clip(jnp.asarray(progress, jnp.float32) / max(until, 1e-9), 0, 1)
    return jnp.exp((1 - done) * jnp.log(start) + done * jnp.log(jnp.float32(end)))


def count_on_path(start: float, end: float, size: int, progress: ArrayLike, until: float) -> Array:
    """Returns the count kept of `size` weights on `log_path` from `start` to `end`: int32 [].

    Exactly ``num_kept(end, size)`` from progress `until` on, and never 0 before.

    >>> [int(count_on_path(1.0, 0.01, 1000, p, until=0.5)) for p in (0.0, 0.25, 0.5)]
    [1000, 100, 10]
    """
    passing = jnp.round(log_path(start, end, progress, until) * size).astype(jnp.int32)
    return jnp.where(jnp.less(progress, until), jnp.maximum(passing, 1), num_kept(end, size))


def scale_to_count(
    scores: PyTree, thresholds: PyTree, k: Array, only_down: ArrayLike = False
) -> PyTree:
    r"""Scales all scores alike so that `k` of all weights pass their layer's threshold.

    .. math:: s \leftarrow s / q, \qquad q \text{ halfway between the } k\text{-th and the }
      (k + 1)\text{-th largest of all } |s_i| / \tau_{l(i)}

    Scaling the scores by 1/q is the same as multiplying every threshold by q: this controls the
    threshold, and its state is the scale of the scores. Exactly k weights pass, fewer where scores
    tie at the cut.

    Args:
      scores: tree of float32 arrays.
      thresholds: tree with a positive scalar for each layer.
      k: the count wanted, int32 [].
      only_down: bool []; leave the scores alone where fewer weights pass already.

    >>> scores = {"dense": jnp.array([3.0, -1.0, 0.5])}
    >>> scale_to_count(scores, {"dense": jnp.float32(1)}, k=1)["dense"].tolist()
    [1.5, -0.5, 0.25]
    """
    q = _halfway(jax.tree.map(lambda s, tau: jnp.abs(s) / tau, scores, thresholds), k)
    change = (q > 0) & ((q > 1) | ~jnp.asarray(only_down))
    return jax.tree.map(lambda s: jnp.where(change, s / q, s), scores)


def shift_to_count(scores: PyTree, cut: float, k: Array, only_down: ArrayLike = False) -> PyTree:
    r"""Shifts all scores alike so that `k` of them are above `cut`.

    .. math:: s \leftarrow s - (q - \text{cut}), \qquad q \text{ halfway between the } k\text{-th
      and the } (k + 1)\text{-th largest of all scores}

    Exactly k are above, fewer where scores tie there. It is what a penalty on the sum of the scores
    would do whose factor always fits.

    Args:
      scores: tree of float32 arrays.
      cut: what a score must be above.
      k: the count wanted, int32 [].
      only_down: bool []; leave the scores alone where fewer are above already.

    >>> shift_to_count({"dense": jnp.array([4.0, 2.0, -3.0])}, 0.0, k=1)["dense"].tolist()
    [1.0, -1.0, -6.0]
    """
    q = _halfway(scores, k) - cut
    change = jnp.isfinite(q) & ((q > 0) | ~jnp.asarray(only_down))
    return jax.tree.map(lambda s: jnp.where(change, s - q, s), scores)


def _halfway(values: PyTree, k: Array) -> Array:
    """Returns what lies halfway between the k-th and the next largest of all values: float32 []."""
    keys = [sortable(value) for value in jax.tree.leaves(values)]
    total = sum(key.size for key in keys)
    below = from_sortable(kth_largest_key(keys, jnp.clip(k + 1, 1, total)))
    above = jax.tree.map(lambda x: jnp.min(jnp.where(x > below, x, jnp.inf)), values)
    above = jnp.min(jnp.stack(jax.tree.leaves(above)))
    # Halfway, so that no value lies on the cut, where rounding would decide.
    return jnp.where(jnp.isfinite(above), (below + above) / 2, below)


def shift_to_density(scores: PyTree, density: Array) -> PyTree:
    r"""Shifts all scores alike, towards a mean probability.

    .. math:: s \leftarrow s + \frac{d^* - \bar\sigma}{\overline{\sigma'}}

    One Newton step on the shift, at most 1 in size: called after every training step, it follows a
    slow drift with an error of second order.

    Args:
      scores: tree of float32 arrays; probabilities are their sigmoids.
      density: the mean probability wanted, float32 [].

    >>> scores = {"dense": jnp.zeros(4)}
    >>> shift_to_density(scores, jnp.float32(0.75))["dense"].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    probabilities = [jax.nn.sigmoid(leaf) for leaf in jax.tree.leaves(scores)]
    total = sum(p.size for p in probabilities)
    mean = sum(jnp.sum(p) for p in probabilities) / total
    slope = sum(jnp.sum(p * (1 - p)) for p in probabilities) / total
    shift = jnp.clip((density - mean) / jnp.maximum(slope, 1e-6), -1, 1)
    return jax.tree.map(lambda s: s + shift, scores)
