"""How levels of pruning are made from one another: a recipe, its shares, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from supermask_jax.core.actions import get_mask0_action, get_mask1_action
from supermask_jax.core.criteria import CRITERIA, diff_sign_mask, same_sign_mask
from supermask_jax.core.pruning import num_kept
from supermask_jax.errors import UserError, unknown_name

# They have no score and no count: each keeps what its rule keeps, and `keep` is not read.
SIGN_MASKS = {"same_sign": same_sign_mask, "diff_sign": diff_sign_mask}
SCOPES = ("layer", "global")
MODES = ("iterative", "one_shot")


class Recipe(NamedTuple):
    """How each level is made from the one before.

    Attributes:
      criterion: a name in `CRITERIA` or `SIGN_MASKS`: which weights are kept.
      mask1: a name in `MASK1_ACTIONS`: where kept weights start again.
      mask0: a name in `MASK0_ACTIONS`: what pruned weights are frozen at.
      keep: share of the remaining weights that stays in a round, in (0, 1], or a share for each
        layer by glob on its path or its layer's name, the first match taken: ``{"dense3": 0.9, "*":
        0.8}``. In scope 'global' all shares below 1 are equal; 1 leaves a layer alone.
      scope: 'layer' prunes each layer by itself, 'global' all of them by one ranking.
      mode: 'iterative' prunes what the level before trained; in 'one_shot' level r prunes what
        level 0 trained, to ``keep ** r``.
      counting: a name in `core.pruning.COUNTINGS`.
      rescale: multiply starting weights by n / kept, layer by layer.
      sigma: constant of the signed-constant actions; 0 is the layer's standard deviation.
      original_quirks: do as the code of Zhou et al.: mask-1 actions compound over the levels
        (unless rescaled), `*_sign` criteria score what they exclude 0, and `reshuffled` draws its
        zeros among all pruned weights anew at every level.
    """

    criterion: str = "large_final"
    mask1: str = "rewind"
    mask0: str = "zero"
    keep: float | Mapping[str, float] = 0.8
    scope: str = "layer"
    mode: str = "iterative"
    counting: str = "nearest"
    rescale: bool = False
    sigma: float = 0.0
    original_quirks: bool = False

    @property
    def name(self) -> str:
        """The three choices of an ablation, as a folder name."""
        return f"{self.criterion}-{self.mask1}-{self.mask0}"

    @property
    def needs_gradient(self) -> bool:
        """Whether the criterion ranks loss gradients."""
        return self.criterion in CRITERIA and CRITERIA[self.criterion].needs_gradient

    @property
    def needs_fresh(self) -> bool:
        """Whether the mask-1 action needs a new draw of the initialiser."""
        return get_mask1_action(self.mask1).needs_fresh


def level_shares(recipe: Recipe, names: Sequence[str], level: int) -> dict[str, float]:
    """Returns {path: share of the weights of the pruned level that stays at `level`}.

    Raises:
      UserError: a share is no number in (0, 1], a layer has none, or a glob matches no layer.
    """
    shares = _shares(recipe.keep, names)
    for share in shares.values():
        num_kept(share, 1)
    if recipe.scope == "global" and len({share for share in shares.values() if share < 1}) > 1:
        raise UserError(
            "scope 'global' ranks all layers together, but keep holds several shares: give one, "
            "and 1.0 for layers to leave alone"
        )
    power = level if recipe.mode == "one_shot" else 1
    return {name: share**power for name, share in shares.items()}


def _shares(keep: float | Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    if not isinstance(keep, Mapping):
        return dict.fromkeys(names, keep)

    def matches(name: str, glob: str) -> bool:
        return fnmatchcase(name, glob) or fnmatchcase(name.rpartition("/")[0], glob)

    shares = {}
    for name in names:
        globs = [glob for glob in keep if matches(name, glob)]
        if not globs:
            raise UserError(f"keep holds no share for layer {name!r}: add one for it, or for '*'")
        shares[name] = keep[globs[0]]
    for glob in keep:
        if glob != "*" and not any(matches(name, glob) for name in names):
            raise UserError(f"keep names {glob!r}, but the layers are {', '.join(names)}")
    return shares


def last_level(recipe: Recipe, levels: int) -> int:
    """Returns the last of `levels` levels that differs from those before.

    A sign mask reads no share: where every level prunes level 0, there is but one of it.
    """
    return 1 if recipe.criterion in SIGN_MASKS and recipe.mode == "one_shot" else levels


def check_recipe(recipe: Recipe, sizes: Mapping[str, int], levels: int, *, trained: bool) -> None:
    """Checks a recipe before anything is trained.

    Args:
      recipe: it.
      sizes: path -> number of weights, of all layers that are pruned.
      levels: the last level.
      trained: whether level 0 is trained before it is pruned.

    Raises:
      UserError: a name is unknown, a share impossible, a level would leave a layer (in scope
        'global': the network) without weights or prune none, or trained weights are needed and
        there are none.
    """
    for kind, name, known in (("scope", recipe.scope, SCOPES), ("mode", recipe.mode, MODES)):
        if name not in known:
            raise unknown_name(kind, name, known)
    if not 0 <= recipe.sigma < float("inf"):
        raise UserError(f"sigma must be positive, or 0 for the standard deviation: {recipe.sigma}")
    none = np.zeros(1, np.float32)
    get_mask1_action(recipe.mask1)
    mask0 = get_mask0_action(recipe.mask0)
    if not trained and mask0.needs_final:
        mask0(none, None, np.ones(1))  # It says itself what is missing.
    if recipe.criterion in SIGN_MASKS:
        SIGN_MASKS[recipe.criterion](none, none if trained else None)
        return
    if recipe.criterion not in CRITERIA:
        raise unknown_name("mask criterion", recipe.criterion, [*CRITERIA, *SIGN_MASKS])
    if not trained and CRITERIA[recipe.criterion].needs_final:
        CRITERIA[recipe.criterion](none, None)
    _check_counts(recipe, sizes, levels)


def _check_counts(recipe: Recipe, sizes: Mapping[str, int], levels: int) -> None:
    shares = level_shares(recipe, list(sizes), 1)
    if recipe.scope == "global":
        # Which layer will lose how many is not known yet; the total is.
        pruned = [name for name in sizes if shares[name] < 1]
        sizes = {"the network": sum(sizes[name] for name in pruned)} if pruned else {}
        shares = {"the network": shares[pruned[0]]} if pruned else {}
    before = dict(sizes)
    for level in range(1, levels + 1):
        left = _counts(recipe, shares, sizes, before, level)
        for name, count in left.items():
            if count == 0:
                raise UserError(
                    f"level {level} would leave none of the {sizes[name]:,} weights of {name}: "
                    "keep more, or stop at an earlier level"
                )
        if left == before:
            stop = f", or stop at level {level - 1}" if level > 1 else ""
            raise UserError(
                f"level {level} would prune no weight at all, and be level {level - 1} over again: "
                f"keep less{stop}"
            )
        before = left


def _counts(recipe, shares, sizes, before, level) -> dict[str, int]:
    """Returns {path: number of weights left} at a level, from those of the level before."""
    if recipe.mode == "one_shot":
        shares, before = {name: share**level for name, share in shares.items()}, sizes
    return {name: num_kept(shares[name], before[name], counting=recipe.counting) for name in sizes}
