"""Masks of exactly k weights, the part that edge-popup, biprop and signed top-k share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.counting import COUNTINGS
from supermask_jax.core.density import annealed_count, check_density
from supermask_jax.core.order import group_topk_mask, topk_masks
from supermask_jax.core.trees import path_name
from supermask_jax.errors import UserError, about, unknown_name

Array = jax.Array
PyTree = Any

SCOPES = ("layer", "global")
MOST = 64  # weights of a group: each is compared with all others


def pattern(scope: str) -> tuple[int, int] | None:
    """Returns N and M of the scope "N:M", None for the others.

    Raises:
      UserError: N weights of M cannot stay; or there is no such scope.

    >>> pattern("2:4"), pattern("layer")
    ((2, 4), None)
    """
    found = re.fullmatch(r"(\d+):(\d+)", scope, re.ASCII)
    if not found:
        if scope not in SCOPES:
            raise unknown_name("scope", scope, (*SCOPES, "2:4"))
        return None
    kept, size = map(int, found.groups())
    if not 1 <= kept <= size <= MOST:
        raise UserError(
            f"scope {scope!r} keeps N of every M weights, with N from 1 to M and M up to {MOST}"
        )
    return kept, size


def topk_rule(
    density: float,
    scope: str = "layer",
    start_density: float = 1.0,
    anneal: float = 0.0,
    counting: str = "nearest",
    *,
    rank: Callable[[Array], Array] = jnp.abs,
) -> Callable[[PyTree, ArrayLike], PyTree]:
    """Builds (tree of scores, progress) -> tree of bool masks that keep exactly k entries.

    Args:
      density: kept fraction at the end: of each layer, or of all weights. Above 0 it keeps at least
        one of them; only 0 keeps none.
      scope: "layer" ranks the scores of a layer among themselves, "global" all together; "2:4"
        keeps the 2 largest of every 4 consecutive ones on the axis of inputs, a pattern that
        accelerators run: the density is that of the pattern then, and `density` is not used.
      start_density: kept fraction at the start of training, where it is annealed.
      anneal: fraction of training after which `density` is reached; 0 keeps it throughout. The
        count falls by `density.ramp`.
      counting: what makes a density a whole number, a name in `core.counting.COUNTINGS`.
      rank: what of a score is ranked.

    Raises:
      ValueError: a fraction is outside [0, 1]; in the rule, the inputs of a layer cannot be divided
        into groups.
      UserError: the scope or the counting is unknown.

    >>> rule = topk_rule(density=0.5)
    >>> rule({"kernel": jnp.array([3.0, -4.0, 1.0, 2.0])}, progress=1.0)["kernel"].tolist()
    [True, True, False, False]
    """
    check_density(density)
    check_density(start_density, "start_density")
    check_density(anneal, "anneal")
    groups = pattern(scope)
    if counting not in COUNTINGS:
        raise unknown_name("counting", counting, COUNTINGS)

    def count(size: int, progress: ArrayLike) -> Array:
        return annealed_count(start_density, density, size, progress, anneal, counting)

    def rule(scores: PyTree, progress: ArrayLike) -> PyTree:
        leaves, treedef = jax.tree.flatten(scores)
        # The choice of k is not differentiated; the masked weights define the gradient.
        ranks = [jax.lax.stop_gradient(rank(leaf)) for leaf in leaves]
        if groups:
            kept, size = groups
            k = annealed_count(start_density, kept / size, size, progress, anneal)
            return jax.tree.map_with_path(
                lambda path, r: _grouped(path_name(path), r, k, size),
                jax.tree.unflatten(treedef, ranks),
            )
        if scope == "global":
            total = sum(leaf.size for leaf in leaves)
            return jax.tree.unflatten(treedef, topk_masks(ranks, count(total, progress)))
        masks = [topk_masks([r], count(r.size, progress))[0] for r in ranks]
        return jax.tree.unflatten(treedef, masks)

    return rule


def _grouped(name: str, ranks: Array, k: Array, size: int) -> Array:
    with about(repr(name)):
        return group_topk_mask(ranks, k, size)
