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
    densities: Sequence[float] = (0.3, 0.0788, 0.0315),
    counting: str = "nearest",
    per_coat: bool = True,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Multicoated supermasks.

    .. math:: w_\text{eff} = w \odot \sum_{i=1}^N m_i, \qquad
      m_i = 1[\,|s| \text{ among the top } k_i\,], \qquad
      \frac{dL}{ds} = N \frac{dL}{dw_\text{eff}} \odot w \odot \text{sign}(s)

    `masks` counts the coats of each weight; its density is that of the widest coat. The released
    code's weights make up for those that no coat keeps: signed He constants with the gain
    1 / sqrt(densities[0]).

    Args:
      densities: kept fraction of each coat, from the widest to the narrowest; default: the released
        configuration's, its "linear" schedule.
      counting: as for edge-popup.
      per_coat: the gradient passes straight through each coat, as in the released code, N times in
        all; False passes it once, as edge-popup's.
      score_init: default N(0, 2 / fan_out), the released code's.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: there is no coat, or they do not narrow.

    >>> method = multicoat(densities=(0.5, 0.25))
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> coats = method.masks(trainable, frozen)["kernel"]
    >>> [int((coats >= coat).sum()) for coat in (1, 2)]
    [16, 8]
    """
    if not densities or list(densities) != sorted(densities, reverse=True):
        raise ValueError(f"densities must fall from the widest coat, got {tuple(densities)}")
    rules = [topk_rule(density, counting=counting) for density in densities]

    def coats(scores: jax.Array, progress: ArrayLike) -> jax.Array:
        masks = [rule(scores, progress) for rule in rules]
        return jax.tree.map(lambda *m: sum(x.astype(jnp.int8) for x in m), *masks)

    factor = len(rules) if per_coat else 1
    coated = straight_through(
        lambda w, s, count: jnp.where(count > 0, w * count, 0), lambda s: factor * magnitude(s)
    )
    return supermask(
        weights_fn=lambda w, s, context: coated(w, s, context.shared),
        mask_fn=lambda s, context: context.shared,
        score_init=score_init or initializers.normal("he_fan_out"),
        shared_fn=coats,
        label_fn=label_fn,
    )
