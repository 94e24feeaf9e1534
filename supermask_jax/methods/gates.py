"""Relaxed gates, the part that continuous sparsification, L0, Gaussian and signed gates share.

A gate multiplies its weight by a number that training sees between 0 and 1 (or -1 and 1), with an
exact gradient; evaluation takes the mask that the gate stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.density import check_density, count_on_path, scale_to_count, shift_to_count
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import signed_mask, signed_weights_for_good
from supermask_jax.core.thresholds import Bounds
from supermask_jax.core.trees import LabelFn, num_params
from supermask_jax.errors import unknown_name
from supermask_jax.methods.base import LOWEST_SCORE, Context, Method, supermask

Array = jax.Array
PyTree = Any

_EVALUATIONS = ("hard", "soft")


class Gate(NamedTuple):
    """A relaxed gate, elementwise in the scores [*s].

    Attributes:
      train: (scores, key, progress) -> gates float32 [*s], differentiable.
      soft: (scores, progress) -> gates without noise [*s].
      cost: (scores, progress) -> what the penalty sums [*s], differentiable.
      cut: the mask keeps scores above it.
      signed: scores below ``-cut`` invert.
      scale: constant that gates, and the weights that the mask keeps, are multiplied by.
    """

    train: Callable[[Array, Array, ArrayLike], Array]
    soft: Callable[[Array, ArrayLike], Array]
    cost: Callable[[Array, ArrayLike], Array]
    cut: float
    signed: bool = False
    scale: float = 1.0


def relaxed(
    gate: Gate,
    penalty: float,
    evaluation: str,
    density: float,
    start_density: float,
    anneal: float,
    score_init: Initializer | str,
    label_fn: LabelFn,
    *,
    bound: Callable[[Array], Array] | None = None,
) -> Method:
    """Builds the method of a gate: noise and gates with a key, the mask without one.

    Args:
      gate: the gate.
      penalty: factor of the mean cost of a gate; 0 is none.
      evaluation: of `apply` without a key: "hard" takes the mask, which is what a ticket holds;
        "soft" the gates without noise, of which `masks` tells the mask all the same.
      density: 0 lets the density emerge. Otherwise the scores are shifted after every step (signed
        ones scaled) so that the mask keeps this fraction of all weights.
      start_density: where the path to it starts; 1 makes the path a bound.
      anneal: fraction of training over which it is reached, linearly in log density.
      score_init: initialiser of the scores.
      label_fn: which leaves are masked, trained or frozen.
      bound: None, or elementwise what holds the scores in their range after a step.

    Raises:
      ValueError: a number is impossible.
      UserError: `evaluation` is unknown.
    """
    if not 0 <= penalty < float("inf"):
        raise ValueError(f"penalty must be finite and at least 0, got {penalty}")
    if evaluation not in _EVALUATIONS:
        raise unknown_name("evaluation", evaluation, _EVALUATIONS)
    held = _held(gate, density, start_density, anneal)
    low = -gate.cut if gate.signed else -jnp.inf
    bounds = Bounds(jnp.float32(low), jnp.float32(gate.cut))

    def weights_fn(weights: Array, scores: Array, context: Context) -> Array:
        if context.key is not None:
            gates = gate.train(scores, context.key, context.progress)
        elif evaluation == "soft":
            gates = gate.soft(scores, context.progress)
        else:
            kept = signed_weights_for_good(weights, scores, bounds)
            return (kept * gate.scale).astype(weights.dtype)
        return (weights * (gates * gate.scale)).astype(weights.dtype)

    def project(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
        del frozen
        scores = held(trainable["scores"], progress)
        if bound is not None:
            scores = jax.tree.map(bound, scores)
        return trainable | {"scores": scores}

    def cost(weights: Array, scores: Array, context: Context) -> Array:
        del weights
        return penalty * jnp.sum(gate.cost(scores, context.progress))

    return supermask(
        weights_fn=weights_fn,
        mask_fn=lambda scores, context: signed_mask(scores, bounds),
        score_init=score_init,
        label_fn=label_fn,
        project=project if density or bound else None,
        penalty_fn=cost if penalty else None,
        hidden_score=0.0 if gate.signed else LOWEST_SCORE,
    )


def _held(
    gate: Gate, density: float, start_density: float, anneal: float
) -> Callable[[PyTree, ArrayLike], PyTree]:
    """Returns (scores, progress) -> scores of which the mask keeps `density`; 0 leaves them."""
    check_density(density)
    check_density(anneal, "anneal")
    if not 0 < check_density(start_density, "start_density"):
        raise ValueError("start_density must be above 0")

    def held(scores: PyTree, progress: ArrayLike) -> PyTree:
        if not density:
            return scores
        count = count_on_path(start_density, density, num_params(scores), progress, anneal)
        only_down = jnp.less(progress, anneal) & (start_density == 1)
        if gate.signed:
            cuts = jax.tree.map(lambda _: jnp.float32(gate.cut), scores)
            return scale_to_count(scores, cuts, count, only_down)
        return shift_to_count(scores, gate.cut, count, only_down)

    return held
