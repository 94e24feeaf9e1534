"""Runs that differ in their seed alone, put together; and the levels of one way to prune."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval
from supermask_jax.analysis.runs import Run
from supermask_jax.entries import flat
from supermask_jax.errors import UserError

SPLITS = {"train": "training", "val": "validation", "test": "test"}

_NOT_GROUP = ("seed", "num_seeds", "level_sha256")
_WITH_DEFAULTS = ("data", "model")
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


class Group(NamedTuple):
    """Runs of one config.

    Attributes:
      label: its name on the page.
      config: flat, {"method.name": ...}, without the seeds.
      runs: those that did not diverge, or all where they all did.
      diverged: (seed, step by which it had).
      cell: the way to prune of which it is a level, or "".
    """

    label: str
    config: Mapping[str, Any]
    runs: Sequence[Run]
    diverged: Sequence[tuple[int, int]] = ()
    cell: str = ""

    @property
    def level(self) -> int:
        """Of pruning: 0 before any."""
        return self.config.get("level", 0)

    @property
    def watched(self) -> str:
        """The split that every epoch is evaluated on: "val" or "test"."""
        return "val" if "val_loss" in self.runs[0].lines[0] else "test"

    @property
    def finished(self) -> bool:
        """Whether all of its runs are."""
        return all(run.summary for run in self.runs)

    @property
    def lost(self) -> bool:
        """Whether all of its runs diverged."""
        return all(run.lost for run in self.runs)

    @property
    def dense(self) -> bool:
        """Whether it has no masks."""
        pruned = any(key.startswith("recipe") for key in self.config)
        return self.config.get("method.name") == "dense" and not pruned

    @property
    def sampled(self) -> str:
        """Which masks accuracy and remaining weights are of, where these are sampled: or ""."""
        config = self.config
        ways = config.get("method.evaluation"), config.get("method.variant", "sampled")
        if ways != ("sampled", "sampled"):
            return ""
        return f"mean of {config.get('method.eval_samples', 'some')} sampled masks"

    @property
    def seconds(self) -> float:
        """The mean time of its runs."""
        return sum(run.seconds for run in self.runs) / len(self.runs)

    @property
    def headline(self) -> Headline:
        """The accuracy and density that stand at the top."""
        rows, split, when = [run.summary for run in self.runs if run.summary], "test", ""
        if not rows:
            rows, split = [run.lines[-1] for run in self.runs], self.watched
            when = " before it diverged" if self.lost else " so far"
        names = f"{split}_accuracy", "remaining_weights"
        found = (interval_of([row[name] for row in rows]) for name in names)
        return Headline(f"{SPLITS[split]} accuracy{when}", *found)

    @property
    def point(self) -> Point:
        """It as a point of accuracy against remaining weights."""
        found = self.headline
        return Point(self.label, found.remaining, found.accuracy)

    def curve(self, value: Callable[[Mapping[str, Any]], float | None]) -> Curve:
        """Returns the curve of `value(line)`; lines where that is None are left out."""
        seeds: dict[int, list[tuple[int, float]]] = {}
        by_epoch: dict[int, list[float]] = {}
        for run in self.runs:
            for line in run.lines:
                if (number := value(line)) is not None:
                    by_epoch.setdefault(line["epoch"], []).append(float(number))
                    seeds.setdefault(run.seed, []).append((line["epoch"], float(number)))
        epochs = sorted(by_epoch)
        return Curve(epochs, [mean_interval(by_epoch[epoch]) for epoch in epochs], seeds)

    def layers(self, share: str) -> dict[str, Curve]:
        """Returns {layer: curve} of "layer_density" or "layer_inverted"; {} where none is there."""
        names = dict.fromkeys(
            name for run in self.runs for line in run.lines for name in line.get(share, {})
        )
        return {
            name: self.curve(lambda line, name=name: line.get(share, {}).get(name))
            for name in names
        }  # fmt: skip


def interval_of(values: Sequence[float]) -> Interval:
    """Returns the mean of fractions and its interval, clipped to what a fraction can be."""
    mean, low, high, n = mean_interval(values)
    return Interval(mean, low, high, n) if n < 2 else Interval(mean, max(low, 0), min(high, 1), n)


def group_runs(runs: Sequence[Run], defaults: Mapping[str, Any]) -> list[Group]:
    """Groups runs by config, in the order in which each first comes.

    Args:
      runs: from `runs.read_folders`.
      defaults: nested; values of entries that an old run's config lacks.

    Raises:
      UserError: a run is there twice.
    """
    # Entries of the other sections belong to what they name, and have no default.
    known = {
        key: value
        for key, value in flat(defaults).items()
        if key.partition(".")[0] in _WITH_DEFAULTS or "." not in key
    }
    configs: dict[str, dict[str, Any]] = {}
    alike: dict[str, list[Run]] = {}
    for run in runs:
        config = {k: v for k, v in (known | flat(run.config)).items() if k not in _NOT_GROUP}
        configs.setdefault(key := _key(config), config)
        alike.setdefault(key, []).append(run)
    found, cells = list(configs.values()), _cells(list(configs.values()))
    labels = _labels(found, cells)
    return list(map(_group, labels, found, alike.values(), cells))


def _group(label: str, config: dict[str, Any], members: list[Run], cell: str) -> Group:
    seen: dict[int, Run] = {}
    for run in members:
        if (other := seen.setdefault(run.seed, run)) is not run:
            raise UserError(
                f"{run.folder} holds the run that {other.folder} holds, of seed {run.seed}: "
                "give one of them"
            )
    folders = {run.folder: run.diverged for run in members}
    diverged = sorted(pair for found in folders.values() for pair in found.items())
    kept = [run for run in members if not run.lost] or members
    return Group(label, config, kept, diverged, cell)


def _key(config: Mapping[str, Any], *apart: str) -> str:
    """A flat config as text, but for some of its sections."""
    kept = {key: value for key, value in config.items() if key.partition(".")[0] not in apart}
    return json.dumps(kept, sort_keys=True)


def ladders(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Returns the levels of pruning by cell, ascending, after the dense network they are made of.

    That one, where it is there, may stand in several.
    """
    found = {}
    for cell in dict.fromkeys(group.cell for group in groups if group.cell):
        levels = sorted((g for g in groups if g.cell == cell), key=lambda group: group.level)
        start = _key(levels[0].config, *_OF_LEVEL)
        found[cell] = [g for g in groups if not g.cell and _key(g.config) == start] + levels
    return found


