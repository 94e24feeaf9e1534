"""Mask criteria: which weights a lottery-ticket mask keeps (Zhou et al., 2019, sec. 2).

A criterion gives each weight a score from its initial value w_i and its trained value w_f; pruning
keeps the highest scores (`supermask_jax.lottery.pruning`).

    name                          score                       name                   score
    large_final                   |w_f|                       magnitude_increase     |w_f| - |w_i|
    small_final                   -|w_f|                      movement               |w_f - w_i|
    large_init                    |w_i|                       random                 uniform [0, 1)
    small_init                    -|w_i|                      snip                   |g w_i|
    large_init_large_final        min of the two ranks        gradient               |g|
    small_init_small_final        min of the two ranks
    large_final_{same,diff}_sign, magnitude_increase_{same,diff}_sign: as named, the others last

g is the loss gradient at the initial weights. `snip` is Lee et al., 2019, arXiv:1810.02340.

Scores are computed in float64, in which products of float32 weights are exact and differences
hardly round: float32 would turn close scores into ties, and tiny products into zeros.

Why a minimum of ranks is the two-threshold rule of `large_init_large_final` (in the top q of the
initial *and* of the final magnitudes, the same q for both): an entry is in both tops exactly when
its lower rank is, so widening q adds entries in the order of min(rank_i, rank_f), and the k best
are the intersection of k entries, found without bisection. Where one step of q adds several, the
tie rule of `prune` takes as many as are wanted: the count is exact. Equal magnitudes share the
*highest* rank of their group (the number of values no larger), since a threshold takes all or none
of them. Under a signed-constant initialisation every |w_i| then has the top rank, and the criterion
becomes large_final; lowest, average or index-order ranks would let position decide, not |w_f|.
Ranks are taken among the weights kept so far, and divided by their number, as percentiles are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.errors import unknown_name
from supermask_jax.lottery.rules import Rule, Rules, as_mask

Array = np.ndarray


class Criterion(Rule):
    """A mask criterion; call it for scores."""

    kind = "mask criterion"

    def __call__(
        self,
        initial: ArrayLike,
        final: ArrayLike | None = None,
        *,
        gradient: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        original_quirks: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Returns the score of each weight; the highest are kept first.

        Args:
          initial: [*s], weights before training.
          final: [*s], trained weights; may be None for criteria that do not need it.
          gradient: [*s], loss gradient at the initial weights; for criteria that need it.
          mask: [*s] of 0 and 1, the weights kept so far; None is all. Only the two rank criteria
            read it (and score hidden weights -inf): pass it at every level after the first.
          original_quirks: score the entries that a `*_sign` criterion excludes 0, as the original
            code does, and not -inf. Under magnitude_increase_*_sign these zeros rank above the
            wanted weights that shrank.
          rng: for criteria that need it.

        Returns:
          float64[*s]. NaN where an input that the criterion reads is NaN: pruning ranks it last.
          Of a sign mask int8[*s] of 0 and 1.

        Raises:
          UserError: something that the criterion needs is missing, or shapes differ.
        """
        initial = np.asarray(initial, np.float64)
        kept = np.ones(initial.shape, bool) if mask is None else as_mask(mask, initial.shape) != 0
        excluded = 0.0 if original_quirks else -np.inf
        # A diverged run may hold infinities; inf - inf is NaN and ranks last, without a warning.
        with np.errstate(invalid="ignore", over="ignore"):
            return self.call(
                initial, final=final, gradient=gradient, kept=kept, excluded=excluded, rng=rng
            )


def _large_final(initial: Array, final: Array) -> Array:
    return np.abs(final)


def _magnitude_increase(initial: Array, final: Array) -> Array:
    return np.abs(final) - np.abs(initial)


def _both_ranks(sign: int) -> Callable[..., Array]:
    def score(initial: Array, final: Array, kept: Array) -> Array:
        ranks = [_share_not_above(sign * np.abs(weights[kept])) for weights in (initial, final)]
        scores = np.full(initial.shape, -np.inf)
        scores[kept] = np.minimum(*ranks)  # NaN wins a NumPy minimum
        return scores

    return score


def _share_not_above(values: Array) -> Array:
    """The share of `values` no larger than each of them, in (0, 1]; NaN counts as lowest."""
    filled = np.where(np.isnan(values), -np.inf, values)
    ranks = np.searchsorted(np.sort(filled), filled, side="right")
    return np.where(np.isnan(values), np.nan, ranks / max(values.size, 1))


def _where_sign(same: bool, score: Callable[..., Array | int]) -> Callable[..., Array]:
    def restricted(initial: Array, final: Array, excluded: float) -> Array:
        wanted = (np.sign(initial) == np.sign(final)) == same
        unknown = np.isnan(initial) | np.isnan(final)
        return np.where(unknown, np.nan, np.where(wanted, score(initial, final), excluded))

    return restricted


def _sign_mask(same: bool) -> Callable[..., Array]:
    scores = _where_sign(same, lambda initial, final: 1)
    return lambda initial, final: (scores(initial, final, 0) == 1).astype(np.int8)


CRITERIA = Rules(
    Criterion,
    large_final=_large_final,
    small_final=lambda final: -np.abs(final),
    large_init=lambda initial: np.abs(initial),
    small_init=lambda initial: -np.abs(initial),
    large_init_large_final=_both_ranks(1),
    small_init_small_final=_both_ranks(-1),
    magnitude_increase=_magnitude_increase,
    movement=lambda initial, final: np.abs(final - initial),
    random=lambda initial, rng: rng.random(initial.shape),
    snip=lambda initial, gradient: np.abs(gradient * initial),
    gradient=lambda gradient: np.abs(gradient),
    large_final_same_sign=_where_sign(True, _large_final),
    large_final_diff_sign=_where_sign(False, _large_final),
    magnitude_increase_same_sign=_where_sign(True, _magnitude_increase),
    magnitude_increase_diff_sign=_where_sign(False, _magnitude_increase),
)
"""Mask criteria by name: the parameters of their functions are what they need."""

SIGN_MASKS = Rules(Criterion, same_sign=_sign_mask(True), diff_sign=_sign_mask(False))
"""Masks without a score or a count: they keep the weights whose sign training left, or changed.

Zero has a sign of its own: it equals only zero (-0.0 too). NaN has none and is hidden. No earlier
mask is read: multiply by it where pruned weights are to stay pruned.

Reference: Zhou et al., 2019, arXiv:1905.01067; `large_final_same_sign_single` in their code.
"""


def find_criterion(name: str) -> Criterion:
    """Returns the criterion or sign mask of this name; a UserError where there is none."""
    known = CRITERIA | SIGN_MASKS
    if name not in known:
        raise unknown_name(Criterion.kind, name, known)
    return known[name]
