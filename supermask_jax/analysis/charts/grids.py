"""Counts and shares on a grid: histograms, heat maps, the confusion of classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import altair as alt
import numpy as np

from supermask_jax.analysis.charts.theme import FATES, Spec, chart_of, colour, finished, zoom


def histogram(edges: np.ndarray, counts: Mapping[str, np.ndarray], cuts: Iterable[float]) -> Spec:
    """How many scores lie where (logarithmic), by what the mask makes of them, and its cuts."""
    columns = ("fate", "from", "to", "count", "bottom", "top", "cut")
    rows, base = [], np.zeros(len(edges) - 1)
    for fate in FATES:
        for i in np.flatnonzero(found := counts[fate]):
            ends = max(base[i], 0.5), base[i] + found[i]
            cells = (fate, edges[i], edges[i + 1], int(found[i]), *ends, math.nan)
            rows.append(dict(zip(columns, cells, strict=True)))
        base = base + found
    inside = [cut for cut in cuts if edges[0] <= cut <= edges[-1]]
    rows += [dict.fromkeys(columns, "") | {"cut": cut} for cut in inside]
    top = 10 ** math.ceil(math.log10(max(base.max(), 10)))
    shown = {fate: hue for fate, hue in FATES.items() if np.any(counts[fate])}
    pick = alt.selection_point(fields=["fate"], bind="legend")
    x = alt.X("from:Q", title="score").axis(tickCount=4, grid=False)
    x = x.scale(domain=[float(edges[0]), float(edges[-1])], nice=False)
    powers = [10**p for p in range(round(math.log10(top)) + 1)]
    y = alt.Y("bottom:Q", title="scores").axis(values=powers, format="~s")
    y = y.scale(type="log", domain=[0.5, top], nice=False)
    base = chart_of(rows, {*columns} - {"fate"})
    tips = [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("from", "to")]
    tips = ["fate:N", *tips, alt.Tooltip("count:Q", format=",")]
    bars = base.transform_filter("isValid(datum.count)").mark_rect(clip=True)
    bars = bars.encode(x, y, colour(shown, "fate"), x2="to:Q", y2="top:Q", tooltip=tips)
    rule = base.transform_filter("isValid(datum.cut)").mark_rule(strokeDash=[4, 3], color="@ink")
    tip = alt.Tooltip("cut:Q", title="the mask cuts at", format=".4g")
    rule = rule.encode(alt.X("cut:Q", title="score"), tooltip=tip)
    bars = bars.transform_filter(pick).add_params(pick)
    return finished(alt.layer(bars, rule).add_params(zoom(["x"])), 190)


def layer_heatmap(
    names: Sequence[str], epochs: Sequence[int], values: np.ndarray, title: str, *, log: bool
) -> Spec:
    """Values of layers (rows, from input to output) over epochs: the stronger the larger.

    Args:
      names: of the layers, L.
      epochs: E of them.
      values: in [0, 1], float [L, E].
      title: what they are.
      log: whether colours go by the logarithm.
    """
    every = math.ceil(len(epochs) / min(60, max(6, 6000 // len(names))))
    kept = range(len(epochs) - 1, -1, -every)[::-1]  # The last one always.
    rows = [
        {"layer": name, "epoch": epochs[i], "share": 100 * row[i]}
        for name, row in zip(names, values, strict=True)
        for i in kept
        if math.isfinite(row[i])
    ]
    floor = 0.01 if log else 0.0
    top = max((row["share"] for row in rows), default=1.0)
    low = min((max(row["share"], floor) for row in rows), default=0.0) if log else 0.0
    share = alt.Color("share:Q", title=f"{title}, %")
    share = share.legend(gradientLength=160, format="~g")
    ends = {"domain": [low, max(top, low * 1.01, 0.01)], "range": ["@low", "@s0"]}
    x = alt.X("epoch:O").axis(labelOverlap="greedy", labelAngle=0, ticks=False)
    y = alt.Y("layer:N", sort=list(names), title=None).axis(labelOverlap="greedy", ticks=False)
    tip = alt.Tooltip("share:Q", title=f"{title}, %", format=".3g")
    share = share.scale(type="log" if log else "linear", clamp=True, nice=False, **ends)
    chart = chart_of(rows, {"epoch", "share"}).mark_rect()
    chart = chart.encode(x, y, share, tooltip=["layer:N", "epoch:Q", tip])
    return finished(chart, int(min(18, max(4, 420 / len(names))) * len(names)) + 70)


def confusion(matrix: np.ndarray, names: Sequence[str]) -> Spec:
    """A confusion matrix, int [K, K]: rows are true classes, columns what was predicted.

    Blue is right, orange wrong, as strong as the share of the row; wrong ones by their root, so
    that few are seen.
    """
    count = len(names)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = np.sqrt(shares / max(float((shares * (1 - np.eye(count))).max()), 1e-9))
    shade = np.where(np.eye(count, dtype=bool), 0.85 * shares, -np.minimum(wrong, 1))
    columns = ("true", "predicted", "images", "shade")
    cells = [
        (names[i], names[j], int(matrix[i, j]), round(float(shade[i, j]), 3))
        for i, j in np.argwhere(matrix)
    ]
    rows = [dict(zip(columns, cell, strict=True)) for cell in cells]
    scale = alt.Scale(domain=list(names), paddingInner=0.04)
    ticks = {"labelOverlap": "greedy", "ticks": False}
    x, y = (alt.X("predicted:N"), alt.Y("true:N"))
    base = chart_of(rows, {"images", "shade"}).encode(
        x.axis(labelAngle=0 if count <= 10 else -90, **ticks).scale(scale).sort(list(names)),
        y.axis(**ticks).scale(scale).sort(list(names)),
        tooltip=["true:N", "predicted:N", alt.Tooltip("images:Q", format=",")],
    )
    colours = {"domain": [-1, 0, 1], "range": ["@s1", "@panel", "@s0"], "interpolate": "rgb"}
    cells = base.mark_rect().encode(alt.Color("shade:Q", legend=None).scale(**colours))
    if count > 20:
        return finished(cells, 420)
    strong = alt.when("abs(datum.shade) > 0.6").then(alt.value("@on")).otherwise(alt.value("@ink"))
    return finished(cells + base.mark_text(fontSize=11).encode(text="images:Q", color=strong), 380)


def task_matrix(names: Sequence[str], shares: Sequence[Sequence[float]]) -> Spec:
    """The accuracy of the mask of every task (rows) on the images of every task, float [k, k]."""
    rows = [
        {"mask of": mask, "images of": task, "accuracy": 100 * share}
        for mask, values in zip(names, shares, strict=True)
        for task, share in zip(names, values, strict=True)
    ]
    axis = {"labelOverlap": "greedy", "ticks": False}
    x = alt.X("images of:N", sort=list(names)).axis(labelAngle=0 if len(names) < 6 else -40, **axis)
    y = alt.Y("mask of:N", sort=list(names)).axis(**axis)
    hue = alt.Color("accuracy:Q", legend=None)
    hue = hue.scale(domain=[0, 100], range=["@low", "@s0"], interpolate="rgb")
    tip = alt.Tooltip("accuracy:Q", title="accuracy, %", format=".2f")
    base = chart_of(rows, {"accuracy"}).encode(x, y, tooltip=["mask of:N", "images of:N", tip])
    if len(names) > 12:
        return finished(base.mark_rect().encode(hue), 420)
    strong = alt.when("datum.accuracy > 50").then(alt.value("@on")).otherwise(alt.value("@ink"))
    text = base.mark_text(fontSize=11).encode(
        text=alt.Text("accuracy:Q", format=".1f"), color=strong
    )
    return finished(base.mark_rect().encode(hue) + text, 380)
