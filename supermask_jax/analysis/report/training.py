"""The sections on training: curves over epochs, and accuracy against remaining weights."""

from __future__ import annotations

from collections.abc import Sequence

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.report import chart, numbers
from supermask_jax.analysis.report.lines import Line, line_chart
from supermask_jax.analysis.report.markup import Markup, join, significant, tag
from supermask_jax.analysis.report.numbers import share
from supermask_jax.analysis.report.reading import Group
from supermask_jax.analysis.report.scatter import PAPER, Cloud, front_chart

_TRAIN_DASHES = "5 3"
_LABEL_FITS = 12  # letters of a label that may stand at the end of a curve


def curves_section(groups: Sequence[Group]) -> Markup:
    """Returns the curves of loss, accuracy and remaining weights."""
    masked = [group for group in groups if not group.dense]
    last = max(group.config["epochs"] for group in groups)
    several = any(len(group.runs) > 1 for group in groups)
    figures = [
        chart.figure("Loss", line_chart(
            _lines(groups, "loss"), title="Loss over epochs", show=lambda v: significant(v, 3),
            log=True, last=last,
        )),
        chart.figure("Accuracy", line_chart(
            _percent(_lines(groups, "accuracy")), title="Accuracy over epochs",
            show=lambda v: f"{v:.2f} %", unit=" %", last=last,
        )),
    ]  # fmt: skip
    if masked:
        figures.append(chart.figure("Remaining weights", line_chart(
            _percent(_remaining(groups)), title="Remaining weights over epochs",
            show=lambda v: f"{v:.2f} %", unit=" %", log=True, last=last,
        )))  # fmt: skip
    note = "Bands are 95 % intervals of the mean over seeds. " if several else ""
    note += "Loss and remaining weights are on logarithmic axes; early accuracies may lie below."
    return tag("section", tag("h2", "Training"), _legend(groups),
               tag("div", figures, class_="charts"), tag("p", note, class_="note"),
               id="training")  # fmt: skip


def _lines(groups: Sequence[Group], what: str) -> list[Line]:
    lines = []
    for i, group in enumerate(groups):
        for split in (group.watched, "train"):
            found = numbers.curve(group, lambda line, key=f"{split}_{what}": line.get(key))
            name = f"{group.label} {numbers.SPLITS[split]}" if len(groups) > 1 else (
                numbers.SPLITS[split])  # fmt: skip
            lines.append(Line(name, *found, numbers.series(i),
                              _TRAIN_DASHES if split == "train" else None))  # fmt: skip
    return lines


def _remaining(groups: Sequence[Group]) -> list[Line]:
    lines = []
    for i, group in enumerate(groups):
        if not group.dense:
            found = numbers.curve(group, lambda line: line["remaining_weights"])
            end = share(found.values[-1].mean) if len(groups) == 1 else group.label
            end = end if len(end) <= _LABEL_FITS else ""
            lines.append(Line(group.label, *found, numbers.series(i), end_label=end))
    return lines


def _percent(lines: Sequence[Line]) -> list[Line]:
    return [
        line._replace(
            values=[v._replace(mean=100 * v.mean, low=100 * v.low, high=100 * v.high)
                    for v in line.values]
        )
        for line in lines
    ]  # fmt: skip


def _legend(groups: Sequence[Group]) -> Markup:
    entries = []
    if len(groups) > 1:
        entries = [
            (group.label, chart.stroke_mark(numbers.series(i), chart.dash(numbers.series(i))))
            for i, group in enumerate(groups)
        ]
    watched = dict.fromkeys(numbers.SPLITS[group.watched] for group in groups)
    solid = chart.stroke_mark(0) if len(groups) == 1 else _grey(None)
    dashed = chart.stroke_mark(0, _TRAIN_DASHES) if len(groups) == 1 else _grey(_TRAIN_DASHES)
    return chart.legend([*entries, (" or ".join(watched), solid), ("training", dashed)])


def _grey(dashes: str | None) -> Markup:
    return tag("line", x1=0, y1=6, x2=24, y2=6, stroke_dasharray=dashes, class_="line grey")


def front_section(groups: Sequence[Group], papers: Sequence[Point], beside: Markup) -> Markup:
    """Returns accuracy against remaining weights, with `beside` next to it."""
    clouds = [_cloud(group, numbers.series(i)) for i, group in enumerate(groups)]
    if all(cloud.dense for cloud in clouds):
        return tag("section", tag("h2", "Seeds"), beside, id="seeds")
    marks = [("runs: mean with 95 % intervals, and each seed", _dot(0))]
    if papers:
        marks.append(("the paper, as printed there", _diamond()))
    ways = dict.fromkeys(numbers.SPLITS[g.watched] for g in groups if not g.dense)
    note = f"The thin line is the way over epochs, with the accuracy on {' or '.join(ways)} data."
    if not papers:
        note += " No paper has a row for this network, method and data set."
    drawing = front_chart(clouds, papers, "Accuracy against remaining weights")
    left = chart.figure("Accuracy against remaining weights", join(chart.legend(marks), drawing),
                        note)  # fmt: skip
    return tag("section", tag("h2", "Result"), tag("div", left, tag("div", beside), class_="split"),
               id="result")  # fmt: skip


def _cloud(group: Group, index: int) -> Cloud:
    accuracy, remaining = "test_accuracy", "remaining_weights"
    seeds = [(run.summary[remaining], run.summary[accuracy]) for run in group.runs if run.summary]
    watched = numbers.curve(group, lambda line: line.get(f"{group.watched}_accuracy"))
    kept = numbers.curve(group, lambda line: line[remaining])
    path = [(x.mean, y.mean) for x, y in zip(kept.values, watched.values, strict=True)]
    return Cloud(numbers.point(group), seeds if len(seeds) > 1 else [], path, index, group.dense)


def _dot(index: int) -> Markup:
    return tag("circle", cx=12, cy=6, r=4.5, class_=f"dot {chart.colour(index)}")


def _diamond() -> Markup:
    return tag("polygon", points="12,0.5 17.5,6 12,11.5 6.5,6",
               class_=f"dot {chart.colour(PAPER)}")  # fmt: skip
