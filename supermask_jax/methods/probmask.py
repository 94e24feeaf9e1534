"""ProbMask: probabilities of weights under one budget for the whole network.

Reference: Zhou, Zhang, Xu, Zhang, "Effective Sparsification of Neural Networks with Global Sparsity
Constraint", CVPR 2021, https://arxiv.org/abs/2105.01571.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core import initializers
from supermask_jax.core.density import check_density, ramp
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels, num_params
from supermask_jax.methods.base import Method
from supermask_jax.methods.gates import Gate, relaxed

Array = jax.Array
PyTree = Any

_INSIDE = 1e-6  # Keeps probabilities this far from 0 and 1, where their logit is infinite.
_LAST = 0.03  # Temperature of the noise at the end; 1 at the start.


def probmask(
    *,
    density: float = 0.1,
    start: float = 0.16,
    anneal: float = 0.6,
    evaluation: str = "hard",
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Probabilities as scores, whose sum over the network is bounded.

    .. math::
      w_\text{eff} &= w \odot \sigma\Big(\frac{\text{logit}(s) + \text{logit}(u)}{T}\Big), \quad
      u \sim U(0, 1),\ T = 0.97 (1 - t) + 0.03 \text{ in training}; \\
      w_\text{eff} &= w \odot 1[s > \tfrac12] \text{ in the end}

    with :math:`t` the fraction of training done. After every step :math:`s \leftarrow
    \text{clip}(s - v, 0, 1)` with the smallest :math:`v \geq 0` by which :math:`\sum s \leq d n`.
    The released code trains the weights too, averages the gradients of two samples, clips their
    norm, and takes the best of ten sampled masks by their training loss.

    Args:
      density: :math:`d` at the end, the mean probability. That of the mask is what has decided for
        itself: about as much once probabilities are near 0 or 1.
      start: fraction of training during which :math:`d` is 1.
      anneal: fraction of training after which `density` is reached, by a cubic ramp.
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        probabilities. `masks` is the hard one always.
      score_init: default 1 everywhere.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a fraction is impossible.
      UserError: `evaluation` is unknown.
    """
    check_density(density)
    if not 0 <= start < check_density(anneal, "anneal"):
        raise ValueError(f"start must be in [0, anneal), got {start} and {anneal}")

    def project(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
        del frozen
        share = ramp(jnp.maximum(progress - start, 0), anneal - start)
        return trainable | {"scores": within(trainable["scores"], density + (1 - density) * share)}

    gate = Gate(train=gates, soft=lambda scores, progress: _clipped(scores), cost=_none, cut=0.5)
    method = relaxed(
        gate,
        penalty=0.0,
        evaluation=evaluation,
        density=0.0,
        start_density=1.0,
        anneal=0.0,
        score_init=initializers.constant("unit") if score_init is None else score_init,
        label_fn=label_fn,
    )
    return method._replace(project=project)


def gates(scores: Array, key: Array, progress: ArrayLike) -> Array:
    """Returns sampled gates in (0, 1), differentiable in the scores [*s]: float32 [*s]."""
    inside = _INSIDE + (1 - 2 * _INSIDE) * _clipped(scores)
    logit = jnp.log(inside) - jnp.log1p(-inside)
    noise = jax.random.logistic(key, scores.shape, jnp.float32)
    temperature = (1 - _LAST) * (1 - jnp.asarray(progress, jnp.float32)) + _LAST
    return jax.nn.sigmoid((logit + noise) / temperature)


def within(scores: PyTree, density: ArrayLike) -> PyTree:
    """Returns clip(s - v, 0, 1) of all scores with the smallest v >= 0 by which they fit.

    Their mean is `density` at most, but for rounding.
    """
    budget = jnp.asarray(density, jnp.float32) * num_params(scores)

    def fits(v: Array) -> Array:
        parts = [jnp.sum(_clipped(leaf - v)) for leaf in jax.tree.leaves(scores)]
        return sum(parts, jnp.float32(0)) <= budget

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        fit = fits(middle)
        return jnp.where(fit, low, middle), jnp.where(fit, middle, high)

    _, high = jax.lax.fori_loop(0, 24, halve, (jnp.float32(0), jnp.float32(1)))
    v = jnp.where(fits(jnp.float32(0)), 0.0, high)
    return jax.tree.map(lambda leaf: _clipped(leaf - v), scores)


def _clipped(scores: Array) -> Array:
    # Not `jnp.clip`, whose gradient is a half where a score is exactly 1, as all are at the start.
    return jnp.where(scores < 0, 0.0, jnp.where(scores > 1, 1.0, scores))


def _none(scores: Array, progress: ArrayLike) -> Array:
    del progress
    return jnp.zeros_like(scores)
