"""Signed supermasks: keep, hide or invert every frozen weight.

Reference: Koster, Grothe, Rettinger, "Signing the Supermask: Keep, Hide, Invert", ICLR 2022,
https://openreview.net/forum?id=e0jtGTfPihs.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core import initializers
from supermask_jax.core.density import check_density, count_on_path, scale_to_count
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import signed_mask, signed_weights
from supermask_jax.core.thresholds import Bounds, ThresholdRule, absolute
from supermask_jax.core.trees import LabelFn, mask_kernels, num_params
from supermask_jax.methods.base import Context, Method, supermask

Array = jax.Array
PyTree = Any


def signed(
    *,
    threshold: ThresholdRule | float | None = None,
    density: float = 0.0,
    anneal: float = 0.5,
    start_density: float = 1.0,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""The signed supermask.

    .. math::
      w_\text{eff} = w \odot m, \qquad m = \text{sign}(s)\,1[|s| > \tau] \in \{-1, 0, 1\}, \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    Args:
      threshold: where the mask cuts, a number for one of every layer; default 0.01, the rule that
        reproduces the published FCN.
      density: 0 lets the density emerge from decay and gradient, as the paper does. Otherwise the
        scores are scaled after every step so that this fraction of all weights remains: see
        `core.density.scale_to_count`. Needs a threshold that is fixed and not 0.
      anneal: fraction of training over which the density is brought to `density`: until then
        it follows a path from `start_density`, linear in its logarithm.
      start_density: where that path starts, after the first step. 1 makes the path a bound that
        the density is only kept under; a smaller one is held exactly. Only with `density`.
      score_init: initialiser of the scores, or its name; default "xavier_uniform".
      label_fn: which leaves are masked, trained or frozen; default: kernels are masked, all other
        leaves trained.

    >>> method = signed(threshold=0.01)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> scores = {"kernel": jnp.zeros((8, 4)).at[0, :2].set(jnp.array([0.5, -0.5]))}
    >>> method.apply({**trainable, "scores": scores}, frozen)["kernel"][0].tolist()
    [1.0, -1.0, 0.0, 0.0]
    """
    threshold = 0.01 if threshold is None else threshold
    threshold = threshold if isinstance(threshold, ThresholdRule) else absolute(threshold)
    check_density(density)
    check_density(anneal, "anneal")
    if not 0 < check_density(start_density, "start_density"):
        raise ValueError("start_density must be above 0")
    if density and not threshold.fixed:
        raise ValueError("a density cannot be set where the threshold follows the scores")
    if density and not threshold.bounds(jnp.ones(2)).high > 0:
        raise ValueError("a density cannot be set with a threshold of 0: scaling moves no score")

    def bounds(scores: Array, context: Context) -> Bounds:
        return context.aux if threshold.fixed else threshold.bounds(scores)

    def project(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
        scores = trainable["scores"]
        cuts = jax.tree.map(lambda s, bounds: bounds.high, scores, frozen["aux"])
        count = count_on_path(start_density, density, num_params(scores), progress, anneal)
        only_down = jnp.less(progress, anneal) & (start_density == 1)
        scaled = scale_to_count(scores, cuts, count, only_down)
        return trainable | {"scores": scaled}

    return supermask(
        weights_fn=lambda w, s, context: signed_weights(w, s, bounds(s, context)),
        mask_fn=lambda s, context: signed_mask(s, bounds(s, context)),
        score_init=initializers.uniform("xavier") if score_init is None else score_init,
        aux_fn=threshold.bounds if threshold.fixed else lambda scores: (),
        label_fn=label_fn,
        project=project if density else None,
    )
