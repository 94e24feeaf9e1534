"""Signed supermasks as Flax layers, for people who compose modules.

A layer keeps its weight in the collection ``frozen`` and its score in the collection ``scores``;
``params`` holds only what is trained as usual (a bias). Train ``variables["scores"]`` with any
optax transform. The logits equal those of the same network under `supermask_jax.signed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.masks import signed_weights
from supermask_jax.core.thresholds import ThresholdRule, absolute

Array = jax.Array


class SignedKernel(nn.Module):
    """Mixin that replaces a layer's ``kernel`` by a frozen weight under a signed mask.

    Attributes:
      threshold: where the mask cuts.
      score_init: initialiser of the score.
    """

    threshold: ThresholdRule = absolute(0.01)  # noqa: RUF009 - an immutable tuple of functions
    score_init: Callable[..., Array] = initializers.uniform("xavier")  # noqa: RUF009

    def param(self, name: str, init_fn: Callable[..., Any], *init_args: Any, **kwargs: Any) -> Any:
        """Stands in for `nn.Module.param`; every parameter but ``kernel`` is left alone."""
        if name != "kernel":
            return super().param(name, init_fn, *init_args, **kwargs)
        shape, dtype = init_args

        def draw_weight() -> Array:
            return init_fn(self.make_rng("params"), shape, dtype)

        def draw_score() -> Array:
            # Folded, so that the score does not share its random bits with the weight.
            key = jax.random.fold_in(self.make_rng("params"), 1)
            return self.score_init(key, shape, jnp.float32)

        weight = self.variable("frozen", "kernel", draw_weight).value
        score = self.variable("scores", "kernel", draw_score).value
        if self.threshold.fixed:
            bounds = self.variable("frozen", "bounds", self.threshold.bounds, score).value
        else:
            bounds = self.threshold.bounds(score)
        return signed_weights(weight, score, bounds)


class SignedDense(SignedKernel, nn.Dense):
    """`nn.Dense` whose kernel is a frozen weight under a signed mask.

    >>> layer = SignedDense(10, use_bias=False)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 784)))
    >>> sorted(variables)
    ['frozen', 'scores']
    """


class SignedConv(SignedKernel, nn.Conv):
    """`nn.Conv` whose kernel is a frozen weight under a signed mask.

    >>> layer = SignedConv(16, (3, 3), use_bias=False)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> variables["scores"]["kernel"].shape
    (3, 3, 3, 16)
    """
