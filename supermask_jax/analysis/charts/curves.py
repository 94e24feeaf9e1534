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
    epochs = {row["epoch"] for row in rows} or {1}
    first = min(epochs) - (len(epochs) == 1)  # Room for a point.
    last = max(last, min(epochs) + 1)
    y, domain = alt.Y("value:Q", title=y_title), [low * unit, high * unit]
    if log:
        y = y.scale(type="log", domain=domain, nice=False).axis(theme.log_axis(*domain))
    else:
        y = y.scale(type="linear", domain=domain, nice=False, zero=False).axis(tickCount=5)
    x = alt.X("epoch:Q").scale(domain=[first, last], nice=False)
    whole = "datum.value % 1 ? '' : format(datum.value, 'd')"
    tips = [alt.Tooltip(f"{name}:Q", format=".4g") for name in names]
    base = theme.chart_of(rows, {"epoch", "value", "low", "high", "n"}).encode(
        x.axis(tickCount=min(6, last - first), grid=False, labelExpr=whole),
        theme.colour(colours, symbolType="stroke"),
        detail="split:N",
        tooltip=["epoch:Q", "series:N", "split:N", *tips, alt.Tooltip("n:Q", title="seeds")],
    )
    base = base.transform_filter(pick)
    splits = list(dict.fromkeys(row["split"] for row in rows))
    strength = alt.Opacity("split:O", title=None).scale(domain=splits, range=[1, 0.5])
    strength = strength.legend(alt.Legend() if splits[1:] else None)
    mean = base.transform_filter("datum.seed == 'mean'").encode(y, strength)
    if isinstance(colours, Mapping) and len(colours) > (hues := len(theme.HUES)):
        dashes = [[[1, 0], [6, 4], [2, 3]][i // hues % 3] for i in range(len(colours))]
        dash = alt.StrokeDash("series:N", title=None).scale(domain=list(colours), range=dashes)
        mean = mean.encode(dash)
    band = base.transform_filter("isValid(datum.low) && datum.n >= 5")
    band = band.mark_area(opacity=0.17, clip=True)
    band = band.encode(alt.Y("low:Q", title=y_title), y2="high:Q")
    seeds = base.transform_filter("datum.seed != 'mean'").encode(y, detail=["split:N", "seed:N"])
    seeds = seeds.mark_line(strokeWidth=0.8, opacity=0.45, clip=True)
    line = mean.mark_line(strokeWidth=2, clip=True, point=len(epochs) == 1)

    def seen_near(opacity: float) -> alt.When:
        return alt.when(near).then(alt.value(opacity)).otherwise(alt.value(0))

    dots = mean.mark_circle(size=90, clip=True).encode(opacity=seen_near(1))
    rule = base.mark_rule().encode(color=alt.value("@muted"), opacity=seen_near(0.5))
    layers = [band, seeds, line, rule, dots.add_params(near, pick)]
    return theme.finished(alt.layer(*layers).add_params(theme.zoom()), 240)


def curve_rows(
    series: str,
    split: str,
    epochs: Sequence[int],
    values: Sequence[Interval],
    seeds: Mapping[int, Sequence[tuple[int, float]]] = {},
) -> list[dict[str, Any]]:
    """Returns a curve as rows of a table: the means, and up to four seeds themselves.

    Args:
      series: its name.
      split: what it is measured on, or "".
      epochs: E of them.
      values: means with intervals, E.
      seeds: seed -> (epoch, value) of each.
    """

    def row(seed: str, epoch: int, value: Interval) -> dict[str, Any]:
        mean, low, high, n = value
        place = {"series": series, "split": split, "seed": seed, "epoch": epoch}
        return place | {"value": mean, "low": low, "high": high, "n": n}

    rows = [row("mean", *pair) for pair in zip(epochs, values, strict=True)]
    for seed, curve in seeds.items() if 1 < len(seeds) < 5 else ():
        rows += [row(str(seed), e, Interval(value, math.nan, math.nan, 1)) for e, value in curve]
    return rows
