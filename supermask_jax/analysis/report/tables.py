"""The tables, as blocks of the template: groups, seeds, layers, mistakes, settings, environment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mask_bytes, percent
from supermask_jax.analysis.report import numbers, reading
from supermask_jax.analysis.report.details import Details, dead_units
from supermask_jax.analysis.report.numbers import share
from supermask_jax.analysis.report.reading import Group, Run
from supermask_jax.run_files import flat

Block = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Any], caption: str = "", **more: Any) -> Block:
    """Returns a table; the first cell of a row is its heading.

    Args:
      head: names of the columns.
      rows: texts and numbers, or {"text", "small"}.
      caption: above it.
      **more: "foot", a last row; "text", whether cells are long.
    """
    return {"kind": "table", "head": head, "rows": rows, "caption": caption} | more


def stacked(value: Interval) -> dict[str, str]:
    """A mean in percent with its interval in a line under it."""
    mean, _, interval = percent(value).partition(" ")
    return {"text": mean, "small": interval}


def groups_table(groups: Sequence[Group]) -> Block:
    """Returns the comparison of groups."""
    rows = []
    for group in groups:
        found, masks = numbers.headline(group), numbers.sampled(group)
        label = {"text": group.label, "small": masks} if masks else group.label
        rows.append([
            label, stacked(found.accuracy), "dense" if group.dense else stacked(found.remaining),
            found.accuracy.n, numbers.time_of(group),
            "finished" if group.finished else found.what,
        ])  # fmt: skip
    head = ("runs", "accuracy %", "remaining %", "n", "time a run", "state")
    return table(head, rows, "Means over seeds, with 95 % intervals (Student's t)")


def papers_table(groups: Sequence[Group], papers: Sequence[Point]) -> Block | None:
    """Returns our points beside the papers'; None without any of theirs."""
    if not papers:
        return None
    points = [*papers, *(numbers.point(group) for group in groups if not group.dense)]
    rows = [[p.label, stacked(p.accuracy), stacked(p.remaining)] for p in points]
    return table(("", "accuracy %", "remaining %"), rows, "Beside the paper")


def seeds_table(group: Group, *, named: bool) -> Block:
    """Returns a table of the runs of a group, with means and intervals under it."""
    names = {"test %": "test_accuracy", "val. %": "val_accuracy",
             "train %": "train_accuracy", "remaining %": "remaining_weights"}  # fmt: skip
    names = {
        title: name for title, name in names.items()
        if not (group.dense and name == "remaining_weights")
        and any(numbers.final(run, name) is not None for run in group.runs)
    }  # fmt: skip
    epochs = [_epochs(run) for run in group.runs]
    told = ["epochs"] if len(set(epochs)) > 1 else []
    rows = [
        [run.seed, *(_percent(numbers.final(run, name)) for name in names.values()),
         *([done] if told else []), numbers.duration(numbers.seconds(run))]
        for run, done in zip(group.runs, epochs, strict=True)
    ]  # fmt: skip
    foot = ["mean", *(_mean(group, name) for name in names.values()), *([""] if told else []), ""]
    caption = f"Seeds of {group.label}" if named else "Seeds"
    caption += "" if told else f", {epochs[0]} epochs"
    if masks := numbers.sampled(group):
        caption += f"; accuracy and remaining weights: {masks}"
    return table(("seed", *names, *told, "time"), rows, caption,
                 foot=foot if len(rows) > 1 else None)  # fmt: skip


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _epochs(run: Run) -> str:
    last, planned = run.lines[-1]["epoch"], run.config["epochs"]
    return str(last) if run.summary else f"{last} of {planned}"


def _mean(group: Group, name: str) -> dict[str, str] | str:
    values = [value for run in group.runs if (value := numbers.final(run, name)) is not None]
    return stacked(numbers.interval_of(values)) if values else ""


def layers_table(details: Details, masks: str) -> Block:
    """Returns what the masks of one run, named `masks`, leave of each layer."""

    def line(name: str, shape: str, counts: Sequence[int], dead: str) -> list[str]:
        size, kept, inverted = map(int, counts)
        return [name, shape, f"{size:,}", f"{kept:,}", f"{inverted:,}",
                f"{size - kept - inverted:,}", share((kept + inverted) / size),
                share(inverted / max(kept + inverted, 1), 1), dead]  # fmt: skip

    rows, totals = [], np.zeros(4, np.int64)
    for name, mask in details.masks.items():
        counts = mask.size, np.sum(mask > 0), np.sum(mask < 0)
        dead = dead_units(mask)
        totals += (*counts, dead)
        shape = " × ".join(map(str, mask.shape))
        told = f"{dead:,} of {mask.shape[-1]:,}"
        rows.append(line(numbers.short_name(name), shape, counts, told))
    foot = line("all", "", totals[:3], f"{totals[3]:,}")
    head = ("layer", "shape", "weights", "kept", "inverted", "hidden", "remaining",
            "of them inverted", "dead units")  # fmt: skip
    caption = (
        f"{masks} of seed {details.seed}. A dead unit has no weight left. The masks hold "
        f"{mask_bytes(details.masks):,} bytes of information (entropy, layer by layer)."
    )
    return table(head, rows, caption, foot=foot)


def pairs_table(matrix: np.ndarray, names: Sequence[str], most: int = 8) -> Block:
    """Returns the pairs of classes that are mistaken for each other most, in either direction."""
    pairs = sorted(
        itertools.combinations(range(len(names)), 2),
        key=lambda pair: -(matrix[pair] + matrix[pair[::-1]]),
    )
    rows = [
        [f"{names[i]} and {names[j]}", matrix[i, j] + matrix[j, i],
         f"{matrix[i, j]} true {names[i]}, {matrix[j, i]} true {names[j]}"]
        for i, j in pairs[:most] if matrix[i, j] + matrix[j, i]
    ]  # fmt: skip
    if not rows:
        return {"kind": "note", "text": "No class is mistaken for another."}
    return table(("classes", "mistaken", "of these"), rows, "Most confused pairs")


def recall_table(matrix: np.ndarray, names: Sequence[str], most: int = 20) -> Block:
    """Returns recall and precision of each class, the worst first."""
    hits, true, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    recall = hits / np.maximum(true, 1)
    rows = [
        [names[i], share(recall[i], 1), share(hits[i] / max(predicted[i], 1), 1), f"{true[i]:,}"]
        for i in np.argsort(recall, kind="stable")[:most]
    ]
    return table(("class", "recall", "precision", "images"), rows, "Worst classes first")


def settings_table(groups: Sequence[Group]) -> Block:
    """Returns the entries of the configs; those that differ stand first and are marked."""
    configs = [group.config for group in groups]
    other = reading.differing(configs)
    keys = sorted({key for config in configs for key in config}, key=lambda k: (k not in other, k))
    rows = [
        [{"text": key, "differs": True} if key in other else key,
         *(_setting(config[key]) if key in config else "none" for config in configs)]
        for key in keys
    ]  # fmt: skip
    return table(("entry", *(group.label for group in groups)), rows, text=True)


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if value != "" else "(empty)"


def environment_table(runs: Sequence[Run]) -> Block:
    """Returns folders, versions and devices: a column for each folder."""
    folders = {run.folder: run for run in runs}
    envs = [flat({"folder": str(run.folder), **run.env}) for run in folders.values()]
    rows = [
        [key.removeprefix("versions."), *(_known(env.get(key, "")) for env in envs)]
        for key in dict.fromkeys(key for env in envs for key in env)
    ]
    return table(("", *(path.name for path in folders)), rows, text=True)


def _known(value: Any) -> str:
    return "unknown" if value is None else str(value)
