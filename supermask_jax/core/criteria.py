"""Mask criteria: which weights a lottery-ticket mask keeps (Zhou et al., 2019, sec. 2).

A criterion gives each weight a score from its initial value w_i and its trained value w_f; pruning
keeps the highest scores (`supermask_jax.core.pruning`).

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
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.core.pruning import as_like, as_mask, check_rng
from supermask_jax.errors import UserError, unknown_name


class _Inputs(NamedTuple):
    """What scores are made of; None where it was neither needed nor given."""

    initial: np.ndarray  # float64[*s]
    final: np.ndarray | None  # float64[*s]
    gradient: np.ndarray | None  # float64[*s]
    kept: np.ndarray  # bool[*s]
    rng: np.random.Generator | None
    excluded: float  # the score of entries that a *_sign criterion excludes


class Criterion(NamedTuple):
    """A mask criterion; call it for scores."""

    name: str
    score: Callable[[_Inputs], np.ndarray]
    needs_final: bool = False  # trained weights
    needs_gradient: bool = False  # loss gradients at the initial weights
    needs_rng: bool = False

    def __call__(
        self,
        initial: ArrayLike,
        final: ArrayLike | None = None,
        *,
        gradient: ArrayLike | None = None,
        rng: np.random.Generator | None = None,
        mask: ArrayLike | None = None,
        original_quirks: bool = False,
    ) -> np.ndarray:
        """Returns the score of each weight; the highest are kept first.

        Args:
          initial: [*s], weights before training.
          final: [*s], trained weights; may be None for criteria without `needs_final`.
          gradient: [*s], loss gradient at the initial weights; for criteria with `needs_gradient`.
          rng: for criteria with `needs_rng`.
          mask: [*s] of 0 and 1, the weights kept so far; None is all. Only the two rank criteria
            read it (and score hidden weights -inf): pass it in every round after the first.
          original_quirks: score the entries that a `*_sign` criterion excludes 0, as the original
            code does, and not -inf. Under magnitude_increase_*_sign these zeros rank above the
            wanted weights that shrank.

        Returns:
          float64[*s]. NaN where an input that the criterion reads is NaN: pruning ranks it last.

        Raises:
          UserError: something that the criterion needs is missing, or shapes differ.
        """
        if self.needs_final and final is None:
            others = sorted(c.name for c in CRITERIA.values() if not c.needs_final)
            raise UserError(
                f"criterion {self.name!r} ranks trained weights, but there are none yet: "
                f"train first, or choose one of {', '.join(others)}"
            )
        if self.needs_gradient and gradient is None:
            raise UserError(
                f"criterion {self.name!r} ranks loss gradients, but there are none: "
                "give gradient=, the gradient at the initial weights"
            )
        if self.needs_rng:
            check_rng(rng, f"criterion {self.name!r}")
        initial = np.asarray(initial, np.float64)
        inputs = _Inputs(
            initial,
            as_like(initial, final, "trained weights") if self.needs_final else None,
            as_like(initial, gradient, "gradients") if self.needs_gradient else None,
            np.ones(initial.shape, bool) if mask is None else as_mask(mask, initial.shape) != 0,
            rng,
            0.0 if original_quirks else -np.inf,
        )
        # A diverged run may hold infinities; inf - inf is NaN and ranks last, without a warning.
        with np.errstate(invalid="ignore", over="ignore"):
            return self.score(inputs)


def _large_final(x: _Inputs) -> np.ndarray:
    return np.abs(x.final)


def _magnitude_increase(x: _Inputs) -> np.ndarray:
    return np.abs(x.final) - np.abs(x.initial)


def _both_ranks(sign: int) -> Callable[[_Inputs], np.ndarray]:
    def score(x: _Inputs) -> np.ndarray:
        ranks = np.minimum(  # NaN wins a NumPy minimum
            _share_not_above(sign * np.abs(x.initial[x.kept])),
            _share_not_above(sign * np.abs(x.final[x.kept])),
        )
        scores = np.full(x.initial.shape, -np.inf)
        scores[x.kept] = ranks
        return scores

    return score


def _share_not_above(values: np.ndarray) -> np.ndarray:
    """The share of `values` no larger than each of them, in (0, 1]; NaN counts as lowest."""
    filled = np.where(np.isnan(values), -np.inf, values)
    ranks = np.searchsorted(np.sort(filled), filled, side="right")
    return np.where(np.isnan(values), np.nan, ranks / max(values.size, 1))


def _where_sign(same: bool, score: Callable[[_Inputs], np.ndarray]):
    def restricted(x: _Inputs) -> np.ndarray:
        wanted = (np.sign(x.initial) == np.sign(x.final)) == same
        unknown = np.isnan(x.initial) | np.isnan(x.final)
        return np.where(unknown, np.nan, np.where(wanted, score(x), x.excluded))

    return restricted


CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        Criterion("large_final", _large_final, needs_final=True),
        Criterion("small_final", lambda x: -np.abs(x.final), needs_final=True),
        Criterion("large_init", lambda x: np.abs(x.initial)),
        Criterion("small_init", lambda x: -np.abs(x.initial)),
        Criterion("large_init_large_final", _both_ranks(1), needs_final=True),
        Criterion("small_init_small_final", _both_ranks(-1), needs_final=True),
        Criterion("magnitude_increase", _magnitude_increase, needs_final=True),
        Criterion("movement", lambda x: np.abs(x.final - x.initial), needs_final=True),
        Criterion("random", lambda x: x.rng.random(x.initial.shape), needs_rng=True),
        Criterion("snip", lambda x: np.abs(x.gradient * x.initial), needs_gradient=True),
        Criterion("gradient", lambda x: np.abs(x.gradient), needs_gradient=True),
        Criterion("large_final_same_sign", _where_sign(True, _large_final), needs_final=True),
        Criterion("large_final_diff_sign", _where_sign(False, _large_final), needs_final=True),
        Criterion(
            "magnitude_increase_same_sign", _where_sign(True, _magnitude_increase), needs_final=True
        ),
        Criterion(
            "magnitude_increase_diff_sign",
            _where_sign(False, _magnitude_increase),
            needs_final=True,
        ),
    )
}


def get_criterion(name: str) -> Criterion:
    """Returns `CRITERIA[name]`; a UserError with the nearest name where there is none."""
    if name not in CRITERIA:
        raise unknown_name("mask criterion", name, CRITERIA)
    return CRITERIA[name]


def same_sign_mask(initial: ArrayLike, final: ArrayLike) -> np.ndarray:
    """Keeps the weights whose sign training did not change, however many they are.

    Zero has a sign of its own: it equals only zero (-0.0 too). NaN has none and is hidden. No
    earlier mask is read: multiply by it where pruned weights are to stay pruned.

    Args:
      initial: [*s], weights before training.
      final: [*s], trained weights.

    Returns:
      int8[*s] of 0 and 1.

    Raises:
      UserError: shapes differ, or `final` is None.

    Reference: Zhou et al., 2019, arXiv:1905.01067; `large_final_same_sign_single` in their code.
    """
    return _sign_mask(initial, final, same=True)


def diff_sign_mask(initial: ArrayLike, final: ArrayLike) -> np.ndarray:
    """Keeps the weights whose sign training changed; otherwise as `same_sign_mask`."""
    return _sign_mask(initial, final, same=False)


def _sign_mask(initial: ArrayLike, final: ArrayLike, *, same: bool) -> np.ndarray:
    if final is None:
        raise UserError("a sign mask compares trained weights, but there are none yet: train first")
    initial = np.asarray(initial, np.float64)
    final = as_like(initial, final, "trained weights")
    wanted = (np.sign(initial) == np.sign(final)) == same
    return (wanted & ~np.isnan(initial) & ~np.isnan(final)).astype(np.int8)
