"""Charts: what stands in them, whether Vega takes them, and their colours."""

import itertools
import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from chart_helpers import drawn, rows_of

from supermask_jax.analysis.charts import curves, grids, theme
from supermask_jax.analysis.charts.front import front, point_row
from supermask_jax.analysis.charts.theme import DARK, LIGHT
from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval
from supermask_jax.analysis.report import groups


def test_intervals_are_clipped_and_few_seeds_are_shown_themselves():
    two = mean_interval([0.99, 0.95])
    assert two.high > 1
    seeds = {0: [(1, 0.5), (2, 0.99)], 1: [(1, 0.6), (2, 0.95)]}
    values = [mean_interval([0.5, 0.6]), two]
    rows = curves.curve_rows("a", "test", [1, 2], values, seeds)
    spec = curves.curves(rows, "accuracy, %", colours={"a": "@s0"}, last=2, unit=100)
    shown = rows_of(spec)
    assert max(row["high"] for row in shown if row["seed"] == "mean") == 100
    assert {row["seed"] for row in shown} == {"mean", 0, 1}
    low, high = y_domain(spec)
    assert 50 < low < 97 < high <= 100  # The axis follows the means.
    short = curves.curve_rows("short", "test", [1, 2], [Interval(0.2, 0, 0, 1)] * 2)
    long = curves.curve_rows("long", "test", range(1, 61), [Interval(0.9, 0, 0, 1)] * 60)
    colours = {"short": "@s0", "long": "@s2"}
    spec = curves.curves([*short, *long], "accuracy, %", colours=colours, last=60, unit=100)
    assert y_domain(spec)[0] < 20  # Of runs of any length.
    five = curves.curve_rows("a", "test", [1, 2], values, dict.fromkeys(range(5), seeds[0]))
    assert {row["seed"] for row in five} == {"mean"}
    assert groups.interval_of([0.99, 0.95]).high == 1


def y_domain(spec):
    scales = [layer["encoding"].get("y", {}).get("scale", {}) for layer in spec["layer"]]
    return next(scale["domain"] for scale in scales if "domain" in scale)


def test_charts_survive_numbers_that_cannot_be_drawn(tmp_path):
    bad = Interval(math.nan, math.nan, math.nan, 1)
    values = [Interval(0.5, 0.4, 0.6, 5), bad, Interval(0.0, math.nan, math.nan, 1)]
    specs = []
    for log, unit in ((False, 1.0), (True, 1.0), (True, 100)):
        rows = curves.curve_rows("a", "", [1, 2, 3], values)
        rows += curves.curve_rows("b", "", [1], [bad])
        colours = {"a": "@s0", "b": "@s2"}
        specs.append(curves.curves(rows, "y", colours=colours, last=9, log=log, unit=unit))
    nothing = Point("none", Interval(0.0, math.nan, math.nan, 1), values[0])
    specs.append(front([point_row(nothing, "none", "runs")], {"none": "@s0"}))
    grid = np.linspace(0, 1, 110)[:, None] * np.ones(400)
    names = [f"layer{i}" for i in range(110)]
    for log in (False, True):
        specs.append(grids.layer_heatmap(names, range(1, 401), grid, "share", log=log))
    assert len(json.dumps(specs[-1])) < 150_000
    empty = {fate: np.zeros(2, int) for fate in theme.FATES}
    specs.append(grids.histogram(np.linspace(-1, 1, 3), empty, ()))
    specs.append(grids.confusion(np.eye(100, dtype=int), [str(i) for i in range(100)]))
    for i, spec in enumerate(specs):
        text = drawn(spec, tmp_path / f"{i}.svg")
        ElementTree.fromstring(text)
        assert "NaN" not in text and "Infinity" not in text


def test_more_series_than_hues_are_told_apart_by_dashes(tmp_path):
    names = [f"s{i}" for i in range(12)]
    flat = [1, 2], [Interval(0.5, 0, 0, 1)] * 2
    rows = [row for name in names for row in curves.curve_rows(name, "", *flat)]
    colours = dict(zip(names, itertools.cycle(theme.HUES), strict=False))
    text = drawn(curves.curves(rows, "y", colours=colours, last=2), tmp_path / "a.svg")
    ways = re.findall(r'stroke="(#\w{6})" stroke-width="2"(?: stroke-dasharray="([\d,]+)")?', text)
    assert len(set(ways)) == 12


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return linear, float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b):
    high, low = sorted((luminance(a)[1], luminance(b)[1]), reverse=True)
    return (high + 0.05) / (low + 0.05)


