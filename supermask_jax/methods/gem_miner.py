"""Gem-miner: rounded scores, of which the lowest are removed for good, again and again.

Reference: Sreenivasan et al., "Rare Gems: Finding Lottery Tickets at Initialization", NeurIPS 2022,
https://arxiv.org/abs/2202.12002.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from supermask_jax.core.density import check_density
from supermask_jax.core.initializers import Initializer
from supermask_jax.core.masks import signed_mask, signed_weights
from supermask_jax.core.order import topk_masks
from supermask_jax.core.thresholds import Bounds
from supermask_jax.core.trees import LabelFn, mask_kernels, num_params, tree_mean
from supermask_jax.methods.base import Context, Method, supermask

Array = jax.Array
PyTree = Any

# Of removed weights, set again after every step: whatever is this far below 0 has been removed.
REMOVED = -10.0
_BELOW = REMOVED / 2


def gem_miner(
    *,
    density: float = 0.1,
    penalty: float = 8.0,
    rounds: int = 29,
    anneal: float = 29 / 30,
    score_init: Initializer | str | None = None,
    label_fn: LabelFn = mask_kernels,
) -> Method:
    r"""Scores in [0, 1] that are rounded, and pruned in rounds over all layers.

    .. math::
      w_\text{eff} = w \odot q \odot 1[s > \tfrac12], \qquad
      \frac{dL}{ds} = \frac{dL}{dw_\text{eff}} \odot w

    with the penalty :math:`\lambda\, \overline{q s^2}`, a mean over all weights. Scores are clipped
    to [0, 1] after every step. :math:`q` is 1 at the start; after round i of R the lowest scores of
    the network are removed for good, :math:`q = 0`, such that :math:`\lfloor n d^{i / R} \rfloor`
    are left. The paper trains the weights that are left afterwards, which `lottery_ticket` does.

    Args:
      density: :math:`d`, the most that can be left; below it stay what scores under a half hide.
      penalty: :math:`\lambda`; 8 is the paper's on a network of about 270,000 weights.
      rounds: R.
      anneal: fraction of training at which the last round is.
      score_init: default U(0, 1).
      label_fn: which leaves are masked, trained or frozen.

    Raises:
      ValueError: a number is impossible.

    >>> method = gem_miner(density=0.25)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> trainable = method.project(trainable, frozen, progress=1.0)
    >>> float(method.report(trainable, frozen)["alive"])
    0.25
    """
    if not 0 < check_density(density):
        raise ValueError("density must be above 0")
    if not 0 < check_density(anneal, "anneal"):
        raise ValueError("anneal must be above 0")
    if not 0 <= penalty < float("inf"):
        raise ValueError(f"penalty must be finite and at least 0, got {penalty}")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    bounds = Bounds(jnp.float32(-jnp.inf), jnp.float32(0.5))

    def project(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
        del frozen
        scores = trainable["scores"]
        done = jnp.asarray(progress, jnp.float32) / anneal * rounds
        # A round's own progress may be rounded to a little below it.
        at = jnp.clip(jnp.floor(done + 1e-4), 0, rounds).astype(jnp.int32)
        count = jnp.asarray(counts_left(num_params(scores), density, rounds))[at]
        leaves, treedef = jax.tree.flatten(scores)
        left = [
            jnp.where(keep & ~(leaf < _BELOW), jnp.clip(leaf, 0, 1), REMOVED)
            for leaf, keep in zip(leaves, topk_masks(leaves, count), strict=True)
        ]
        return trainable | {"scores": jax.tree.unflatten(treedef, left)}

    def cost(weights: Array, scores: Array, context: Context) -> Array:
        del weights, context
        return penalty * jnp.sum(jnp.where(scores < _BELOW, 0.0, scores) ** 2)

    return supermask(
        weights_fn=lambda weights, scores, context: signed_weights(weights, scores, bounds),
        mask_fn=lambda scores, context: signed_mask(scores, bounds),
        score_init=jax.nn.initializers.uniform(1.0) if score_init is None else score_init,
        label_fn=label_fn,
        project=project,
        penalty_fn=cost if penalty else None,
        report=lambda trainable, frozen: {"alive": _alive(trainable["scores"])},
        hidden_score=REMOVED,
    )


def counts_left(size: int, density: float, rounds: int) -> np.ndarray:
    """Returns how many of `size` weights are left after 0, 1, ... `rounds`: int32 [rounds + 1].

    >>> counts_left(100, density=0.01, rounds=2).tolist()
    [100, 10, 1]
    """
    shares = (density ** (i / rounds) for i in range(rounds + 1))
    return np.array([max(1, math.floor(size * share + 1e-9)) for share in shares], np.int32)


def _alive(scores: PyTree) -> Array:
    return tree_mean(jax.tree.map(lambda leaf: ~(leaf < _BELOW), scores))
