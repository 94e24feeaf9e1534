"""Edge-popup: the k weights of a layer with the largest scores.

Reference: Ramanujan et al., "What's Hidden in a Randomly Weighted Neural Network?", CVPR 2020,
https://arxiv.org/abs/1911.13299.
"""

from __future__ import annotations

import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import kept_weights
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import LOWEST_SCORE, Method, supermask
from supermask_jax.methods.topk import topk_rule


def edge_popup(
    *,
    density: float = 0.5,
    by_value: bool = False,
    scope: str = "layer",
    start_density: float = 1.0,
    anneal: float = 0.0,
    counting: str = "nearest",
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Edge-popup.

    .. math::
      w_\text{eff} = w \odot 1[\,|s| \text{ among the top } k\,], \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w \odot \text{sign}(s)

    Args:
      density: kept fraction; k = round(density * n), see `counting`; ties by index.
      by_value: rank s itself, with factor 1 for sign(s), as the paper writes it; the released
        code ranks |s|.
      scope: "layer" (the paper), "global", or a pattern such as "2:4": see `topk_rule`.
      start_density: kept fraction at the start, where it is annealed.
      anneal: fraction of training over which it is annealed; 0 does not.
      counting: what makes density * n a whole number, a name in `core.counting.COUNTINGS`:
        "ramanujan" is the originals'. Above density 0 at least one weight is kept.
      score_init: default U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), PyTorch's for linear layers.
      label_fn: which leaves are masked, trained or frozen.

    >>> method = edge_popup(density=0.25)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> weights = method.apply(trainable, frozen)["kernel"]
    >>> int(jnp.count_nonzero(weights)), jnp.unique(weights).tolist()
    (8, [0.0, 1.0])
    """
    if score_init is None:
        score_init = initializers.uniform("he", gain=6**-0.5)
    rank = (lambda scores: scores) if by_value else jnp.abs
    rule = topk_rule(density, scope, start_density, anneal, counting, rank=rank)
    return supermask(
        weights_fn=lambda w, s, context: kept_weights(w, s, context.shared, by_value=by_value),
        mask_fn=lambda s, context: context.shared.astype(jnp.int8),
        score_init=score_init,
        shared_fn=rule,
        label_fn=label_fn,
        hidden_score=LOWEST_SCORE if by_value else 0.0,
    )
