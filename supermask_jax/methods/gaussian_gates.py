"""Gaussian gates: scores with noise, clipped to [0, 1].

Reference: Tsayag and Lindenbaum, 2026, https://arxiv.org/abs/2603.08914 ("continuously relaxed
Bernoulli gates"), on frozen weights; the gate is that of Yamada et al., "Feature Selection using
Stochastic Gates", ICML 2020, https://arxiv.org/abs/1810.04247.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method
from supermask_jax.methods.gates import Gate, relaxed

Array = jax.Array


def gaussian_gates(
    *,
    penalty: float = 1.0,
    sigma: float = 0.5,
    evaluation: str = "hard",
    density: float = 0.0,
    anneal: float = 0.5,
    start_density: float = 1.0,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Gaussian gates, one for each weight.

    .. math::
      w_\text{eff} = w \odot \min(1, \max(0, s + \epsilon)), \quad
      \epsilon \sim N(0, \varsigma^2) \text{ in training}; \qquad
      w_\text{eff} = w \odot 1[s > \tfrac12] \text{ in the end}

    with the penalty :math:`\lambda\, \overline{\Phi(s / \varsigma)}`, the mean probability over all
    weights that a gate is not 0. No code of the 2026 paper is known: its learning rate and penalty
    are not those of our config, and the cut at 1/2, where half of the gates are above, is ours.

    Args:
      penalty: :math:`\lambda`.
      sigma: :math:`\varsigma`, of the noise.
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        gates without noise. `masks` is the hard one always.
      density: 0 lets the density emerge. Otherwise all scores are shifted after every step so
        that the mask keeps this fraction of all weights: see `core.density.shift_to_count`.
      anneal: fraction of training over which the density falls to `density`, linearly in log d.
      start_density: where that path starts; 1 makes it a bound that the density is kept under.
      score_init: default 1/2 everywhere.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.

    >>> method = gaussian_gates()
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> key = jax.random.key(1)  # of a training step
    >>> gated = method.apply(trainable, frozen, key, progress=0.5)["kernel"]
    >>> gated.shape, bool(method.penalty(trainable, frozen, key, 0.5) > 0)
    ((8, 4), True)
    """
    check_sigma(sigma)
    gate = Gate(
        train=lambda scores, key, progress: jnp.clip(noisy(key, scores, sigma), 0, 1),
        soft=lambda scores, progress: jnp.clip(scores, 0, 1),
        cost=lambda scores, progress: jax.scipy.special.ndtr(scores / sigma),
        cut=0.5,
    )
    init = initializers.constant("unit", 0.5) if score_init is None else score_init
    return relaxed(gate, penalty, evaluation, density, start_density, anneal, init, label_fn)


def check_sigma(sigma: float) -> None:
    """Raises ValueError unless `sigma` can be a standard deviation.

    >>> check_sigma(0.5)
    """
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma must be finite and above 0, got {sigma}")


def noisy(key: Array, scores: Array, sigma: float) -> Array:
    """Returns scores [*s] with normal noise of standard deviation `sigma`.

    >>> noisy(jax.random.key(0), jnp.zeros(3), sigma=0.5).shape
    (3,)
    """
    return scores + sigma * jax.random.normal(key, scores.shape, jnp.float32)
