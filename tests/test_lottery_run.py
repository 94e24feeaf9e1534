"""A grid of levels: what each starts from and ends with, and whose folders it reads."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lottery_helpers import LAYERS, arrays, config

from supermask_jax import experiment, lottery
from supermask_jax.analysis.results import mean_rows
from supermask_jax.commands import lottery as lottery_command
from supermask_jax.core.counting import num_kept
from supermask_jax.core.trees import named_leaves
from supermask_jax.data.pipeline import batch_at
from supermask_jax.errors import UserError
from supermask_jax.lottery.actions import MASK0_ACTIONS, MASK1_ACTIONS
from supermask_jax.lottery.criteria import CRITERIA, SIGN_MASKS
from supermask_jax.training.arrays import write_arrays


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Level 0 and two cells of two levels each, and one without training."""
    path = tmp_path_factory.mktemp("grid") / "run"
    settings = config({"mask0": "zero,frozen_at_init"})
    return settings, path, lottery.run(settings, path, quiet=True)


def test_levels_prune_rewind_and_freeze(grid):
    _, path, _ = grid
    origin = arrays(path / "level_00", "weights_at_0")
    for mask0 in ("zero", "frozen_at_init"):
        before, old = path / "level_00", {name: 1 for name in LAYERS}
        for level in (1, 2):
            folder = path / f"large_final-rewind-{mask0}" / f"level_{level:02d}"
            masks, final = dict(np.load(folder / "masks.npz")), arrays(folder)
            for name, mask in masks.items():
                score = np.abs(arrays(before)[name])
                assert np.all(mask <= old[name])
                assert score[mask == 1].min() >= score[(mask == 0) & (old[name] == 1)].max()
                initial = origin[f"params/{name}"]
                frozen = initial if mask0 == "frozen_at_init" else np.zeros_like(initial)
                np.testing.assert_array_equal(final[name][mask == 0], frozen[mask == 0])
                assert np.mean(final[name][mask == 1] != initial[mask == 1]) > 0.9
            before, old = folder, masks


def test_densities_are_products_of_the_shares(grid):
    _, path, rows = grid
    left = dict(LAYERS)
    for level in (1, 2):
        left = {n: num_kept(0.9 if "3" in n else 0.5, count) for n, count in left.items()}
        folder = path / "large_final-rewind-zero" / f"level_{level:02d}"
        summary = json.loads((folder / "summary.json").read_text())
        found = {name: layer["kept"] for name, layer in summary["layers"].items()}
        assert found == left
        row = next(r for r in rows if r["level"] == level)
        assert row["density"] == pytest.approx(sum(left.values()) / sum(LAYERS.values()))


def test_a_finished_grid_is_read_and_not_computed(grid, monkeypatch):
    settings, path, rows = grid
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if "level_" in str(p)}
    monkeypatch.setattr(experiment, "load_data", None)  # Nothing may ask for data.
    assert lottery.run(settings, path, quiet=True) == rows
    assert before == {p: p.stat().st_mtime_ns for p in path.rglob("*") if "level_" in str(p)}
    assert json.loads((path / "lottery.json").read_text())["rows"] == rows


def test_the_table_lists_every_level(grid):
    lines = lottery_command.table(mean_rows([grid[2]])).splitlines()
    assert lines[0].split()[:5] == ["criterion", "mask1", "mask0", "level", "density"]
    cells = [f"{mask0} {level}" for mask0 in ("zero", "frozen_at_init") for level in (1, 2)]
    wanted = ["- - - 0", *(f"large_final rewind {cell}" for cell in cells)]
    assert [" ".join(line.split()[:4]) for line in lines[1:]] == wanted
    assert lines[2].split()[4] == "51.72"


def forward(layers, images):
    """Logits of the network of `config`, in NumPy: {path: weights} on standardised images."""
    pixels = images.reshape(len(images), -1).astype(np.float64)
    hidden = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True)
    for name in LAYERS:
        hidden = hidden @ layers[name]
        if name != "dense3/kernel":
            hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    return hidden


