"""The parts of the report that need no run: files, numbers, charts, colours."""

import json
import math
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import Interval, mean_interval
from supermask_jax.analysis.report import images, numbers, reading, scales
from supermask_jax.analysis.report.details import (
    bin_scores,
    class_means,
    confusion_matrix,
    dead_units,
)
from supermask_jax.analysis.report.heatmap import confusion_chart, layer_heatmap
from supermask_jax.analysis.report.histogram import score_histogram
from supermask_jax.analysis.report.lines import Line, line_chart
from supermask_jax.analysis.report.markup import Markup, significant, tag
from supermask_jax.analysis.report.scatter import Cloud, front_chart
from supermask_jax.analysis.report.style import DARK, LIGHT
from supermask_jax.config_files import default_identity
from supermask_jax.core import stats
from supermask_jax.errors import UserError

LINE = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.1, "val_accuracy": 0.4,
        "remaining_weights": 0.3, "seconds": 2.0, "step": 7}  # fmt: skip

RUN = {"remaining_weights": 0.3, "test_loss": 1.0, "seconds": 2.0, "num_weights": 9, "layers": {}}
MEAN = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 2}
SET = {"test_accuracy": MEAN, "remaining_weights": MEAN, "num_weights": 9, "seconds": 4.0}


def folder(path, lines, config=None, summary=None, **files):
    path.mkdir()
    known = default_identity() | {"name": "a", "epochs": 3, "method": {"name": "signed"}}
    config = known | (config or {})
    (path / "config.json").write_text(json.dumps(config))
    text = lines if isinstance(lines, str) else "".join(json.dumps(x) + "\n" for x in lines)
    (path / "metrics.jsonl").write_text(text)
    for part in [summary, *files.values()]:
        for run in part if isinstance(part, list) else (part or {}).get("runs", [part or {}]):
            if "test_accuracy" in run:
                own = [line["epoch"] for line in lines if line["seed"] == run["seed"]]
                run |= RUN | {"epoch": max(own)} | run
    if "runs" in (summary or {}):
        summary |= SET | {"num_seeds": config["num_seeds"]}
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
    with pytest.raises(UserError, match="metrics.jsonl is damaged: line 1: "):
        reading.read_folders([bad])
    lacks = folder(tmp_path / "lacks", whole + '{"seed": 0, "epoch": 3}\n')
    with pytest.raises(UserError, match="line 3: it has no train_loss"):
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


def test_texts_and_attributes_are_escaped_and_markup_is_not():
    evil = "<script>&\"'"
    found = tag("p", evil, tag("b", evil), title=evil, data_x=1.0, class_=None)
    root = ElementTree.fromstring(found)
    assert root.text == evil and root.find("b").text == evil
    assert root.attrib == {"title": evil, "data-x": "1"}
    assert tag("p", Markup("<i></i>")) == "<p><i></i></p>"


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_scales_hold_their_values_and_have_a_few_round_ticks(low, width):
    scale = scales.linear([low, low + width], 0, 100)
    assert scale.low <= low + 1e-6 * width and scale.high >= low + width * (1 - 1e-6)
    assert 2 <= len(scale.ticks) <= 8
    assert len({scale.label(tick) for tick in scale.ticks}) == len(scale.ticks)
    step = scale.ticks[1] - scale.ticks[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 3) in (1, 2, 5)


@given(st.floats(1e-4, 1e4), st.floats(1.0, 1e5))
def test_logarithmic_scales_have_ticks_however_narrow(low, ratio):
    scale = scales.logarithmic([low, 0.0, math.nan, low * ratio], 0, 100)
    assert scale.low < low and scale.high > low * ratio
    assert 2 <= len(scale.ticks) <= 11
    assert 0 < scale(low) <= scale(low * ratio) < 100
    assert scale(0.0) == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7))
def test_labels_are_moved_apart_in_their_order(places):
    moved = scales.spread(places, 13, 0, 100)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(moved[b] - moved[a] > 13 - 1e-9 for a, b in zip(order, order[1:], strict=False))
    assert min(moved) >= 0 and max(moved) <= 100


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
    shown = score_histogram("dense1", found)
    assert "2 inverted" in shown and shown.count('class="cut"') == 2


def test_confusion_means_and_dead_units():
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1])
    matrix = confusion_matrix(labels, predicted, 3)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 1, 0], [0, 1, 0]])
    pictures = np.uint8([[[[10]]], [[[20]]], [[[30]]], [[[255]]]])
    np.testing.assert_array_equal(class_means(pictures, labels, 4)[:, 0, 0, 0], [15, 30, 255, 0])
    assert dead_units(np.int8([[[0, 1], [0, 0]]])) == 1
    shown = confusion_chart(matrix, ["cat", "dog", "frog"])
    assert "1 of true cat\npredicted frog" in shown


def test_kernels_lie_on_a_sheet_in_their_order():
    mask = np.zeros((1, 2, 3, 3), np.int8)
    mask[0, 1, 2, 1] = -1  # filter 1, last column of the last channel
    mask[0, 0, 0, 2] = 1  # filter 2, in the second row
    sheet = images.kernel_sheet(mask, 2)
    assert sheet.shape == (2 * 2 + 1, 2 * 8, 4)
    assert tuple(sheet[1, 8 + 1 + 5]) == (*images.INVERTED, 255)
    assert tuple(sheet[3, 1]) == (*images.KEPT, 255)
    assert int((sheet[..., 3] == 255).sum()) == 2


def test_charts_survive_numbers_that_cannot_be_drawn():
    bad = Interval(math.nan, math.nan, math.nan, 1)
    values = [Interval(0.5, 0.4, 0.6, 2), bad, Interval(0.0, math.nan, math.nan, 1)]
    for log in (False, True):
        text = line_chart(
            [Line("a", [1, 2, 3], values, 0, end_label="a"), Line("b", [1], [bad], 7)],
            title="t", show=significant, log=log,
        )  # fmt: skip
        ElementTree.fromstring(text)
        assert 'nan"' not in text and "inf" not in text
    nothing = Point("none", Interval(0.0, math.nan, math.nan, 1), values[0])
    text = front_chart([Cloud(nothing, [], [(0.0, math.nan)], 0)], [nothing], "t")
    ElementTree.fromstring(text)
    assert "nan" not in text.replace("none", "")
    names = [f"layer{i}" for i in range(110)]
    grid = np.linspace(0, 1, 110)[:, None] * np.ones(400)
    text = layer_heatmap(names, range(1, 401), grid, title="t", show=str, log=True)
    assert len(text) < 60_000 and "layer109" in text


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
