"""The page: what it holds, and the template ``report.html`` filled with it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from supermask_jax.analysis.charts import curves, theme
from supermask_jax.analysis.charts.front import front, point_row
from supermask_jax.analysis.charts.theme import HUES, PAPER, Spec
from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mask_bytes, percent
from supermask_jax.analysis.report import inside, tables
from supermask_jax.analysis.report.details import Details
from supermask_jax.analysis.report.groups import SPLITS, Group, differing, ladders


class Origin(NamedTuple):
    """Where a report comes from: the command that wrote it, and when."""

    command: str
    time: str


def content(
    groups: Sequence[Group], details: Sequence[Details], papers: Sequence[Point]
) -> dict[str, Any]:
    """Returns what the page holds; of it "charts" is {name of a chart: its specification}.

    Args:
      groups: at least one, from `group_runs`.
      details: of one run of each group.
      papers: the papers' points for these networks, methods, data sets and protocols.
    """
    cells = ladders(groups)
    levels = [group for found in cells.values() for group in found]
    alone = [group for group in groups if group not in levels]
    labels = [group.label for group in alone]
    colours = dict(zip([*labels, *cells], itertools.cycle(HUES), strict=False))
    charts: dict[str, Spec] = {}
    if cells or not all(group.dense for group in alone):
        charts["front"] = _front(alone, cells, papers, colours)
    if alone:
        charts |= _curves(alone, labels, {label: colours[label] for label in labels}, "")
    for i, found in enumerate(cells.values()):
        names = [f"level {group.config.get('level', 0)}" for group in found]
        charts |= _curves(found, names, names, f"ladder-{i}-")
    views = list(map(_view, itertools.count(), groups, details))
    for view in views:
        charts |= {f"{view['id']}-{name}": spec for name, spec in view.pop("charts").items()}
    runs = [run for group in groups for run in group.runs]
    return {
        "groups": groups,
        "alone": alone,
        "ladders": list(cells),
        "charts": charts,
        "views": views,
        "papers": papers,
        "commands": dict.fromkeys(run.env["command"] for run in runs if run.env.get("command")),
        "settings": tables.settings_table(groups),
        "differing": differing([group.config for group in groups]),
        "environment": tables.environment_table(groups),
    }


def _view(i: int, group: Group, details: Details) -> dict[str, Any]:
    """What is told of one group."""
    classes, matrix = inside.class_names(group.config, details), details.confusion
    confused = () if matrix is None else (tables.pairs_table, tables.recall_table)
    return {
        "id": f"group-{i}",
        "group": group,
        "details": details,
        "charts": inside.charts(group, details, classes),
        "seeds": tables.seeds_table(group),
        "layers": tables.layers_table(details.masks) if details.masks else None,
        "sanity": tables.sanity_table(details.sanity) if details.sanity else None,
        "first": inside.first_layer(details, classes),
        "mistakes": inside.mistakes(details, classes),
        "confused": [table(matrix, classes) for table in confused],
    }


def render(found: Mapping[str, Any], origin: Origin) -> str:
    """Returns the report as the text of an HTML file; `found` is from `content`."""
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    env = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True)
    env.filters |= {"percent": percent, "share": tables.share, "duration": tables.duration}
    env.filters |= {"short": tables.short_name, "bytes": mask_bytes}
    colours = {"light": theme.LIGHT, "dark": theme.DARK, "theme": theme.THEME}
    page = env.get_template("report.html").render(
        **found, **origin._asdict(), **colours, splits=SPLITS, bundle=_bundle()
    )
    return f"{page}\n"


@functools.cache
def _bundle() -> str:
    """The JavaScript of Vega; made from what is installed, in about two seconds."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _front(
    alone: Sequence[Group],
    cells: Mapping[str, Sequence[Group]],
    papers: Sequence[Point],
    colours: Mapping[str, str],
) -> Spec:
    rows = [row for group in alone for row in _point_rows(group)]
    for cell, levels in cells.items():
        rows += [point_row(g.point, cell, "level", g.config.get("level", 0)) for g in levels]
    rows += [point_row(point, point.label, "paper") for point in papers]
    return front(rows, {**colours, **{p.label: PAPER for p in papers}}, y_title="accuracy, %")


def _point_rows(group: Group) -> list[dict[str, Any]]:
    """A group on the front: its mean, its seeds, and its way over epochs."""
    if group.dense:
        return [point_row(group.point, group.label, "dense")]

    def at(remaining: float, accuracy: float, kind: str, order: int = 0) -> dict[str, Any]:
        one = (Interval(x, math.nan, math.nan, 1) for x in (remaining, accuracy))
        return point_row(Point(group.label, *one), group.label, kind, order)

    watched, kept = group.curve(f"{group.watched}_accuracy"), group.curve("remaining_weights")
    way = zip(kept.epochs, kept.values, watched.values, strict=True)
    rows = [at(x.mean, y.mean, "way", epoch) for epoch, x, y in way]
    done = [run.summary for run in group.runs if run.summary]
    if len(done) > 1:
        rows += [at(run["remaining_weights"], run["test_accuracy"], "seed") for run in done]
    return [*rows, point_row(group.point, group.label, "runs")]


def _curves(
    groups: Sequence[Group], names: Sequence[str], colours: Any, prefix: str
) -> dict[str, Spec]:
    """Accuracy, loss and remaining weights over epochs; the last where something is trained."""
    last = max(group.config["epochs"] for group in groups)

    def drawn(what: str, y_title: str, **options: Any) -> Spec:
        rows = []
        for group, name in zip(groups, names, strict=True):
            for split in ("",) if what == "remaining_weights" else (f"{group.watched}_", "train_"):
                curve = group.curve(split + what)
                rows += curves.curve_rows(name, SPLITS.get(split[:-1], ""), *curve)
        return curves.curves(rows, y_title, colours=colours, last=last, **options)

    found = {
        "accuracy": drawn("accuracy", "accuracy, %", unit=100),
        "loss": drawn("loss", "loss", log=True),
    }
    if not all("level" in group.config or group.dense for group in groups):
        found["remaining"] = drawn("remaining_weights", "remaining weights, %", log=True, unit=100)
    return {f"{prefix}{name}": spec for name, spec in found.items()}
