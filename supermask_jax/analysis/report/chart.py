"""The frame of a chart: an SVG with title, axes, grid, labels, and what shows when one points.

Marks that are told about carry a ``<title>``: a browser shows it as it is, and the page's script
shows it better. Series have the colours ``s0`` ... of the style, by class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from supermask_jax.analysis.report.markup import Markup, join, tag
from supermask_jax.analysis.report.scales import Scale

SERIES = 6  # colours there are
DASHES = (None, "6 4", "2 3")  # after them, the same again with dashes


class Frame(NamedTuple):
    """Sizes of a chart in units of its view box: about pixels on a phone."""

    width: float = 420
    height: float = 270
    left: float = 56
    right: float = 14
    top: float = 14
    bottom: float = 38

    @property
    def x(self) -> tuple[float, float]:
        """Left and right end of the plot."""
        return self.left, self.width - self.right

    @property
    def y(self) -> tuple[float, float]:
        """Lower and upper end of the plot."""
        return self.height - self.bottom, self.top


def colour(index: int) -> str:
    """Returns the class of a series."""
    return f"s{index % SERIES}"


def dash(index: int) -> str | None:
    """Returns the dashes of a series: those beyond the colours are dashed."""
    return DASHES[index // SERIES % len(DASHES)]


def svg(frame: Frame, *children: Any, title: str, description: str) -> Markup:
    """Returns a chart as an image with a name and a description for those who do not see it."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        join(*children),
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        class_="chart",
    )


def figure(title: str, drawing: Any, caption: Any = None, class_: str | None = None) -> Markup:
    """Returns a chart with its heading and its caption."""
    return tag(
        "figure",
        tag("h3", title),
        drawing,
        tag("figcaption", caption) if caption is not None else None,
        class_=class_,
    )


def axes(frame: Frame, x: Scale, y: Scale, x_title: str, y_unit: str = "") -> Markup:
    """Returns grid lines, tick labels and the title of the lower axis.

    `y_unit` stands behind the uppermost label.
    """
    bottom, _ = frame.y
    parts = []
    for i, tick in enumerate(y.ticks):
        place = y(tick)
        parts.append(_line(frame.x[0], place, frame.x[1], place, "grid"))
        label = y.label(tick) + (y_unit if i == len(y.ticks) - 1 else "")
        parts.append(text(frame.left - 7, place + 4, label, "tick", "end"))
    parts.append(_line(frame.x[0], bottom, frame.x[1], bottom, "axis"))
    for tick in x.ticks:
        parts.append(_line(x(tick), bottom, x(tick), bottom + 4, "axis"))
        parts.append(text(x(tick), bottom + 17, x.label(tick), "tick", "middle"))
    parts.append(text(sum(frame.x) / 2, frame.height - 4, x_title, "axis-title", "middle"))
    return join(parts)


def plot(frame: Frame, *children: Any) -> Markup:
    """Returns marks, cut off where the plot ends."""
    (left, right), (bottom, top) = frame.x, frame.y
    width, height = right - left, bottom - top
    return tag("svg", join(*children), x=float(left), y=float(top), width=width, height=height,
               viewBox=f"{left:g} {top:g} {width:g} {height:g}")  # fmt: skip


def text(x: float, y: float, content: str, class_: str, anchor: str = "start") -> Markup:
    """Returns a text at a place."""
    return tag("text", content, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def columns(frame: Frame, places: Sequence[float], tips: Sequence[str]) -> Markup:
    """Returns bands from top to bottom, one a place, that show a tip and a line when pointed at."""
    bottom, top = frame.y
    ends = [frame.x[0], *((a + b) / 2 for a, b in itertools.pairwise(places)), frame.x[1]]
    return join(
        tag(
            "g",
            tag("title", tip),
            tag("rect", x=left, y=float(top), width=max(right - left, 0.0), height=bottom - top),
            _line(place, top, place, bottom, "cross"),
            class_="hit",
        )
        for place, tip, left, right in zip(places, tips, ends[:-1], ends[1:], strict=True)
    )


def legend(entries: Sequence[tuple[str, Markup]]) -> Markup:
    """Returns a legend: (label, SVG of 24 x 12 units) of each entry."""
    return tag(
        "ul",
        [
            tag("li", tag("svg", mark, viewBox="0 0 24 12", aria_hidden="true"), label)
            for label, mark in entries
        ],
        class_="legend",
    )


def stroke_mark(index: int, dashes: str | None = None) -> Markup:
    """Returns a legend's piece of line."""
    return tag("line", x1=0, y1=6, x2=24, y2=6, stroke_dasharray=dashes,
               class_=f"line {colour(index)}")  # fmt: skip
