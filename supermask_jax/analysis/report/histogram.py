"""Histograms of scores: what becomes of them, and where the mask cuts."""

from __future__ import annotations

import math

import numpy as np

from supermask_jax.analysis.report import chart, scales
from supermask_jax.analysis.report.chart import Frame
from supermask_jax.analysis.report.details import FATES, LayerScores
from supermask_jax.analysis.report.markup import Markup, join, significant, tag
from supermask_jax.analysis.report.scales import Scale

_FRAME = Frame(width=270, height=176, left=38, right=10, top=12, bottom=34)


def score_histogram(name: str, scores: LayerScores) -> Markup:
    """Draws how many scores of a layer lie where, by what the mask makes of them."""
    x = scales.exact(float(scores.edges[0]), float(scores.edges[-1]), *_FRAME.x, 4)
    total = np.sum(list(scores.counts.values()), axis=0)
    top = 10 ** math.ceil(math.log10(max(int(total.max()), 10)))
    powers = tuple(10.0**p for p in range(int(math.log10(top)) + 1))
    y = Scale(0.5, top, *_FRAME.y, powers[:: 2 if len(powers) > 5 else 1], log=True)
    return chart.svg(
        _FRAME,
        chart.axes(_FRAME, x, y, "score"),
        [_bars(scores, fate, x, y) for fate in FATES],
        _cuts(scores, x),
        _hits(scores, total, x),
        title=f"Scores of {name}",
        description=_told(scores),
    )


def _bars(scores: LayerScores, fate: str, x: Scale, y: Scale) -> Markup:
    """One path: a bar a bin, stacked on those of the fates before it."""
    before = FATES[: FATES.index(fate)]
    base = np.sum([scores.counts[name] for name in before], axis=0) if before else 0
    low = np.broadcast_to(base, scores.counts[fate].shape)
    path = []
    for i in np.flatnonzero(scores.counts[fate]):
        left, right = x(float(scores.edges[i])), x(float(scores.edges[i + 1]))
        floor = y(max(float(low[i]), y.low))
        ceiling = y(max(float(low[i] + scores.counts[fate][i]), y.low))
        path.append(f"M{left:.1f} {floor:.1f}V{ceiling:.1f}H{right:.1f}V{floor:.1f}z")
    return tag("path", d="".join(path), class_=f"fill {fate}") if path else Markup("")


def _cuts(scores: LayerScores, x: Scale) -> Markup:
    bottom, top = _FRAME.y
    return join(
        tag("line", x1=x(cut), y1=float(bottom), x2=x(cut), y2=float(top) - 4, class_="cut")
        for cut in scores.cuts
        if scores.edges[0] <= cut <= scores.edges[-1]
    )


def _hits(scores: LayerScores, total: np.ndarray, x: Scale) -> Markup:
    bottom, top = _FRAME.y
    parts = []
    for i in np.flatnonzero(total):
        low, high = (float(scores.edges[i + k]) for k in (0, 1))
        told = [f"{fate} {int(scores.counts[fate][i]):,}" for fate in FATES
                if scores.counts[fate][i]]  # fmt: skip
        tip = f"{significant(low)} to {significant(high)}\n" + "\n".join(told)
        rect = tag("rect", x=x(low), y=float(top), width=x(high) - x(low), height=bottom - top)
        parts.append(tag("g", tag("title", tip), rect, class_="hit"))
    return join(parts)


def _told(scores: LayerScores) -> str:
    counts = ", ".join(f"{int(scores.counts[fate].sum()):,} {fate}" for fate in FATES)
    cuts = " and ".join(significant(cut) for cut in scores.cuts)
    return counts + (f"; the mask cuts at {cuts}" if cuts else "")
