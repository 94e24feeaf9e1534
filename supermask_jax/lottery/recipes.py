"""How levels of pruning are made from one another: a recipe, its shares, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from supermask_jax.core.counting import num_kept
from supermask_jax.errors import UserError, unknown_name
from supermask_jax.lottery.actions import MASK0_ACTIONS, MASK1_ACTIONS
from supermask_jax.lottery.criteria import SIGN_MASKS, find_criterion
from supermask_jax.lottery.pruning import check_keep

SCOPES = ("layer", "global")
MODES = ("iterative", "one_shot")


class Recipe(NamedTuple):
    """How each level is made from the one before.

    Attributes:
      criterion: a name in `CRITERIA` or `SIGN_MASKS`: which weights are kept. Sign masks keep what
        their rule keeps: `keep` is not read.
      mask1: a name in `MASK1_ACTIONS`: where kept weights start again.
      mask0: a name in `MASK0_ACTIONS`: what pruned weights are frozen at.
      keep: share of the remaining weights that stays at a level, in (0, 1], or a share for each
        layer by glob on its path or its layer's name, the first match taken: ``{"dense3": 0.9, "*":
        0.8}``. In scope 'global' all shares below 1 are equal; 1 leaves a layer alone.
      scope: 'layer' prunes each layer by itself, 'global' all of them by one ranking.
      mode: 'iterative' prunes what the level before trained; in 'one_shot' level r prunes what
        level 0 trained, to ``keep ** r``.
      counting: a name in `core.counting.COUNTINGS`.
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


def level_shares(recipe: Recipe, names: Sequence[str], level: int) -> dict[str, float]:
    """Returns {path: share of the weights of the pruned level that stays at `level`}.

    Raises:
      UserError: a share is no number in (0, 1], a layer has none, or a glob matches no layer.
    """
    keep = recipe.keep if isinstance(recipe.keep, Mapping) else {"*": recipe.keep}
    globs = {name: [glob for glob in keep if _matches(name, glob)] for name in names}
    for name, found in globs.items():
        if not found:
            raise UserError(f"keep holds no share for layer {name!r}: add one for it, or for '*'")
    for glob in keep:
        if glob != "*" and not any(glob in found for found in globs.values()):
            raise UserError(f"keep names {glob!r}, but the layers are {', '.join(names)}")
    shares = {name: keep[found[0]] for name, found in globs.items()}
    for share in shares.values():
        check_keep(share)
    if recipe.scope == "global" and len({share for share in shares.values() if share < 1}) > 1:
        raise UserError(
            "scope 'global' ranks all layers together, but keep holds several shares: give one "
            "share, and 1.0 for the layers that are to stay whole"
        )
    power = level if recipe.mode == "one_shot" else 1
    return {name: share**power for name, share in shares.items()}


def _matches(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) or fnmatchcase(name.rpartition("/")[0], glob)


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
    # The tables say themselves that a name is unknown.
    actions = MASK1_ACTIONS[recipe.mask1], MASK0_ACTIONS[recipe.mask0]
    for rule in () if trained else (find_criterion(recipe.criterion), *actions):
        if "final" in rule.needs:
            raise rule.missing("final")
    find_criterion(recipe.criterion)
    if recipe.criterion not in SIGN_MASKS:
        _check_counts(recipe, sizes, levels)


def _check_counts(recipe: Recipe, sizes: Mapping[str, int], levels: int) -> None:
    shares = level_shares(recipe, list(sizes), 1)
    if recipe.scope == "global":
        # Which layer will lose how many is not known yet; the total is.
        pruned = [name for name in sizes if shares[name] < 1]
        sizes = {"the network": sum(sizes[name] for name in pruned)} if pruned else {}
        shares = {"the network": shares[pruned[0]]} if pruned else {}
    one_shot, before = recipe.mode == "one_shot", dict(sizes)
    for level in range(1, levels + 1):
        left = {}
        for name, size in sizes.items():
            share, of = (shares[name] ** level, size) if one_shot else (shares[name], before[name])
            left[name] = num_kept(share, of, recipe.counting, at_least=0)
            if left[name] == 0:
                raise UserError(
                    f"level {level} would leave none of the {size:,} weights of {name}: raise "
                    "keep, or stop at an earlier level"
                )
        if left == before:
            stop = f", or stop at level {level - 1}" if level > 1 else ""
            raise UserError(
                f"level {level} would prune no weight and equal level {level - 1}: lower keep{stop}"
            )
        before = left
