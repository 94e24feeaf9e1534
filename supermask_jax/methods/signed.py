"""Signed supermasks: keep, hide or invert every frozen weight.

Reference: Koster, Grothe, Rettinger, "Signing the Supermask: Keep, Hide, Invert", ICLR 2022,
https://openreview.net/forum?id=e0jtGTfPihs.
"""

from __future__ import annotations

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import signed_mask, signed_weights
from supermask_jax.core.thresholds import ThresholdRule, absolute
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method, supermask


def signed(
    *,
    threshold: ThresholdRule | None = None,
    score_init: Initializer | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""The signed supermask.

    .. math::
      w_\text{eff} = w \odot m, \qquad m = \text{sign}(s)\,1[|s| > \tau] \in \{-1, 0, 1\}, \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    Args:
      threshold: where the mask cuts; default `absolute(0.01)`, the rule that reproduces the
        published FCN.
      score_init: initialiser of the scores; default uniform Xavier.
      label_fn: which leaves are masked, trained or frozen; default: kernels are masked, all other
        leaves trained.
    """
    threshold = absolute(0.01) if threshold is None else threshold
    score_init = initializers.uniform("xavier") if score_init is None else score_init
    if threshold.fixed:
        return supermask(
            weights_fn=signed_weights,
            mask_fn=signed_mask,
            score_init=score_init,
            aux_fn=threshold.bounds,
            label_fn=label_fn,
        )
    return supermask(
        weights_fn=lambda w, s, _: signed_weights(w, s, threshold.bounds(s)),
        mask_fn=lambda s, _: signed_mask(s, threshold.bounds(s)),
        score_init=score_init,
        label_fn=label_fn,
    )
