"""The tables of the report: groups, seeds, layers, mistakes, settings, environment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from supermask_jax.analysis.intervals import Interval
from supermask_jax.analysis.report.details import dead_units
from supermask_jax.analysis.report.groups import Group, differing, interval_of
from supermask_jax.analysis.runs import Run
from supermask_jax.analysis.tables import Table
from supermask_jax.run_files import flat

_OF_SEED = {
    "test %": "test_accuracy",
    "val. %": "val_accuracy",
    "train %": "train_accuracy",
    "remaining %": "remaining_weights",
}


def short_name(layer: str) -> str:
    """Returns ``dense1`` for ``dense1/kernel``."""
    return layer.removesuffix("/kernel")


def share(value: float, digits: int = 2) -> str:
    """Returns a fraction in percent: ``3.77 %``."""
    return f"{100 * value:.{digits}f} %"


def duration(total: float) -> str:
    """Returns seconds as ``41 s``, ``3.2 min`` or ``1.5 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if total >= 2 * size:
            return f"{total / size:.1f} {unit}"
    return f"{total:.1f} s" if total < 10 else f"{total:.0f} s"


def seeds_table(group: Group) -> Table:
    """Returns a table of the runs of a group, with means and intervals under it."""
    columns = {
        title: [run.summary.get(name, run.lines[-1].get(name)) for run in group.runs]
        for title, name in _OF_SEED.items()
        if not (group.dense and name == "remaining_weights")
    }
    columns = {title: found for title, found in columns.items() if set(found) != {None}}
    rows = []
    for run, *values in zip(group.runs, *columns.values(), strict=True):
        means = (_mean([value]) for value in values)
        rows.append((run.seed, *means, _epochs(run), duration(run.seconds)))
    foot = ("mean", *map(_mean, columns.values()), "", "") if len(rows) > 1 else ()
    caption = f"Seeds of {group.label}"
    if group.sampled:
        caption += f"; accuracy and remaining weights: {group.sampled}"
    return Table(("seed", *columns, "epochs", "time"), rows, foot, caption)


def _mean(values: Sequence[float | None]) -> Interval | str:
    found = [value for value in values if value is not None]
    return interval_of(found) if found else ""


def _epochs(run: Run) -> str:
    return str(run.epoch) if run.summary else f"{run.epoch} of {run.config['epochs']}"


def layers_table(masks: Mapping[str, np.ndarray]) -> Table:
    """Returns what masks leave of each layer."""

    def line(name: str, shape: str, counts: np.ndarray, units: str) -> list[str]:
        size, kept, inverted, dead = map(int, counts)
        hidden, left = size - kept - inverted, kept + inverted
        shares = share(left / size), share(inverted / max(left, 1), 1)
        counted = (f"{x:,}" for x in (size, kept, inverted, hidden))
        return [name, shape, *counted, *shares, f"{dead:,}{units}"]

    rows, total = [], np.zeros(4, np.int64)
    for name, mask in masks.items():
        counts = np.array([mask.size, np.sum(mask > 0), np.sum(mask < 0), dead_units(mask)])
        shape, units = " × ".join(map(str, mask.shape)), f" of {mask.shape[-1]:,}"
        rows.append(line(short_name(name), shape, counts, units))
        total += counts
    head = (
        *("layer", "shape", "weights", "kept", "inverted", "hidden"),
        *("remaining", "of them inverted", "dead units"),
    )
    return Table(head, rows, line("all", "", total, ""))


def pairs_table(matrix: np.ndarray, names: Sequence[str], most: int = 8) -> Table:
    """Returns the pairs of classes that are mistaken for each other most, in either direction."""
    both = matrix + matrix.T
    pairs = sorted(itertools.combinations(range(len(names)), 2), key=lambda pair: -both[pair])
    rows = []
    for i, j in (pair for pair in pairs[:most] if both[pair]):
        shares = f"{matrix[i, j]} true {names[i]}, {matrix[j, i]} true {names[j]}"
        rows.append((f"{names[i]} and {names[j]}", both[i, j], shares))
    return Table(("classes", "mistaken", "of these"), rows, caption="Most confused pairs")


def recall_table(matrix: np.ndarray, names: Sequence[str], most: int = 20) -> Table:
    """Returns recall and precision of each class, the worst first."""
    hits, true, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    recall = hits / np.maximum(true, 1)
    rows = [
        (names[i], share(recall[i], 1), share(hits[i] / max(predicted[i], 1), 1), f"{true[i]:,}")
        for i in np.argsort(recall, kind="stable")[:most]
    ]
    return Table(("class", "recall", "precision", "images"), rows, caption="Worst classes first")


def sanity_table(found: Mapping[str, Any]) -> Table:
    """Returns what chance leaves of a ticket, of what ``supermask sanity`` found."""
    rows = [
        (name, Interval(check["mean"], check["low"], check["high"], n), n)
        for name, check in found["checks"].items()
        for n in [len(check["accuracies"])]
    ]
    return Table((f"{found['images']:,} test images", "accuracy %", "draws"), rows)


def settings_table(groups: Sequence[Group]) -> Table:
    """Returns the entries of the configs; those that differ stand first."""
    configs = [group.config for group in groups]
    other = differing(configs)
    keys = sorted({key for config in configs for key in config}, key=lambda k: (k not in other, k))
    rows = [(key, *(_setting(config.get(key, "none")) for config in configs)) for key in keys]
    return Table(("entry", *(group.label for group in groups)), rows)


def _setting(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "(empty)" if value == "" else str(value)


def environment_table(groups: Sequence[Group]) -> Table:
    """Returns folders, versions and devices: a column for each folder."""
    folders = {run.folder: run for group in groups for run in group.runs}
    envs = [flat({"folder": str(run.folder), **run.env}) for run in folders.values()]
    known = [{k: "unknown" if v is None else v for k, v in env.items()} for env in envs]
    rows = [
        (key.removeprefix("versions."), *(env.get(key, "") for env in known))
        for key in dict.fromkeys(key for env in envs for key in env)
    ]
    return Table(("", *(path.name for path in folders)), rows)
