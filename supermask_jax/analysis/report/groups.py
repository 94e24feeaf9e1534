"""Runs that differ in their seed alone, put together; and the levels of one way to prune."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval
from supermask_jax.analysis.runs import Run
from supermask_jax.errors import UserError
from supermask_jax.run_files import flat

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

    def curve(self, name: str, layer: str | None = None) -> Curve:
        """Returns the curve of an entry of the lines, or of a layer's part of it."""
        seeds: dict[int, list[tuple[int, float]]] = {}
        by_epoch: dict[int, list[float]] = {}
        for run in self.runs:
            for line in run.lines:
                value = line.get(name) if layer is None else line.get(name, {}).get(layer)
                if value is not None:
                    by_epoch.setdefault(line["epoch"], []).append(float(value))
                    seeds.setdefault(run.seed, []).append((line["epoch"], float(value)))
        epochs = sorted(by_epoch)
        return Curve(epochs, [mean_interval(by_epoch[epoch]) for epoch in epochs], seeds)

    def layers(self, share: str) -> dict[str, Curve]:
        """Returns {layer: curve} of "layer_density" or "layer_inverted"; {} where none is there."""
        lines = (line for run in self.runs for line in run.lines)
        names = dict.fromkeys(name for line in lines for name in line.get(share, {}))
        return {name: self.curve(share, name) for name in names}


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
    # All levels of a cell have one name, and what they were pruned from is level 0.
    cells = {_key(config, "level"): config for config in configs.values()}
    names = dict(zip(cells, _labels(list(cells.values())), strict=True))
    starts = {_key(config, *_OF_LEVEL) for config in configs.values() if "level" in config}
    groups = []
    for key, config in configs.items():
        name = names[_key(config, "level")]
        level = config.get("level", 0 if key in starts else None)
        label = name if level is None else f"{name}, level {level}"
        groups.append(_group(label, config, alike[key], name if "level" in config else ""))
    return groups


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
        levels = sorted((g for g in groups if g.cell == cell), key=lambda g: g.config["level"])
        start = _key(levels[0].config, *_OF_LEVEL)
        found[cell] = [g for g in groups if not g.cell and _key(g.config) == start] + levels
    return found


def _labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The configs' names; where they are alike, with what tells them apart: three entries at most.

    Names of methods, models and so on come first. What entries leave alike is numbered.
    """
    labels = list(map(_name, configs))
    used: list[set[str]] = [{"level"} for _ in configs]
    for _ in range(3):
        words = [""] * len(configs)
        for label in set(labels):
            same = [i for i, other in enumerate(labels) if other == label]
            keys = [
                key
                for key in differing([configs[i] for i in same])
                if not any(key in used[i] for i in same)
            ]
            for key in sorted(keys, key=_rank)[:1]:
                section, _, entry = key.rpartition(".")
                before = "" if section and entry == "name" else f"{entry} "
                for i in same:
                    used[i].add(key)
                    words[i] = f", {before}{configs[i][key]}" if key in configs[i] else ""
        labels = [label + word for label, word in zip(labels, words, strict=True)]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[:i].count(label) + 1})"
        for i, label in enumerate(labels)
    ]


def _rank(key: str) -> int:
    """Where an entry stands among those that tell configs apart."""
    return 0 if key == "method.name" else 1 if key.endswith(".name") else 2


def _name(config: Mapping[str, Any]) -> str:
    if "level" not in config:
        return str(config.get("name", "run"))
    return "-".join(str(config[f"recipe.{part}"]) for part in ("criterion", "mask1", "mask0"))


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the entries in which flat configs differ."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
