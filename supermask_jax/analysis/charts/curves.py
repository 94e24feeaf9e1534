"""Curves over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from supermask_jax.analysis.charts import theme
from supermask_jax.analysis.charts.theme import Rows, Spec
from supermask_jax.analysis.intervals import Interval


def curves(
    rows: Rows,
    y_title: str,
    *,
    colours: Mapping[str, str] | Sequence[str],
    last: int,
    log: bool = False,
    unit: float = 1.0,
) -> Spec:
    """Curves over epochs: means, with bands or the seeds themselves.

    Args:
      rows: from `curve_rows`.
      y_title: of the axis.
      colours: series -> colour, in the order of the legend; names alone are along one ramp.
      last: the last epoch that was planned: the axis reaches to it.
      log: whether values are on a logarithmic axis.
      unit: what the values are multiplied by, 100 for fractions: these lie in [0, 1].
    """
    rows = [row for row in rows if math.isfinite(row["value"]) and (row["value"] > 0 or not log)]
    means = [row for row in rows if row["seed"] == "mean"]
    ends = {row["series"]: row["epoch"] for row in means}  # Early epochs leave no room for others.
    late = [r for r in means if r["epoch"] > min(0.1 * ends[r["series"]], ends[r["series"]] - 1)]
    low, high = theme.padded([r["value"] for r in late], log)
    low, high = (max(low, 0.0), min(high, 1.0)) if unit == 100 else (low, high)
    names, floor = ("value", "low", "high"), low if log else 0.0
    rows = [row | {name: theme.clipped(row[name], unit, floor) for name in names} for row in rows]
    pick = alt.selection_point(fields=["series"], bind="legend")
    near = alt.selection_point(fields=["epoch"], on="pointerover", empty=False, clear="pointerout")
    first = min((row["epoch"] for row in rows), default=1)
    scale = alt.Scale(type="log" if log else "linear", domain=[low * unit, high * unit],
                      nice=False, **({} if log else {"zero": False}))  # fmt: skip
    axis = theme.log_axis(low * unit, high * unit) if log else alt.Axis(tickCount=5)
    y = alt.Y("value:Q", title=y_title, scale=scale, axis=axis)
    splits = list(dict.fromkeys(row["split"] for row in rows))
    base = theme.chart_of(rows, {"epoch", "value", "low", "high", "n"}).encode(
        alt.X("epoch:Q", scale=alt.Scale(domain=[first, max(last, first + 1)], nice=False),
              axis=alt.Axis(tickMinStep=1, tickCount=6, grid=False)),
        theme.colour(colours),
        detail="split:N",
        tooltip=["epoch:Q", "series:N", "split:N",
                 *(alt.Tooltip(f"{name}:Q", format=".4g") for name in names),
                 alt.Tooltip("n:Q", title="seeds")],
    ).transform_filter(pick)  # fmt: skip
    mean = base.transform_filter("datum.seed == 'mean'").encode(
        y, opacity=alt.Opacity("split:O", title=None, legend=alt.Legend() if splits[1:] else None,
                               scale=alt.Scale(domain=splits, range=[1, 0.5])))  # fmt: skip
    if isinstance(colours, Mapping) and len(colours) > (hues := len(theme.HUES)):
        dashes = [[[1, 0], [6, 4], [2, 3]][i // hues % 3] for i in range(len(colours))]
        mean = mean.encode(alt.StrokeDash("series:N", title=None,
                           scale=alt.Scale(domain=list(colours), range=dashes)))  # fmt: skip
    band = base.transform_filter("isValid(datum.low) && datum.n >= 5").mark_area(
        opacity=0.17, clip=True).encode(alt.Y("low:Q", title=y_title), y2="high:Q")  # fmt: skip
    seeds = base.transform_filter("datum.seed != 'mean'").encode(y, detail=["split:N", "seed:N"])
    seeds = seeds.mark_line(strokeWidth=0.8, opacity=0.45, clip=True)
    line = mean.mark_line(strokeWidth=2, clip=True, point=len({r["epoch"] for r in rows}) == 1)
    dots = mean.mark_circle(size=90, clip=True).encode(
        opacity=alt.when(near).then(alt.value(1)).otherwise(alt.value(0)))  # fmt: skip
    rule = base.mark_rule().encode(color=alt.value("@muted"),
        opacity=alt.when(near).then(alt.value(0.5)).otherwise(alt.value(0)))  # fmt: skip
    layers = [band, seeds, line, rule, dots.add_params(near, pick)]
    return theme.finished(alt.layer(*layers).add_params(theme.zoom()), 240)


def curve_rows(
    series: str, split: str, epochs: Sequence[int], values: Sequence[Interval],
    seeds: Mapping[int, Sequence[tuple[int, float]]] = {},
) -> list[dict[str, Any]]:  # fmt: skip
    """Returns a curve as rows of a table: the means, and up to four seeds themselves.

    Args:
      series: its name.
      split: what it is measured on, or "".
      epochs: E of them.
      values: means with intervals, E.
      seeds: seed -> (epoch, value) of each.
    """
    about = {"series": series, "split": split}
    rows = [
        about | {"seed": "mean", "epoch": epoch, "value": v.mean, "low": v.low, "high": v.high,
                 "n": v.n}
        for epoch, v in zip(epochs, values, strict=True)
    ]  # fmt: skip
    if 1 < len(seeds) < 5:
        rows += [
            about | {"seed": str(seed), "epoch": epoch, "value": value, "low": math.nan,
                     "high": math.nan, "n": 1}
            for seed, curve in seeds.items() for epoch, value in curve
        ]  # fmt: skip
    return rows
