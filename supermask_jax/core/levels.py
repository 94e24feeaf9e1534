"""From one level of pruning to the next.

A level is one round of pruning: level 0 is the unpruned network, level r the network after r
rounds. Everything here is plain NumPy on {path: array} of the prunable weights, and a function of
its arguments and a seed: a level derived again is the same level, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from supermask_jax.core.actions import get_mask0_action, get_mask1_action
from supermask_jax.core.criteria import get_criterion
from supermask_jax.core.pruning import prune_global, prune_layers
from supermask_jax.core.recipes import SIGN_MASKS, Recipe, level_shares
from supermask_jax.errors import about

Arrays = dict[str, np.ndarray]


class Level(NamedTuple):
    """What a level trains: {path: array} each, arrays of one shape [*s] a path."""

    masks: Arrays  # int8, 1 keeps
    values: Arrays  # what a pruned weight is frozen at; 0 where the mask keeps
    start: Arrays  # where a kept weight starts; 0 where the mask hides
    initial: Arrays  # what the actions made of all weights: w_i of the next round

    def weights(self) -> Arrays:
        """Returns the effective weights before training."""
        return {
            name: np.where(mask != 0, self.start[name], self.values[name])
            for name, mask in self.masks.items()
        }


def unpruned(weights: Mapping[str, np.ndarray]) -> Level:
    """Returns level 0, which keeps all of `weights`."""
    return Level(
        masks={name: np.ones(w.shape, np.int8) for name, w in weights.items()},
        values={name: np.zeros_like(w) for name, w in weights.items()},
        start=dict(weights),
        initial=dict(weights),
    )


def next_level(
    recipe: Recipe,
    origin: Mapping[str, np.ndarray],
    before: Level,
    final: Mapping[str, np.ndarray] | None,
    *,
    level: int,
    seed: int,
    gradient: Mapping[str, np.ndarray] | None = None,
    fresh: Mapping[str, np.ndarray] | None = None,
) -> Level:
    """Prunes one level and returns the next.

    Args:
      recipe: how.
      origin: path -> float [*s], the weights that level 0 began with, or has after as many steps as
        tickets rewind to.
      before: the level that is pruned: in mode 'one_shot' always level 0.
      final: path -> [*s], the effective weights that `before` ended with; None if it has not been
        trained.
      level: number of the new level, from 1.
      seed: of everything drawn: ties, random criteria, permutations. Draws depend on (seed, level)
        and not on the recipe, so that recipes of one seed can be compared in pairs.
      gradient: path -> [*s], loss gradient at `before.weights()`, for criteria that rank it.
      fresh: path -> [*s], a new draw of the initialiser, for actions that need it.

    Raises:
      UserError: a name or share is wrong, or what the recipe needs is missing.
    """
    masks = _next_masks(recipe, before, final, gradient, level, _rng(seed, level, 0))
    mask1, mask0 = get_mask1_action(recipe.mask1), get_mask0_action(recipe.mask0)
    rng1, rng0 = _rng(seed, level, 1), _rng(seed, level, 2)
    compound = recipe.original_quirks and not recipe.rescale
    made = Level(masks, {}, {}, {})
    for name in sorted(masks):
        with about(f"layer {name!r}"):
            new, frozen = masks[name], before.masks[name] == 0
            initial = mask1(
                (before.initial if compound else origin)[name], new, rng1,
                fresh=None if fresh is None else fresh[name],
                sigma=recipe.sigma or None, rescale=recipe.rescale,
            )  # fmt: skip
            start = initial
            if mask0.zeroes_kept and not compound:  # What it set to 0 in a round before stays 0.
                start = np.where(before.initial[name] == 0, initial.dtype.type(0), initial)
            # What is frozen stays what it is for good, but in the original's reshuffled control: it
            # draws its zeros among all pruned weights, and counts those of newly pruned ones.
            acted_on = new == 0 if recipe.original_quirks else ~frozen & (new == 0)
            ends = [before.initial[name], None if final is None else final[name]]
            w_i, w_f = (
                None if end is None else np.where(frozen, before.values[name], end) for end in ends
            )
            pruned, kept = mask0(w_i, w_f, ~acted_on, rng0, start=start)
        made.values[name] = np.where(acted_on, pruned, before.values[name])
        made.start[name] = np.where(new != 0, kept, kept.dtype.type(0))
        made.initial[name] = np.where(new != 0, kept, initial)
    return made


def _rng(seed: int, level: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, level, stream])


def _next_masks(recipe, before, final, gradient, level, rng) -> Arrays:
    masks = before.masks
    if recipe.criterion in SIGN_MASKS:
        keeps = SIGN_MASKS[recipe.criterion]
        finals = dict.fromkeys(masks) if final is None else final
        return {
            name: mask * keeps(before.initial[name], finals[name]) for name, mask in masks.items()
        }
    criterion = get_criterion(recipe.criterion)
    scores = {
        name: criterion(
            before.initial[name],
            None if final is None else final[name],
            gradient=None if gradient is None else gradient[name],
            rng=rng, mask=masks[name], original_quirks=recipe.original_quirks,
        )
        for name in sorted(masks)
    }  # fmt: skip
    shares = level_shares(recipe, list(masks), level)
    if recipe.scope == "layer":
        return prune_layers(masks, scores, shares, rng=rng, counting=recipe.counting)
    pruned = {name: masks[name] for name in masks if shares[name] < 1}
    if pruned:
        keep = shares[next(iter(pruned))]
        scores = {name: scores[name] for name in pruned}
        pruned = prune_global(pruned, scores, keep, rng=rng, counting=recipe.counting)
    return {name: pruned.get(name, mask) for name, mask in masks.items()}
