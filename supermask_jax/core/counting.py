"""How many weights a kept share is: exact counts, and the roundings of the original codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from supermask_jax.errors import unknown_name


def as_written(share: float) -> Fraction:
    """Returns the number that was written: 29/100 for 0.29, which as a float is a little less.

    Products of it with a count are exact, and so are their roundings.

    >>> as_written(0.29) * 100
    Fraction(29, 1)
    >>> 0.29 * 100
    28.999999999999996
    """
    return Fraction(repr(float(share)))


def _hidden_share(share: float) -> float:
    # Two of the originals are given the pruned share itself, and 1 - 0.9 is not the float 0.1.
    return float(1 - as_written(share))


COUNTINGS: dict[str, Callable[[float, int], int]] = {
    "nearest": lambda share, n: round(as_written(share) * n),
    "ramanujan": lambda share, n: n - int((1 - share) * n),
    "zhou": lambda share, n: n - int(n * ((1 - share) * 100.0) / 100),
    "frankle": lambda share, n: n - (round(_hidden_share(share) * n) + 1),
    "open_lth": lambda share, n: n - (math.ceil(_hidden_share(share) * n) + 1),
}
"""How many of n weights a share of them is; see `num_kept`."""


def num_kept(share: float, total: int, counting: str = "nearest", *, at_least: int = 1) -> int:
    """Returns how many of `total` weights are kept when the share `share` of them is wanted.

    Args:
      share: kept fraction, in [0, 1].
      total: number of weights.
      counting: the rule that makes the share a whole number.
        `nearest`: share * total, rounded; halves go to the even number.
        `ramanujan`: hides int((1 - share) * total), truncated in floating point as in the code of
        Ramanujan et al., 2020, and those built on it.
        `zhou`: hides int((1 - share) * total), truncated in floating point as in the code of Zhou
        et al., 2019: 0.8 of 235,200 hides 47,039 weights and not 47,040.
        `frankle`: hides round((1 - share) * total) + 1, the off-by-one of the code of Frankle &
        Carbin, 2019, which prunes its cut-off weight as well.
        `open_lth`: hides ceil((1 - share) * total) + 1, for the same reason.
      at_least: the fewest that a share above 0 keeps, of a small layer for example.

    Raises:
      UserError: `counting` is unknown.

    >>> num_kept(0.25, 300), num_kept(0.001, 300)
    (75, 1)
    >>> num_kept(0.8, 235_200), num_kept(0.8, 235_200, "zhou")
    (188160, 188161)
    """
    if counting not in COUNTINGS:
        raise unknown_name("counting", counting, COUNTINGS)
    return max(COUNTINGS[counting](float(share), int(total)), at_least if share else 0)