def _cells(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names the cell of each config that is of a level: "" for the others."""
    keys = [_key(config, "level") if "level" in config else "" for config in configs]
    names = {
        key: "-".join(str(config[f"recipe.{part}"]) for part in ("criterion", "mask1", "mask0"))
        for key, config in zip(keys, configs, strict=True) if key
    }  # fmt: skip
    named = dict(zip(names, _numbered(list(names.values())), strict=True))
    return [named.get(key, "") for key in keys]


def _labels(configs: Sequence[Mapping[str, Any]], cells: Sequence[str]) -> list[str]:
    """The configs' names; where they are alike, with the entries that tell them apart: up to two.

    What two entries leave alike is numbered; levels of pruning are named by cell and level.
    """
    names = [str(config.get("name", "run")) for config in configs]
    labels = list(names)
    for count in (1, 2):
        for i, config in enumerate(configs):
            same = [other for name, other in zip(names, configs, strict=True) if name == names[i]]
            keys = [key for key in differing(same) if key in config][:count]
            words = [f"{key.rpartition('.')[2]} {config[key]}" for key in keys]
            labels[i] = ", ".join([names[i], *words])
        if len(set(labels)) == len(labels):
            break
    labels = _numbered(labels)
    starts = {_key(config, *_OF_LEVEL) for config in configs if "level" in config}
    for i, (config, cell) in enumerate(zip(configs, cells, strict=True)):
        if cell:
            labels[i] = f"{cell}, level {config['level']}"
        elif _key(config) in starts:
            labels[i] += ", level 0"
    return labels


def _numbered(names: Sequence[str]) -> list[str]:
    """Numbers names that are there several times."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})"
        for i, name in enumerate(names)
    ]


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the entries in which flat configs differ."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
