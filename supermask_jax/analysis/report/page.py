"""The whole page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.report import inside, numbers, tables, training
from supermask_jax.analysis.report.details import Details
from supermask_jax.analysis.report.markup import Markup, join, tag
from supermask_jax.analysis.report.numbers import share, with_unit
from supermask_jax.analysis.report.reading import Group, Run
from supermask_jax.analysis.report.style import CSS, SCRIPT

# Nothing is fetched, whatever the page says: it is whole as it is.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


class Origin(NamedTuple):
    """Where a report comes from: the command that wrote it, and when."""

    command: str
    time: str


def report(
    groups: Sequence[Group], details: Sequence[Details], papers: Sequence[Point], origin: Origin
) -> str:
    """Returns the report as the text of an HTML file.

    Args:
      groups: at least one, from `reading.group_runs`.
      details: of one run of each group.
      papers: the papers' points for these networks and data sets.
      origin: shown at the end.
    """
    title = ", ".join(group.label for group in groups)
    body = join(
        _header(groups, title),
        tag(
            "main",
            training.front_section(groups, papers, _beside(groups, papers)),
            training.curves_section(groups),
            [_inside(group, found, i, len(groups) > 1)
             for i, (group, found) in enumerate(zip(groups, details, strict=True))],
            _settings(groups),
        ),
        tag("footer", "Written ", origin.time, " by ", tag("code", origin.command)),
        tag("div", id="tip", aria_hidden="true"),
        tag("script", Markup(SCRIPT)),
    )  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title}: supermask report"),
        tag("style", Markup(CSS)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def _beside(groups: Sequence[Group], papers: Sequence[Point]) -> Markup:
    return join(tables.papers_table(groups, papers), tables.seeds_table(groups))


def _header(groups: Sequence[Group], title: str) -> Markup:
    links = [("result", "Result"), ("training", "Training")]
    links += [(f"group-{i}", group.label if len(groups) > 1 else "Inside the network")
              for i, group in enumerate(groups)]  # fmt: skip
    links.append(("settings", "Settings"))
    waiting = [group for group in groups if not group.finished and not group.lost]
    return tag(
        "header",
        tag("p", "Supermask report", class_="kicker"),
        tag("h1", title if len(groups) == 1 else f"{len(groups)} settings compared"),
        tag("p", _verdict(groups), class_="verdict"),
        [tag("p", _state(group), class_="state") for group in waiting],
        [tag("p", _left_out(group), class_="state") for group in groups if group.diverged],
        _numbers(groups[0]) if len(groups) == 1 else tables.groups_table(groups),
        tag("nav", [tag("a", text, href=f"#{place}") for place, text in links]),
    )


def _verdict(groups: Sequence[Group]) -> str:
    if len(groups) > 1:
        best = max(groups, key=lambda group: numbers.headline(group).accuracy.mean)
        found = numbers.headline(best)
        return f"Most accurate: {best.label}, {found.what} {with_unit(found.accuracy)}" + (
            "." if best.dense else f" with {with_unit(found.remaining)} of its weights."
        )
    group = groups[0]
    found = numbers.headline(group)
    config = group.config
    text = (
        f"{config['model.name']} on {config['data.name']}, {config['method.name']}: "
        f"{found.what} {with_unit(found.accuracy)}"
    )
    if not group.dense:
        text += f" with {with_unit(found.remaining)} of the weights"
    seeds = found.accuracy.n
    return f"{text}{f', mean of {seeds} seeds' if seeds > 1 else ''}."


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


def _numbers(group: Group) -> Markup:
    found = numbers.headline(group)
    run = group.runs[0]
    weights = run.summary.get("num_weights")
    time = sum(map(numbers.seconds, group.runs)) / len(group.runs)
    cells = [
        (found.what, *_interval(found.accuracy)),
        ("remaining weights", *(("all", "dense") if group.dense else _interval(found.remaining))),
        ("weights", f"{weights:,}" if weights else "unknown",
         None if group.dense or not weights else f"{found.remaining.mean * weights:,.0f} left"),
        ("seeds", str(found.accuracy.n), f"protocol: {group.config['protocol']}"),
        ("data", str(group.config["data.name"]), _subset(group)),
        ("time a run", numbers.duration(time), str(run.env.get("device", "unknown device"))),
    ]  # fmt: skip
    return tag("dl", [
        tag("div", tag("dt", name), tag("dd", value, tag("small", more) if more else None))
        for name, value, more in cells
    ], class_="numbers")  # fmt: skip


def _interval(value: numbers.Interval) -> tuple[str, str | None]:
    return share(value.mean), with_unit(value).partition(" % ")[2] or None


def _subset(group: Group) -> str | None:
    subset = group.config.get("data.subset")
    return f"a subset of {subset:,}" if subset else None


def _inside(group: Group, details: Details, number: int, named: bool) -> Markup:
    return tag(
        "section",
        tag("h2", group.label, class_="group") if named else None,
        [tag("p", text, class_="note missing") for text in details.missing],
        None if group.dense else inside.layers_section(group, details),
        inside.scores_section(details),
        inside.first_layer_section(details, str(group.config["data.name"])),
        inside.confusion_section(details, str(group.config["data.name"])),
        id=f"group-{number}",
    )


def _settings(groups: Sequence[Group]) -> Markup:
    runs = [run for group in groups for run in group.runs]
    commands = dict.fromkeys(run.env["command"] for run in runs if run.env.get("command"))
    return tag(
        "section",
        tag("h2", "Settings"),
        tag("h3", "Command") if commands else None,
        [tag("pre", command) for command in commands],
        tag("details", tag("summary", "Config"), tables.settings_table(groups)),
        tag("details", tag("summary", "Environment"), tables.environment_table(runs)),
        id="settings",
    )
