"""Scales of axes: from numbers to places, and the round numbers worth a tick."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from supermask_jax.analysis.report.markup import short


class Scale(NamedTuple):
    """Maps [low, high] to [start, end]: linearly, or with `log` in the logarithm.

    Numbers outside have places outside, but for those below `low` on a logarithmic scale.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the place of a number."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """Returns a tick as text, with the decimals that tell it from its neighbours."""
        if self.log:
            return plain(tick)
        steps = [b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)]
        step = min(steps, default=abs(tick) or 1)
        return f"{tick:,.{max(0, math.ceil(-math.log10(step) - 1e-9))}f}"


def plain(number: float) -> str:
    """Returns e.g. ``0.05``, ``20``, ``10k``, ``2M``: round numbers, as an axis shows them."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{short(number / size)}{letter}"
    return f"{number:.12g}"


def linear(values: Iterable[float], start: float, end: float, count: int = 5) -> Scale:
    """Returns a scale over `values` (finite ones count), widened to round numbers."""
    low, high = _range(values)
    if high - low < 1e-9 * max(abs(high), 1):
        low, high = low - 0.5, high + 0.5
    step = nice_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def exact(low: float, high: float, start: float, end: float, count: int = 5) -> Scale:
    """Returns a scale over [low, high] as it is, with the round numbers inside."""
    for parts in (count, 2 * count):
        step = nice_step((high - low) / parts)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first > 1:
            break
    return Scale(low, high, start, end, tuple(i * step for i in range(first, last + 1)))


def epochs(last: int, start: float, end: float, first: int = 1) -> Scale:
    """Returns a scale over whole numbers from `first` to `last`."""
    high = max(last, first + 1)
    scale = exact(first, high, start, end, 6)
    ticks = {first, *(round(tick) for tick in scale.ticks if tick > first + 0.04 * (high - first))}
    return scale._replace(ticks=tuple(sorted(ticks)))


def logarithmic(values: Iterable[float], start: float, end: float) -> Scale:
    """Returns a scale over positive `values`, a little wider, with about five ticks."""
    low, high = _range(value for value in values if value > 0)
    room = max((high / low) ** 0.06, 1.05)
    low, high = low / room, high * room
    return Scale(low, high, start, end, _log_ticks(low, high), log=True)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Returns 1, 2, 5 times powers of ten, or fewer of them, or within a power evenly spaced."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**power for power in powers for f in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 7:
            break
    return tuple(ticks) if len(ticks) > 2 else exact(low, high, 0, 1, 4).ticks


def nice_step(rough: float) -> float:
    """Returns the smallest of 1, 2, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))


def _range(values: Iterable[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.5, 1.0)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart to at least `gap`, in their order and within [low, high] if they fit."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    if moved and moved[-1] > high:
        moved[-1] = high
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - gap)
    shift = max(low - moved[0], 0) if moved else 0
    result = [0.0] * len(places)
    for i, place in zip(order, moved, strict=True):
        result[i] = place + shift
    return result
