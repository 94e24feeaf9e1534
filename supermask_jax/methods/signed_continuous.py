"""Signed continuous sparsification: gates between -1 and 1 that grow steep, and become a mask."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method
from supermask_jax.methods.continuous_sparsification import check_temperature, temperature
from supermask_jax.methods.gates import Gate, relaxed

Array = jax.Array

# One over the gate of a score of 1 at the start of training: 1 / (sigmoid(0) - sigmoid(-2)).
SCALE = 2 / math.tanh(1)


def signed_continuous(
    *,
    penalty: float = 16.0,
    final_temperature: float = 50.0,
    evaluation: str = "hard",
    density: float = 0.0,
    anneal: float = 0.5,
    start_density: float = 1.0,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Continuous sparsification of a signed supermask: a gate may invert its weight.

    .. math::
      w_\text{eff} &= \frac{2}{\tanh 1}\, w \odot \big(\sigma(B (s - 1)) - \sigma(B (-s - 1))\big),
      \quad B = B_1^t \text{ in training}; \\
      w_\text{eff} &= \frac{2}{\tanh 1}\, w \odot \text{sign}(s)\, 1[|s| > 1] \text{ in the end}

    with :math:`t` the fraction of training done, and the penalty
    :math:`\lambda\, \overline{\sigma(B (s - 1)) + \sigma(B (-s - 1))}`, a mean over all weights. No
    paper has it: it joins the mask of `signed` and the gradient of `continuous_sparsification`.
    Scores start where a gate is steepest, and cross to the other sign while B is small. By the
    constant the network starts on the frozen weights, each kept or inverted.

    Args:
      penalty: :math:`\lambda`.
      final_temperature: :math:`B_1`, at the end of training.
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        gates without noise. `masks` is the hard one always.
      density: 0 lets the density emerge. Otherwise all scores are scaled after every step so
        that the mask keeps this fraction of all weights: see `core.density.scale_to_count`.
      anneal: fraction of training over which the density falls to `density`, linearly in log d.
      start_density: where that path starts; 1 makes it a bound that the density is kept under.
      score_init: default 1 or -1, with equal chance: on the cut.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.

    >>> method = signed_continuous()
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> key = jax.random.key(1)  # of a training step
    >>> gated = method.apply(trainable, frozen, key, progress=0.5)["kernel"]
    >>> gated.shape, bool(method.penalty(trainable, frozen, key, 0.5) > 0)
    ((8, 4), True)
    """
    check_temperature(final_temperature)

    def parts(scores: Array, progress: ArrayLike) -> tuple[Array, Array]:
        steep = temperature(progress, final_temperature)
        return jax.nn.sigmoid(steep * (scores - 1)), jax.nn.sigmoid(steep * (-scores - 1))

    def soft(scores: Array, progress: ArrayLike) -> Array:
        kept, inverted = parts(scores, progress)
        return kept - inverted

    gate = Gate(
        train=lambda scores, key, progress: soft(scores, progress),
        soft=soft,
        cost=lambda scores, progress: jnp.add(*parts(scores, progress)),
        cut=1.0,
        signed=True,
        scale=SCALE,
    )
    init = initializers.signed_constant("unit") if score_init is None else score_init
    return relaxed(gate, penalty, evaluation, density, start_density, anneal, init, label_fn)
