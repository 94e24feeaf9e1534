"""Levels as training runs: what they start from, rewinding, kills, and the doorway."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import ROOT, assert_trees_close, single_threaded, tiny_config

from supermask_jax import experiment, lottery
from supermask_jax.analysis.results import mean_rows
from supermask_jax.commands import lottery as lottery_command
from supermask_jax.config import dense
from supermask_jax.config import lottery as section
from supermask_jax.core.actions import MASK0_ACTIONS, MASK1_ACTIONS
from supermask_jax.core.criteria import CRITERIA
from supermask_jax.core.levels import unpruned
from supermask_jax.core.pruning import num_kept
from supermask_jax.core.recipes import SIGN_MASKS
from supermask_jax.core.trees import digest, named_leaves
from supermask_jax.data.pipeline import batch_at
from supermask_jax.errors import UserError
from supermask_jax.training.arrays import once, read_arrays, write_arrays
from supermask_jax.training.rounds import level_job, make_level, train_dense

LAYERS = {"dense1/kernel": 64 * 30, "dense2/kernel": 30 * 10, "dense3/kernel": 10 * 10}
STEPS = 11  # in an epoch


def config(pruning=()):
    """Two epochs of a small dense net on digits, and two levels of large_final."""
    tiny = tiny_config(epochs=2)
    tiny.method = dense()
    entries = {"levels": 2, "keep": 0.5, "keep_layers": {"dense3": 0.9}}
    tiny.lottery = section(**entries | dict(pruning))
    return tiny


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Level 0 and two cells of two levels each, and one without training."""
    path = tmp_path_factory.mktemp("grid") / "run"
    settings = config({"mask0": "zero,frozen_at_init"})
    return settings, path, lottery.run(settings, path, quiet=True)


def arrays(path, name="weights_final"):
    return read_arrays(path / f"{name}.npz")


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
    assert [line.split()[:4] for line in lines[1:]] == [
        ["-", "-", "-", "0"],
        *(["large_final", "rewind", mask0, str(level)]
          for mask0 in ("zero", "frozen_at_init") for level in (1, 2)),
    ]  # fmt: skip
    assert lines[2].split()[4] == "51.72"


def test_masks_without_training(grid, tmp_path):
    _, path, _ = grid
    settings = config({"criterion": "large_final_same_sign", "mask1": "rewind,signed_constant",
                       "untrained": True})  # fmt: skip
    rows = [row for row in lottery.run(settings, path, quiet=True) if not row["trained"]]
    assert [(row["mask1"], row["level"]) for row in rows] == [
        ("rewind", 1), ("rewind", 2), ("signed_constant", 1), ("signed_constant", 2)
    ]  # fmt: skip
    origin, final = arrays(path / "level_00", "weights_at_0"), arrays(path / "level_00")
    split = experiment.load_data(settings).test
    pixels = split.images.reshape(len(split.labels), -1).astype(np.float64)
    hidden = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True)
    for i, (name, size) in enumerate(LAYERS.items()):
        w_i, w_f = origin[f"params/{name}"], final[name]
        score = np.where(np.sign(w_i) == np.sign(w_f), np.abs(w_f), -1).ravel()
        mask = np.zeros(size)
        mask[np.argsort(-score)[: num_kept(0.9 if "3" in name else 0.5, size)]] = 1
        constant = np.sign(w_i) * w_i.std()
        hidden = hidden @ (constant * mask.reshape(w_i.shape))
        if i < 2:
            hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    assert rows[2]["test_accuracy"] == pytest.approx(np.mean(hidden.argmax(1) == split.labels))
    assert rows[2]["density"] == pytest.approx(
        sum(num_kept(0.9 if "3" in n else 0.5, s) for n, s in LAYERS.items()) / sum(LAYERS.values())
    )


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
    batch = batch_at(*train, job.order()(0), 0, 128)

    def loss(params):
        logits, _ = job.apply_fn(params, {}, batch["image"], train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    origin = arrays(path / "level_00", "weights_at_0")
    params = {n.split("/")[0]: {"kernel": jnp.asarray(origin[f"params/{n}"])} for n in LAYERS}
    found = arrays(path / "level_00", "gradient_at_0")
    for name, expected in named_leaves(jax.jit(jax.grad(loss))(params)).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-7)


