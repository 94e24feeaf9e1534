"""The straight-through estimator: the one `jax.custom_vjp` of the project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def _zero_cotangent(x: Any) -> Any:
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return None


def straight_through(
    hard: Callable[..., Array], soft: Callable[[Array], Array]
) -> Callable[..., Array]:
    r"""Builds a masked-weight function whose gradient passes straight through the mask.

    The function returned computes ``hard(weights, scores, *aux)`` exactly. In the backward pass

    .. math::
      \frac{dL}{ds} = \Big(\frac{dL}{dw_\text{eff}} \odot w\Big) \odot \varphi(s),
      \qquad \varphi = \text{soft}',

    for **every** entry, hidden ones included, while the gradient to the weights is the exact one
    of `hard` (not used when weights are frozen; XLA then drops it).

    Args:
      hard: (weights [*s], scores [*s], *aux) -> effective weights [*s].
      soft: elementwise function of the scores [*s] whose derivative is the estimator's factor:
        identity for signed supermasks, sigmoid for learned (Bernoulli) ones, abs for edge-popup.

    Returns:
      f(weights, scores, *aux) -> [*s] of the weights' dtype; the gradient to the scores has theirs,
      float32 however short the weights are. Thresholds, densities and noise are operands (`aux`),
      not closures; they receive zero gradient. Reverse mode only: `jax.jvp` raises.

    Reference: Bengio et al., 2013, https://arxiv.org/abs/1308.3432; Koster et al., 2022, sec. 3.

    >>> keep = straight_through(lambda w, s: jnp.where(s > 0, w, 0), lambda s: s)
    >>> weights, scores = jnp.array([2.0, 3.0]), jnp.array([0.5, -0.5])
    >>> keep(weights, scores).tolist()
    [2.0, 0.0]
    >>> jax.grad(lambda s: keep(weights, s).sum())(scores).tolist()  # the hidden one as well
    [2.0, 3.0]
    """

    @jax.custom_vjp
    def effective(weights: Array, scores: Array, *aux: Any) -> Array:
        return hard(weights, scores, *aux)

    def forward(weights: Array, scores: Array, *aux: Any) -> tuple[Array, tuple[Any, ...]]:
        return hard(weights, scores, *aux), (weights, scores, aux)

    def backward(residuals: tuple[Any, ...], g: Array) -> tuple[Any, ...]:
        weights, scores, aux = residuals
        (d_weights,) = jax.vjp(lambda w: hard(w, scores, *aux), weights)[1](g)
        product, pullback = jax.vjp(lambda s: weights * soft(s), scores)
        (d_scores,) = pullback(g.astype(product.dtype))  # Weights in half precision make it wider.
        return d_weights, d_scores, *jax.tree.map(_zero_cotangent, aux)

    effective.defvjp(forward, backward)
    return effective
