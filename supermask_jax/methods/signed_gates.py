"""Signed gates: a signed supermask whose masks are relaxed while it learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method
from supermask_jax.methods.gates import Gate, relaxed
from supermask_jax.methods.gaussian_gates import check_sigma, noisy

Array = jax.Array


def signed_gates(
    *,
    penalty: float = 1.0,
    sigma: float = 0.5,
    cut: float = 0.5,
    evaluation: str = "hard",
    density: float = 0.0,
    anneal: float = 0.5,
    start_density: float = 1.0,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Gaussian gates between -1 and 1: a gate may invert its weight.

    .. math::
      w_\text{eff} = w \odot \min(1, \max(-1, s + \epsilon)), \quad
      \epsilon \sim N(0, \varsigma^2) \text{ in training}; \qquad
      w_\text{eff} = w \odot \text{sign}(s)\, 1[|s| > a] \text{ in the end}

    with the penalty :math:`\lambda\, \overline{P(|s + \epsilon| > a)}`, a mean over all weights. No
    paper has it: it joins the mask of `signed` and the gradient of `gaussian_gates`.

    Args:
      penalty: :math:`\lambda`.
      sigma: :math:`\varsigma`, of the noise.
      cut: :math:`a`, in (0, 1).
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        gates without noise. `masks` is the hard one always.
      density: 0 lets the density emerge. Otherwise all scores are scaled after every step so
        that the mask keeps this fraction of all weights: see `core.density.scale_to_count`.
      anneal: fraction of training over which the density falls to `density`, linearly in log d.
      start_density: where that path starts; 1 makes it a bound that the density is kept under.
      score_init: default U(-1, 1).
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.

    >>> method = signed_gates()
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> key = jax.random.key(1)  # of a training step
    >>> gated = method.apply(trainable, frozen, key, progress=0.5)["kernel"]
    >>> gated.shape, bool(method.penalty(trainable, frozen, key, 0.5) > 0)
    ((8, 4), True)
    """
    check_sigma(sigma)
    if not 0 < cut < 1:
        raise ValueError(f"cut must be in (0, 1), got {cut}")
    gate = Gate(
        train=lambda scores, key, progress: jnp.clip(noisy(key, scores, sigma), -1, 1),
        soft=lambda scores, progress: jnp.clip(scores, -1, 1),
        cost=lambda scores, progress: outside(scores, cut, sigma),
        cut=cut,
        signed=True,
    )
    init = initializers.uniform("unit", 3**-0.5) if score_init is None else score_init
    return relaxed(gate, penalty, evaluation, density, start_density, anneal, init, label_fn)


def outside(scores: Array, cut: float, sigma: float) -> Array:
    """Returns P(|s + noise| > cut) of normal noise: [*s].

    >>> outside(jnp.array([0.0, -2.0]), cut=0.5, sigma=1e-3).tolist()
    [0.0, 1.0]
    """
    above, below = (scores - cut) / sigma, (-scores - cut) / sigma
    return jax.scipy.special.ndtr(above) + jax.scipy.special.ndtr(below)
