"""Mask functions and the masked weights they make.

Polarity everywhere: 0 hides a weight, 1 keeps it, -1 inverts it. A hidden weight is exactly zero,
whatever its score is, NaN included.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from supermask_jax.core.estimators import straight_through
from supermask_jax.core.thresholds import Bounds

Array = jax.Array


def signed_mask(scores: Array, bounds: Bounds) -> Array:
    r"""Returns the signed mask: int8 [*s] in {-1, 0, 1}.

    .. math:: m = +1\ \text{if}\ s > \text{high},\quad -1\ \text{if}\ s < \text{low},\quad 0\
      \text{otherwise}.

    Both inequalities are strict, so |s| = threshold hides; a NaN score hides.

    Args:
      scores: float [*s].
      bounds: the layer's cuts, from a `ThresholdRule`.

    Reference: Koster et al., 2022, sec. 3, eq. 2.

    >>> bounds = Bounds(jnp.float32(-0.1), jnp.float32(0.1))
    >>> signed_mask(jnp.array([0.5, -0.5, 0.1, 0.0]), bounds).tolist()
    [1, -1, 0, 0]
    """
    return (scores > bounds.high).astype(jnp.int8) - (scores < bounds.low).astype(jnp.int8)


def _signed(weights: Array, scores: Array, bounds: Bounds) -> Array:
    # Selecting, not multiplying: exact, and zero also where a weight is infinite.
    inverted = scores < bounds.low
    kept = jnp.where((scores > bounds.high) | inverted, weights, jnp.zeros((), weights.dtype))
    # What is kept, and not the weights: a loop of steps would keep their negatives from the first.
    return jnp.where(inverted, -kept, kept)


def no_gradient(message: str) -> Callable[[Array], Array]:
    """Returns what stands for the derivative of a mask that has none: asking for it is an error.

    Zero would be a training that changes nothing, and says nothing.
    """

    def refuse(scores: Array) -> Array:
        raise ValueError(message)

    return refuse


_signed_straight_through = straight_through(_signed, lambda scores: scores)
_signed_for_good = straight_through(
    _signed,
    no_gradient(
        "the hard mask of a relaxed gate has no gradient: give apply a key, as in training, or "
        "hide the scores from the gradient with jax.lax.stop_gradient"
    ),
)


def signed_weights(weights: Array, scores: Array, bounds: Bounds) -> Array:
    r"""Returns ``weights * signed_mask(scores, bounds)``, [*s], with a straight-through gradient.

    .. math:: \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    for every entry: no clipping, and hidden entries learn too. Bounds receive no gradient.

    Args:
      weights: frozen weights, float [*s].
      scores: float32 [*s].
      bounds: the layer's cuts, from a `ThresholdRule`.

    Reference: Koster et al., 2022, sec. 3, eq. 2 and 3.

    >>> weights, scores = jnp.array([2.0, 3.0, 4.0]), jnp.array([0.5, -0.5, 0.0])
    >>> bounds = Bounds(jnp.float32(-0.1), jnp.float32(0.1))
    >>> signed_weights(weights, scores, bounds).tolist()
    [2.0, -3.0, 0.0]
    >>> jax.grad(lambda s: signed_weights(weights, s, bounds).sum())(scores).tolist()
    [2.0, 3.0, 4.0]
    """
    return _signed_straight_through(weights, scores, bounds)


def signed_weights_for_good(weights: Array, scores: Array, bounds: Bounds) -> Array:
    """Returns what `signed_weights` does, for evaluation: its gradient to the scores is an error.

    A ValueError, where JAX differentiates.

    >>> bounds = Bounds(jnp.float32(-0.1), jnp.float32(0.1))
    >>> signed_weights_for_good(jnp.array([2.0, 3.0]), jnp.array([0.5, -0.5]), bounds).tolist()
    [2.0, -3.0]
    """
    return _signed_for_good(weights, scores, bounds)


def _hide(weights: Array, scores: Array, mask: Array) -> Array:
    del scores
    return jnp.where(mask, weights, jnp.zeros((), weights.dtype))


def _sign_by(weights: Array, scores: Array, mask: Array) -> Array:
    return _hide(jnp.where(scores < 0, -weights, weights), scores, mask)


def _binarize(weights: Array, scores: Array, mask: Array, uncounted: int) -> Array:
    del scores
    # float16 ends at 65,504, bfloat16 counts to 256.
    wide = jnp.promote_types(weights.dtype, jnp.float32)
    magnitude = jnp.sum(jnp.where(mask, jnp.abs(weights), 0), dtype=wide)
    alpha = magnitude / jnp.maximum(jnp.sum(mask) - uncounted, 1)
    return jnp.where(mask, jnp.sign(weights) * alpha, 0).astype(weights.dtype)


def magnitude(scores: Array) -> Array:
    """|s| with the derivative sign(s), 0 at 0, where that of `jnp.abs` is 1.

    >>> jax.grad(magnitude)(-2.0), jax.grad(magnitude)(0.0)
    (Array(-1., dtype=float32, weak_type=True), Array(0., dtype=float32, weak_type=True))
    """
    return scores * jax.lax.stop_gradient(jnp.sign(scores))


_kept_by_magnitude = straight_through(_hide, magnitude)
_kept_by_value = straight_through(_hide, lambda scores: scores)
_signed_by_score = straight_through(_sign_by, lambda scores: scores)
_binarized = straight_through(_binarize, magnitude)


def kept_weights(weights: Array, scores: Array, mask: Array, *, by_value: bool = False) -> Array:
    r"""Returns the weights that `mask` keeps, with edge-popup's gradient to the scores: [*s].

    .. math:: \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w \odot \varphi(s), \qquad
      \varphi = \text{sign}(s),\ \text{or } 1 \text{ by value}

    for every entry, hidden ones included.

    Args:
      weights: frozen weights, float [*s].
      scores: float32 [*s].
      mask: bool [*s], computed from the scores.
      by_value: whether the mask ranks scores by value instead of by magnitude.

    Reference: Ramanujan et al., 2020, https://arxiv.org/abs/1911.13299, eq. 5.

    >>> weights, scores = jnp.array([2.0, 3.0]), jnp.array([0.5, -0.9])
    >>> mask = jnp.array([False, True])
    >>> kept_weights(weights, scores, mask).tolist()
    [0.0, 3.0]
    >>> jax.grad(lambda s: kept_weights(weights, s, mask).sum())(scores).tolist()
    [2.0, -3.0]
    """
    rule = _kept_by_value if by_value else _kept_by_magnitude
    return rule(weights, scores, mask)


def signed_kept_weights(weights: Array, scores: Array, mask: Array) -> Array:
    """Returns ``weights * sign(scores)`` where `mask` keeps, 0 elsewhere: [*s].

    The gradient to the scores is that of `signed_weights`. A score of 0 keeps its weight's sign.

    >>> scores, mask = jnp.array([0.5, -0.9, 0.1]), jnp.array([True, True, False])
    >>> signed_kept_weights(jnp.array([2.0, 3.0, 4.0]), scores, mask).tolist()
    [2.0, -3.0, 0.0]
    """
    return _signed_by_score(weights, scores, mask)


def binarized_weights(weights: Array, scores: Array, mask: Array, uncounted: int = 0) -> Array:
    r"""Returns biprop's weights :math:`\alpha\, \text{sign}(w) \odot m`, [*s].

    .. math:: \alpha = \frac{\sum |w| \odot m}{\sum m}, \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w \odot \text{sign}(s)

    :math:`\alpha` is a constant of the gradient and not a factor of it. A layer that keeps nothing
    is 0. Of the kept weights, :math:`\sum m` leaves out `uncounted`, but never all.

    Reference: Diffenderfer and Kailkhura, 2021, https://arxiv.org/abs/2103.09377, sec. 3.

    >>> weights, mask = jnp.array([2.0, -4.0, 5.0]), jnp.array([True, True, False])
    >>> binarized_weights(weights, jnp.ones(3), mask).tolist()
    [3.0, -3.0, 0.0]
    """
    return _binarized(weights, scores, mask, uncounted)


def _bernoulli(weights: Array, scores: Array, uniform: Array) -> Array:
    return jnp.where(uniform < jax.nn.sigmoid(scores), weights, jnp.zeros((), weights.dtype))


_bernoulli_straight_through = straight_through(_bernoulli, jax.nn.sigmoid)


def bernoulli_weights(weights: Array, scores: Array, uniform: Array) -> Array:
    r"""Returns weights under a mask sampled from Bernoulli(sigmoid(scores)): [*s].

    .. math:: m = 1[u < \sigma(s)], \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w \odot \sigma'(s)

    Args:
      weights: frozen weights, float [*s].
      scores: float32 [*s].
      uniform: noise in [0, 1), float32 [*s].

    Reference: Zhou et al., 2019, https://arxiv.org/abs/1905.01067, sec. 5.1.

    >>> weights, uniform = jnp.array([2.0, 3.0]), jnp.array([0.4, 0.6])
    >>> bernoulli_weights(weights, jnp.zeros(2), uniform).tolist()
    [2.0, 0.0]
    >>> jax.grad(lambda s: bernoulli_weights(weights, s, uniform).sum())(jnp.zeros(2)).tolist()
    [0.5, 0.75]
    """
    return _bernoulli_straight_through(weights, scores, uniform)


_sampled_at_zero = straight_through(
    lambda weights, noisy: jnp.where(noisy > 0, weights, jnp.zeros((), weights.dtype)),
    jax.nn.sigmoid,
)


def gumbel_weights(weights: Array, scores: Array, noise: Array, tau: float = 1.0) -> Array:
    r"""Returns weights under a mask sampled from Bernoulli(sigmoid(scores)): [*s].

    .. math:: m = 1[s + n > 0], \qquad \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w \odot
      \frac{1}{\tau} \sigma'\Big(\frac{s + n}{\tau}\Big)

    The distribution of the mask is that of `bernoulli_weights`; the gradient knows the sample.

    Args:
      weights: frozen weights, float [*s].
      scores: float32 [*s].
      noise: n, of the standard logistic distribution, float32 [*s].
      tau: temperature, above 0.

    Reference: Csordas et al., 2021, https://arxiv.org/abs/2010.02066.

    >>> gumbel_weights(jnp.array([2.0, 3.0]), jnp.zeros(2), jnp.array([0.4, -0.6])).tolist()
    [2.0, 0.0]
    """
    return _sampled_at_zero(weights, (scores + noise) / tau)
