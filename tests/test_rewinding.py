"""What levels start from: rewinding, pruning before any training, and what was drawn once."""

import json
import shutil

import jax
import numpy as np
import pytest
from helpers import assert_trees_close, assert_trees_equal
from lottery_helpers import LAYERS, STEPS, arrays, config

from supermask_jax import experiment, lottery
from supermask_jax.config import weight_init
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError
from supermask_jax.lottery.recipes import Recipe
from supermask_jax.lottery.trainer import LevelTrainer
from supermask_jax.training.environment import key_of

REWIND = STEPS + 3
CELL = "large_final-rewind-zero"


@pytest.fixture(scope="module")
def rewound(tmp_path_factory):
    """A level 1 that prunes nothing, started 14 steps into a run without moments."""
    path = tmp_path_factory.mktemp("rewound") / "run"
    settings = config({"rewind_steps": REWIND})
    settings.optimizer = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}
    settings.schedule.every = 1.0  # A schedule out of step would show.
    levels = LevelTrainer(
        lottery.split_config(settings)[0], lottery.build(settings)[0], path, rewind_steps=REWIND
    )
    (level,) = levels.train_levels(Recipe(keep=1.0), 1)
    return path, levels.dense.summary, level


def test_rewinding_takes_up_weights_schedule_and_data_where_level_0_had_them(rewound):
    path, dense, level = rewound
    levels = [arrays(path / "level_00"), arrays(path / CELL / "level_01")]
    assert_trees_close(*levels, rtol=1e-5, atol=1e-6)
    assert dense["test_accuracy"] == level["test_accuracy"]
    moved = arrays(path / "level_00", f"weights_at_{REWIND}")
    assert all(np.abs(moved[f"params/{n}"] - levels[0][n]).max() > 1e-3 for n in LAYERS)
    lines = (path / CELL / "level_01/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2 * STEPS]


def test_a_rewound_level_starts_at_step_k_with_fresh_moments(tmp_path):
    settings = config({"rewind_steps": REWIND, "prune_at_init": True, "criterion": "large_init"})
    settings.optimizer = {"name": "adam", "learning_rate": 1e-3}
    job, (recipe,) = lottery.build(settings)
    levels = LevelTrainer(
        lottery.split_config(settings)[0],
        job,
        tmp_path / "run",
        rewind_steps=REWIND,
        prune_at_init=True,
    )
    level = levels.prune(recipe, levels.dense, 1)
    state, _ = levels.level_trainer(level).create(jax.random.key(0))
    adam, schedule = state.opt_state
    assert (int(state.step), int(schedule.count), int(adam.count)) == (REWIND, REWIND, 0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((adam.mu, adam.nu, state.sums)))
    weights = arrays(tmp_path / "run" / "level_00", f"weights_at_{REWIND}")
    initial, _ = job.create(key_of(job.words()[0][0]))
    for name, start in named_leaves(state.trainable["weights"]).items():
        np.testing.assert_array_equal(start, weights[f"params/{name}"] * level.masks[name])
        first = named_leaves(initial.trainable["params"])[name]
        assert np.abs(weights[f"params/{name}"] - first).max() > 1e-3


def test_pruning_before_any_training(tmp_path):
    settings = config({"criterion": "snip", "prune_at_init": True, "levels": 1})
    rows = lottery.run(settings, tmp_path / "run", quiet=True)
    assert [row["level"] for row in rows] == [1]
    assert not (tmp_path / "run" / "level_00" / "metrics.jsonl").exists()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Levels of all that a device draws or computes: weights, gradients, fresh values."""
    path = tmp_path_factory.mktemp("drawn") / "run"
    settings = config({"criterion": "snip", "mask1": "signed_reinit", "rewind_steps": 3})
    settings.epochs = 1
    settings.weight_init = weight_init("normal", "xavier")
    return settings, path, lottery.run(settings, path, quiet=True)


@pytest.fixture
def another_generator():
    """Random bits as a JAX version might draw them whose generator differs."""
    with jax.default_prng_impl("rbg"):
        yield


def test_a_finished_grid_outlives_the_random_bits_it_was_drawn_with(
    drawn, another_generator, monkeypatch
):
    settings, path, rows = drawn
    monkeypatch.setattr(experiment, "load_data", None)  # Nothing may ask for data.
    assert lottery.run(settings, path, quiet=True) == rows


def test_fresh_draws_differ_by_level_and_from_the_first_and_lie_in_level_0(drawn):
    _, path, _ = drawn
    assert {file.parent.name for file in path.rglob("fresh*")} == {"level_00"}
    start = arrays(path / "level_00", "weights_at_3")
    one, two = (arrays(path / "level_00", f"fresh_{level:02d}") for level in (1, 2))
    for name in LAYERS:
        assert one[name].std() == pytest.approx(two[name].std(), rel=0.3)
        assert np.all(one[name] != two[name])
        # Three steps leave the first draw much as it was.
        assert abs(np.corrcoef(one[name].ravel(), start[f"params/{name}"].ravel())[0, 1]) < 0.5


def test_folders_from_before_fresh_draws_were_kept_are_read(drawn, tmp_path):
    settings, path, rows = drawn
    shutil.copytree(path, tmp_path / "run")
    (tmp_path / "run" / "level_00" / "fresh_01.npz").unlink()
    assert lottery.run(settings, tmp_path / "run", quiet=True) == rows
    made = arrays(tmp_path / "run" / "level_00", "fresh_01")
    assert_trees_equal(made, arrays(path / "level_00", "fresh_01"))
    (tmp_path / "run" / "level_00" / "fresh_01.npz").unlink()
    with jax.default_prng_impl("rbg"):  # A run has its own generator.
        assert lottery.run(settings, tmp_path / "run", quiet=True) == rows


def test_a_level_may_go_on_from_what_the_one_before_has_trained(tmp_path):
    """All of it: biases of batch norm too, under a schedule that starts again."""
    options = {"sign_in": True, "interpolate_norm": True}
    settings = config({"mask1": "continue", "levels": 1, **options})
    settings.model.norm, settings.model.norm_affine = "all", True
    lottery.run(settings, tmp_path / "run", quiet=True)
    final = arrays(tmp_path / "run" / "level_00")
    job, (recipe,) = lottery.build(settings)
    levels = LevelTrainer(lottery.split_config(settings)[0], job, tmp_path / "run", options=options)
    level = levels.prune(recipe, levels.dense, 1)
    for name, start in level.start.items():
        np.testing.assert_array_equal(start, final[name] * level.masks[name])
    trainer = levels.level_trainer(level, levels.dense.final, **options)
    state, _ = trainer.create(jax.random.key(0))
    for name, start in named_leaves(state.trainable["params"]).items():
        np.testing.assert_array_equal(start, final[name])
    assert "dense1_norm/bn/scale" in named_leaves(state.trainable["params"])
    # What training made of it is in the level's folder, under settings that say how.
    found = arrays(tmp_path / "run" / "large_final-continue-zero" / "level_01")
    assert all(not found[name][mask == 0].any() for name, mask in level.masks.items())
    told = json.loads((tmp_path / "run/large_final-continue-zero/level_01/config.json").read_text())
    assert told["sign_in"] is told["interpolate_norm"] is True
    with pytest.raises(UserError, match="sign_in"):
        settings.lottery.sign_in = False
        lottery.run(settings, tmp_path / "run", quiet=True)
