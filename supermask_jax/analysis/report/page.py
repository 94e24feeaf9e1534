"""The whole page: what stands where."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from supermask_jax.analysis.charts import curves, theme
from supermask_jax.analysis.charts.front import front, point_row
from supermask_jax.analysis.charts.theme import HUES, PAPER
from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval
from supermask_jax.analysis.report import inside, numbers, tables
from supermask_jax.analysis.report.details import Details
from supermask_jax.analysis.report.inside import chart, grid, note
from supermask_jax.analysis.report.numbers import Ladder, share, with_unit
from supermask_jax.analysis.report.reading import Group, Run
from supermask_jax.analysis.report.tables import Block


class Origin(NamedTuple):
    """Where a report comes from: the command that wrote it, and when."""

    command: str
    time: str


def sections(
    groups: Sequence[Group], details: Sequence[Details], papers: Sequence[Point]
) -> list[dict[str, Any]]:
    """Returns what the page holds: {"id", "title", "blocks", "folded"} of each section.

    Args:
      groups: at least one, from `reading.group_runs`.
      details: of one run of each group.
      papers: the papers' points for these networks, methods, data sets and protocols.
    """
    ladders, alone, groups = numbers.ladders(groups)
    found = [
        _section("result", "Result", _result(groups, alone, ladders, papers)),
        _section("training", "Training", _training(groups, alone, ladders)),
    ]
    several = len(groups) > 1
    for i, (group, of_it) in enumerate(zip(groups, details, strict=True)):
        title = group.label if several else "Inside the network"
        seeds = [tables.seeds_table(group, named=True)] if several else []
        blocks = [*seeds, *inside.blocks(group, of_it, f"group-{i}")]
        found.append(_section(f"group-{i}", title, blocks, folded=several))
    found.append(_section("settings", "Settings", _settings(groups)))
    return [section for section in found if section["blocks"]]


def _section(id_: str, title: str, blocks: Sequence[Block | None], *, folded: bool = False) -> Any:
    return {"id": id_, "title": title, "blocks": [b for b in blocks if b], "folded": folded}


def report(groups: Sequence[Group], found: Sequence[dict[str, Any]], origin: Origin) -> str:
    """Returns the report as the text of an HTML file; `found` is from `sections`."""
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    env = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True)
    groups = numbers.ladders(groups)[2]
    title, several = ", ".join(group.label for group in groups), len(groups) > 1
    waiting = [group for group in groups if not group.finished and not group.lost]
    return env.get_template("report.html").render(
        title=title if len(title) < 120 else f"{len(groups)} settings",
        heading=f"{len(groups)} settings compared" if several else title,
        verdict=_verdict(groups),
        states=[*map(_state, waiting), *(_left_out(g) for g in groups if g.diverged)],
        numbers=None if several else _numbers(groups[0]),
        sections=found,
        bundle=_bundle(),
        light=theme.LIGHT,
        dark=theme.DARK,
        theme=theme.THEME,
        **origin._asdict(),
    ) + "\n"  # fmt: skip


@functools.cache
def _bundle() -> str:
    """The JavaScript of Vega; made from what is installed, in about two seconds."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def charts_of(blocks: Sequence[Any]) -> Iterator[Block]:
    """Returns the charts in blocks of the page, or in its sections."""
    for block in filter(None, blocks):
        if block.get("kind") == "chart":
            yield block
        yield from charts_of(block.get("blocks", ()))
        for column in block.get("columns", ()):
            yield from charts_of(column or ())


def _verdict(groups: Sequence[Group]) -> str:
    best = max(groups, key=lambda group: numbers.headline(group).accuracy.mean)
    found, config = numbers.headline(best), best.config
    about = f"{config['model.name']} on {config['data.name']}, {config['method.name']}"
    text = f"Most accurate: {best.label}," if len(groups) > 1 else f"{about}:"
    text += f" {found.what} {with_unit(found.accuracy)}"
    if not best.dense:
        text += f" with {with_unit(found.remaining)} of the weights"
    seeds, masks = found.accuracy.n, numbers.sampled(best)
    told = ([f"mean of {seeds} seeds"] if seeds > 1 else []) + ([masks] if masks else [])
    return ", ".join([text, *told]) + "."


def _state(group: Group) -> str:
    at = [run.lines[-1]["epoch"] for run in group.runs if not run.summary]
    where = f"epoch {min(at)} of {group.config['epochs']}"
    if len(group.runs) > 1:
        where = f"{len(at)} of {len(group.runs)} seeds are open, the least at {where}"
    return f"{group.label} is not finished: {where}. This is what is there."


def _left_out(group: Group) -> str:
    if group.lost:
        places = ", ".join(_end(run) for run in group.runs)
        return f"{group.label} diverged: {places}. This is what was there before."
    seeds = ", ".join(f"seed {seed} by step {step}" for seed, step in group.diverged)
    return f"{group.label} is shown without what diverged: {seeds}."


def _end(run: Run) -> str:
    where = f"epoch {run.lines[-1]['epoch'] + 1} of {run.config['epochs']}"
    return f"seed {run.seed} by step {run.diverged[run.seed]} in {where}"


