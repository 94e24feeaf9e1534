"""Accuracy against remaining weights: our runs, the papers' points, dense baselines as bands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import percent
from supermask_jax.analysis.report import chart, scales
from supermask_jax.analysis.report.chart import Frame
from supermask_jax.analysis.report.markup import Markup, join, points, tag
from supermask_jax.analysis.report.scales import Scale

PAPER = 1  # the colour of the papers' points: no group has it where there are any


class Cloud(NamedTuple):
    """A group of runs: its mean, its seeds as (remaining, accuracy), and its way over epochs."""

    mean: Point
    seeds: Sequence[tuple[float, float]]
    path: Sequence[tuple[float, float]]
    index: int  # of its colour
    dense: bool = False


def front_chart(clouds: Sequence[Cloud], papers: Sequence[Point], title: str) -> Markup:
    """Draws accuracy against remaining weights (logarithmic), both in percent."""
    frame = Frame(width=460, height=340, right=20)
    ordered = sorted(clouds, key=lambda cloud: not cloud.dense)  # Bands lie behind.
    masked = [cloud for cloud in clouds if not cloud.dense]
    means = [cloud.mean for cloud in masked] + list(papers)
    marks = [p for point in means for p in _corners(point)]
    marks += [seed for cloud in masked for seed in cloud.seeds]
    dense = [a for cloud in clouds if cloud.dense for a in _ends(cloud.mean.accuracy)]
    xs = [100 * x for x, _ in marks] + [100 * x for cloud in masked for x, _ in cloud.path]
    x = scales.logarithmic([value for value in xs if value > 0] or [100.0], *frame.x)
    x = x._replace(high=min(x.high, 130.0))
    y = _accuracy_scale([100 * y for _, y in marks] + [100 * y for y in dense], frame)
    return chart.svg(
        frame,
        chart.axes(frame, x, y, "remaining weights, % (logarithmic)", " %"),
        chart.plot(frame, [_cloud(cloud, x, y, frame) for cloud in ordered],
                   [_paper(point, x, y) for point in papers]),
        _labels(clouds, papers, x, y, frame),
        title=title,
        description="; ".join(_told(p) for p in [*(c.mean for c in clouds), *papers]),
    )  # fmt: skip


def _accuracy_scale(values: Sequence[float], frame: Frame) -> Scale:
    low, high = min(values), max(values)
    room = max(0.25 * (high - low), 0.25)
    return scales.linear([max(low - room, 0), min(high + room, 100)], *frame.y)


def _ends(interval: object) -> list[float]:
    mean, low, high, _ = interval
    return [mean] if math.isnan(low) else [mean, low, high]


def _corners(point: Point) -> list[tuple[float, float]]:
    return list(itertools.product(_ends(point.remaining), _ends(point.accuracy)))


def _cloud(cloud: Cloud, x: Scale, y: Scale, frame: Frame) -> Markup:
    kind = chart.colour(cloud.index)
    tip = tag("title", _told(cloud.mean))
    if cloud.dense:
        mean, *ends = (y(100 * a) for a in _ends(cloud.mean.accuracy))
        left, right = frame.x
        band = None
        if ends:
            band = tag("rect", x=left, y=ends[1], width=right - left, height=ends[0] - ends[1],
                       class_=f"band {kind}")  # fmt: skip
        line = tag("line", x1=left, y1=mean, x2=right, y2=mean, class_=f"line {kind}",
                   stroke_dasharray="2 3")  # fmt: skip
        return tag("g", tip, band, line, class_="hit")
    way = [(x(100 * a), y(100 * b)) for a, b in cloud.path if a > 0 and math.isfinite(b)]
    seeds = [(100 * a, 100 * b) for a, b in cloud.seeds]
    return join(
        tag("polyline", points=points(*zip(*way, strict=True)), class_=f"way {kind}")
        if len(way) > 1 else None,
        [tag("circle", cx=x(a), cy=y(b), r=2.5, class_=f"faint {kind}") for a, b in seeds],
        tag("g", tip, _bars(cloud.mean, x, y, kind),
            tag("circle", cx=x(100 * cloud.mean.remaining.mean),
                cy=y(100 * cloud.mean.accuracy.mean), r=5, class_=f"dot {kind}"),
            class_="hit"),
    )  # fmt: skip


def _paper(point: Point, x: Scale, y: Scale) -> Markup:
    kind = chart.colour(PAPER)
    cx, cy = x(100 * point.remaining.mean), y(100 * point.accuracy.mean)
    diamond = points([cx, cx + 6, cx, cx - 6], [cy - 6, cy, cy + 6, cy])
    return tag("g", tag("title", _told(point)), _bars(point, x, y, kind),
               tag("polygon", points=diamond, class_=f"dot {kind}"), class_="hit")  # fmt: skip


def _bars(point: Point, x: Scale, y: Scale, kind: str) -> Markup:
    """The intervals of a point, as a cross."""
    cx, cy = x(100 * point.remaining.mean), y(100 * point.accuracy.mean)
    parts = []
    if not math.isnan(point.accuracy.low):
        low, high = (y(100 * end) for end in point.accuracy[1:3])
        parts.append(tag("line", x1=cx, y1=low, x2=cx, y2=high, class_=f"bar {kind}"))
    if not math.isnan(point.remaining.low):
        low, high = (x(100 * end) for end in point.remaining[1:3])
        parts.append(tag("line", x1=low, y1=cy, x2=high, y2=cy, class_=f"bar {kind}"))
    return join(parts)


def _labels(
    clouds: Sequence[Cloud], papers: Sequence[Point], x: Scale, y: Scale, frame: Frame
) -> Markup:
    """The names of points, to the side where there is room, and moved apart."""
    named = [(cloud.mean, cloud.index) for cloud in clouds if not cloud.dense]
    named += [(point, PAPER) for point in papers]
    places = scales.spread(
        [y(100 * p.accuracy.mean) - 10 for p, _ in named], 13, frame.y[1] + 8, frame.y[0] - 4
    )
    parts = []
    for (point, index), place in zip(named, places, strict=True):
        cx = x(100 * point.remaining.mean)
        left = cx > sum(frame.x) / 2
        parts.append(
            chart.text(cx - 9 if left else cx + 9, place, point.label,
                       f"end {chart.colour(index)}", "end" if left else "start")
        )  # fmt: skip
    for cloud in clouds:
        if cloud.dense:
            top = y(100 * max(_ends(cloud.mean.accuracy))) - 5
            near = [x(100 * p.remaining.mean) for p, _ in named
                    if abs(y(100 * p.accuracy.mean) - top) < 45]  # fmt: skip
            left = sum(place < sum(frame.x) / 2 for place in near) * 2 <= len(near)
            parts.append(
                chart.text(frame.x[0] + 4 if left else frame.x[1] - 2, top,
                           f"{cloud.mean.label}, dense", f"end {chart.colour(cloud.index)}",
                           "start" if left else "end")
            )  # fmt: skip
    return join(parts)


def _told(point: Point) -> str:
    return f"{point.label}: {percent(point.accuracy)} % at {percent(point.remaining)} % remaining"
