"""Multicoated supermasks: several nested top-k masks, added.

Reference: Okoshi et al., "Multicoated Supermasks Enhance Hidden Networks", ICML 2022,
https://proceedings.mlr.press/v162/okoshi22a.html.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core import initializers
from supermask_jax.core.estimators import straight_through
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import magnitude
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method, supermask
from supermask_jax.methods.topk import topk_rule


def multicoat(
    *,
    densities: Sequence[float] = (0.5, 0.25, 0.1),
    counting: str = "nearest",
    score_init: Initializer | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Multicoated supermasks.

    .. math:: w_\text{eff} = w \odot \sum_i m_i, \qquad m_i = 1[\,|s| \text{ among the top } k_i\,]

    with edge-popup's gradient. `masks` counts the coats of each weight; its density is that of the
    widest coat.

    Args:
      densities: kept fraction of each coat, from the widest to the narrowest.
      counting: as for edge-popup.
      score_init: default U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), as for edge-popup.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: there is no coat, or they do not narrow.
    """
    if not densities or list(densities) != sorted(densities, reverse=True):
        raise ValueError(f"densities must fall from the widest coat, got {tuple(densities)}")
    rules = [topk_rule(density=density, counting=counting) for density in densities]

    def coats(scores: jax.Array, progress: ArrayLike) -> jax.Array:
        masks = [rule(scores, progress) for rule in rules]
        return jax.tree.map(lambda *m: sum(x.astype(jnp.int8) for x in m), *masks)

    coated = straight_through(lambda w, s, count: jnp.where(count > 0, w * count, 0), magnitude)
    return supermask(
        weights_fn=lambda w, s, context: coated(w, s, context.shared),
        mask_fn=lambda s, context: context.shared,
        score_init=score_init or initializers.uniform("he", gain=6**-0.5),
        shared_fn=coats,
        label_fn=label_fn,
    )
