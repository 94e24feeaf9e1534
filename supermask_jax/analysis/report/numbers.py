"""The numbers of a group: final ones with intervals, curves over epochs, and those of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval, percent
from supermask_jax.analysis.report.reading import Group, Run
from supermask_jax.analysis.report.scatter import PAPER

SPLITS = {"train": "training", "val": "validation", "test": "test"}


class Headline(NamedTuple):
    """What a group comes to: that of its finished runs, or where it is so far."""

    what: str  # e.g. "test accuracy"
    accuracy: Interval
    remaining: Interval


class Curve(NamedTuple):
    """A number over epochs: means over the seeds that have each, with intervals."""

    epochs: list[int]
    values: list[Interval]


def headline(group: Group) -> Headline:
    """Returns the accuracy and density that stand at the top."""
    done = [run.summary for run in group.runs if run.summary]
    if done:
        return Headline("test accuracy", *(
            mean_interval([run[name] for run in done])
            for name in ("test_accuracy", "remaining_weights")
        ))  # fmt: skip
    last = [run.lines[-1] for run in group.runs]
    when = "before it diverged" if group.lost else "so far"
    return Headline(f"{SPLITS[group.watched]} accuracy {when}", *(
        mean_interval([line[name] for line in last])
        for name in (f"{group.watched}_accuracy", "remaining_weights")
    ))  # fmt: skip


def point(group: Group) -> Point:
    """Returns a group as a point of accuracy against remaining weights."""
    found = headline(group)
    return Point(group.label, found.remaining, found.accuracy)


def curve(group: Group, value: Callable[[Mapping[str, Any]], float | None]) -> Curve:
    """Returns the curve of `value(line)`; lines where that is None are left out."""
    by_epoch: dict[int, list[float]] = {}
    for run in group.runs:
        for line in run.lines:
            if (number := value(line)) is not None:
                by_epoch.setdefault(line["epoch"], []).append(float(number))
    epochs = sorted(by_epoch)
    return Curve(epochs, [mean_interval(by_epoch[epoch]) for epoch in epochs])


def layer_curves(group: Group, share: str) -> dict[str, Curve]:
    """Returns {layer: curve} of "layer_density" or "layer_inverted"; {} where none was logged."""
    layers = dict.fromkeys(
        name for run in group.runs for line in run.lines for name in line.get(share, {})
    )
    return {
        name: curve(group, lambda line, name=name: line.get(share, {}).get(name))
        for name in layers
    }  # fmt: skip


def final(run: Run, name: str) -> float | None:
    """Returns a number of a run as of its end, or of its last epoch; None where it has none."""
    return run.summary.get(name, run.lines[-1].get(name))


def seconds(run: Run) -> float:
    """Returns the time that a run's epochs took."""
    return sum(line["seconds"] for line in run.lines)


def series(position: int) -> int:
    """Returns the colour of a group: each has its own, and none that of the papers' points."""
    free = [index for index in range(6) if index != PAPER]
    return free[position % len(free)] + 6 * (position // len(free))


def short_name(layer: str) -> str:
    """Returns ``dense1`` for ``dense1/kernel``."""
    return layer.removesuffix("/kernel")


def share(value: float | None, digits: int = 2) -> str:
    """Returns a fraction in percent: ``3.77 %``."""
    return "" if value is None else f"{100 * value:.{digits}f} %"


def with_unit(value: Interval) -> str:
    """Returns ``97.53 % [97.40, 97.66]`` of a fraction."""
    mean, _, rest = percent(value).partition(" ")
    return f"{mean} % {rest}".rstrip()


def duration(total: float) -> str:
    """Returns seconds as ``41 s``, ``3.2 min`` or ``1.5 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if total >= 2 * size:
            return f"{total / size:.1f} {unit}"
    return f"{total:.1f} s" if total < 10 else f"{total:.0f} s"
