"""From the scores of a mask criterion to the next mask: exact counts, chosen by rank.

A mask is int8 with the shape of its weights: 1 keeps, 0 hides. Every function takes a mask and
returns a smaller one: a pruned weight never returns. `keep` is the share of the *remaining* weights
that stays, so that r levels with the same `keep` leave a density near keep ** r.

Selection goes by rank and never by comparing with a threshold value: where magnitudes tie, as all
do under a signed-constant initialisation, a threshold would keep everything or nothing.

All of this runs between levels of training, on host arrays, in plain NumPy.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.core.counting import num_kept
from supermask_jax.errors import UserError, about
from supermask_jax.lottery.rules import as_mask, check_rng

Masks = dict[str, np.ndarray]


def check_keep(keep: object) -> None:
    """Raises a UserError unless `keep` is a number in (0, 1].

    >>> check_keep(0.8)
    """
    if isinstance(keep, bool) or not isinstance(keep, numbers.Real) or not 0 < keep <= 1:
        raise UserError(
            f"keep is {keep!r}: give the share of the remaining weights that stays, above 0 and "
            "at most 1"
        )


def prune(
    mask: ArrayLike,
    scores: ArrayLike,
    keep: float,
    *,
    counting: str = "nearest",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Keeps the highest-scoring share `keep` of the weights that `mask` still keeps.

    Exactly `num_kept(keep, mask.sum())` weights stay. Equal scores (0.0 and -0.0 are equal) are
    taken in index order, the lower C-order index kept first, or in random order where an `rng` is
    given, as Zhou et al. do. NaN ranks below every number, -inf included.

    Args:
      mask: [*s], 0 or 1, the weights kept so far.
      scores: [*s], any real dtype; higher is kept first. Scores of hidden weights are not read.
      keep: share of the remaining weights that stays, in (0, 1].
      counting: rounding rule, a name in `core.counting.COUNTINGS`; see `num_kept` there.
      rng: breaks ties at random; None breaks them by index.

    Returns:
      int8[*s], a new mask, nowhere larger than the old one.

    Raises:
      UserError: `keep` outside (0, 1], a mask value other than 0 and 1, shapes that differ.

    Reference: Frankle & Carbin, 2019, arXiv:1803.03635, sec. 2; Zhou et al., 2019,
    arXiv:1905.01067, sec. 2.

    >>> prune([1, 1, 1, 0], [0.3, 0.1, 0.2, 0.9], keep=0.67).tolist()
    [1, 0, 1, 0]
    """
    check_keep(keep)
    scores = np.asarray(scores, np.float64)
    mask = as_mask(mask, scores.shape)
    candidates = np.flatnonzero(mask)
    count = num_kept(keep, candidates.size, counting, at_least=0)
    if rng is not None:
        check_rng(rng, "breaking ties at random")
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
    counting: str = "nearest",
    rng: np.random.Generator | None = None,
) -> Masks:
    """Prunes each layer by itself; see `prune`.

    Args:
      masks: path -> [*s] of 0 and 1.
      scores: the same paths -> [*s].
      keep: one share for all layers, or path -> share for exactly the paths of `masks` (1.0 leaves
        a layer as it is).
      counting: see `prune`.
      rng: breaks ties at random; layers draw in the order of their sorted paths.

    Returns:
      path -> int8[*s], in the order of `masks`.

    Raises:
      UserError: as `prune`, naming the layer; no layers; paths that differ.

    Reference: Frankle & Carbin, 2019, arXiv:1803.03635, sec. 2; Zhou et al., 2019,
    arXiv:1905.01067 (a share for each kind of layer).

    >>> masks, scores = {"a": [1, 1], "b": [1, 1]}, {"a": [4.0, 3.0], "b": [2.0, 1.0]}
    >>> {name: mask.tolist() for name, mask in prune_layers(masks, scores, keep=0.5).items()}
    {'a': [1, 0], 'b': [1, 0]}
    """
    shares = keep if isinstance(keep, Mapping) else dict.fromkeys(masks, keep)
    _check_paths(masks, scores, "scores")
    _check_paths(masks, shares, "keep")
    pruned, options = dict(masks), {"counting": counting, "rng": rng}
    for path in sorted(masks):
        with about(f"layer {path!r}"):
            pruned[path] = prune(masks[path], scores[path], shares[path], **options)
    return pruned


def prune_global(
    masks: Mapping[str, ArrayLike],
    scores: Mapping[str, ArrayLike],
    keep: float,
    *,
    counting: str = "nearest",
    rng: np.random.Generator | None = None,
) -> Masks:
    """Prunes all layers together: exactly `num_kept(keep, total)` weights stay over all of them.

    Scores of different layers are compared as they are. Ties go by index, the layers in the order
    of their sorted paths: where scores tie across layers (`large_init`, all magnitudes equal), the
    first layers stay whole and the last ones end up empty, so give an `rng` there.

    Args:
      masks: path -> [*s] of 0 and 1.
      scores: the same paths -> [*s].
      keep: share of all remaining weights that stays, in (0, 1].
      counting: see `prune`.
      rng: breaks ties at random.

    Returns:
      path -> int8[*s], in the order of `masks`.

    Raises:
      UserError: as `prune_layers`.

    Reference: Frankle & Carbin, 2019, arXiv:1803.03635, sec. 4 (deep networks).

    >>> masks, scores = {"a": [1, 1], "b": [1, 1]}, {"a": [4.0, 3.0], "b": [2.0, 1.0]}
    >>> {name: mask.tolist() for name, mask in prune_global(masks, scores, keep=0.5).items()}
    {'a': [1, 1], 'b': [0, 0]}
    """
    _check_paths(masks, scores, "scores")
    old = {}
    for path in sorted(masks):
        with about(f"layer {path!r}"):
            old[path] = as_mask(masks[path], np.shape(scores[path]))
    flat_mask = np.concatenate([mask.ravel() for mask in old.values()])
    flat_scores = np.concatenate([np.asarray(scores[path], np.float64).ravel() for path in old])
    flat = prune(flat_mask, flat_scores, keep, counting=counting, rng=rng)
    parts = np.split(flat, np.cumsum([mask.size for mask in old.values()])[:-1])
    pruned = dict(zip(old, parts, strict=True))
    return {path: pruned[path].reshape(old[path].shape) for path in masks}


def _check_paths(masks: Mapping, other: Mapping, name: str) -> None:
    if not masks:
        raise UserError("there are no masks to prune: mask at least one layer")
    for path in sorted(masks.keys() ^ other.keys()):
        raise UserError(
            f"{name} {'lacks' if path in masks else 'names'} layer {path!r}: "
            f"give exactly the layers that have a mask: {', '.join(sorted(masks))}"
        )
