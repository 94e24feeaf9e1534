"""The parts of the report that need no run: files, numbers, charts, colours."""

import itertools
import json
import math
import re
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chart_helpers import drawn, rows_of

from supermask_jax.analysis.charts import curves, grids, theme
from supermask_jax.analysis.charts.front import front, point_row
from supermask_jax.analysis.charts.theme import DARK, LIGHT
from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval
from supermask_jax.analysis.report import images, numbers, page, reading
from supermask_jax.analysis.report.details import (
    Details,
    bin_scores,
    class_means,
    confusion_matrix,
    dead_units,
)
from supermask_jax.core import stats
from supermask_jax.errors import UserError

LINE = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.1, "val_accuracy": 0.4,
        "remaining_weights": 0.3, "seconds": 2.0}  # fmt: skip


def folder(path, lines, config=None, summary=None, **files):
    path.mkdir()
    config = {"name": "a", "epochs": 3, "seed": 0, "num_seeds": 1, "method": {"name": "signed"},
              "model": {"name": "fcn"}, "data": {"name": "digits"},
              "protocol": "validation"} | (config or {})  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    text = lines if isinstance(lines, str) else "".join(json.dumps(x) + "\n" for x in lines)
    (path / "metrics.jsonl").write_text(text)
    for name, value in {"summary": summary, **files}.items():
        if value is not None:
            (path / f"{name}.json").write_text(json.dumps(value))
    return path


def lines(epochs=3, seed=0, **more):
    return [LINE | {"seed": seed, "epoch": i + 1} | more for i in range(epochs)]


def grouped(*folders, defaults=None):
    return reading.group_runs(reading.read_folders(folders), defaults or {})


def test_layer_shares_are_those_of_the_counts():
    masks = {
        "a": {"kernel": jnp.int8([[1, -1, 0, 0], [-1, -1, 0, 0]])},
        "b": {"kernel": jnp.int8([0, 0])},
        "coats": {"kernel": jnp.int8([3, 0, 1, 2])},
    }
    found = jax.jit(stats.layer_shares)(masks)
    names = ("a/kernel", "b/kernel", "coats/kernel")
    assert found["layer_density"] == dict(zip(names, (0.5, 0, 0.75), strict=True))
    assert found["layer_inverted"] == dict(zip(names, (0.75, 0, 0), strict=True))
    assert stats.layer_shares({}) == {}


def test_seeds_of_a_set_that_are_done_have_their_summary(tmp_path):
    path = folder(
        tmp_path / "a", [*lines(), *lines(1, seed=1)], {"num_seeds": 2},
        **{"seeds_0-0": [{"seed": 0, "test_accuracy": 0.75, "remaining_weights": 0.5}]},
    )  # fmt: skip
    (group,) = grouped(path)
    found = numbers.headline(group)
    assert (found.what, found.accuracy.mean, found.accuracy.n) == ("test accuracy", 0.75, 1)
    assert [bool(run.summary) for run in group.runs] == [True, False]


def test_a_line_that_a_kill_tore_is_left_out_and_any_other_damage_is_an_error(tmp_path):
    whole = "".join(json.dumps(line) + "\n" for line in lines(2))
    torn = folder(tmp_path / "torn", whole + '{"seed": 0, "epo')
    assert len(reading.read_folders([torn])[0].lines) == 2
    bad = folder(tmp_path / "bad", '{"seed": 0, "epo\n' + whole)
    with pytest.raises(UserError, match="metrics.jsonl is damaged: line 1 has no JSON"):
        reading.read_folders([bad])
    lacks = folder(tmp_path / "lacks", whole + '{"seed": 0, "epoch": 3}\n')
    with pytest.raises(UserError, match="line 3 has no train_loss"):
        reading.read_folders([lacks])
    summary = folder(tmp_path / "summary", whole)
    (summary / "summary.json").write_text("{")
    with pytest.raises(UserError, match="summary.json is damaged"):
        reading.read_folders([summary])


def test_curves_are_means_over_the_seeds_that_have_the_epoch(tmp_path):
    (group,) = grouped(
        folder(tmp_path / "a", lines(3, val_accuracy=0.2)),
        folder(tmp_path / "b", lines(2, seed=1, val_accuracy=0.4), {"seed": 1}),
    )
    found = numbers.curve(group, lambda line: line["val_accuracy"])
    assert found.epochs == [1, 2, 3]
    assert [round(value.mean, 6) for value in found.values] == [0.3, 0.3, 0.2]
    assert found.values[0] == mean_interval([0.2, 0.4])
    assert [value.n for value in found.values] == [2, 2, 1]
    assert numbers.layer_curves(group, "layer_density") == {}


def test_scores_are_counted_by_what_became_of_them():
    scores = np.float32([-2, -0.5, -0.01, 0, 0.01, 0.3, 0.5, np.nan])
    mask = np.int8([-1, -1, 0, 0, 0, 1, 1, 0])
    found = bin_scores(scores, mask, (-0.02, 0.02))
    totals = {fate: int(counts.sum()) for fate, counts in found.counts.items()}
    assert totals == {"hidden": 3, "kept": 2, "inverted": 2}
    assert found.cuts == (-0.02, 0.02)
    read_off = bin_scores(scores, mask)
    np.testing.assert_allclose(read_off.cuts, (-0.255, 0.155))
    one_sided = bin_scores(np.float32([-3, -1, 2, 4]), np.int8([0, 0, 1, 1]))
    assert one_sided.cuts == (0.0,)  # The gap holds it: rather that than 0.5.
    assert bin_scores(scores, np.zeros(8, np.int8)).cuts == ()
    bars = rows_of(grids.histogram(found.edges, found.counts, found.cuts))
    assert sum(row["count"] for row in bars if row["fate"] == "inverted") == 2
    assert [row["cut"] for row in bars if row["cut"] != ""] == [-0.02, 0.02]


