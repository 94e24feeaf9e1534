"""Continuous sparsification: gates that grow steep, and become a mask at the end of training.

Reference: Savarese, Silva, Maire, "Winning the Lottery with Continuous Sparsification", NeurIPS
2020, https://arxiv.org/abs/1912.04427.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method
from supermask_jax.methods.gates import Gate, relaxed

Array = jax.Array


def continuous_sparsification(
    *,
    penalty: float = 8.0,
    final_temperature: float = 200.0,
    start_score: float = 0.0,
    evaluation: str = "hard",
    density: float = 0.0,
    anneal: float = 0.5,
    start_density: float = 1.0,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Continuous sparsification of a network whose weights do not train.

    .. math::
      w_\text{eff} = w \odot \frac{\sigma(B s)}{\sigma(s_0)}, \quad B = B_1^t \text{ in training};
      \qquad w_\text{eff} = w \odot \frac{1[s > 0]}{\sigma(s_0)} \text{ in the end}

    with :math:`t` the fraction of training done, and the penalty
    :math:`\lambda\, \overline{\sigma(B s) / \sigma(s_0)}`, a mean over all weights. The released
    code has the sum, and trains the weights too.

    Args:
      penalty: :math:`\lambda`. At 0 most gates stay half open, and the mask is not the network that
        was trained.
      final_temperature: :math:`B_1`, at the end of training.
      start_score: :math:`s_0`, the first value of every score; above 0 the density is higher.
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        gates without noise. `masks` is the hard one always.
      density: 0 lets the density emerge. Otherwise all scores are shifted after every step so
        that the mask keeps this fraction of all weights: see `core.density.shift_to_count`.
      anneal: fraction of training over which the density falls to `density`, linearly in log d.
      start_density: where that path starts; 1 makes it a bound that the density is kept under.
      score_init: default `start_score` everywhere.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.

    >>> method = continuous_sparsification()
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> key = jax.random.key(1)  # of a training step
    >>> gated = method.apply(trainable, frozen, key, progress=0.5)["kernel"]
    >>> gated.shape, bool(method.penalty(trainable, frozen, key, 0.5) > 0)
    ((8, 4), True)
    """
    check_temperature(final_temperature)
    if not abs(start_score) < 50:
        raise ValueError(f"start_score must be between -50 and 50, got {start_score}")
    constant = initializers.constant("unit", start_score)

    def soft(scores: Array, progress: ArrayLike) -> Array:
        return jax.nn.sigmoid(temperature(progress, final_temperature) * scores)

    scale = 1 + math.exp(-start_score)
    gate = Gate(
        train=lambda scores, key, progress: soft(scores, progress),
        soft=soft,
        cost=lambda scores, progress: scale * soft(scores, progress),
        cut=0.0,
        scale=scale,
    )
    init = constant if score_init is None else score_init
    return relaxed(gate, penalty, evaluation, density, start_density, anneal, init, label_fn)


def check_temperature(final: float) -> None:
    """Raises ValueError unless gates can end at the temperature `final`.

    >>> check_temperature(200.0)
    """
    if not 1 <= final < float("inf"):
        raise ValueError(f"final_temperature must be finite and at least 1, got {final}")


def temperature(progress: ArrayLike, final: float) -> Array:
    """Returns ``final ** progress``, exactly `final` from 1 on: float32 [].

    >>> [round(float(temperature(progress, final=100.0))) for progress in (0.0, 0.5, 1.0)]
    [1, 10, 100]
    """
    done = jnp.clip(jnp.asarray(progress, jnp.float32), 0, 1)
    return jnp.where(done == 1, jnp.float32(final), jnp.float32(final) ** done)
