"""Drawings, as SVG files that come out the same to the byte from the same numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supermask_jax import files
from supermask_jax.analysis.front import Front, Point, on_front
from supermask_jax.errors import UserError

# Okabe and Ito's palette, told apart by the colour-blind; marks differ in shape too. The paper is
# painted, so that the drawing reads on a dark page as on a light one.
_PAPER, _INK, _MUTED, _GRID = "#ffffff", "#1f2328", "#59636e", "#e4e7ea"
_OURS, _PAPERS, _DENSE = "#0072b2", "#d55e00", "#8c6d8c"

_STYLE = {
    "svg.hashsalt": "supermask_jax",
    "svg.fonttype": "none",  # Text stays text: small, searchable, no outlines of a font's version.
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "figure.facecolor": _PAPER,
    "axes.facecolor": _PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
}


def draw_front(front: Front, path: Path, title: str) -> None:
    """Draws accuracy against remaining weights (logarithmic), in percent, into an SVG file.

    Our points on the front are joined; bars are 95 % intervals; a dense row is a band.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # Not pyplot: no window, no global state.
    except ImportError as error:
        raise UserError("drawing needs matplotlib: pip install 'supermask-jax[plots]'") from error
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _band(axes, front.dense)
        _points(axes, front.papers, _PAPERS, "D", [_RIGHT_BELOW])
        best = on_front(front.ours)
        line = [point for point, on in zip(front.ours, best, strict=True) if on]
        line.sort(key=lambda point: point.remaining.mean)
        axes.plot(
            [100 * point.remaining.mean for point in line],
            [100 * point.accuracy.mean for point in line],
            color=_OURS, linewidth=1.2, alpha=0.6, zorder=2,
        )  # fmt: skip
        _points(axes, line, _OURS, "o", [_RIGHT_BELOW, _LEFT_ABOVE])  # Free on a front.
        beaten = [point for point, on in zip(front.ours, best, strict=True) if not on]
        _points(axes, beaten, _OURS, "o", [_LEFT_BELOW])
        _scale(axes, [*front.ours, *front.papers])
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("remaining weights, %")
        axes.set_ylabel("test accuracy, %")
        options = {"format": path.suffix[1:], "metadata": {"Date": None, "Creator": None}}
        files.write(path, lambda file: figure.savefig(file, **options))


def _band(axes: Any, dense: Sequence[Point]) -> None:
    for point in dense:
        mean, low, high = (100 * x for x in point.accuracy[:3])
        axes.axhline(mean, color=_DENSE, linewidth=1, zorder=1)
        if not math.isnan(low):
            axes.axhspan(low, high, color=_DENSE, alpha=0.2, linewidth=0, zorder=1)
        top = mean if math.isnan(low) else high
        axes.annotate(
            f"{point.label}, dense: {mean:.2f} %", (0, top), xycoords=("axes fraction", "data"),
            xytext=(4, 3), textcoords="offset points", color=_DENSE, zorder=4,
        )  # fmt: skip


# Where a label stands: offset in points, and which of its ends is at the mark.
_RIGHT_BELOW = ((7, -12), "left")
_LEFT_BELOW = ((-7, -12), "right")
_LEFT_ABOVE = ((-6, 5), "right")


def _points(
    axes: Any, points: Sequence[Point], colour: str, marker: str, sides: Sequence[Any]
) -> None:
    """Draws points, and their labels on the `sides` by turns."""
    labels: dict[tuple[float, float], list[str]] = {}  # Runs of equal settings share their label.
    for point in points:
        x, y = 100 * point.remaining.mean, 100 * point.accuracy.mean
        axes.errorbar(
            x, y, xerr=_bars(point.remaining), yerr=_bars(point.accuracy), color=colour,
            marker=marker, markersize=6, elinewidth=1.2, capsize=2.5, zorder=3,
        )  # fmt: skip
        labels.setdefault((x, y), []).append(point.label)
    for (place, names), (offset, end) in zip(labels.items(), itertools.cycle(sides), strict=False):
        axes.annotate(", ".join(names), place, xytext=offset, textcoords="offset points", ha=end,
                      color=colour, fontsize=9, zorder=4)  # fmt: skip


def _bars(interval: Any) -> list[list[float]] | None:
    """An interval as the lengths below and above its mean, or None where there is none."""
    mean, low, high, _ = interval
    return None if math.isnan(low) else [[100 * (mean - low)], [100 * (high - mean)]]


def _scale(axes: Any, points: Sequence[Point]) -> None:
    """A logarithmic axis of weights with plain numbers, and room for the last label."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    values = [100 * point.remaining.mean for point in points]
    axes.set_xlim(min(values) / 1.25, max(values) * 1.6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
