"""Signed top-k: a signed supermask whose density is a number that one sets."""

from __future__ import annotations

import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import signed_kept_weights
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method, supermask
from supermask_jax.methods.topk import topk_rule


def signed_topk(
    *,
    density: float = 0.05,
    scope: str = "global",
    start_density: float = 1.0,
    anneal: float = 0.5,
    counting: str = "nearest",
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""The signed supermask with exactly k weights.

    .. math::
      w_\text{eff} = w \odot \text{sign}(s) \odot 1[\,|s| \text{ among the top } k\,], \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    Args:
      density: kept fraction at the end; k = round(density * n), see `counting`; ties by index.
      scope: "global" lets layers compete for the weights, "layer" gives each its share, and a
        pattern such as "2:4" each group of inputs: see `topk_rule`.
      start_density: kept fraction at the start.
      anneal: fraction of training over which the count falls, by a cubic ramp; 0 does not anneal.
      counting: what makes density * n a whole number, a name in `core.counting.COUNTINGS`:
        "ramanujan" is the originals'. Above density 0 at least one weight is kept.
      score_init: default uniform Xavier, as for `signed`.
      label_fn: which leaves are masked, trained or frozen.

    >>> method = signed_topk(density=0.25)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> weights = method.apply(trainable, frozen)["kernel"]
    >>> int(jnp.count_nonzero(weights)), jnp.unique(weights).tolist()
    (8, [-1.0, 0.0, 1.0])
    """

    def mask(scores: jnp.ndarray, kept: jnp.ndarray) -> jnp.ndarray:
        return jnp.where(kept, jnp.where(scores < 0, -1, 1), 0).astype(jnp.int8)

    return supermask(
        weights_fn=lambda w, s, context: signed_kept_weights(w, s, context.shared),
        mask_fn=lambda s, context: mask(s, context.shared),
        score_init=initializers.uniform("xavier") if score_init is None else score_init,
        shared_fn=topk_rule(density, scope, start_density, anneal, counting),
        label_fn=label_fn,
    )
