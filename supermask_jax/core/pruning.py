"""From the scores of a mask criterion to the next mask: exact counts, chosen by rank.

A mask is int8 with the shape of its weights: 1 keeps, 0 hides. Every function takes a mask and
returns a smaller one: a pruned weight never returns. `keep` is the share of the *remaining* weights
that stays in this round, so that r rounds with the same `keep` leave a density near keep ** r.

Selection goes by rank and never by comparing with a threshold value: where magnitudes tie, as all
do under a signed-constant initialisation, a threshold would keep everything or nothing.

All of this runs between rounds of training, on host arrays, in plain NumPy.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.errors import UserError, unknown_name

Masks = dict[str, np.ndarray]


def as_written(share: float) -> Fraction:
    """Returns the number that was written: 29/100 for 0.29, which as a float is a little less.

    Products of it with a count are exact, and so are their roundings.
    """
    return Fraction(repr(float(share)))


def _pruned_share(keep: float) -> float:
    # Two of the originals are given the pruned share itself, and 1 - 0.9 is not the float 0.1.
    return float(1 - as_written(keep))


COUNTINGS: dict[str, Callable[[float, int], int]] = {
    "nearest": lambda keep, n: round(as_written(keep) * n),
    "ramanujan": lambda keep, n: n - int((1 - keep) * n),
    "zhou": lambda keep, n: n - int(n * ((1 - keep) * 100.0) / 100),
    "frankle": lambda keep, n: n - (round(_pruned_share(keep) * n) + 1),
    "open_lth": lambda keep, n: n - (math.ceil(_pruned_share(keep) * n) + 1),
}
"""How many of n remaining weights stay; see `num_kept`."""


def num_kept(keep: float, remaining: int, *, counting: str = "nearest") -> int:
    """Returns how many of `remaining` weights stay when the share `keep` of them is wanted.

    Args:
      keep: share of the remaining weights that stays, in (0, 1].
      remaining: number of weights kept so far.
      counting: the rule that makes the share a whole number.
        `nearest`: keep * remaining, rounded; halves go to the even number. May be 0 (a small layer
        and a small share), which empties the layer, and is `remaining` for keep = 1.
        `ramanujan`: prunes int((1 - keep) * remaining), truncated in floating point as in the code
        of Ramanujan et al., 2020, and those built on it.
        `zhou`: prunes int((1 - keep) * remaining), truncated in floating point as in the code of
        Zhou et al., 2019: 0.8 of 235,200 prunes 47,039 weights and not 47,040.
        `frankle`: prunes round((1 - keep) * remaining) + 1, the off-by-one of the code of Frankle &
        Carbin, 2019, which prunes its cut-off weight as well; at least 0 stay.
        `open_lth`: prunes ceil((1 - keep) * remaining) + 1, for the same reason.

    Raises:
      UserError: `keep` is no number in (0, 1], or `counting` is unknown.
    """
    return _num_kept(keep, remaining, counting, "")


def _num_kept(keep: object, remaining: int, counting: str, where: str) -> int:
    if isinstance(keep, bool) or not isinstance(keep, numbers.Real) or not 0 < keep <= 1:
        raise UserError(
            f"keep is {keep!r}{where}: give the share of the remaining weights that stays, "
            "above 0 and at most 1"
        )
    if counting not in COUNTINGS:
        raise unknown_name("counting", counting, COUNTINGS)
    return max(0, COUNTINGS[counting](float(keep), int(remaining)))


def as_mask(mask: ArrayLike, shape: tuple[int, ...], where: str = "") -> np.ndarray:
    """Returns `mask` as int8 {0, 1}; a UserError if it has other values or another shape."""
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise UserError(f"a mask has shape {mask.shape}, but its weights have {shape}{where}")
    wrong = mask[mask != (mask != 0)]
    if wrong.size:
        raise UserError(f"a mask of pruning holds only 0 and 1, but there is {wrong[0]}{where}")
    return mask.astype(np.int8)


def as_like(initial: np.ndarray, array: ArrayLike, what: str) -> np.ndarray:
    """Returns `array` with the dtype of `initial`; a UserError if it has another shape."""
    array = np.asarray(array, initial.dtype)
    if array.shape != initial.shape:
        raise UserError(
            f"the {what} have shape {array.shape}, but the initial weights have {initial.shape}: "
            "give arrays of one layer"
        )
    return array


def check_rng(rng: object, what: str) -> None:
    """Raises a UserError unless `rng` is a NumPy generator."""
    if not isinstance(rng, np.random.Generator):
        raise UserError(f"{what} draws at random: rng is {rng!r}, give numpy.random.default_rng(0)")


def prune(
    mask: ArrayLike,
    scores: ArrayLike,
    keep: float,
    *,
    rng: np.random.Generator | None = None,
    counting: str = "nearest",
) -> np.ndarray:
    """Keeps the highest-scoring share `keep` of the weights that `mask` still keeps.

    Exactly `num_kept(keep, mask.sum())` weights stay. Equal scores (0.0 and -0.0 are equal) are
    taken in index order, the lower C-order index kept first, or in random order where an `rng` is
    given, as Zhou et al. do. NaN ranks below every number, -inf included.

    Args:
      mask: [*s], 0 or 1, the weights kept so far.
      scores: [*s], any real dtype; higher is kept first. Scores of hidden weights are not read.
      keep: share of the remaining weights that stays, in (0, 1].
      rng: breaks ties at random; None breaks them by index.
      counting: rounding rule, one of `COUNTINGS`; see `num_kept`.

    Returns:
      int8[*s], a new mask, nowhere larger than the old one.

    Raises:
      UserError: `keep` outside (0, 1], a mask value other than 0 and 1, shapes that differ.

    Reference: Frankle & Carbin, 2019, arXiv:1803.03635, sec. 2; Zhou et al., 2019,
    arXiv:1905.01067, sec. 2.
    """
    return _prune(mask, scores, keep, rng, counting, "")


def _prune(mask, scores, keep, rng, counting, where) -> np.ndarray:
    if rng is not None:
        check_rng(rng, "breaking ties")
    scores = np.asarray(scores, dtype=np.float64)
    mask = as_mask(mask, scores.shape, where)
    candidates = np.flatnonzero(mask)
    count = _num_kept(keep, candidates.size, counting, where)
    if rng is not None:
        candidates = rng.permutation(candidates)
    # A stable sort keeps the order of the candidates among ties and puts NaN last.
    best_first = np.argsort(-scores.ravel()[candidates], kind="stable")
    pruned = np.zeros(mask.size, np.int8)
    pruned[candidates[best_first[:count]]] = 1
    return pruned.reshape(mask.shape)


def prune_layers(
    masks: Mapping[str, ArrayLike],
    scores: Mapping[str, ArrayLike],
    keep: float | Mapping[str, float],
    *,
    rng: np.random.Generator | None = None,
    counting: str = "nearest",
) -> Masks:
    """Prunes each layer by itself; see `prune`.

    Args:
      masks: path -> [*s] of 0 and 1.
      scores: the same paths -> [*s].
      keep: one share for all layers, or path -> share for exactly the paths of `masks` (1.0 leaves
        a layer as it is).
      rng: breaks ties at random; layers draw in the order of their sorted paths.
      counting: see `num_kept`.

    Returns:
      path -> int8[*s], in the order of `masks`.

    Raises:
      UserError: as `prune`, naming the layer; no layers; paths that differ.

    Reference: Frankle & Carbin, 2019, arXiv:1803.03635, sec. 2; Zhou et al., 2019,
    arXiv:1905.01067 (a share for each kind of layer).
    """
    _check_paths(masks, scores, "scores")
    if isinstance(keep, Mapping):
        _check_paths(masks, keep, "keep")
    shares = keep if isinstance(keep, Mapping) else dict.fromkeys(masks, keep)
    pruned = {
        path: _prune(masks[path], scores[path], shares[path], rng, counting, f" in {path!r}")
        for path in sorted(masks)
    }
    return {path: pruned[path] for path in masks}


def prune_global(
    masks: Mapping[str, ArrayLike],
    scores: Mapping[str, ArrayLike],
    keep: float,
    *,
    rng: np.random.Generator | None = None,
    counting: str = "nearest",
) -> Masks:
    """Prunes all layers together: exactly `num_kept(keep, total)` weights stay over all of them.

    Scores of different layers are compared as they are. Ties go by index, the layers in the order
    of their sorted paths: where scores tie across layers (`large_init`, all magnitudes equal), the
    first layers stay whole and the last ones end up empty, so give an `rng` there.

    Args:
      masks: path -> [*s] of 0 and 1.
      scores: the same paths -> [*s].
      keep: share of all remaining weights that stays, in (0, 1].
      rng: breaks ties at random.
      counting: see `num_kept`.

    Returns:
      path -> int8[*s], in the order of `masks`.

    Raises:
      UserError: as `prune_layers`.

    Reference: Frankle & Carbin, 2019, arXiv:1803.03635, sec. 4 (deep networks).
    """
    _check_paths(masks, scores, "scores")
    old = {path: as_mask(masks[path], np.shape(scores[path]), f" in {path!r}") for path in masks}
    order = sorted(old)
    flat_mask = np.concatenate([old[path].ravel() for path in order])
    flat_scores = np.concatenate([np.asarray(scores[path], np.float64).ravel() for path in order])
    flat = prune(flat_mask, flat_scores, keep, rng=rng, counting=counting)
    parts = np.split(flat, np.cumsum([old[path].size for path in order])[:-1])
    pruned = dict(zip(order, parts, strict=True))
    return {path: pruned[path].reshape(old[path].shape) for path in old}


def _check_paths(masks: Mapping, other: Mapping, name: str) -> None:
    if not masks:
        raise UserError("there are no masks to prune: mask at least one layer")
    different = sorted(masks.keys() ^ other.keys())
    if different:
        path = different[0]
        raise UserError(
            f"{name} {'lacks' if path in masks else 'names'} layer {path!r}: "
            f"give exactly the layers that have a mask: {', '.join(sorted(masks))}"
        )
