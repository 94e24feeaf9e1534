"""What all charts share: colours, data as CSV, and files made of them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from supermask_jax import files

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

# After Okabe and Ito, darker on light and lighter on dark: each has a contrast of 4.5 to the page,
# and any two are told apart by the colour-blind, as test_charts.py computes.
_COLOURS = {  # light, dark
    "page": ("#f7f7f5", "#121519"),
    "panel": ("#ffffff", "#1a1e24"),
    "ink": ("#1a1d21", "#e8eaed"),
    "muted": ("#565d66", "#a3abb5"),
    "grid": ("#e3e5e8", "#2b3138"),
    "rule": ("#c9cdd2", "#434b55"),
    "hidden": ("#b4b9c0", "#5d6670"),
    "on": ("#ffffff", "#14171b"),
    "low": ("#a8cdea", "#25435c"),
    "s0": ("#0068b3", "#63b3f5"),
    "s1": ("#c04a00", "#ff9350"),
    "s2": ("#00654b", "#45e0ae"),
    "s3": ("#a02f86", "#c274b6"),
    "s4": ("#5c3d07", "#ece04a"),
    "s5": ("#253041", "#ccd3df"),
}
LIGHT, DARK = ({name: both[i] for name, both in _COLOURS.items()} for i in (0, 1))

PAPER = "@s1"  # the papers' points, and what a mask inverts; no run has this colour
HUES = ("@s0", "@s2", "@s3", "@s4", "@s5")
FATES = {"hidden": "@hidden", "kept": "@s0", "inverted": "@s1"}  # in the order they are stacked

_TITLES = {"titleFontWeight": "normal", "labelFontSize": 11}
_LINES = {"gridColor": "@grid", "domainColor": "@rule", "tickColor": "@rule"}
_AXIS = {"labelColor": "@muted", "titleColor": "@ink", "titleFontSize": 12, "labelLimit": 130}
_LEGEND = {"labelColor": "@ink", "titleColor": "@muted", "symbolStrokeWidth": 2, "labelLimit": 280}
_PLACE = {"orient": "bottom", "direction": "horizontal"}
_BOTTOM = {"anchor": "start", "direction": "vertical"}

THEME: Spec = {
    "font": "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif",
    "background": "@panel",
    "view": {"stroke": None},
    "axis": _TITLES | _LINES | _AXIS,
    "legend": _TITLES | _LEGEND | _PLACE | {"layout": {"bottom": _BOTTOM}},
    "title": {"color": "@ink", "anchor": "start", "fontSize": 13, "fontWeight": 600},
    "range": {"ordinal": {"scheme": ["@low", "@s0", "@s5"]}},
    "text": {"color": "@ink"},
    "rule": {"color": "@muted"},
}

COLUMN_MM = 84  # a paper's single column
_COLUMN = round(COLUMN_MM / 25.4 * 96)  # in CSS pixels


def paint(spec: Spec, palette: Mapping[str, str]) -> Spec:
    """Returns a specification with the theme and its colours from a palette."""
    text = json.dumps(spec | {"config": THEME})
    return json.loads(re.sub(r'"@(\w+)"', lambda match: f'"{palette[match[1]]}"', text))


def save(spec: Spec, path: Path, *, width: int = _COLUMN, height: int | None = None) -> None:
    """Writes a chart as SVG or PDF, by the path's ending, or its data as CSV.

    Sizes are in CSS pixels of the whole image; a paper's single column by default.
    """
    import vl_convert

    if path.suffix == ".csv":
        files.write(path, table_of(spec).encode())
        return
    height = height or min(spec["height"], width) + 14 * max(_legend_rows(spec) - 2, 0)
    fit = {"type": "fit", "contains": "padding"}
    painted = paint(spec | {"width": width, "height": height, "autosize": fit}, LIGHT)
    painted["config"]["aria"] = False
    svg = vl_convert.vegalite_to_svg(painted)
    svg = re.sub(r'<path[^>]* opacity="0"[^>]*>(</path>)?', "", svg)  # There to be pointed at.
    clips = list(dict.fromkeys(re.findall(r"\bclip\d+", svg)))  # Vega counts on in a process.
    svg = re.sub(r"\bclip\d+", lambda match: f"clip{clips.index(match[0])}", svg)
    if path.suffix == ".svg":
        files.write(path, svg.encode())
    else:  # Where a pixel is a point.
        size = f'width="{0.75 * width:g}" height="{0.75 * height:g}"'
        svg = svg.replace(f'width="{width}" height="{height}"', size, 1)
        files.write(path, vl_convert.svg_to_pdf(svg))


def _legend_rows(spec: Spec) -> int:
    """Returns how many lines the legend of a chart's series takes."""
    for layer in spec.get("layer", [spec]):
        colour = layer["encoding"].get("color", {})
        if (legend := colour.get("legend")) and "columns" in legend:
            return math.ceil(len(colour["scale"]["domain"]) / legend["columns"])
    return 0


