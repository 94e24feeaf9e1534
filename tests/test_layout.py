"""One device, eight devices, seeds together or alone: the same numbers; and impossible meshes."""

import jax
import numpy as np
import pytest
from helpers import assert_trees_close, tiny_config

from supermask_jax import experiment
from supermask_jax.config import score_init
from supermask_jax.errors import UserError
from supermask_jax.training import sharding
from supermask_jax.training.evaluate import make_evaluate
from supermask_jax.training.loop import make_train_steps
from supermask_jax.training.sharding import choose_layout

METHODS = {
    "dense": {},
    "signed": None,  # As `tiny_config` has it.
    "bernoulli": {"rescale": True},
    "continuous_sparsification": {"density": 0.3},
    "gaussian_gates": {"density": 0.3},
    "hard_concrete": {"density": 0.3},
    "piggyback": {"cut": 0.0, "score_init": score_init("uniform", "he")},
    "probmask": {"density": 0.3},
    "gem_miner": {"density": 0.3, "penalty": 1.0},
    "signed_continuous": {"density": 0.3},
    "signed_gates": {"density": 0.3},
    "edge_popup": {"density": 0.3, "score_init": score_init("uniform", "he")},
    "biprop": {"density": 0.3, "scope": "global", "score_init": score_init("uniform", "he")},
    "signed_topk": {"density": 0.1, "scope": "global", "score_init": score_init("normal", "he")},
    "multicoat": {"densities": (0.5, 0.2), "score_init": score_init("uniform", "he")},
}


def config_of(method, **entries):
    config = tiny_config(**{"optimizer.learning_rate": 0.01} | entries)
    options = METHODS[method]
    if options is not None:
        config.method = {"name": method, **options}
    return config


@pytest.fixture(scope="module")
def data():
    return experiment.load_data(tiny_config())


def after(job, config, data, steps=2, seeds=None, measured=False):
    """State after some steps for each seed, and with `measured` its metrics on held-out data.

    `seeds` of a job of one seed run one after another through the one program.
    """
    splits = experiment.split_data(data, config, job.layout)
    run, measure, found = make_train_steps(job), make_evaluate(job), []
    for one in [job] if seeds is None else [job._replace(seeds=range(s, s + 1)) for s in seeds]:
        state, frozen = one.start()
        first = job.plan.steps_per_epoch - steps  # With the last, partial batch.
        state, loss = run(state, frozen, splits.train, one.order()(1), first, steps)
        kept = {"trainable": state.trainable, "stats": state.batch_stats, "loss": loss}
        rows = measure(state, frozen, splits.val, "val") if measured else [{}] * len(job.seeds)
        found += zip(job.layout.seeds_of(kept), rows, strict=True)
    return found


def assert_same(found, expected):
    for (tree, row), (other_tree, other_row) in zip(found, expected, strict=True):
        assert_trees_close(tree, other_tree, rtol=1e-4, atol=1e-5)
        assert_trees_close(row, other_row, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_eight_devices_and_seeds_together_give_what_one_of_each_does(method, data):
    one = config_of(method)
    measured = method == "bernoulli"  # The most there is to an evaluation: sampled masks.
    alone = after(experiment.build(one), one, data, seeds=(0, 1), measured=measured)
    config = config_of(method, num_seeds=2, seeds_per_program=2)
    config.mesh.update(seed=2, data=4)
    (job,) = experiment.programs(config)
    assert_same(after(job, config, data, measured=measured), alone)


def test_one_seed_on_eight_devices_gives_what_one_device_does(data):
    one, spread = config_of("signed"), config_of("signed", **{"mesh.data": 8})
    alone = after(experiment.build(one), one, data)
    assert_same(after(experiment.build(spread), spread, data), alone)


@pytest.mark.parametrize("loop", sharding.SEED_LOOPS)
def test_convolutions_and_batch_norm_too(loop, data):
    # The last batch of an epoch is partial: its padding lies on some devices only.
    entries = {"model.name": "conv2", "model.norm": "all", "model.width": 0.05, "batch_size": 120}
    entries |= {"data.augment": "crop_flip"}
    one = tiny_config(**entries)
    alone = after(experiment.build(one), one, data, steps=1, seeds=(0, 1))
    config = tiny_config(**entries, num_seeds=2, seeds_per_program=2, seed_loop=loop)
    config.mesh.update(seed=2, data=4)
    (job,) = experiment.programs(config)
    assert_same(after(job, config, data, steps=1), alone)


def test_the_state_and_the_batch_are_spread_and_not_copied(data):
    config = tiny_config(num_seeds=2, seeds_per_program=2)
    config.mesh.update(seed=2, data=4)
    (job,) = experiment.programs(config)
    splits = experiment.split_data(data, config, job.layout)
    state, frozen = job.start()
    operands = (state, frozen, splits.train, job.order()(0), 0, 2)
    run = make_train_steps(job)
    text = run.lower(*operands).compile().as_text()
    assert "all-reduce" in text
    assert "f32[1,32,8,8,1]" in text and "[1,128,8,8,1]" not in text  # of batches of 128
    state, _ = run(*operands)
    for leaf in jax.tree.leaves((state, frozen)):
        assert leaf.sharding.spec == jax.sharding.PartitionSpec("seed")


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"data": 16}, "asks for 16 devices (seed 1 x data 16) and there are 8"),
        ({"seed": 3, "data": 4, "num_seeds": 3}, "asks for 12 devices"),
        ({"data": -1}, "at least 0"),
        ({"data": 5}, "divided over 5 devices: choose 125 or 130, or config.mesh.data=4"),
        ({"seed": 2, "num_seeds": 3}, "3 seeds cannot be divided over 2 devices"),
    ],
)
def test_impossible_meshes_are_refused_in_one_line(entries, said):
    with pytest.raises(UserError) as caught:
        choose_layout(**{"num_seeds": 1, "batch_size": 128, "seed_loop": "vmap"} | entries)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "num_seeds, batch_size, mesh",
    [(1, 128, (1, 8)), (4, 128, (4, 2)), (3, 60, (1, 6)), (16, 10, (8, 1)), (1, 7, (1, 7))],
)
def test_a_mesh_is_chosen_that_seeds_and_batch_divide(num_seeds, batch_size, mesh, monkeypatch):
    # As on accelerators: of virtual CPUs it would take one.
    monkeypatch.setattr(sharding, "useful_devices", jax.devices)
    chosen = choose_layout(num_seeds=num_seeds, batch_size=batch_size, seed_loop="vmap")
    assert tuple(chosen.mesh.shape.values()) == mesh


def test_of_virtual_cpus_one_is_chosen():
    assert choose_layout(num_seeds=1, batch_size=128).mesh.size == 1


def test_bfloat16_rounds_what_is_computed_and_nothing_that_is_kept(data):
    exact, rounded = (tiny_config(compute_dtype=name) for name in ("float32", "bfloat16"))
    (tree, row), (low_tree, low_row) = (
        after(experiment.build(config), config, data, steps=1, measured=True)[0]
        for config in (exact, rounded)
    )
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(low_tree))
    assert tree["loss"] != low_tree["loss"]
    assert low_tree["loss"] == pytest.approx(tree["loss"], rel=0.02)
    assert low_row["remaining_weights"] == pytest.approx(row["remaining_weights"], rel=0.02)
