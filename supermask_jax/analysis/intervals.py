"""Means with 95 % intervals, and the size of a mask in bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and the 95 % interval of the mean; `low` and `high` are NaN for one value."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Returns the mean of independent runs and its Student-t interval.

    Raises:
      ValueError: there is no value.
    """
    from scipy.stats import t  # Slow to import, and needed for tables only.

    if not values:
        raise ValueError("an interval needs at least one value")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = float(t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def share_interval(share: float, n: int) -> Interval:
    """Returns a share of n independent cases and its 95 % interval, by Wilson's score.

    Unlike the normal approximation it stays within [0, 1] and has a width at 0 and 1 too.

    Args:
      share: in [0, 1], such as an accuracy.
      n: cases, such as images; at least 1.

    Raises:
      ValueError: there is no case, or the share is none.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share in [0, 1] of at least one case, got {share} of {n}")
    z2 = 1.959963984540054**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0), n)


def percent(interval: Interval | Mapping[str, Any], digits: int = 2) -> str:
    """Returns e.g. ``97.53 [97.40, 97.66]`` of fractions, in percent."""
    mean, low, high, _ = interval if isinstance(interval, Interval) else Interval(**dict(interval))
    text = f"{100 * mean:.{digits}f}"
    if math.isnan(low):
        return text
    return f"{text} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def entropy_bits(counts: Iterable[int]) -> float:
    """Returns the bits that symbols of these counts need at least: n times their entropy."""
    counts = [count for count in counts if count]
    total = sum(counts)
    return sum(-count * math.log2(count / total) for count in counts)


def mask_bytes(masks: Mapping[str, np.ndarray]) -> int:
    """Returns the entropy bound of masks in bytes, layer by layer.

    Args:
      masks: {layer name: int8 mask}, as in ``masks.npz``.
    """
    histograms = (np.unique(mask, return_counts=True)[1] for mask in masks.values())
    return math.ceil(sum(entropy_bits(counts.tolist()) for counts in histograms) / 8)