def test_confusion_means_and_dead_units():
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1])
    matrix = confusion_matrix(labels, predicted, 3)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 1, 0], [0, 1, 0]])
    pictures = np.uint8([[[[10]]], [[[20]]], [[[30]]], [[[255]]]])
    np.testing.assert_array_equal(class_means(pictures, labels, 4)[:, 0, 0, 0], [15, 30, 255, 0])
    assert dead_units(np.int8([[[0, 1], [0, 0]]])) == 1
    cells = rows_of(grids.confusion(matrix, ["cat", "dog", "frog"]))
    assert ("cat", "frog", 1) in {(c["true"], c["predicted"], c["images"]) for c in cells}
    assert sum(cell["images"] for cell in cells) == 4


def test_kernels_lie_on_a_sheet_in_their_order():
    mask = np.zeros((1, 2, 3, 3), np.int8)
    mask[0, 1, 2, 1] = -1  # filter 1, last column of the last channel
    mask[0, 0, 0, 2] = 1  # filter 2, in the second row
    sheet = images.kernel_sheet(mask, 2)
    assert sheet.shape == (2 * 2 + 1, 2 * 8, 4)
    assert tuple(sheet[1, 8 + 1 + 5]) == (*images.INVERTED, 255)
    assert tuple(sheet[3, 1]) == (*images.KEPT, 255)
    assert int((sheet[..., 3] == 255).sum()) == 2


def test_a_group_is_made_of_its_levels(tmp_path):
    recipe = {"criterion": "large_final", "mask1": "rewind", "mask0": "zero"}

    def level(number, seed):
        config = {"seed": seed, "method": {"name": "dense"}}
        if number:
            config |= {"level": number, "recipe": recipe, "level_sha256": f"{number}{seed}"}
        found = lines(seed=seed, remaining_weights=0.8**number)
        summary = {"seed": seed, "test_accuracy": 0.9, "remaining_weights": 0.8**number}
        return folder(tmp_path / f"{number}-{seed}", found, config, summary)

    other = folder(tmp_path / "other", lines(), {"name": "b"})
    groups = grouped(*(level(n, seed) for n in (2, 0, 1) for seed in (0, 1)), other)
    (ladder,), alone, named = numbers.ladders(groups)
    wanted = ["a, level 0", *(f"large_final-rewind-zero, level {n}" for n in (1, 2))]
    assert [group.label for group in ladder.levels] == wanted
    assert [group.label for group in alone] == ["b"]
    assert [group.label for group in named] == [wanted[2], wanted[0], wanted[1], "b"]
    assert [len(group.runs) for group in ladder.levels] == [2, 2, 2]  # Seeds, though masks differ.
    found = page.sections(groups, [Details(0)] * 4, [])
    charts = {chart["name"]: chart["spec"] for chart in page.charts_of(found)}
    levels = [row for row in rows_of(charts["front"]) if row["kind"] == "level"]
    assert [(row["order"], row["remaining"]) for row in levels] == [(0, 100), (1, 80), (2, 64)]
    assert {row["series"] for row in levels} == {"large_final-rewind-zero"}
    assert len({row["series"] for row in rows_of(charts["ladder-0-accuracy"])}) == 3
    assert '"range": "ordinal"' in json.dumps(charts["ladder-0-accuracy"])  # One ramp.
    folded = {section["id"]: section["folded"] for section in found}
    assert list(folded.values()) == [False, False, *[True] * 4, False]


def test_what_is_sampled_and_what_is_most_probable_have_names(tmp_path):
    method = {"name": "bernoulli", "variant": "sampled", "evaluation": "sampled",
              "eval_samples": 10}  # fmt: skip
    config = {"method": method, "model": {"name": "fcn"}, "data": {"name": "digits"}}
    summary = {"seed": 0, "test_accuracy": 0.9, "remaining_weights": 0.5}
    groups = grouped(folder(tmp_path / "a", lines(), config, summary))
    masks = {"dense1/kernel": np.int8([[0, 1], [1, 0]])}
    details = Details(0, masks, confusion=np.array([[3, 1], [0, 4]]))
    found = page.sections(groups, [details], [])
    text = page.report(groups, found, page.Origin("c", "t"))
    assert text.count("mean of 10 sampled masks") >= 4  # Verdict, both numbers, seeds.
    assert "Most probable masks of seed 0" in text  # Layers.
    assert "most probable masks of seed 0: 7 of 8 right" in text
    once = dict(method, evaluation="rounded")
    (group,) = grouped(folder(tmp_path / "b", lines(), config | {"method": once}, summary))
    assert numbers.sampled(group) == ""


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
    five = curves.curve_rows("a", "test", [1, 2], values, dict.fromkeys(range(5), seeds[0]))
    assert {row["seed"] for row in five} == {"mean"}
    assert numbers.interval_of([0.99, 0.95]).high == 1


def y_domain(spec):
    scales = [layer["encoding"]["y"].get("scale", {}) for layer in spec["layer"]
              if "y" in layer["encoding"]]  # fmt: skip
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
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def lab(colour, matrix):
    rgb = np.clip(np.array(matrix) @ luminance(colour)[0], 0, 1)
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
