"""Piggyback: a mask where scores exceed a constant; the masks of supermasks in superposition too.

Reference: Mallya, Davis, Lazebnik, "Piggyback: Adapting a Single Network to Multiple Tasks by
Learning to Mask Weights", ECCV 2018, https://arxiv.org/abs/1801.06519; Wortsman et al.,
"Supermasks in Superposition", NeurIPS 2020, https://arxiv.org/abs/2006.14769.
"""

from __future__ import annotations

import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import signed_mask, signed_weights
from supermask_jax.core.thresholds import Bounds
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import LOWEST_SCORE, Method, supermask


def piggyback(
    *,
    cut: float = 5e-3,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""The binary mask of a constant threshold.

    .. math::
      w_\text{eff} = w \odot 1[s > \tau], \qquad \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    With the defaults the mask is full at the start: on the weights of a trained network, Piggyback.
    SupSup has random weights, a cut of 0 and scores U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), so that
    the mask starts at half density: ``piggyback(cut=0.0, score_init=uniform("he", 6**-0.5))``; its
    code keeps a score of exactly 0 too.

    Args:
      cut: :math:`\tau`.
      score_init: default 0.01 everywhere.
      label_fn: which leaves are masked, trained or frozen: the head of a new task is trained.

    Raises:
      ValueError: the cut is not finite.

    >>> method = piggyback()
    >>> trained = {"kernel": jnp.array([[0.3, -2.0]])}
    >>> trainable, frozen = method.init(jax.random.key(0), trained)
    >>> bool((method.apply(trainable, frozen)["kernel"] == trained["kernel"]).all())  # all of it
    True
    """
    if not abs(cut) < float("inf"):
        raise ValueError(f"cut must be finite, got {cut}")
    bounds = Bounds(jnp.float32(-jnp.inf), jnp.float32(cut))
    return supermask(
        weights_fn=lambda weights, scores, context: signed_weights(weights, scores, bounds),
        mask_fn=lambda scores, context: signed_mask(scores, bounds),
        score_init=initializers.constant("unit", 0.01) if score_init is None else score_init,
        label_fn=label_fn,
        hidden_score=LOWEST_SCORE,
    )
