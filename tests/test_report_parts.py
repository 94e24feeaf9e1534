"""The parts of the report that need no run: files, numbers, levels, names."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chart_helpers import rows_of

from supermask_jax.analysis.charts import grids
from supermask_jax.analysis.front import Point
from supermask_jax.analysis.intervals import mean_interval
from supermask_jax.analysis.report import images, page
from supermask_jax.analysis.report.details import (
    Details,
    bin_scores,
    class_means,
    confusion_matrix,
    dead_units,
)
from supermask_jax.analysis.report.groups import group_runs, ladders
from supermask_jax.analysis.runs import read_folders
from supermask_jax.config.files import default_identity
from supermask_jax.core import stats
from supermask_jax.errors import UserError

LINE = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.1, "val_accuracy": 0.4}
LINE |= {"remaining_weights": 0.3, "seconds": 2.0, "step": 7}

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
    return group_runs(read_folders(folders), defaults or {})


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
    done = [{"seed": 0, "test_accuracy": 0.75, "remaining_weights": 0.5}]
    both = [*lines(), *lines(1, seed=1)]
    path = folder(tmp_path / "a", both, {"num_seeds": 2}, **{"seeds_0-0": done})
    (group,) = grouped(path)
    found = group.headline
    assert (found.what, found.accuracy.mean, found.accuracy.n) == ("test accuracy", 0.75, 1)
    assert [bool(run.summary) for run in group.runs] == [True, False]


def test_a_line_that_a_kill_tore_is_left_out_and_any_other_damage_is_an_error(tmp_path):
    whole = "".join(json.dumps(line) + "\n" for line in lines(2))
    torn = folder(tmp_path / "torn", whole + '{"seed": 0, "epo')
    assert len(read_folders([torn])[0].lines) == 2
    bad = folder(tmp_path / "bad", '{"seed": 0, "epo\n' + whole)
    with pytest.raises(UserError, match="metrics.jsonl is damaged: line 1: "):
        read_folders([bad])
    lacks = folder(tmp_path / "lacks", whole + '{"seed": 0, "epoch": 3}\n')
    with pytest.raises(UserError, match="line 3: it has no step"):
        read_folders([lacks])
    summary = folder(tmp_path / "summary", whole)
    (summary / "summary.json").write_text("{")
    with pytest.raises(UserError, match="summary.json is damaged"):
        read_folders([summary])


def test_curves_are_means_over_the_seeds_that_have_the_epoch(tmp_path):
    (group,) = grouped(
        folder(tmp_path / "a", lines(3, val_accuracy=0.2)),
        folder(tmp_path / "b", lines(2, seed=1, val_accuracy=0.4), {"seed": 1}),
    )
    found = group.curve("val_accuracy")
    assert found.epochs == [1, 2, 3]
    assert [round(value.mean, 6) for value in found.values] == [0.3, 0.3, 0.2]
    assert found.values[0] == mean_interval([0.2, 0.4])
    assert [value.n for value in found.values] == [2, 2, 1]
    assert group.layers("layer_density") == {}


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
    for parts in ([(pictures, labels)], [(pictures[:1], labels[:1]), (pictures[1:], labels[1:])]):
        np.testing.assert_array_equal(class_means(parts, 4)[:, 0, 0, 0], [15, 30, 255, 0])
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


def test_kernels_of_colours_are_colours():
    kernel = np.zeros((1, 2, 3, 3), np.float32)
    kernel[0, 0, :, 1] = 0.2, -0.2, 0.1
    kernel[0, 1, 2, 2] = np.nan
    sheet = images.colour_sheet(kernel, 2)
    assert sheet.shape == (5, 8, 4)
    assert sheet[1, 5].tolist() == [255, 0, 191, 255]
    assert sheet[1, 6].tolist() == sheet[3, 2].tolist() == [128, 128, 128, 255]
    assert int((sheet[..., 3] == 255).sum()) == 3 * 2


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
    ((cell, levels),) = ladders(groups).items()
    wanted = ["a, level 0", *(f"large_final-rewind-zero, level {n}" for n in (1, 2))]
    assert [group.label for group in levels] == wanted and cell == "large_final-rewind-zero"
    assert [group.label for group in groups] == [wanted[2], wanted[0], wanted[1], "b"]
    assert [len(group.runs) for group in levels] == [2, 2, 2]  # Seeds, though masks differ.
    found = page.content(groups, [Details(0)] * 4, [])
    assert [group.label for group in found["alone"]] == ["b"]
    charts = found["charts"]
    levels = [row for row in rows_of(charts["front"]) if row["kind"] == "level"]
    assert [(row["order"], row["remaining"]) for row in levels] == [(0, 100), (1, 80), (2, 64)]
    assert {row["series"] for row in levels} == {"large_final-rewind-zero"}
    assert len({row["series"] for row in rows_of(charts["ladder-0-accuracy"])}) == 3
    assert '"range": "ordinal"' in json.dumps(charts["ladder-0-accuracy"])  # One ramp.
    text = page.render(found, page.Origin("c", "t"))
    assert text.count('<details class="group"') == 4 and "rewind-zero, level by level" in text


def test_what_is_sampled_and_what_is_most_probable_have_names(tmp_path):
    method = {"name": "bernoulli", "variant": "sampled", "evaluation": "sampled"}
    config = {"method": method | {"eval_samples": 10}}
    summary = {"seed": 0, "test_accuracy": 0.9, "remaining_weights": 0.5}
    groups = grouped(folder(tmp_path / "a", lines(), config, summary))
    masks = {"dense1/kernel": np.int8([[0, 1], [1, 0]])}
    details = Details(0, masks, confusion=np.array([[3, 1], [0, 4]]))
    paper = Point("A paper", mean_interval([0.25]), mean_interval([0.875]))
    text = page.render(page.content(groups, [details], [paper]), page.Origin("c", "t"))
    assert '<th scope="row">A paper</th><td>87.50</td><td>25.00</td>' in text
    assert text.count("mean of 10 sampled masks") >= 4  # Verdict, both numbers, seeds.
    assert "Most probable masks of seed 0" in text  # Layers.
    assert "most probable masks of seed 0: 7 of 8 right" in text
    once = dict(method, evaluation="rounded")
    (group,) = grouped(folder(tmp_path / "b", lines(), config | {"method": once}, summary))
    assert group.sampled == ""
