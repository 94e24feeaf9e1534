"""Learned (Bernoulli) supermasks: every weight is kept with a trained probability.

Reference: Zhou et al., "Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask", NeurIPS
2019, https://arxiv.org/abs/1905.01067, sec. 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.density import check_density, log_path, shift_to_density
from supermask_jax.core.estimators import straight_through
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import bernoulli_weights, gumbel_weights, no_gradient
from supermask_jax.core.trees import LabelFn, mask_kernels, tree_mean
from supermask_jax.errors import unknown_name
from supermask_jax.methods.base import LOWEST_SCORE, Context, Method, supermask

Array = jax.Array
PyTree = Any

_VARIANTS = ("sampled", "round")
_ESTIMATORS = ("straight_through", "gumbel")
_EVALUATIONS = ("sampled", "expected", "rounded")


def mean_probability(scores: PyTree) -> Array:
    """Returns the mean of sigmoid(s) over all scores, the expected density: float32 [].

    >>> float(mean_probability({"kernel": jnp.zeros(4)}))
    0.5
    """
    return tree_mean(jax.tree.map(jax.nn.sigmoid, scores))


def bernoulli(
    *,
    start_density: float = 0.5,
    rescale: bool = False,
    variant: str = "sampled",
    estimator: str = "straight_through",
    tau: float = 1.0,
    evaluation: str = "sampled",
    eval_samples: int = 10,
    density: float = 0.0,
    anneal: float = 0.5,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""The learned supermask.

    .. math::
      w_\text{eff} = w \odot m, \quad m \sim \text{Bernoulli}(\sigma(s)), \quad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w \odot \sigma'(s)

    Without a key ``apply`` takes the most probable mask, or with `evaluation` "expected" the
    probabilities. The former has no gradient to the scores, and asking for one is a ValueError.

    Args:
      start_density: constant initial probability, in (0, 1): every score is its logit.
      rescale: dynamic weight rescaling: a layer's weights are multiplied by n / sum(m) of the
        current mask, and the gradient goes through that factor too.
      variant: "sampled"; or "round", which in training sets a random half of the entries to the
        rounded probability, without gradient, and the other half to the probability itself.
      estimator: of a sampled mask's gradient: "straight_through", with the factor of the equation;
        or "gumbel", whose factor knows the sample: see `core.masks.gumbel_weights`. The masks have
        one distribution.
      tau: temperature of "gumbel", above 0.
      evaluation: "sampled" averages metrics over `eval_samples` masks, as the original does;
        "expected" uses the probabilities as masks, "rounded" those above 1/2.
      eval_samples: how many.
      density: 0 lets the density emerge. Otherwise the mean probability is driven to it:
        see `core.density.shift_to_density`.
      anneal: fraction of training over which the target falls to `density`, linearly in log d.
      score_init: overrides `start_density`.
      label_fn: which leaves are masked, trained or frozen (the original freezes biases at 0).

    Raises:
      ValueError: a fraction is impossible.
      UserError: `variant`, `estimator` or `evaluation` is unknown.

    >>> method = bernoulli(start_density=0.25)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> float(method.report(trainable, frozen)["mean_probability"])
    0.25
    >>> jnp.unique(method.apply(trainable, frozen, jax.random.key(1))["kernel"]).tolist()
    [0.0, 1.0]
    """
    if not 0 < start_density < 1:
        raise ValueError(f"start_density must be in (0, 1), got {start_density}")
    check_density(density)
    check_density(anneal, "anneal")
    if not 0 < tau < float("inf"):
        raise ValueError(f"tau must be finite and above 0, got {tau}")
    if estimator not in _ESTIMATORS:
        raise unknown_name("estimator", estimator, _ESTIMATORS)
    soft_mask = _soft_mask(variant, evaluation, tau if estimator == "gumbel" else None)

    def weights_fn(weights: Array, scores: Array, context: Context) -> Array:
        mask = soft_mask(scores, context.key)
        if rescale:
            mask = mask * (mask.size / jnp.maximum(jnp.sum(mask), 1))
        return (weights * mask).astype(weights.dtype)

    def mask_fn(scores: Array, context: Context) -> Array:
        if context.key is None or variant == "round":
            return (jax.nn.sigmoid(scores) > 0.5).astype(jnp.int8)
        return soft_mask(scores, context.key).astype(jnp.int8)

    def project(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
        del frozen
        target = log_path(start_density, density, progress, anneal)
        return trainable | {"scores": shift_to_density(trainable["scores"], target)}

    return supermask(
        weights_fn=weights_fn,
        mask_fn=mask_fn,
        score_init=_constant(start_density) if score_init is None else score_init,
        label_fn=label_fn,
        project=project if density else None,
        report=lambda trainable, frozen: {
            "mean_probability": mean_probability(trainable["scores"])
        },
        eval_samples=eval_samples if evaluation == "sampled" and variant == "sampled" else 0,
        hidden_score=LOWEST_SCORE,
    )


def _constant(probability: float) -> Initializer:
    """Returns the initialiser that gives every score the logit of `probability`."""
    logit = math.log(probability / (1 - probability))
    return lambda key, shape, dtype: jnp.full(shape, logit, dtype)


# Compared, not rounded: a NaN hides its weight.
_most_probable = straight_through(
    lambda weights, scores: jnp.where(jax.nn.sigmoid(scores) > 0.5, weights, 0.0),
    no_gradient(
        "the most probable mask of a learned supermask has no gradient: give apply a key, which "
        "samples, or hide the scores from the gradient with jax.lax.stop_gradient"
    ),
)


def _soft_mask(
    variant: str, evaluation: str, tau: float | None
) -> Callable[[Array, Array | None], Array]:
    """Returns (scores [*s], key) -> the mask that multiplies weights, float [*s], with gradient."""
    if variant not in _VARIANTS:
        raise unknown_name("variant", variant, _VARIANTS)
    if evaluation not in _EVALUATIONS:
        raise unknown_name("evaluation", evaluation, _EVALUATIONS)

    def soft_mask(scores: Array, key: Array | None) -> Array:
        probability = jax.nn.sigmoid(scores)
        if key is None:
            if evaluation == "expected":
                return probability
            return _most_probable(jnp.ones_like(scores), scores)
        if variant == "round":
            clamp = jax.random.bernoulli(key, jnp.float32(0.5), scores.shape)
            return jnp.where(clamp, jnp.round(probability), probability)
        if tau is not None:
            noise = jax.random.logistic(key, scores.shape, jnp.float32)
            return gumbel_weights(jnp.ones_like(scores), scores, noise, tau)
        uniform = jax.random.uniform(key, scores.shape, jnp.float32)
        return bernoulli_weights(jnp.ones_like(scores), scores, uniform)

    return soft_mask
