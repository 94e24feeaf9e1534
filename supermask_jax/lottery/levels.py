"""From one level of pruning to the next.

Level 0 is the unpruned network, level r the network pruned r times. Everything here is plain NumPy
on {path: array} of the prunable weights, and a function of its arguments and a seed: a level
derived again is the same level, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from supermask_jax.errors import about
from supermask_jax.lottery.actions import MASK0_ACTIONS, MASK1_ACTIONS
from supermask_jax.lottery.criteria import SIGN_MASKS, find_criterion
from supermask_jax.lottery.pruning import prune_global, prune_layers
from supermask_jax.lottery.recipes import Recipe, level_shares

Arrays = dict[str, np.ndarray]


class Level(NamedTuple):
    """What a level trains: {path: array} each, arrays of one shape [*s] a path."""

    masks: Arrays  # int8, 1 keeps
    values: Arrays  # what a pruned weight is frozen at; 0 where the mask keeps
    start: Arrays  # where a kept weight starts; 0 where the mask hides
    initial: Arrays  # what the actions made of all weights: w_i of the next level

    def weights(self) -> Arrays:
        """Returns the effective weights before training."""
        start, values = self.start, self.values
        return {n: np.where(mask != 0, start[n], values[n]) for n, mask in self.masks.items()}


def unpruned(weights: Mapping[str, np.ndarray]) -> Level:
    """Returns level 0, which keeps all of `weights`."""
    masks = {name: np.ones(w.shape, np.int8) for name, w in weights.items()}
    values = {name: np.zeros_like(w) for name, w in weights.items()}
    return Level(masks, values, start=dict(weights), initial=dict(weights))


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
    rng, rng1, rng0 = (np.random.default_rng([seed, level, stream]) for stream in range(3))
    masks = _next_masks(recipe, before, final, gradient, level, rng)
    mask1, mask0 = MASK1_ACTIONS[recipe.mask1], MASK0_ACTIONS[recipe.mask0]
    compound = recipe.original_quirks and not recipe.rescale
    options = {"sigma": recipe.sigma or None, "rescale": recipe.rescale, "rng": rng1}
    source = before.initial if compound else origin
    made = Level(masks, {}, {}, {})
    for name in sorted(masks):
        with about(f"layer {name!r}"):
            new, frozen = masks[name], before.masks[name] == 0
            given = {"fresh": _of(fresh, name), "final": _of(final, name)}
            initial = start = mask1(source[name], new, **given, **options)
            if mask0.zeroes_kept and not compound:  # What it set to 0 at a level before stays 0.
                start = np.where(before.initial[name] == 0, initial.dtype.type(0), initial)
            # What is frozen stays what it is for good, but in the original's reshuffled control: it
            # draws its zeros among all pruned weights, and counts those of newly pruned ones.
            acted_on = new == 0 if recipe.original_quirks else ~frozen & (new == 0)
            ends, values = (before.initial[name], _of(final, name)), before.values[name]
            w_i, w_f = (end if end is None else np.where(frozen, values, end) for end in ends)
            pruned, kept = mask0(w_i, w_f, ~acted_on, start=start, rng=rng0)
        made.values[name] = np.where(acted_on, pruned, values)
        made.start[name] = np.where(new != 0, kept, kept.dtype.type(0))
        made.initial[name] = np.where(new != 0, kept, initial)
    return made


def _of(arrays: Mapping[str, np.ndarray] | None, name: str) -> np.ndarray | None:
    return None if arrays is None else arrays[name]


def _next_masks(recipe, before, final, gradient, level, rng) -> Arrays:
    masks, criterion, scores = before.masks, find_criterion(recipe.criterion), {}
    options = {"original_quirks": recipe.original_quirks, "rng": rng}
    for name in sorted(masks):
        ends, slope = (before.initial[name], _of(final, name)), _of(gradient, name)
        scores[name] = criterion(*ends, gradient=slope, mask=masks[name], **options)
    if recipe.criterion in SIGN_MASKS:
        return {name: mask * scores[name] for name, mask in masks.items()}
    options = {"counting": recipe.counting, "rng": rng}
    shares = level_shares(recipe, list(masks), level)
    if recipe.scope == "layer":
        return prune_layers(masks, scores, shares, **options)
    pruned = {name: masks[name] for name in masks if shares[name] < 1}
    if pruned:
        keep = shares[next(iter(pruned))]
        scores = {name: scores[name] for name in pruned}
        pruned = prune_global(pruned, scores, keep, **options)
    return {name: pruned.get(name, mask) for name, mask in masks.items()}