def test_masks_without_training(grid):
    _, path, _ = grid
    pruning = {"mask1": "rewind,signed_constant", "mask0": "zero,frozen_at_init"}
    settings = config({"criterion": "large_final_same_sign", "untrained": True, **pruning})
    rows = [row for row in lottery.run(settings, path, quiet=True) if not row["trained"]]
    found = {(row["mask1"], row["mask0"], row["level"]): row for row in rows}
    assert len(found) == len(rows) == 8
    origin, final = arrays(path / "level_00", "weights_at_0"), arrays(path / "level_00")
    origin = {name: origin[f"params/{name}"] for name in LAYERS}
    constants = {}
    for name, size in LAYERS.items():
        score = np.where(np.sign(origin[name]) == np.sign(final[name]), np.abs(final[name]), -1)
        mask = np.zeros(size)
        kept = num_kept(0.9 if "3" in name else 0.5, size)
        mask[np.argsort(-score.ravel())[:kept]] = 1
        constants[name] = np.sign(origin[name]) * origin[name].std() * mask.reshape(score.shape)
    split = experiment.load_data(settings).test

    def accuracy(layers):
        return pytest.approx(np.mean(forward(layers, split.images).argmax(1) == split.labels))

    row = found["signed_constant", "zero", 1]
    assert row["test_accuracy"] == accuracy(constants)
    counts = [num_kept(0.9 if "3" in name else 0.5, size) for name, size in LAYERS.items()]
    assert row["density"] == pytest.approx(sum(counts) / sum(LAYERS.values()))
    # Kept or frozen, every weight is the one that level 0 began with.
    for level in (1, 2):
        assert found["rewind", "frozen_at_init", level]["test_accuracy"] == accuracy(origin)


def test_a_sign_mask_of_level_0_is_one_level(grid):
    _, path, _ = grid
    settings = config({"criterion": "same_sign,large_final", "untrained": True})
    rows = lottery.run(settings, path, quiet=True)[1:]
    found = [(row["criterion"], row["level"]) for row in rows]
    assert found == [("same_sign", 1), ("large_final", 1), ("large_final", 2)]


def test_one_shot_levels_prune_level_0(grid):
    _, path, _ = grid
    settings = config({"criterion": "small_final,same_sign", "mode": "one_shot"})
    rows = lottery.run(settings, path, quiet=True)[1:]
    found = [(row["criterion"], row["level"]) for row in rows]
    assert found == [("small_final", 1), ("small_final", 2), ("same_sign", 1)]
    final = arrays(path / "level_00")
    masks = dict(np.load(path / "small_final-rewind-zero" / "level_02" / "masks.npz"))
    for name, mask in masks.items():
        magnitude = np.abs(final[name])
        assert mask.sum() == num_kept((0.9 if "3" in name else 0.5) ** 2, mask.size)
        assert magnitude[mask == 1].max() <= magnitude[mask == 0].min()


def test_every_criterion_and_action_runs(grid):
    _, path, _ = grid
    for axis, names in (
        ("criterion", [*CRITERIA, *SIGN_MASKS]),
        ("mask1", MASK1_ACTIONS),
        ("mask0", MASK0_ACTIONS),
    ):
        settings = config({axis: ",".join(names), "untrained": True, "levels": 1})
        rows = lottery.run(settings, path, quiet=True)[1:]
        assert [row[axis] for row in rows] == list(names)


def test_snip_ranks_the_gradient_at_the_start_on_the_first_batch(grid):
    settings, path, _ = grid
    lottery.run(config({"criterion": "snip", "untrained": True}), path, quiet=True)
    plain = lottery.split_config(settings)[0]
    job = experiment.build(plain)
    train = experiment.split_data(experiment.load_data(plain), plain, job.layout).train
    batch = batch_at(*train, job.order()(0)[0], 0, 128)

    def loss(params):
        logits, _ = job.apply_fn(params, {}, batch["image"], train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    origin = arrays(path / "level_00", "weights_at_0")
    params = {n.split("/")[0]: {"kernel": jnp.asarray(origin[f"params/{n}"])} for n in LAYERS}
    found = arrays(path / "level_00", "gradient_at_0")
    for name, expected in named_leaves(jax.jit(jax.grad(loss))(params)).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-7)


def test_folders_of_other_runs(grid, tmp_path):
    settings, path, _ = grid
    with pytest.raises(UserError, match=r"level_01 holds a run of another config.*recipe\.keep"):
        lottery.run(config({"keep": 0.6}), path, quiet=True)
    longer = config()
    longer.epochs = 3
    with pytest.raises(UserError, match="level_00 holds a run of another config"):
        lottery.run(longer, path, quiet=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty, and its files are not of a lottery run"):
        lottery.run(settings, tmp_path, quiet=True)


def test_a_level_over_another_level_0_is_refused(grid, tmp_path):
    settings, path, _ = grid
    shutil.copytree(path, tmp_path / "run")
    final = arrays(path / "level_00")
    other = {name: array[::-1] for name, array in final.items()}
    write_arrays(tmp_path / "run" / "level_00" / "weights_final.npz", other)
    with pytest.raises(UserError, match="level_01 holds a run of another config .level_sha256"):
        lottery.run(settings, tmp_path / "run", quiet=True)
