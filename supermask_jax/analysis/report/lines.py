"""Line charts over epochs, with bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from supermask_jax.analysis.intervals import Interval
from supermask_jax.analysis.report import chart, scales
from supermask_jax.analysis.report.chart import Frame
from supermask_jax.analysis.report.markup import Markup, join, points, tag
from supermask_jax.analysis.report.scales import Scale

_MOST_COLUMNS = 120  # to point at: more are too narrow to hit


class Line(NamedTuple):
    """A curve: means with their intervals, which are drawn as a band where there are any."""

    label: str
    xs: Sequence[int]  # epochs
    values: Sequence[Interval]
    index: int  # of the series' colour
    dashes: str | None = None
    end_label: str = ""  # what stands at its end


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    show: Callable[[float], str],
    unit: str = "",
    log: bool = False,
    last: int = 0,
) -> Markup:
    """Draws curves over epochs.

    Args:
      lines: at least one with a value.
      title: of the chart, for those who do not see it.
      show: a value as text.
      unit: behind the uppermost tick.
      log: whether values are on a logarithmic axis; those below 0 are then left out.
      last: the last epoch that was planned: the axis reaches to it.
    """
    labelled = any(line.end_label for line in lines)
    frame = Frame(right=max(14, 8 + 7 * max(len(line.end_label) for line in lines)))
    if not labelled:
        frame = frame._replace(right=14)
    ends = [x for line in lines for x in (line.xs[0], line.xs[-1])]
    x = scales.epochs(max(last, *ends), *frame.x, first=min(ends))
    shown = [v for line in lines for v in _extent(line, last, log)]
    y = (scales.logarithmic if log else scales.linear)(shown, *frame.y)
    drawn = [part for line in lines for part in _curve(line, x, y)]
    return chart.svg(
        frame,
        chart.axes(frame, x, y, "epoch", unit),
        chart.plot(frame, drawn),
        _end_labels(frame, lines, x, y),
        _columns(frame, lines, x, show),
        title=title,
        description="; ".join(_summary(line, show) for line in lines),
    )


def _extent(line: Line, last: int, log: bool) -> list[float]:
    """Returns what the axis must show: not the first tenth, nor early bands, that leave no room."""
    early = 0.1 * max(last, line.xs[-1])
    shown = []
    for epoch, value in zip(line.xs, line.values, strict=True):
        if epoch > early or log or epoch == line.xs[-1]:
            shown.append(value.mean)
        if epoch > 5 * early or log:
            shown += [value.low, value.high]
    return [end for end in shown if math.isfinite(end) and (end > 0 or not log)]


def _runs(line: Line) -> list[list[int]]:
    """Returns the stretches of positions whose values are finite."""
    found: list[list[int]] = [[]]
    for i, value in enumerate(line.values):
        if math.isfinite(value.mean):
            found[-1].append(i)
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def _curve(line: Line, x: Scale, y: Scale) -> list[Markup]:
    parts, inside = [], lambda value: min(max(y(value), y.end - 500), y.start + 500)
    for stretch in _runs(line):
        xs = [x(line.xs[i]) for i in stretch]
        values = [line.values[i] for i in stretch]
        if all(math.isfinite(value.low) for value in values) and len(values) > 1:
            lows, highs = ([inside(v[k]) for v in values] for k in (1, 2))
            band = points([*xs, *xs[::-1]], [*lows, *highs[::-1]])
            parts.append(tag("polygon", points=band, class_=f"band {chart.colour(line.index)}"))
        means = [inside(value.mean) for value in values]
        kind = chart.colour(line.index)
        if len(xs) == 1:
            parts.append(tag("circle", cx=xs[0], cy=means[0], r=3, class_=f"dot {kind}"))
        else:
            dashes = line.dashes or chart.dash(line.index)
            parts.append(
                tag("polyline", points=points(xs, means), stroke_dasharray=dashes,
                    class_=f"line {kind}")
            )  # fmt: skip
    return parts


def _end_labels(frame: Frame, lines: Sequence[Line], x: Scale, y: Scale) -> Markup:
    named = [line for line in lines if line.end_label and math.isfinite(line.values[-1].mean)]
    places = scales.spread(
        [min(max(y(line.values[-1].mean), y.end), y.start) for line in named],
        13, frame.y[1] + 4, frame.y[0],
    )  # fmt: skip
    return join(
        chart.text(x(line.xs[-1]) + 6, place + 4, line.end_label,
                   f"end {chart.colour(line.index)}")
        for line, place in zip(named, places, strict=True)
    )  # fmt: skip


def _columns(frame: Frame, lines: Sequence[Line], x: Scale, show: Callable[[float], str]) -> Markup:
    epochs = sorted({epoch for line in lines for epoch in line.xs})
    epochs = epochs[:: math.ceil(len(epochs) / _MOST_COLUMNS)]
    found = [dict(zip(line.xs, line.values, strict=True)) for line in lines]
    tips = []
    for epoch in epochs:
        told = [
            f"{line.label}  {_interval(values[epoch], show)}"
            for line, values in zip(lines, found, strict=True)
            if epoch in values
        ]
        tips.append("\n".join([f"epoch {epoch}", *told]))
    return chart.columns(frame, [x(epoch) for epoch in epochs], tips)


def _interval(value: Interval, show: Callable[[float], str]) -> str:
    if not math.isfinite(value.low):
        return show(value.mean)
    return f"{show(value.mean)} [{show(value.low)}, {show(value.high)}]"


def _summary(line: Line, show: Callable[[float], str]) -> str:
    first, last = line.values[0], line.values[-1]
    return (
        f"{line.label}: {show(first.mean)} at epoch {line.xs[0]}, {show(last.mean)} at epoch "
        f"{line.xs[-1]}"
    )
