"""Biprop, the search for multi-prize tickets: edge-popup on binarised weights.

Reference: Diffenderfer and Kailkhura, "Multi-Prize Lottery Ticket Hypothesis", ICLR 2021,
https://arxiv.org/abs/2103.09377.
"""

from __future__ import annotations

import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.counting import num_kept
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import binarized_weights
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method, supermask
from supermask_jax.methods.topk import topk_rule


def biprop(
    *,
    density: float = 0.5,
    scope: str = "layer",
    start_density: float = 0.5,
    anneal: float = 0.0,
    counting: str = "nearest",
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Biprop (MPT-1/32; with binary activations in the model, MPT-1/1).

    .. math::
      w_\text{eff} = \alpha\,\text{sign}(w) \odot m, \qquad
      \alpha = \frac{\sum |w| \odot m}{\sum m}\ \text{of each layer}

    with edge-popup's mask and gradient. Under counting "ramanujan" the sum of the layer's own mask
    is its floor(k n), which may be one less, as in the released code.

    Args:
      density: kept fraction; k = round(density * n), see `counting`; ties by index.
      scope: "layer" (the paper), or "global" (the released code's update of 2022, which anneals
        from 0.5 over the first 10 of 100 epochs: `anneal` 0.1).
      start_density: kept fraction at the start, where it is annealed.
      anneal: fraction of training over which it is annealed; 0 does not.
      counting: what makes density * n a whole number, a name in `core.counting.COUNTINGS`:
        "ramanujan" is the originals'. Above density 0 at least one weight is kept.
      score_init: default U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
      label_fn: which leaves are masked, trained or frozen.

    >>> method = biprop(density=0.25)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> weights = method.apply(trainable, frozen)["kernel"]
    >>> int(jnp.count_nonzero(weights)), jnp.unique(weights).tolist()
    (8, [0.0, 1.0])
    """
    if score_init is None:
        score_init = initializers.uniform("he", gain=6**-0.5)

    def uncounted(size: int) -> int:
        theirs = counting == "ramanujan" and scope == "layer"
        return num_kept(density, size, counting) - int(density * size) if theirs else 0

    return supermask(
        weights_fn=lambda w, s, context: binarized_weights(w, s, context.shared, uncounted(w.size)),
        mask_fn=lambda s, context: context.shared.astype(jnp.int8),
        score_init=score_init,
        shared_fn=topk_rule(density, scope, start_density, anneal, counting),
        label_fn=label_fn,
    )
