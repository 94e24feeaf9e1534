"""The numbers of a group: final ones with intervals, curves over epochs, and those of layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval, percent
from supermask_jax.analysis.report.reading import Group, Run

SPLITS = {"train": "training", "val": "validation", "test": "test"}
_OF_LEVEL = ("level", "recipe", "rewind_steps")


class Headline(NamedTuple):
    """What a group comes to: that of its finished runs, or where it is so far."""

    what: str  # e.g. "test accuracy"
    accuracy: Interval
    remaining: Interval


class Curve(NamedTuple):
    """A number over epochs: means over the seeds that have each, with intervals."""

    epochs: list[int]
    values: list[Interval]
    seeds: dict[int, list[tuple[int, float]]]  # seed -> (epoch, value)


class Ladder(NamedTuple):
    """The levels of pruning of one cell, ascending: level 0, where it is there, is dense."""

    label: str
    levels: list[Group]


def interval_of(values: Sequence[float]) -> Interval:
    """Returns the mean of fractions and its interval, clipped to what a fraction can be."""
    mean, low, high, n = mean_interval(values)
    return Interval(mean, low, high, n) if n < 2 else Interval(mean, max(low, 0), min(high, 1), n)


def sampled(group: Group) -> str:
    """Returns which masks accuracy and remaining weights are of, where these are sampled: or ""."""
    config = group.config
    ways = config.get("method.evaluation"), config.get("method.variant", "sampled")
    if ways != ("sampled", "sampled"):
        return ""
    return f"mean of {config.get('method.eval_samples', 'some')} sampled masks"


def headline(group: Group) -> Headline:
    """Returns the accuracy and density that stand at the top."""
    rows, when = [run.summary for run in group.runs if run.summary], ""
    split = "test" if rows else group.watched
    if not rows:
        rows = [run.lines[-1] for run in group.runs]
        when = " before it diverged" if group.lost else " so far"
    names = f"{split}_accuracy", "remaining_weights"
    found = (interval_of([row[name] for row in rows]) for name in names)
    return Headline(f"{SPLITS[split]} accuracy{when}", *found)


def point(group: Group) -> Point:
    """Returns a group as a point of accuracy against remaining weights."""
    found = headline(group)
    return Point(group.label, found.remaining, found.accuracy)


def curve(group: Group, value: Callable[[Mapping[str, Any]], float | None]) -> Curve:
    """Returns the curve of `value(line)`; lines where that is None are left out."""
    by_epoch: dict[int, list[float]] = {}
    seeds: dict[int, list[tuple[int, float]]] = {}
    for run in group.runs:
        for line in run.lines:
            if (number := value(line)) is not None:
                by_epoch.setdefault(line["epoch"], []).append(float(number))
                seeds.setdefault(run.seed, []).append((line["epoch"], float(number)))
    epochs = sorted(by_epoch)
    return Curve(epochs, [mean_interval(by_epoch[epoch]) for epoch in epochs], seeds)


def layer_curves(group: Group, share: str) -> dict[str, Curve]:
    """Returns {layer: curve} of "layer_density" or "layer_inverted"; {} where none was logged."""
    layers = dict.fromkeys(
        name for run in group.runs for line in run.lines for name in line.get(share, {})
    )
    return {
        name: curve(group, lambda line, name=name: line.get(share, {}).get(name))
        for name in layers
    }  # fmt: skip


def ladders(groups: Sequence[Group]) -> tuple[list[Ladder], list[Group], list[Group]]:
    """Puts the levels of pruning together, by cell.

    Returns:
      Ladders; the groups that are no level; and all groups in their order, where the labels of
      levels say cell and level.
    """

    def of(config: Mapping[str, Any], *apart: str) -> str:
        kept = {key: v for key, v in config.items() if key.partition(".")[0] not in apart}
        return json.dumps(kept, sort_keys=True)

    cells: dict[str, list[Group]] = {}
    for group in groups:
        if "level" in group.config:
            cells.setdefault(of(group.config, "level"), []).append(group)
    dense = {of(g.config): g for g in groups if "level" not in g.config}
    found, labels, names = [], {}, []
    for members in cells.values():
        config = members[0].config
        name = "-".join(str(config[f"recipe.{part}"]) for part in ("criterion", "mask1", "mask0"))
        names.append(name)
        name += f" ({names.count(name)})" if names.count(name) > 1 else ""
        levels = sorted(members, key=lambda group: group.config["level"])
        labels |= {id(g.runs): f"{name}, level {g.config['level']}" for g in levels}
        if start := dense.get(of(config, *_OF_LEVEL)):
            labels[id(start.runs)] = f"{start.label}, level 0"
            levels.insert(0, start)
        found.append((name, levels))
    alone = [g for g in groups if id(g.runs) not in labels]
    named = {id(g.runs): g._replace(label=labels.get(id(g.runs), g.label)) for g in groups}
    made = [Ladder(name, [named[id(g.runs)] for g in levels]) for name, levels in found]
    return made, alone, list(named.values())


def final(run: Run, name: str) -> float | None:
    """Returns a number of a run as of its end, or of its last epoch; None where it has none."""
    return run.summary.get(name, run.lines[-1].get(name))


def seconds(run: Run) -> float:
    """Returns the time that a run's epochs took."""
    return sum(line["seconds"] for line in run.lines)


def time_of(group: Group) -> str:
    """Returns the mean time of a group's runs as text."""
    return duration(sum(map(seconds, group.runs)) / len(group.runs))


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