# What is left of linear RGB without red, green and blue cones (Machado et al., 2009).
BLIND = {
    "protanopia": "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216"
    " -0.003882 -0.048116 1.051998",
    "deuteranopia": "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413"
    " -0.011820 0.042940 0.968881",
    "tritanopia": "1.255528 -0.076749 -0.178779 -0.078411 0.930809 0.147602"
    " 0.004733 0.691367 0.303900",
}


def lab(colour, matrix):
    matrix = np.array(matrix.split(), float).reshape(3, 3)
    rgb = np.clip(matrix @ luminance(colour)[0], 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(np.array(to_xyz) @ rgb / (0.9505, 1, 1.089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_read_and_told_apart(theme):
    for ground in ("page", "panel"):
        for text in ("ink", "muted", "s0", "s1", "s2", "s3", "s4", "s5"):
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
    for fate in ("s0", "s1"):
        assert contrast(theme["on"], theme[fate]) >= 4.5, fate
    for kind, matrix in BLIND.items():
        seen = {name: lab(theme[name], matrix) for name in ("s0", "s1", "s2", "s3", "s4", "s5")}
        for a in seen:
            for b in seen:
                if a < b:
                    assert np.linalg.norm(seen[a] - seen[b]) > 12, (kind, a, b)
        assert np.linalg.norm(seen["s0"] - seen["s1"]) > 40 or kind == "tritanopia"


def words(spec, path):
    """The texts of a drawn chart, in their order."""
    nodes = ElementTree.fromstring(drawn(spec, path)).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(node.itertext()) for node in nodes]


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
@pytest.mark.parametrize("log", [False, True])
def test_axes_tell_whole_epochs_and_values_within_a_power_of_ten(epochs, log, tmp_path):
    shares = [Interval(0.9 - 0.02 * i / epochs, math.nan, math.nan, 1) for i in range(epochs)]
    rows = curves.curve_rows("a", "", range(1, epochs + 1), shares)
    spec = curves.curves(rows, "share", colours={"a": "@s0"}, last=epochs, log=log, unit=100)
    found = words(spec, tmp_path / "a.svg")
    x = found[: found.index("epoch")]
    assert [tick for tick in x if tick] and all(tick.isdecimal() or not tick for tick in x)
    y = [float(tick) for tick in found[found.index("epoch") + 1 : found.index("share")]]
    assert len(y) >= 3 and all(80 < tick < 96 for tick in y)


def test_points_of_one_hue_are_told_apart_by_what_is_inside_them(tmp_path):
    names = [f"s{i}" for i in range(12)]
    one = Interval(0.5, math.nan, math.nan, 1)
    rows = [point_row(Point(name, one, one), name, "runs") for name in names]
    colours = dict(zip(names, itertools.cycle(theme.HUES), strict=False))
    spec = front(rows, colours)
    marks = re.findall(r'fill="(#\w{6})" stroke="(#\w{6})"', drawn(spec, tmp_path / "a.svg"))
    assert len(set(marks)) == 12
    assert {"s4", "s5, hollow", "s10, grey inside"} <= set(words(spec, tmp_path / "a.svg"))
    few = front(rows[:5], {name: colours[name] for name in names[:5]})
    assert set(names[:5]) <= set(words(few, tmp_path / "a.svg"))


def test_a_legend_has_room_for_its_names():
    def columns(*names):
        return theme.legend_of(names).to_dict()["columns"]

    assert columns("dense1", "dense2") > 3 > columns("a, epochs 9", "quickstart, signed")
    assert columns("quickstart, signed, epochs 9, density 0.05 (2)") == 1


def test_a_long_legend_makes_a_figure_higher(tmp_path):
    def height(count):
        names = [f"a run with a name that is long, {i}" for i in range(count)]
        flat = [1, 2], [Interval(0.5, 0, 0, 1)] * 2
        rows = [row for name in names for row in curves.curve_rows(name, "", *flat)]
        spec = curves.curves(rows, "y", colours=dict.fromkeys(names, "@s0"), last=2)
        return int(re.search(r'height="(\d+)"', drawn(spec, tmp_path / "a.svg"))[1])

    assert height(2) == 240 and height(9) > 320
