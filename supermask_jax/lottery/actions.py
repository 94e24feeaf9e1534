"""What becomes of weights once a lottery-ticket mask is chosen (Zhou et al., 2019, sec. 3 and 4).

A mask-1 action sets the value from which a kept weight trains again; a mask-0 action sets the value
at which a pruned weight is frozen. Both work on one layer's tensor between levels of training, on
host arrays, and return new float arrays (float64 for float64 weights, otherwise float32).

An initial value of exactly zero has no sign: the signed actions leave it zero and out of their
permutations, so that the magnitudes they permute stay the same multiset.
"""

from __future__ import annotations

import math
import numbers
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.errors import UserError
from supermask_jax.lottery.rules import Rule, Rules, as_like, as_mask

Array = np.ndarray


class Mask1Action(Rule):
    """A mask-1 action; call it for the values from which the next level starts."""

    kind = "mask-1 action"

    @property
    def continues(self) -> bool:
        """Whether the next level goes on from the parameters that the one before ended with."""
        return self.name == "continue"

    def __call__(
        self,
        initial: ArrayLike,
        mask: ArrayLike,
        *,
        final: ArrayLike | None = None,
        fresh: ArrayLike | None = None,
        sigma: float | None = None,
        rescale: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Returns the layer's new initial values: float [*s], those of hidden weights included.

        Args:
          initial: [*s], initial values. Pass level 0's at every level; fed its own result, an
            action compounds, as in the original code (but for its rescaling variants).
          mask: [*s] of 0 and 1, the new mask.
          final: [*s], trained values, for actions that need them.
          fresh: [*s], a new draw of the layer's initialiser, for actions that need it.
          sigma: constant of the constant actions, above 0; None is the standard deviation of all
            initial values of the layer, pruned ones included. Other actions ignore it.
          rescale: multiply by n / sum(mask). A layer with an empty mask stays as it is.
          rng: for actions that need it.

        Raises:
          UserError: a needed input is missing, shapes differ, the mask is not of 0 and 1, or there
            is no usable `sigma`.
        """
        initial = _floats(initial)
        kept = as_mask(mask, initial.shape) != 0
        given = {"final": final, "fresh": fresh, "sigma": sigma, "rng": rng}
        values = self.call(initial, kept=kept, **given)
        values = np.array(values, initial.dtype)  # A copy, never the caller's own array.
        if rescale and kept.any():
            values *= kept.size / np.count_nonzero(kept)
        return values


def _floats(array: ArrayLike) -> Array:
    array = np.asarray(array)
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _permute(values: Array, rng: np.random.Generator, where: Array | None = None) -> Array:
    """Returns `values` with those of `where` (None: all) in random places among themselves."""
    where = np.ones(values.shape, bool) if where is None else where
    permuted = values.copy()
    permuted[where] = rng.permutation(values[where])
    return permuted


def _permute_signed(initial: Array, rng: np.random.Generator, where: Array | bool) -> Array:
    magnitudes = _permute(np.abs(initial), rng, where & (initial != 0))
    return np.copysign(magnitudes, initial)


def _constant(initial: Array, sigma: float | None) -> Array:
    signs = np.sign(initial)
    if sigma is None and not signs.any():
        return signs
    if sigma is None:
        with np.errstate(invalid="ignore"):
            sigma = np.std(initial, dtype=np.float64)
    if not isinstance(sigma, numbers.Real) or not 0 < sigma < math.inf:
        raise UserError(f"sigma of the signed constant is {sigma}: pass sigma=, finite and above 0")
    return signs * sigma


MASK1_ACTIONS = Rules(
    Mask1Action,
    rewind=lambda initial: initial,
    reinit=lambda fresh: fresh,
    # The originals' stand-in for a fresh draw: all values change places.
    reinit_permuted=lambda initial, rng: _permute(initial, rng),
    # Kept values change places among themselves.
    reshuffle=lambda initial, rng, kept: _permute(initial, rng, kept),
    # The same three, with the sign of w_i kept at every position.
    signed_reinit=lambda initial, fresh: np.sign(initial) * np.abs(fresh),
    signed_reinit_permuted=lambda initial, rng: _permute_signed(initial, rng, True),
    signed_reshuffle=lambda initial, rng, kept: _permute_signed(initial, rng, kept),
    # sign(w_i) * sigma; at random, the same values permuted over the whole tensor.
    signed_constant=_constant,
    random_signed_constant=lambda initial, rng, sigma: _permute(_constant(initial, sigma), rng),
    # Since 2020: the trained weights go on under a schedule that starts again, or only their signs.
    **{"continue": lambda final: final},
    sign_final=lambda initial, final: np.abs(initial) * np.sign(final),
    sign_final_constant=lambda final, sigma: _constant(final, sigma),
)
"""Mask-1 actions by name. Reference: Zhou et al., 2019, arXiv:1905.01067, sec. 3; `continue` is
learning-rate rewinding (Renda et al., ICLR 2020, arXiv:2003.02389), `sign_final` the transfer of
signs (Oh et al., ICLR 2025, arXiv:2504.05357)."""


class MaskedValues(NamedTuple):
    """The values of a layer after a mask-0 action; their sum is the layer at its start."""

    pruned: Array  # [*s], what each pruned weight is frozen at; 0 where the mask keeps
    kept: Array  # [*s], where each kept weight starts; 0 where the mask hides


class Mask0Action(Rule):
    """A mask-0 action; call it for `MaskedValues`."""

    kind = "mask-0 action"

    @property
    def zeroes_kept(self) -> bool:
        """Whether kept weights that moved toward zero start from 0 too."""
        return self.name == "variant_2"

    def __call__(
        self,
        initial: ArrayLike,
        final: ArrayLike | None,
        mask: ArrayLike,
        *,
        start: ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> MaskedValues:
        """Returns what pruned weights are frozen at and where kept ones start.

        A weight moved toward zero if |w_i| > |w_f|, strictly: not if the magnitudes are equal or
        w_f is NaN. For weights pruned at earlier levels pass the value they are frozen at as both
        `initial` and `final`: `variant_1` and `variant_2` then leave it alone.

        Args:
          initial: [*s], initial values w_i.
          final: [*s], trained values w_f; may be None for actions that do not need it.
          mask: [*s] of 0 and 1, the new mask.
          start: [*s], what a mask-1 action returned, for kept weights; None is `initial`.
          rng: for actions that need it.

        Raises:
          UserError: a needed input is missing, shapes differ, or the mask is not of 0 and 1.
        """
        initial = _floats(initial)
        hidden = as_mask(mask, initial.shape) == 0
        start = initial if start is None else as_like(initial, start, "starting values")
        pruned = self.call(initial, final=final, hidden=hidden, rng=rng)
        if self.zeroes_kept:
            start = _zero_if(_shrank(initial, np.asarray(final, initial.dtype)), start)
        return MaskedValues(pruned=_zero_if(~hidden, pruned), kept=_zero_if(hidden, start))


def _zero_if(condition: Array, values: Array) -> Array:
    return np.where(condition, values.dtype.type(0), values)


def _shrank(initial: Array, final: Array) -> Array:
    return np.abs(initial) > np.abs(final)


def _zero_what_shrank(initial: Array, final: Array) -> Array:
    return _zero_if(_shrank(initial, final), initial)


def _reshuffled(initial: Array, final: Array, hidden: Array, rng: np.random.Generator) -> Array:
    # As many zeros among the pruned weights as `variant_1` has, but anywhere among them.
    return _zero_if(_permute(_shrank(initial, final), rng, hidden), initial)


MASK0_ACTIONS = Rules(
    Mask0Action,
    zero=lambda initial: np.zeros_like(initial),
    frozen_at_init=lambda initial: initial,
    variant_1=_zero_what_shrank,
    variant_2=_zero_what_shrank,
    reverse=lambda initial, final: _zero_if(_shrank(final, initial), initial),
    reshuffled=_reshuffled,
)
"""Mask-0 actions by name. Reference: Zhou et al., 2019, arXiv:1905.01067, sec. 4."""
