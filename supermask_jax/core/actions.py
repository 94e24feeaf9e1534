"""What becomes of weights once a lottery-ticket mask is chosen (Zhou et al., 2019, sec. 3 and 4).

A mask-1 action sets the value from which a kept weight trains again; a mask-0 action sets the value
at which a pruned weight is frozen. Both work on one layer's tensor between rounds of training, on
host arrays, and return new float arrays (float64 for float64 weights, otherwise float32).

An initial value of exactly zero has no sign: the signed actions leave it zero and out of their
permutations, so that the magnitudes they permute stay the same multiset.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from supermask_jax.core.pruning import as_like, as_mask, check_rng
from supermask_jax.errors import UserError, unknown_name


class _Layer(NamedTuple):
    """What a mask-1 action makes its values of."""

    initial: np.ndarray  # [*s]
    kept: np.ndarray  # bool [*s]
    rng: np.random.Generator | None
    fresh: np.ndarray | None  # [*s]
    sigma: float | None


class Mask1Action(NamedTuple):
    """A mask-1 action; call it for the values from which the next round starts."""

    name: str
    values: Callable[[_Layer], np.ndarray]
    needs_rng: bool = False
    needs_fresh: bool = False  # a new draw of the layer's initialiser

    def __call__(
        self,
        initial: ArrayLike,
        mask: ArrayLike,
        rng: np.random.Generator | None = None,
        *,
        fresh: ArrayLike | None = None,
        sigma: float | None = None,
        rescale: bool = False,
    ) -> np.ndarray:
        """Returns the layer's new initial values: float [*s], those of hidden weights included.

        Args:
          initial: [*s], initial values. Pass the first round's in every round; fed its own result,
            an action compounds, as in the original code (but for its rescaling variants).
          mask: [*s] of 0 and 1, the new mask.
          rng: for actions with `needs_rng`.
          fresh: [*s], a new draw of the layer's initialiser, for actions with `needs_fresh`.
          sigma: constant of the constant actions, above 0; None is the standard deviation of all
            initial values of the layer, pruned ones included. Other actions ignore it.
          rescale: multiply by n / sum(mask). A layer with an empty mask stays as it is.

        Raises:
          UserError: a needed input is missing, shapes differ, the mask is not of 0 and 1, or there
            is no usable `sigma`.
        """
        if self.needs_rng:
            check_rng(rng, f"mask-1 action {self.name!r}")
        if self.needs_fresh and fresh is None:
            raise UserError(
                f"mask-1 action {self.name!r} needs a new draw of the layer's initialiser: "
                f"give fresh=, or choose '{self.name}_permuted'"
            )
        initial = _floats(initial)
        kept = as_mask(mask, initial.shape) != 0
        fresh = as_like(initial, fresh, "fresh values") if self.needs_fresh else None
        # A copy: no action hands back the caller's own array.
        values = np.array(self.values(_Layer(initial, kept, rng, fresh, sigma)), initial.dtype)
        if rescale and kept.any():
            values *= kept.size / np.count_nonzero(kept)
        return values


def _floats(array: ArrayLike) -> np.ndarray:
    array = np.asarray(array)
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _permute(values: np.ndarray, where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    permuted = values.copy()
    permuted[where] = rng.permutation(values[where])
    return permuted


def _permute_all(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(values.ravel()).reshape(values.shape)


def _signed_reinit(x: _Layer) -> np.ndarray:
    return np.sign(x.initial) * np.abs(x.fresh)


def _permute_signed(x: _Layer, where: np.ndarray | bool) -> np.ndarray:
    magnitudes = _permute(np.abs(x.initial), where & (x.initial != 0), x.rng)
    return np.copysign(magnitudes, x.initial)


def _signed_constant(x: _Layer) -> np.ndarray:
    signs = np.sign(x.initial)
    sigma = x.sigma
    if sigma is None and not signs.any():
        return signs
    if sigma is None:
        with np.errstate(invalid="ignore"):
            sigma = np.std(x.initial, dtype=np.float64)
    if not isinstance(sigma, numbers.Real) or not 0 < sigma < math.inf:
        raise UserError(f"sigma of the signed constant is {sigma}: give sigma=, finite and above 0")
    return signs * sigma


def _random_signed_constant(x: _Layer) -> np.ndarray:
    return _permute_all(_signed_constant(x), x.rng)


MASK1_ACTIONS: dict[str, Mask1Action] = {
    action.name: action
    for action in (
        Mask1Action("rewind", lambda x: x.initial),
        Mask1Action("reinit", lambda x: x.fresh, needs_fresh=True),
        # The originals' stand-in for a fresh draw: all values change places.
        Mask1Action("reinit_permuted", lambda x: _permute_all(x.initial, x.rng), needs_rng=True),
        # Kept values change places among themselves.
        Mask1Action("reshuffle", lambda x: _permute(x.initial, x.kept, x.rng), needs_rng=True),
        # The same three, with the sign of w_i kept at every position.
        Mask1Action("signed_reinit", _signed_reinit, needs_fresh=True),
        Mask1Action("signed_reinit_permuted", lambda x: _permute_signed(x, True), needs_rng=True),
        Mask1Action("signed_reshuffle", lambda x: _permute_signed(x, x.kept), needs_rng=True),
        # sign(w_i) * sigma; at random, the same values permuted over the whole tensor.
        Mask1Action("signed_constant", _signed_constant),
        Mask1Action("random_signed_constant", _random_signed_constant, needs_rng=True),
    )
}
"""Mask-1 actions by name. Reference: Zhou et al., 2019, arXiv:1905.01067, sec. 3."""


class MaskedValues(NamedTuple):
    """The values of a layer after a mask-0 action; their sum is the layer at its start."""

    pruned: np.ndarray  # [*s], what each pruned weight is frozen at; 0 where the mask keeps
    kept: np.ndarray  # [*s], where each kept weight starts; 0 where the mask hides


class Mask0Action(NamedTuple):
    """A mask-0 action; call it for `MaskedValues`."""

    name: str
    pruned: Callable[..., np.ndarray]  # (initial, final, hidden, rng) -> [*s]
    needs_final: bool = True
    needs_rng: bool = False
    zeroes_kept: bool = False  # kept weights that moved toward zero start from 0 too

    def __call__(
        self,
        initial: ArrayLike,
        final: ArrayLike | None,
        mask: ArrayLike,
        rng: np.random.Generator | None = None,
        *,
        start: ArrayLike | None = None,
    ) -> MaskedValues:
        """Returns what pruned weights are frozen at and where kept ones start.

        A weight moved toward zero if |w_i| > |w_f|, strictly: not if the magnitudes are equal or
        w_f is NaN. For weights pruned in earlier rounds pass the value they are frozen at as both
        `initial` and `final`: `variant_1` and `variant_2` then leave it alone.

        Args:
          initial: [*s], initial values w_i.
          final: [*s], trained values w_f; may be None for actions without `needs_final`.
          mask: [*s] of 0 and 1, the new mask.
          rng: for actions with `needs_rng`.
          start: [*s], what a mask-1 action returned, for kept weights; None is `initial`.

        Raises:
          UserError: a needed input is missing, shapes differ, or the mask is not of 0 and 1.
        """
        if self.needs_final and final is None:
            raise UserError(
                f"mask-0 action {self.name!r} compares trained weights, but there are none yet: "
                "train first, or choose 'zero' or 'frozen_at_init'"
            )
        if self.needs_rng:
            check_rng(rng, f"mask-0 action {self.name!r}")
        initial = _floats(initial)
        hidden = as_mask(mask, initial.shape) == 0
        final = as_like(initial, final, "trained weights") if self.needs_final else None
        start = initial if start is None else as_like(initial, start, "starting values")
        if self.zeroes_kept:
            start = _zero_if(_shrank(initial, final), start)
        pruned = self.pruned(initial, final, hidden, rng)
        return MaskedValues(pruned=_zero_if(~hidden, pruned), kept=_zero_if(hidden, start))


def _zero_if(condition: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(condition, values.dtype.type(0), values)


def _shrank(initial: np.ndarray, final: np.ndarray) -> np.ndarray:
    return np.abs(initial) > np.abs(final)


def _reshuffled(initial, final, hidden, rng) -> np.ndarray:
    # As many zeros among the pruned weights as `variant_1` has, but anywhere among them.
    return _zero_if(_permute(_shrank(initial, final), hidden, rng), initial)


MASK0_ACTIONS: dict[str, Mask0Action] = {
    action.name: action
    for action in (
        Mask0Action("zero", lambda wi, *_: np.zeros_like(wi), needs_final=False),
        Mask0Action("frozen_at_init", lambda wi, *_: wi, needs_final=False),
        Mask0Action("variant_1", lambda wi, wf, *_: _zero_if(_shrank(wi, wf), wi)),
        Mask0Action(
            "variant_2", lambda wi, wf, *_: _zero_if(_shrank(wi, wf), wi), zeroes_kept=True
        ),
        Mask0Action("reverse", lambda wi, wf, *_: _zero_if(_shrank(wf, wi), wi)),
        Mask0Action("reshuffled", _reshuffled, needs_rng=True),
    )
}
"""Mask-0 actions by name. Reference: Zhou et al., 2019, arXiv:1905.01067, sec. 4."""


def get_mask1_action(name: str) -> Mask1Action:
    """Returns `MASK1_ACTIONS[name]`; a UserError with the nearest name where there is none."""
    if name not in MASK1_ACTIONS:
        raise unknown_name("mask-1 action", name, MASK1_ACTIONS)
    return MASK1_ACTIONS[name]


def get_mask0_action(name: str) -> Mask0Action:
    """Returns `MASK0_ACTIONS[name]`; a UserError with the nearest name where there is none."""
    if name not in MASK0_ACTIONS:
        raise unknown_name("mask-0 action", name, MASK0_ACTIONS)
    return MASK0_ACTIONS[name]