def table_of(spec: Spec) -> str:
    """Returns the data behind a chart as CSV."""
    return spec["data"]["values"]


def chart_of(rows: Rows, numbers: set[str]) -> alt.Chart:
    """A chart of rows, as CSV; `numbers` are the columns of these."""
    columns = list(rows[0]) if rows else sorted(numbers)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    kinds = {name: "number" if name in numbers else "string" for name in columns}
    read = alt.CsvDataFormat(type="csv", parse=kinds)
    return alt.Chart(alt.Data(values=text.getvalue(), format=read))


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return f"{value:.5g}" if math.isfinite(value) else ""
    return value


def colour(
    colours: Mapping[str, str] | Sequence[str],
    field: str = "series",
    *,
    legend: bool = True,
    **look: Any,
) -> alt.Color:
    """The colour of a series: as `colours` say, or along one ramp where they are names alone."""
    kind, shades = "O", "ordinal"
    if isinstance(colours, Mapping):
        kind, shades = "N", list(colours.values())
    found = alt.Color(f"{field}:{kind}", title=None, sort=None)
    found = found.scale(domain=list(colours), range=shades)
    return found.legend(legend_of(colours, **look) if legend and colours else None)


def legend_of(names: Iterable[str], **look: Any) -> alt.Legend:
    """A legend with as many names beside each other as a narrow chart has room for."""
    columns = max(_COLUMN // (30 + 6 * max(map(len, names))), 1)
    return alt.Legend(columns=columns, symbolOpacity=1, **look)


def zoom(encodings: Sequence[str] = ("x", "y")) -> alt.Parameter:
    """With the shift key, so that the wheel goes on turning the page."""
    wheel = "wheel![event.shiftKey]"
    return alt.selection_interval(bind="scales", encodings=list(encodings), zoom=wheel)


def finished(chart: alt.LayerChart | alt.Chart, height: int, title: str = "") -> Spec:
    """The specification, as wide as its place."""
    found = chart.properties(width="container", height=height).to_dict()
    found.pop("config", None)
    return found | ({"title": title} if title else {})


def padded(values: Iterable[float], log: bool, room: float = 0.08) -> tuple[float, float]:
    """Returns a range a little wider than the finite values."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not finite:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(finite), max(finite)
    if log:
        factor = max((high / low) ** room, 1.05)
        return low / factor, high * factor
    margin = max(room * (high - low), 1e-3 * abs(high), 1e-6)
    return low - margin, high + margin


def clipped(value: float, unit: float, floor: float = 0.0) -> float:
    """Clips to what is possible: to [0, 1] where the unit is percent."""
    if not math.isfinite(value):
        return math.nan
    return unit * max(min(value, 1.0) if unit == 100 else value, floor)


def log_axis(low: float, high: float) -> alt.Axis:
    """An axis with 1, 2 and 5 times powers of ten, or fewer; within a power, multiples of them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**power for power in powers for f in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 7:
            break
    if len(ticks) < 3:  # Within a power: as on a linear axis.
        step = 10.0 ** math.floor(math.log10((high - low) / 2))
        step *= next(factor for factor in (1, 2, 5, 10) if high - low <= 6 * factor * step)
        ticks = [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return alt.Axis(format="~g", values=ticks)
