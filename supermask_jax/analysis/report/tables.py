"""The tables: groups, seeds, layers, settings, environment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mask_bytes, mean_interval, percent
from supermask_jax.analysis.report import numbers, reading
from supermask_jax.analysis.report.details import Details, dead_units
from supermask_jax.analysis.report.markup import Markup, join, significant, tag
from supermask_jax.analysis.report.numbers import share
from supermask_jax.analysis.report.reading import Group, Run
from supermask_jax.entries import flat


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Any]],
    foot: Sequence[Any] = (),
    caption: str | None = None,
    class_: str | None = None,
) -> Markup:
    """Returns a table that scrolls by itself; the first cell of a row is its heading."""

    def line(cells: Sequence[Any]) -> Markup:
        first, *others = cells
        return tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in others])

    scrolled = tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", [tag("th", name, scope="col") for name in head])),
            tag("tbody", [line(row) for row in rows]),
            tag("tfoot", line(foot)) if foot else None,
            aria_label=caption,
        ),
        class_="scroll" if class_ is None else f"scroll {class_}",
        tabindex="0",
    )
    # Not inside: a caption is as wide as its table, and would scroll with it.
    return join(tag("p", caption, class_="caption") if caption else None, scrolled)


def groups_table(groups: Sequence[Group]) -> Markup:
    """Returns the comparison of groups."""
    rows = []
    for group in groups:
        found = numbers.headline(group)
        time = sum(map(numbers.seconds, group.runs)) / len(group.runs)
        rows.append([
            group.label, _stacked(found.accuracy),
            "dense" if group.dense else _stacked(found.remaining), found.accuracy.n,
            numbers.duration(time), found.what if not group.finished else "finished",
        ])  # fmt: skip
    head = ("runs", "accuracy %", "remaining %", "n", "time a run", "state")
    return table(head, rows, caption="Means over seeds, with 95 % intervals (Student's t)")


def papers_table(groups: Sequence[Group], papers: Sequence[Point]) -> Markup | None:
    """Returns our points beside the papers'; None without any of theirs."""
    if not papers:
        return None
    points = [*papers, *(numbers.point(group) for group in groups if not group.dense)]
    rows = [[p.label, _stacked(p.accuracy), _stacked(p.remaining)] for p in points]
    return table(("", "accuracy %", "remaining %"), rows, caption="Beside the paper")


def seeds_table(groups: Sequence[Group]) -> Markup:
    """Returns a table of the runs of each group, with means and intervals under it."""
    return tag("div", [_seeds(group, len(groups) > 1) for group in groups])


def _seeds(group: Group, named: bool) -> Markup:
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
    return table(("seed", *names, *told, "time"), rows, foot if len(rows) > 1 else (), caption)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _epochs(run: Run) -> str:
    last, planned = run.lines[-1]["epoch"], run.config["epochs"]
    return str(last) if run.summary else f"{last} of {planned}"


def _mean(group: Group, name: str) -> Markup | str:
    values = [value for run in group.runs if (value := numbers.final(run, name)) is not None]
    if not values:
        return ""
    return _stacked(mean_interval(values))


def _stacked(value: Interval) -> Markup:
    """A mean in percent with its interval in a line under it."""
    mean, _, interval = percent(value).partition(" ")
    return tag("span", mean, tag("small", interval) if interval else None)


def layers_table(details: Details) -> Markup:
    """Returns what the masks of one run leave of each layer."""
    rows, totals = [], np.zeros(5, np.int64)
    for name, mask in details.masks.items():
        kept, inverted = int(np.sum(mask > 0)), int(np.sum(mask < 0))
        dead = dead_units(mask)
        totals += (mask.size, kept, inverted, mask.size - kept - inverted, dead)
        rows.append([
            numbers.short_name(name), " × ".join(map(str, mask.shape)), f"{mask.size:,}",
            f"{kept:,}", f"{inverted:,}", f"{mask.size - kept - inverted:,}",
            share((kept + inverted) / mask.size), share(inverted / max(kept + inverted, 1), 1),
            f"{dead:,} of {mask.shape[-1]:,}",
        ])  # fmt: skip
    size, kept, inverted, hidden, dead = (int(total) for total in totals)
    foot = ["all", "", f"{size:,}", f"{kept:,}", f"{inverted:,}", f"{hidden:,}",
            share((kept + inverted) / size), share(inverted / max(kept + inverted, 1), 1),
            f"{dead:,}"]  # fmt: skip
    head = ("layer", "shape", "weights", "kept", "inverted", "hidden", "remaining",
            "of them inverted", "dead units")  # fmt: skip
    caption = (
        f"Masks of seed {details.seed}. A dead unit has no weight left. The masks hold "
        f"{mask_bytes(details.masks):,} bytes of information (entropy, layer by layer)."
    )
    return table(head, rows, foot, caption)


def pairs_table(matrix: np.ndarray, names: Sequence[str], most: int = 8) -> Markup:
    """Returns the pairs of classes that are mistaken for each other most, in either direction."""
    pairs = sorted(
        itertools.combinations(range(len(names)), 2),
        key=lambda pair: -(matrix[pair] + matrix[pair[::-1]]),
    )
    rows = [
        [f"{names[i]} and {names[j]}", matrix[i, j] + matrix[j, i],
         f"{matrix[i, j]} true {names[i]}, {matrix[j, i]} true {names[j]}"]
        for i, j in pairs[:most]
        if matrix[i, j] + matrix[j, i]
    ]  # fmt: skip
    if not rows:
        return tag("p", "No class is mistaken for another.", class_="note")
    return table(("classes", "mistaken", "of these"), rows, caption="Most confused pairs")


def recall_table(matrix: np.ndarray, names: Sequence[str], most: int = 20) -> Markup:
    """Returns recall and precision of each class, the worst first."""
    hits, true, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    recall = hits / np.maximum(true, 1)
    rows = [
        [names[i], share(float(recall[i]), 1), share(float(hits[i] / max(predicted[i], 1)), 1),
         f"{true[i]:,}"]
        for i in np.argsort(recall, kind="stable")[:most]
    ]  # fmt: skip
    return table(("class", "recall", "precision", "images"), rows, caption="Worst classes first")


def settings_table(groups: Sequence[Group]) -> Markup:
    """Returns the entries of the configs; those that differ stand first and are marked."""
    configs = [group.config for group in groups]
    other = reading.differing(configs)
    keys = sorted({key for config in configs for key in config}, key=lambda k: (k not in other, k))
    rows = [
        [tag("mark", key) if key in other else key,
         *(_setting(config[key]) if key in config else "none" for config in configs)]
        for key in keys
    ]  # fmt: skip
    return table(("entry", *(group.label for group in groups)), rows, class_="text")


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return significant(value, 6)
    return str(value) if value != "" else "(empty)"


def environment_table(runs: Sequence[Run]) -> Markup:
    """Returns folders, versions and devices: a column for each folder."""
    folders = {run.folder: run for run in runs}
    envs = [_environment(run) for run in folders.values()]
    keys = dict.fromkeys(key for env in envs for key in env)
    rows = [[key, *(env.get(key, "") for env in envs)] for key in keys]
    return table(("", *(path.name for path in folders)), rows, class_="text")


def _environment(run: Run) -> dict[str, str]:
    entries: Mapping[str, Any] = {"folder": run.folder, **flat(run.env)}
    return {
        key.removeprefix("versions."): "unknown" if value is None else str(value)
        for key, value in entries.items()
    }
