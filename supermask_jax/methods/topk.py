"""Masks of exactly k weights, the part that edge-popup, biprop and signed top-k share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.counting import COUNTINGS
from supermask_jax.core.density import annealed_count, check_density
from supermask_jax.core.order import topk_masks
from supermask_jax.errors import unknown_name

Array = jax.Array
PyTree = Any

SCOPES = ("layer", "global")


def topk_rule(
    *,
    density: float,
    scope: str = "layer",
    start_density: float = 1.0,
    anneal: float = 0.0,
    counting: str = "nearest",
    rank: Callable[[Array], Array] = jnp.abs,
) -> Callable[[PyTree, ArrayLike], PyTree]:
    """Builds (tree of scores, progress) -> tree of bool masks that keep exactly k entries.

    Args:
      density: kept fraction at the end: of each layer, or of all weights. Above 0 it keeps at least
        one of them; only 0 keeps none.
      scope: "layer" ranks the scores of a layer among themselves, "global" all together.
      start_density: kept fraction at the start of training, where it is annealed.
      anneal: fraction of training after which `density` is reached; 0 keeps it throughout. The
        count falls by `density.ramp`.
      counting: what makes a density a whole number, a name in `core.counting.COUNTINGS`.
      rank: what of a score is ranked.

    Raises:
      ValueError: a fraction is outside [0, 1].
      UserError: the scope or the counting is unknown.
    """
    check_density(density)
    check_density(start_density, "start_density")
    check_density(anneal, "anneal")
    if scope not in SCOPES:
        raise unknown_name("scope", scope, SCOPES)
    if counting not in COUNTINGS:
        raise unknown_name("counting", counting, COUNTINGS)

    def count(size: int, progress: ArrayLike) -> Array:
        return annealed_count(start_density, density, size, progress, anneal, counting)

    def rule(scores: PyTree, progress: ArrayLike) -> PyTree:
        leaves, treedef = jax.tree.flatten(scores)
        # The choice of k is not differentiated; the masked weights define the gradient.
        ranks = [jax.lax.stop_gradient(rank(leaf)) for leaf in leaves]
        if scope == "global":
            total = sum(leaf.size for leaf in leaves)
            return jax.tree.unflatten(treedef, topk_masks(ranks, count(total, progress)))
        masks = [topk_masks([r], count(r.size, progress))[0] for r in ranks]
        return jax.tree.unflatten(treedef, masks)

    return rule