REWIND = STEPS + 3


@pytest.fixture(scope="module")
def rewound(tmp_path_factory):
    """A level 1 that prunes nothing, started 13 steps into a run without moments."""
    path = tmp_path_factory.mktemp("rewound") / "run"
    plain = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}
    settings = config({"keep": 1.0, "keep_layers": {}, "levels": 1, "rewind_steps": REWIND})
    settings.optimizer = plain
    settings.schedule.every = 1.0  # A schedule out of step would show.
    return path, lottery.run(settings, path, quiet=True)


def test_rewinding_takes_up_weights_schedule_and_data_where_level_0_had_them(rewound):
    path, rows = rewound
    levels = [arrays(path / "level_00"), arrays(path / "large_final-rewind-zero" / "level_01")]
    assert_trees_close(*levels, rtol=1e-5, atol=1e-6)
    assert rows[0]["test_accuracy"] == rows[1]["test_accuracy"]
    moved = arrays(path / "level_00", f"weights_at_{REWIND}")
    assert all(np.abs(moved[f"params/{n}"] - levels[0][n]).max() > 1e-3 for n in LAYERS)
    lines = (path / "large_final-rewind-zero/level_01/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2 * STEPS]


def test_a_rewound_level_starts_at_step_k_with_fresh_moments(tmp_path):
    settings = config({"rewind_steps": REWIND, "prune_at_init": True, "criterion": "large_init"})
    settings.optimizer = {"name": "adam", "learning_rate": 1e-3}
    job, (recipe,) = lottery.build(settings)
    rounds = lottery._rounds(*lottery.split_config(settings), job, True)
    dense = train_dense(rounds, tmp_path / "run")
    level = make_level(rounds, dense, recipe, unpruned(dense.weights), None, dense.folder, 1)
    state, _ = level_job(rounds, dense, level).create(jax.random.key(0))
    adam, schedule = state.opt_state
    assert (int(state.step), int(schedule.count), int(adam.count)) == (REWIND, REWIND, 0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((adam.mu, adam.nu, state.sums)))
    weights = arrays(tmp_path / "run" / "level_00", f"weights_at_{REWIND}")
    initial, _ = job.create(job.keys()[0])
    for name, start in named_leaves(state.trainable["weights"]).items():
        np.testing.assert_array_equal(start, weights[f"params/{name}"] * level.masks[name])
        first = named_leaves(initial.trainable["params"])[name]
        assert np.abs(weights[f"params/{name}"] - first).max() > 1e-3


def test_pruning_before_any_training(tmp_path):
    settings = config({"criterion": "snip", "prune_at_init": True, "levels": 1})
    rows = lottery.run(settings, tmp_path / "run", quiet=True)
    assert [row["level"] for row in rows] == [1]
    assert not (tmp_path / "run" / "level_00" / "metrics.jsonl").exists()


# A kill.

ARGV = [
    f"--config={ROOT / 'configs' / 'lottery_fcn.py'}",
    "--config.data.name=digits",
    "--config.model.width=0.1",
    "--config.epochs=30",
    "--config.lottery.levels=1",
    "--criteria=random",
    "--mask1=reshuffle",
    "--mask0=reshuffled",
]


def command(*argv):
    return [sys.executable, str(ROOT / "experiments" / "lottery.py"), *ARGV, *argv]


def environment(tmp_path):
    """One thread; what one process compiled, the next one loads."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
             "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}  # fmt: skip
    return single_threaded() | cache


def doorway(tmp_path, workdir):
    return subprocess.run(
        command(f"--workdir={workdir}"),
        capture_output=True, text=True, timeout=120, env=environment(tmp_path),
    )  # fmt: skip


def outcome(path):
    """Everything the levels ended with, without times."""
    found = {}
    for folder in sorted(path.rglob("level_0*")):
        summary = json.loads((folder / "summary.json").read_text())
        summary.pop("seconds")
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("seconds")
        config = json.loads((folder / "config.json").read_text())
        masks = {n: m.tolist() for n, m in np.load(folder / "masks.npz").items()}
        final = {name: array.tolist() for name, array in arrays(folder).items()}
        found[str(folder.relative_to(path))] = (summary, lines, config, masks, final)
    return found, json.loads((path / "lottery.json").read_text())


def test_a_killed_level_ends_as_if_never_killed(tmp_path):
    whole = doorway(tmp_path, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    path = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole" / "level_00", path / "level_00")
    watched = path / "random-reshuffle-reshuffled" / "level_01"
    process = subprocess.Popen(
        command(f"--workdir={path}"), env=environment(tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not ((watched / "metrics.jsonl").exists()
                   and len((watched / "metrics.jsonl").read_text().splitlines()) > 3):  # fmt: skip
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (watched / "summary.json").exists()
    again = doorway(tmp_path, path)
    assert again.returncode == 0, again.stderr
    assert outcome(path) == outcome(tmp_path / "whole")


# What goes wrong.


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """Undoes what `main` sets."""
    logger = logging.getLogger("supermask_jax")
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def fails(capsys, *argv):
    """Runs the doorway in this process; returns its one line."""
    assert lottery_command.main([*ARGV, *argv]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--criteria=large_fnial"], "unknown mask criterion 'large_fnial': did you mean"),
        (["--criteria="], "names no criterion"),
        (["--mask1=rewnd"], "unknown mask-1 action 'rewnd'"),
        (["--config.lottery.keep=1.5"], "keep is 1.5"),
        (
            ["--config.lottery.keep=0.1", "--config.lottery.levels=4"],
            "would leave none of the 1,920 weights of dense1/kernel",
        ),
        (["--config.lottery.levels=0"], "config.lottery.levels must be at least 1"),
        (["--config.lottery.kep=1"], "unknown entry of config.lottery 'kep'"),
        (
            ["--config.lottery.keep_layers.dense4=0.9"],
            "unknown entry of config.lottery.keep_layers",
        ),
        (["--config.lottery.rewind_steps=100000"], "rewind_steps must be from 0 to "),
        (["--config.method.name=signed"], "config.method.name must be 'dense'"),
        (["--criteria=movement", "--config.lottery.prune_at_init"], "but there are none yet"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, argv, message):
    assert message in fails(capsys, *argv, f"--workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_folders_of_other_runs(capsys, grid, tmp_path):
    settings, path, _ = grid
    with pytest.raises(UserError, match=r"level_01 holds a run of another config.*recipe\.keep"):
        lottery.run(config({"keep": 0.6}), path, quiet=True)
    with pytest.raises(UserError, match="level_00 holds a run of another config"):
        fails_here = config()
        fails_here.epochs = 3
        lottery.run(fails_here, path, quiet=True)
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not empty and holds no level 0" in fails(capsys, f"--workdir={tmp_path}")


def test_a_level_over_another_level_0_is_refused(grid, tmp_path):
    settings, path, _ = grid
    shutil.copytree(path, tmp_path / "run")
    final = arrays(path / "level_00")
    other = {name: array[::-1] for name, array in final.items()}
    write_arrays(tmp_path / "run" / "level_00" / "weights_final.npz", other)
    with pytest.raises(UserError, match="level_01 holds a run of another config .level_sha256"):
        lottery.run(settings, tmp_path / "run", quiet=True)


def test_the_plain_doorway_names_the_section(grid):
    with pytest.raises(UserError, match="unknown config entry config.lottery"):
        experiment.build(grid[0])
    with pytest.raises(UserError, match="the config has no section 'lottery'"):
        lottery.build(tiny_config())


def test_arrays_are_written_once_and_checked(tmp_path):
    path, values = tmp_path / "a.npz", {"x/y": np.arange(3.0)}
    assert once(path, lambda: values)["x/y"].tolist() == [0, 1, 2]
    assert once(path, lambda: 1 / 0)["x/y"].tolist() == [0, 1, 2]
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(2).tobytes()) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot use .*a.npz"):
        read_arrays(path)
    np.savez(path, **{"x/y": np.arange(4.0), "sha256": digest(values)})
    with pytest.raises(UserError, match="its SHA-256 is not the one saved with it"):
        read_arrays(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cut short"):
        read_arrays(path)
    with pytest.raises(UserError, match="cannot write"):
        write_arrays(tmp_path / "none" / "a.npz", values)
