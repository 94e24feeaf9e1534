"""Threshold rules: where the signed mask cuts.

A rule gives the two bounds of a layer: scores above `high` keep their weight, scores below `low`
invert it, everything between hides it. `low` <= `high` always.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from supermask_jax.core import order
from supermask_jax.core.counting import as_written
from supermask_jax.errors import make

Array = jax.Array


class Bounds(NamedTuple):
    """The two cuts of a layer: float32 scalars [], low <= high."""

    low: Array
    high: Array


class ThresholdRule(NamedTuple):
    """How a layer's bounds come from its scores.

    Attributes:
      bounds: scores [*s] -> Bounds.
      fixed: True if the bounds are computed once, from the scores at initialisation; False if they
        follow the scores in every forward pass.
    """

    bounds: Callable[[Array], Bounds]
    fixed: bool


def absolute(value: float = 0.01) -> ThresholdRule:
    """One threshold for every layer: mask = sign(s) where |s| > `value`, strictly.

    Reproduces the published signed supermask of the FCN with `value` = 0.01.

    Raises:
      ValueError: `value` is negative or not finite.

    >>> low, high = absolute(0.5).bounds(jnp.array([3.0, -1.0]))
    >>> float(low), float(high)
    (-0.5, 0.5)
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"the threshold must be finite and at least 0, got {value}")

    def bounds(scores: Array) -> Bounds:
        del scores
        return Bounds(jnp.float32(-value), jnp.float32(value))

    return ThresholdRule(bounds, fixed=True)


def fraction_of_max(fraction: float = 0.4) -> ThresholdRule:
    r"""Threshold :math:`\tau = \text{fraction} \cdot \max |s_0|` of each layer's first scores.

    With uniform scores about 1 - `fraction` of the weights remain at the start. The rule of the
    released code of Koster et al., 2022 (0.4 for FCN and Conv, 0.75 for ResNet20).

    Raises:
      ValueError: `fraction` is outside [0, 1].

    >>> low, high = fraction_of_max(0.5).bounds(jnp.array([1.0, -4.0]))
    >>> float(low), float(high)
    (-2.0, 2.0)
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of the largest score must be in [0, 1], got {fraction}")

    def bounds(scores: Array) -> Bounds:
        tau = jnp.float32(fraction) * jnp.max(jnp.abs(scores)).astype(jnp.float32)
        return Bounds(-tau, tau)

    return ThresholdRule(bounds, fixed=True)


def top_fraction(fraction: float = 0.25) -> ThresholdRule:
    r"""Keeps the largest `fraction` of a layer's scores and inverts the smallest `fraction`.

    Follows the scores in every forward pass: :math:`m = +1` above the (k+1)-th largest score,
    :math:`-1` below the (k+1)-th smallest, :math:`k = \lfloor \text{fraction} \cdot n \rfloor`.
    Both inequalities are strict: exactly 2k weights remain where scores do not tie at a cut, fewer
    where they do. The originals' "variable threshold", exact instead of by a sample of 5,000
    scores (and so usable on layers with fewer). A fraction above 0 is at least one weight of two.

    Raises:
      ValueError: `fraction` is outside [0, 0.5].

    >>> low, high = top_fraction(0.25).bounds(jnp.array([1.0, 2.0, 3.0, 4.0]))
    >>> float(low), float(high)  # 4 is kept, 1 is inverted
    (2.0, 3.0)
    """
    if not 0 <= fraction <= 0.5:
        raise ValueError(f"the fraction kept per sign must be in [0, 0.5], got {fraction}")

    def bounds(scores: Array) -> Bounds:
        k = max(math.floor(as_written(fraction) * scores.size), 1 if fraction else 0)
        return Bounds(-order.kth_largest(-scores, k + 1), order.kth_largest(scores, k + 1))

    return ThresholdRule(bounds, fixed=False)


THRESHOLDS: dict[str, Callable[..., ThresholdRule]] = {
    "absolute": absolute,
    "fraction_of_max": fraction_of_max,
    "top_fraction": top_fraction,
}


def get(rule: str, **options: float) -> ThresholdRule:
    """Returns a threshold rule by name.

    Raises:
      UserError: the name or an option is unknown or impossible.

    >>> get("absolute", value=0.5).fixed
    True
    """
    return make("threshold rule", THRESHOLDS, rule, **options)