def _numbers(group: Group) -> list[tuple[str, str, str | None]]:
    found, run, config = numbers.headline(group), group.runs[0], group.config
    weights, masks = run.summary.get("num_weights"), numbers.sampled(group)
    left = None if group.dense or not weights else f"{found.remaining.mean * weights:,.0f} left"
    subset = config.get("data.subset")

    def told(value: Interval) -> tuple[str, str]:
        rest = with_unit(value).partition(" % ")[2]
        return share(value.mean), ", ".join(filter(None, [rest, masks]))

    return [
        (found.what, *told(found.accuracy)),
        ("remaining weights", *(("all", "dense") if group.dense else told(found.remaining))),
        ("weights", f"{weights:,}" if weights else "unknown", left),
        ("seeds", str(found.accuracy.n), f"protocol: {config['protocol']}"),
        ("data", str(config["data.name"]), f"a subset of {subset:,}" if subset else None),
        ("time a run", numbers.time_of(group), str(run.env.get("device", "unknown device"))),
    ]


def _result(
    groups: Sequence[Group], alone: Sequence[Group], ladders: Sequence[Ladder],
    papers: Sequence[Point],
) -> list[Block | None]:  # fmt: skip
    several = len(groups) > 1
    table = tables.groups_table(groups) if several else tables.seeds_table(groups[0], named=False)
    beside = [None if several else table, tables.papers_table(groups, papers)]
    if all(group.dense for group in alone) and not ladders:
        return [table]
    colours = dict(zip([g.label for g in alone] + [x.label for x in ladders], _cycle(),
                       strict=False))  # fmt: skip
    rows = [row for group in alone for row in _point_rows(group)]
    rows += [point_row(numbers.point(g), ladder.label, "level", g.config.get("level", 0))
             for ladder in ladders for g in ladder.levels]  # fmt: skip
    rows += [point_row(point, point.label, "paper") for point in papers]
    spec = front(rows, colours | {p.label: PAPER for p in papers}, y_title="accuracy, %")
    text = "Means with 95 % intervals, and each seed; dense networks are lines across. "
    ways = dict.fromkeys(numbers.SPLITS[g.watched] for g in alone if not g.dense)
    text += f"Thin: the way over epochs, on {' or '.join(ways)} data. " if ways else ""
    text += "Diamonds: the paper, as printed there." if papers else (
        "No paper has a row for this network, method, data set and protocol.")  # fmt: skip
    drawn = [chart("front", "Accuracy against remaining weights", spec, text)]
    return [table if several else None, grid(drawn, beside if any(beside) else None, least=440)]


def _cycle() -> Iterator[str]:
    while True:
        yield from HUES


def _point_rows(group: Group) -> list[dict[str, Any]]:
    """A group on the front: its mean, its seeds, and its way over epochs."""
    found, label = numbers.point(group), group.label
    if group.dense:
        return [point_row(found, label, "dense")]
    one = functools.partial(Interval, low=float("nan"), high=float("nan"), n=1)
    watched = numbers.curve(group, lambda line: line.get(f"{group.watched}_accuracy"))
    kept = numbers.curve(group, lambda line: line["remaining_weights"])
    rows = [
        point_row(Point(label, one(x.mean), one(y.mean)), label, "way", epoch)
        for epoch, x, y in zip(kept.epochs, kept.values, watched.values, strict=True)
    ]
    seeds = [run.summary for run in group.runs if run.summary]
    rows += [
        point_row(Point(label, one(s["remaining_weights"]), one(s["test_accuracy"])), label, "seed")
        for s in (seeds if len(seeds) > 1 else ())
    ]
    return [*rows, point_row(found, label, "runs")]


def _training(
    groups: Sequence[Group], alone: Sequence[Group], ladders: Sequence[Ladder]
) -> list[Block | None]:
    found: list[Block | None] = []
    if alone:
        names = [group.label for group in alone]
        found += _curves(alone, names, dict(zip(names, _cycle(), strict=False)), "")
    for i, ladder in enumerate(ladders):
        names = [f"level {group.config.get('level', 0)}" for group in ladder.levels]
        found.append(inside.heading(f"{ladder.label}, level by level"))
        found += _curves(ladder.levels, names, names, f"ladder-{i}-")
    if any(len(group.runs) > 1 for group in groups):
        found.append(note("Bands are 95 % intervals of the mean over seeds; of fewer than five "
                          "seeds the thin lines are the seeds themselves."))  # fmt: skip
    return found


def _curves(groups: Sequence[Group], names: Sequence[str], colours: Any, prefix: str) -> list[Any]:
    last = max(group.config["epochs"] for group in groups)

    def drawn(what: str, title: str, y_title: str, **options: Any) -> list[Block]:
        rows = []
        for group, name in zip(groups, names, strict=True):
            splits = (group.watched, "train") if what != "remaining" else ("",)
            for split in splits:
                key = f"{split}_{what}" if split else "remaining_weights"
                curve = numbers.curve(group, lambda line, key=key: line.get(key))
                rows += curves.curve_rows(name, numbers.SPLITS.get(split, ""), *curve)
        spec = curves.curves(rows, y_title, colours=colours, last=last, **options)
        return [chart(f"{prefix}{what}", title, spec)]

    pruned = all("level" in group.config or group.dense for group in groups)
    return [grid(
        drawn("accuracy", "Accuracy", "accuracy, %", unit=100),
        drawn("loss", "Loss (logarithmic)", "loss", log=True),
        None if pruned else drawn("remaining", "Remaining weights (logarithmic)",
                                  "remaining weights, %", log=True, unit=100),
    )]  # fmt: skip


def _settings(groups: Sequence[Group]) -> list[Block | None]:
    runs = [run for group in groups for run in group.runs]
    commands = dict.fromkeys(run.env["command"] for run in runs if run.env.get("command"))
    fold = functools.partial(dict, kind="fold")
    return [
        *({"kind": "code", "text": command} for command in commands),
        fold(title="Config", blocks=[tables.settings_table(groups)]),
        fold(title="Environment", blocks=[tables.environment_table(runs)]),
    ]
