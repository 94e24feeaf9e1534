"""Hard concrete gates: the L0 norm of a mask as a penalty that can be differentiated.

Reference: Louizos, Welling, Kingma, "Learning Sparse Neural Networks through L0 Regularization",
ICLR 2018, https://arxiv.org/abs/1712.01312.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from supermask_jax.core import initializers
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels
from supermask_jax.methods.base import Method
from supermask_jax.methods.gates import Gate, relaxed

Array = jax.Array

# Temperature, and what the sigmoid is stretched to before it is clipped: the paper's.
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1

_NOISE = 1e-6  # Keeps uniform noise and probabilities this far from 0 and 1, as the released code.
_RANGE = (math.log(0.01), math.log(100.0))


def hard_concrete(
    *,
    penalty: float = 3.0,
    evaluation: str = "hard",
    density: float = 0.0,
    anneal: float = 0.5,
    start_density: float = 1.0,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Hard concrete gates, one for each weight.

    .. math::
      w_\text{eff} &= w \odot \min(1, \max(0, \bar z)), \quad
      \bar z = (\zeta - \gamma)\, \sigma\Big(\frac{\text{logit}(u) + s}{\beta}\Big) + \gamma, \quad
      u \sim U(0, 1) \text{ in training}; \\
      w_\text{eff} &= w \odot 1[s > 0] \text{ in the end}

    with the penalty :math:`\lambda\, \overline{P(z \neq 0)}`, a mean over all weights, and
    :math:`P(z \neq 0) = \sigma(s - \beta \log(-\gamma / \zeta))`. The released code has a gate for
    each input of a layer, and trains the weights too. Scores stay in [log 0.01, log 100].

    Args:
      penalty: :math:`\lambda`.
      evaluation: without a key, "hard" takes the mask, which is what a ticket holds; "soft" the
        gates without noise. `masks` is the hard one always.
      density: 0 lets the density emerge. Otherwise all scores are shifted after every step so
        that the mask keeps this fraction of all weights: see `core.density.shift_to_count`.
      anneal: fraction of training over which the density falls to `density`, linearly in log d.
      start_density: where that path starts; 1 makes it a bound that the density is kept under.
      score_init: default N(0, 0.01^2), gates that are kept with probability 1/2.
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.

    >>> method = hard_concrete()
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> key = jax.random.key(1)  # of a training step
    >>> gated = method.apply(trainable, frozen, key, progress=0.5)["kernel"]
    >>> gated.shape, bool(method.penalty(trainable, frozen, key, 0.5) > 0)
    ((8, 4), True)
    """
    gate = Gate(
        train=lambda scores, key, progress: gates(scores, noise(key, scores.shape)),
        soft=lambda scores, progress: mean_gates(scores),
        cost=lambda scores, progress: open_probability(scores),
        cut=0.0,
    )
    init = initializers.normal("unit", 0.01) if score_init is None else score_init
    return relaxed(
        gate, penalty, evaluation, density, start_density, anneal, init, label_fn, bound=_in_range
    )


def noise(key: Array, shape: tuple[int, ...]) -> Array:
    """Draws u: float32 [*shape] in (0, 1).

    >>> noise(jax.random.key(0), (3,)).shape
    (3,)
    """
    return jax.random.uniform(key, shape, jnp.float32, _NOISE, 1 - _NOISE)


def gates(scores: Array, uniform: Array) -> Array:
    """Returns z in [0, 1] of scores [*s] and noise in (0, 1) [*s]; no gradient where clipped.

    >>> gates(jnp.array([-9.0, 0.0, 9.0]), jnp.full(3, 0.5)).tolist()
    [0.0, 0.5, 1.0]
    """
    return _stretched((jax.scipy.special.logit(uniform) + scores) / BETA)


def mean_gates(scores: Array) -> Array:
    """Returns the gates that evaluation takes without noise, as in the released code: [*s].

    >>> mean_gates(jnp.array([-9.0, 0.0, 9.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return _stretched(scores)


def open_probability(scores: Array) -> Array:
    """Returns the probability that a gate is not 0: [*s].

    >>> open_probability(jnp.array([0.0])).round(2).tolist() == [jnp.float32(0.83)]
    True
    """
    probability = jax.nn.sigmoid(scores - BETA * math.log(-GAMMA / ZETA))
    return jnp.clip(probability, _NOISE, 1 - _NOISE)


def _stretched(logits: Array) -> Array:
    return jnp.clip(jax.nn.sigmoid(logits) * (ZETA - GAMMA) + GAMMA, 0, 1)


def _in_range(scores: Array) -> Array:
    # What is not finite stays, so that training is seen to diverge.
    return jnp.where(jnp.isfinite(scores), jnp.clip(scores, *_RANGE), scores)
