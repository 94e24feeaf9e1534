"""Accuracy against remaining weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import altair as alt

from supermask_jax.analysis.charts import theme
from supermask_jax.analysis.charts.theme import Rows, Spec
from supermask_jax.analysis.front import Front, Point, on_front


def front(
    points: Rows,
    colours: Mapping[str, str],
    *,
    y_title: str = "test accuracy, %",
    title: str = "",
    labelled: bool = False,
    legend: bool | None = None,
) -> Spec:
    """Accuracy against remaining weights (logarithmic), both in percent.

    Args:
      points: from `point_row`.
      colours: series -> colour, in the order of the legend.
      y_title: of the axis of accuracies.
      title: above it.
      labelled: whether names stand at the points.
      legend: of the series; None: where names do not stand at the points.
    """
    placed = [row for row in points if row["remaining"] > 0 and math.isfinite(row["accuracy"])]
    masked = [row["remaining"] for row in placed if row["kind"] != "dense"]
    x_low, x_high = theme.padded(masked, True, 0.18)
    half = max((row["order"] for row in placed if row["kind"] == "way"), default=0) / 2
    shown = [r["accuracy"] for r in placed if r["kind"] != "way" or r["order"] > half]
    y_low, y_high = theme.padded(shown, False, 0.15)
    x_high = min(x_high * (1.4 if labelled else 1), 130.0)  # Room for the last label.
    pick = alt.selection_point(fields=["series"], bind="legend")
    y_scale = alt.Scale(domain=[max(y_low, 0), min(y_high, 100)], zero=False, nice=False)
    y = alt.Y("accuracy:Q", title=y_title, scale=y_scale)
    x_title = "remaining weights, % (logarithmic)"
    x = alt.X("remaining:Q", title=x_title, axis=theme.log_axis(x_low, x_high))
    x = x.scale(type="log", domain=[x_low, x_high], nice=False)
    numbers = [
        f"{name}{end}" for name in ("accuracy", "remaining") for end in ("", "_low", "_high")
    ]
    tips = [alt.Tooltip(f"{name}:Q", format=".2f") for name in numbers[:4]]
    hues = list(colours.values())
    rounds = [0 if labelled else hues[:i].count(hue) % 3 for i, hue in enumerate(hues)]
    insides = [(hue, "@panel", "@hidden")[again] for hue, again in zip(hues, rounds, strict=True)]
    words = {
        name: ("", ", hollow", ", grey inside")[n] for name, n in zip(colours, rounds, strict=True)
    }
    look = {"labelExpr": f"datum.label + {json.dumps(words)}[datum.label]"} if any(rounds) else {}
    base = theme.chart_of(placed, {"order", *numbers}).encode(
        theme.colour(colours, legend=not labelled if legend is None else legend, **look),
        tooltip=["series:N", "label:N", "kind:N", *tips],
    )
    base = base.transform_filter(pick)

    def of(*kinds: str) -> alt.Chart:
        return base.transform_filter(alt.FieldOneOfPredicate("kind", list(kinds)))

    every = ("runs", "level", "paper")
    shape = alt.Shape("kind:N", legend=None)
    shape = shape.scale(domain=list(every), range=["circle", "square", "diamond"])
    low = alt.Y("accuracy_low:Q", scale=y_scale)
    way = of("way", "front", "level").mark_line(strokeWidth=1.2, opacity=0.6, clip=True)
    dense, marks = of("dense"), of(*every)
    bars = marks.mark_rule(strokeWidth=1.4, clip=True)
    dots = marks.mark_point(filled=not look, size=70, opacity=1)
    if look:  # Series of one hue are told apart by what is inside the points.
        fill = alt.Fill("series:N", legend=None)
        dots = dots.encode(fill.scale(domain=list(colours), range=insides))
    layers = [
        way.encode(x, y, order="order:Q", detail="kind:N"),
        dense.mark_rect(opacity=0.15).encode(low, y2="accuracy_high:Q"),
        dense.mark_rule(strokeDash=[2, 3], strokeWidth=1.5).encode(y),
        of("seed").mark_circle(size=22, opacity=0.5, clip=True).encode(x, y),
        bars.encode(x, low.title(y_title), y2="accuracy_high:Q"),
        bars.encode(alt.X("remaining_low:Q", title=x_title), y, x2="remaining_high:Q"),
        dots.encode(x, y, shape).add_params(pick),
    ]
    if labelled:
        for side, (dx, dy, align) in _SIDES.items():
            text = of(*every, "dense").transform_filter(f"datum.side == '{side}'")
            text = text.mark_text(dx=dx, dy=dy, align=align, fontSize=11)
            place = x if side != "start" else alt.value(4)
            layers.append(text.encode(x=place, y=y, text="label:N"))
    return theme.finished(alt.layer(*layers).add_params(theme.zoom()), 320, title)


# Where a label stands: offset in pixels, and which of its ends is at the mark.
_SIDES = {
    "below": (8, 12, "left"),
    "above": (-8, -8, "right"),
    "left": (-8, 12, "right"),
    "start": (0, -6, "left"),
}


def point_row(point: Point, series: str, kind: str, order: int = 0, side: str = "") -> dict:
    """Returns a point as a row of a table, in percent.

    Args:
      point: both as fractions; an interval is clipped to what is possible.
      series: whose colour it has.
      kind: "runs", "level" (joined in their order), "paper", "seed", "way" or "front" (a line
        alone), "dense" (a band).
      order: along a line.
      side: of its label: see `front`.
    """
    row = {"series": series, "label": point.label, "kind": kind, "order": order, "side": side}
    for name, value in (("accuracy", point.accuracy), ("remaining", point.remaining)):
        row[name] = 100 * value.mean
        row[f"{name}_low"], row[f"{name}_high"] = (theme.clipped(v, 100) for v in value[1:3])
    return row


def front_of_rows(found: Front, title: str) -> Spec:
    """Returns the front of result files: ours in one colour, each paper's, dense bands."""
    best = on_front(found.ours)
    line = [point for point, on in zip(found.ours, best, strict=True) if on]
    line.sort(key=lambda point: point.remaining.mean)
    places: dict[tuple[float, float], list[Point]] = {}
    for point in found.ours:  # Runs of equal settings share their label.
        places.setdefault((point.remaining.mean, point.accuracy.mean), []).append(point)
    joined = [] if found.several else line
    rows = [point_row(point, "ours", "front", i) for i, point in enumerate(joined)]
    beaten = 0
    for same in sorted(places.values(), key=lambda same: same[0].remaining.mean):
        point = same[0]._replace(label=", ".join(p.label for p in same))
        if same[0] in line:
            side = ("below", "above")[line.index(same[0]) % 2]
        else:
            beaten, side = beaten + 1, ("left", "above")[beaten % 2]
        rows.append(point_row(point, "ours", "runs", side=side))
    for p in found.dense:
        label = f"{p.label}, dense: {100 * p.accuracy.mean:.2f} %"
        rows.append(point_row(p._replace(label=label), "dense", "dense", side="start"))
    papers = list(dict.fromkeys(point.series for point in found.papers))
    for p in found.papers:
        side = ("below", "left")[papers.index(p.series) % 2]
        rows.append(point_row(p, p.series, "paper", side=side))
    shades = dict(zip(papers, (theme.PAPER, "@s2", "@s4", "@s5"), strict=False))
    colours = {"ours": "@s0", **shades, **({"dense": "@s3"} if found.dense else {})}
    return front(rows, colours, title=title, labelled=True, legend=found.several)
